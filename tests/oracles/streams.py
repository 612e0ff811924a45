# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubectl exec` and `kubectl logs -f` as people leave them open, in pods that number their lines; opened again when they are cut.

`logs -f` is opened again with `--since-time` of the last line that was seen, so no line may be missing in all of them together.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.oracles.api import Client
from tests.oracles.clients import create
from tests.oracles.watches import NAMESPACE, create_namespace
from tests.testbed import paths

# The pod's own process counts for `logs`; every `exec` starts to count anew.
COUNTING = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.2; done"
READY_S = 120.0
# A stream on which nothing comes for so long, of lines every 0.2 s, is as good as cut.
SILENCE_S = 15.0
RETRY_S = 0.5
FIRST = "control-plane", "worker"


@dataclass
class Cut:
    """The end of a session that had delivered lines; `back`: when the next one delivered its first. Seconds since the epoch."""

    at: float
    cause: str
    back: float | None = None

    def as_dict(self, started: float) -> dict[str, object]:
        """For the result file, with times since `started`."""
        away = None if self.back is None else round(self.back - self.at, 2)
        return {"at": round(self.at - started, 2), "away_s": away, "cause": self.cause[-300:]}


@dataclass
class Stream:
    """One `exec` or `logs -f` of a pod over all its sessions. `numbers`: of the log's lines, without those that came twice at a seam."""

    kind: str
    node: str
    numbers: list[int] = field(default_factory=list)
    delivered: int = 0
    cuts: list[Cut] = field(default_factory=list)
    refused: int = 0
    disordered: int = 0
    since: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Lines between the first and the last that were never seen. Only the log goes on through the cuts."""
        return sum(after - before - 1 for before, after in pairwise(sorted(self.numbers)))

    def command(self) -> list[str]:
        """kubectl's arguments for the next session."""
        pod = [f"--namespace={NAMESPACE}", f"counter-{self.node}"]
        if self.kind == "exec":
            return ["exec", *pod, "--", "sh", "-c", COUNTING]
        return ["logs", *pod, "--follow", "--timestamps", *([f"--since-time={self.since}"] if self.since else [])]

    def take(self, line: str, session: list[int]) -> None:
        """A line of the present session, whose numbers so far are `session`."""
        *stamp, number = line.split() or [""]
        if not number.isdigit():  # the kubelet says into the stream what it cannot do
            self.remarks.append(line)
            return
        self.disordered += bool(session) and int(number) != session[-1] + 1
        session.append(int(number))
        self.delivered += 1
        if self.kind == "logs":
            self.since = stamp[0]
            if not self.numbers or int(number) > self.numbers[-1]:
                self.numbers.append(int(number))

    def as_dict(self, started: float) -> dict[str, object]:
        """For the result file, with times since `started`."""
        lines = {"lines": self.delivered, **({"missing": self.missing} if self.kind == "logs" else {}), "disordered": self.disordered}
        rest = {"refused": self.refused, "remarks": self.remarks[:20], "cuts": [cut.as_dict(started) for cut in self.cuts]}
        return {"kind": self.kind, "node": self.node, **lines, **rest}


def _read(process: subprocess.Popen[bytes], stop: threading.Event) -> Iterator[str]:
    """Whole lines until the end, a long silence, or `stop`."""
    assert process.stdout is not None
    descriptor, rest, last = process.stdout.fileno(), b"", time.monotonic()
    while not stop.is_set() and time.monotonic() - last < SILENCE_S:
        if not select.select([descriptor], [], [], 0.5)[0]:
            continue
        data = os.read(descriptor, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        last = time.monotonic()
        yield from (line.decode(errors="replace") for line in lines)


def _session(stream: Stream, kubectl: Sequence[str], stop: threading.Event) -> None:
    """One session from its start to its end."""
    session: list[int] = []
    with subprocess.Popen([*kubectl, *stream.command()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for line in _read(process, stop):
                stream.take(line, session)
                if session and stream.cuts and stream.cuts[-1].back is None:
                    stream.cuts[-1].back = time.time()
            at = time.time()
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
    if stop.is_set():
        return
    if session:
        stream.cuts.append(Cut(at, said or "ended without a word"))
    else:
        stream.refused += 1
        stop.wait(RETRY_S)


def keep_open(stream: Stream, kubectl: Sequence[str], stop: threading.Event) -> None:
    """One session after the other, until `stop` is set."""
    while not stop.is_set():
        _session(stream, kubectl, stop)


def kubectl(bed: Path) -> list[str]:
    """kubectl of the bed's release, from this machine, through the control-plane endpoint."""
    version = json.loads((bed / "bed.json").read_text(encoding="utf-8"))["versions"]["kubernetes"]
    return [str(paths.cache() / "binaries" / f"kubernetes-v{version}" / "kubectl"), f"--kubeconfig={bed / 'kubeconfig'}"]


def _pod(node: str, image: str) -> dict[str, Any]:
    container = {"name": "counter", "image": image, "command": ["sh", "-c", COUNTING]}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"counter-{node}", "namespace": NAMESPACE}, "spec": spec}


def _start_pod(client: Client, node: str, image: str) -> None:
    """A pod that counts, on this node; returns when it runs."""
    collection = f"/api/v1/namespaces/{NAMESPACE}/pods"
    create(client, collection, _pod(node, image))
    deadline = time.monotonic() + READY_S
    while json.loads(client.request("GET", f"{collection}/counter-{node}"))["status"].get("phase") != "Running":
        if time.monotonic() > deadline:
            raise HTTPException(f"the pod counter-{node} does not run after {READY_S:.0f} s")
        time.sleep(0.5)


def nodes(facts: dict[str, Any]) -> list[str]:
    """A control plane and a worker of bed.json."""
    return [next(str(node["name"]) for node in facts["nodes"] if node["role"] == role) for role in FIRST]


@contextmanager
def streaming(bed: Path) -> Iterator[list[Stream]]:
    """An `exec` and a `logs -f` on a control plane and on a worker while the block runs."""
    client, facts = Client(bed / "kubeconfig"), json.loads((bed / "bed.json").read_text(encoding="utf-8"))
    create_namespace(client)
    for node in nodes(facts):
        _start_pod(client, node, facts["tool_image"])
    streams = [Stream(kind, node) for kind in ("exec", "logs") for node in nodes(facts)]
    stop = threading.Event()
    threads = [threading.Thread(target=keep_open, args=(stream, kubectl(bed), stop)) for stream in streams]
    for thread in threads:
        thread.start()
    try:
        yield streams
    finally:
        stop.set()
        for thread in threads:
            thread.join()
