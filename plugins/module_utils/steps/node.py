# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transaction asks the node while it waits: which process runs as which static pod, what its log says last, how probes answer.

Tests hand the engine another object with these methods.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm, processes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import probes, strict_json

LOG_TAIL = 16 << 10
LINE_LIMIT = 4 << 10
SECRETIVE = re.compile(r"[A-Za-z0-9+/_=-]{40,}")
PATH = re.compile(r"(?:/[A-Za-z0-9_-]{1,39}){2,}/?")
LOGIN = re.compile(r"(://[^\s/:@]*:)\S+@")
# What runtimes write before each line, and what the components' own loggers add.
PREFIX = re.compile(r"^\S+ (?:stdout|stderr) [FP] ")
KLOG = re.compile(r'^[EFIW]\d{4} \S+ +\d+ [^\]]+\] (?:"command failed" err=)?')
LOUD = re.compile(r'^(?:[EF]\d{4} |Error|error|panic|fatal|unknown|invalid|flag provided|\{"level":"(?:fatal|error|panic))', re.IGNORECASE)


class Running(NamedTuple):
    """A process of a static pod."""

    pid: int
    started: float
    uid: str
    argv: tuple[str, ...]


class Node:
    """The node that this process is on; `name` is its name in the cluster."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        self.host = Host(machine.root or "/")

    def running(self, component: str) -> list[Running]:
        """Processes of the component's static pods, oldest first; during a roll there may be none."""
        uids = set(layout_kubeadm.static_pods(self.host, self.name)[component])
        found = []
        booted = processes.boot_time(self.host)
        for uid, pids in processes.in_pods(self.host, uids).items():
            for pid in pids:
                process = processes.process(self.host, pid, booted)
                if process is not None and process.argv and os.path.basename(process.argv[0]) == component:
                    found.append(Running(pid, process.started, uid, tuple(process.argv)))
        return sorted(found, key=lambda one: (one.started, one.pid))

    def probe(self, pod_probes: Mapping[str, Mapping[str, Any]]) -> probes.Answer:
        """Perform a pod's probes."""
        return probes.all_pass(pod_probes)

    def newest_pod(self, component: str) -> str:
        """UID of the component's pod that kubelet made last, by its log directory; empty if there is none."""

        def made(uid: str) -> float:
            try:
                return os.stat(self.host.real(f"{layout_kubeadm.POD_LOGS}/kube-system_{component}-{self.name}_{uid}")).st_ctime
            except OSError:  # removed since the listing
                return 0.0

        return max(layout_kubeadm.static_pods(self.host, self.name)[component], key=made, default="")

    def starts(self, component: str, uid: str) -> int:
        """How often the component's container was started in the pod of that UID: kubelet numbers its log files."""
        logs = self._logs(component, uid)  # kubelet keeps the newest few only
        return int(os.path.basename(logs[-1])[:-4]) + 1 if logs else 0

    def last_words(self, component: str, uid: str) -> str:
        """The last thing the component said that looks like an error, shortened, without what could be a secret; empty if nothing."""
        for name in reversed(self._logs(component, uid)):
            try:
                with open(name, "rb") as file:
                    file.seek(0, os.SEEK_END)
                    file.seek(max(0, file.tell() - LOG_TAIL))
                    lines = file.read().decode("utf-8", "replace").splitlines()
            except OSError:
                continue
            spoken = [PREFIX.sub("", line) for line in lines]
            loud = [line for line in spoken if LOUD.match(line)]
            if loud:
                return harmless(loud[-1])
        return ""

    def _logs(self, component: str, uid: str) -> list[str]:
        folder = self.host.real(f"{layout_kubeadm.POD_LOGS}/kube-system_{component}-{self.name}_{uid}/{component}")
        try:
            names = [name for name in os.listdir(folder) if re.fullmatch(r"\d+\.log", name)]
        except OSError:
            return []
        return [f"{folder}/{name}" for name in sorted(names, key=lambda name: int(name[:-4]))]


def harmless(text: str) -> str:
    """A line of a component's log without its logger's head, cut to a readable length; what looks like a secret and long runs are blanked."""
    text = _spoken(KLOG.sub("", text[:LINE_LIMIT]))
    printable = secrets.blanked("".join(sign if sign.isprintable() else " " for sign in text))
    printable = LOGIN.sub(r"\1…@", printable)
    return SECRETIVE.sub(lambda found: found.group() if PATH.fullmatch(found.group()) else "…", printable).strip()[:300]


def _spoken(text: str) -> str:
    """What etcd's JSON log line says, without place and stack."""
    try:
        line = strict_json.parse(text)
    except ValueError:
        return text
    return ": ".join(str(line[key]) for key in ("msg", "error") if line.get(key)) if isinstance(line, dict) else text
