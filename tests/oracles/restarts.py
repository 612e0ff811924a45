# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What restarted when on the nodes of a bed, as containerd and systemd wrote it into the journal; and which cut belongs to which restart."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

KUBELET, APISERVER = "kubelet", "kube-apiserver"
COMPONENTS = (APISERVER, "etcd", "kube-controller-manager", "kube-scheduler")
# Only what is read below; containerd writes much more.
LINES = "RunPodSandbox for|CreateContainer within|StopContainer for|StartContainer for|container exit event|kubelet.service"
COMMAND = f"sudo journalctl --quiet --no-pager --output=short-unix _SYSTEMD_UNIT=containerd.service + _PID=1 UNIT=kubelet.service | grep -E '{LINES}'"
# The clocks are one; what is seen here may be some moments older or younger than what was written there.
EARLY_S, LATE_S = 1.0, 3.0

_AT = re.compile(r"^(\d+\.\d+) ")
_SANDBOX = re.compile(r'RunPodSandbox for name:"(?P<pod>[^"]+)".*namespace:"kube-system".* returns sandbox id "(?P<id>\w+)"')
_CREATED = re.compile(r'CreateContainer within sandbox "(?P<sandbox>\w+)" for name:"(?P<name>[^"]+)".* returns container id "(?P<id>\w+)"')
_STARTED = re.compile(r'StartContainer for "(?P<id>\w+)" returns successfully')
_STOPPING = re.compile(r'StopContainer for "(?P<id>\w+)" with timeout')
_EXITED = re.compile(r'received container exit event container_id:"(?P<id>\w+)"')


@dataclass
class Restart:
    """One restart, in seconds since the epoch: when it began, when the old process was gone, when the new one was started (None: it was not)."""

    node: str
    what: str
    began: float
    gone: float | None = None
    back: float | None = None

    def as_dict(self, started: float) -> dict[str, object]:
        """For the result file, with times since `started`."""
        times = {key: None if value is None else round(value - started, 2) for key, value in asdict(self).items() if key in {"began", "gone", "back"}}
        return {"node": self.node, "what": self.what, **times}

    def __str__(self) -> str:
        return f"{self.what} of {self.node}"


class _Node:
    """Reads a node's journal line by line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sandboxes: set[str] = set()
        self.containers: dict[str, str] = {}
        self.found: list[Restart] = []

    def read(self, at: float, text: str) -> None:
        if found := _SANDBOX.search(text):
            self.sandboxes.add(found["id"])
        elif found := _CREATED.search(text):
            if found["sandbox"] in self.sandboxes and found["name"] in COMPONENTS:
                self.containers[found["id"]] = found["name"]
        elif found := _STOPPING.search(text):
            self._ends(self.containers.get(found["id"]), at)
        elif found := _EXITED.search(text):
            self._gone(self.containers.get(found["id"]), at)
        elif found := _STARTED.search(text):
            self._back(self.containers.get(found["id"]), at)
        elif "kubelet.service" in text:
            self._kubelet(text, at)

    def _kubelet(self, text: str, at: float) -> None:
        if "Stopping kubelet.service" in text:
            self._ends(KUBELET, at)
        elif "Stopped kubelet.service" in text or "Deactivated" in text or "Main process exited" in text:
            self._gone(KUBELET, at)
        elif "Started kubelet.service" in text:
            self._back(KUBELET, at)

    def _open(self, what: str) -> Restart | None:
        return next((one for one in self.found if one.what == what and one.back is None), None)

    def _ends(self, what: str | None, at: float) -> None:
        if what and not self._open(what):
            self.found.append(Restart(self.name, what, at))

    def _gone(self, what: str | None, at: float) -> None:
        if what:
            self._ends(what, at)
            one = self._open(what)
            if one and one.gone is None:
                one.gone = at

    def _back(self, what: str | None, at: float) -> None:
        one = self._open(what) if what else None
        if one:
            one.back = at


def parse(node: str, lines: Iterable[str]) -> list[Restart]:
    """The restarts that stand in a node's journal, in the order in which they began."""
    reader = _Node(node)
    for line in lines:
        if at := _AT.match(line):
            reader.read(float(at[1]), line.replace('\\"', '"'))
    return reader.found


def read(bed: Path, nodes: Sequence[str], since: float) -> list[Restart]:
    """All restarts on these nodes that began after a time, in order."""

    def one(node: str) -> Iterator[Restart]:
        done = subprocess.run(["ssh", "-F", str(bed / "ssh_config"), node, COMMAND], capture_output=True, text=True, timeout=120, check=True)
        return (restart for restart in parse(node, done.stdout.splitlines()) if restart.began > since)

    with ThreadPoolExecutor() as pool:
        return sorted((restart for found in pool.map(one, nodes) for restart in found), key=lambda restart: restart.began)


def explain(cuts: Sequence[float], restarts: Sequence[Restart], node: str) -> list[Restart | None]:
    """For each cut of a stream to a pod of `node` the restart that it belongs to; a restart explains one cut at most."""
    carriers = [one for one in restarts if one.what == APISERVER or (one.what, one.node) == (KUBELET, node)]
    found: list[Restart | None] = []
    for at in cuts:
        own = next((one for one in carriers if one.began - EARLY_S <= at and (one.gone is None or at <= one.gone + LATE_S)), None)
        if own:
            carriers.remove(own)
        found.append(own)
    return found
