/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Holds a pod's namespaces open and reaps its orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void stop(int number) { _exit(number == SIGINT || number == SIGTERM ? 0 : 1); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) {
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGCHLD, reap);
	for (;;) pause();
}
