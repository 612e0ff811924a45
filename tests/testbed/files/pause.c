/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Holds a pod's namespaces open and reaps its orphans. With -v it ends at once, as upstream's does: kubeadm upgrade runs that as a Job. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void stop(int number) { _exit(number == SIGINT || number == SIGTERM ? 0 : 1); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(int count, char **words) {
	if (count > 1 && strcmp(words[1], "-v") == 0) return 0;
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGCHLD, reap);
	for (;;) pause();
}
