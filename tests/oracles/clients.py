# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that send requests while something is done to a cluster, and count what they lose.

They read and write 20 times a second through the control-plane endpoint (a new connection each), and fetch logs of pods 5 times a second.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path

from tests.oracles.api import EXCERPT, TIMEOUT_S, Client, StatusError

REQUESTS_PER_SECOND = 20.0
LOGS_PER_SECOND = 5.0
COLLECTION = "/api/v1/namespaces/default/configmaps"
# As many as there are writes in a second: those to one object would wait for each other on a machine that is busy, and time out.
OBJECTS = [f"ninepaths-client-{number}" for number in range(10)]


@dataclass(frozen=True)
class Loss:
    """A request that was lost: when it was sent (seconds since the tally's start), what it was, and why."""

    at: float
    what: str
    cause: str


@dataclass
class Tally:
    """What one client sent, when, what was answered when, and what it lost. `started`: seconds since the epoch; all others count from there."""

    started: float = field(default_factory=time.time)
    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, what: str, action: Callable[[], object]) -> None:
        """Do one request and remember how it went."""
        at = time.time() - self.started
        with self.lock:
            self.sent.append(at)
        try:
            action()
        except (OSError, HTTPException, subprocess.SubprocessError) as error:
            with self.lock:
                self.lost.append(Loss(round(at, 2), what, f"{type(error).__name__}: {error}"[: 2 * EXCERPT]))
        else:
            with self.lock:
                self.answered.append(time.time() - self.started)

    def longest_gap(self) -> float:
        """The longest time without an answer, between the first and the last time that something was sent."""
        times = sorted([*self.sent[:1], *self.answered])
        times += [at for at in self.sent[-1:] if at > times[-1]]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def as_dict(self) -> dict[str, object]:
        """For the result file."""
        losses = [(loss.at, loss.what, loss.cause) for loss in self.lost[:1000]]
        counts = {"sent": len(self.sent), "answered": len(self.answered), "lost": len(self.lost)}
        return {**counts, "longest_gap_s": round(self.longest_gap(), 2), "losses": losses}


def _at_rate(per_second: float, action: Callable[[int], None], stop: threading.Event) -> None:
    """Call `action(n)` in a thread of its own at a fixed rate, whether or not the earlier ones have ended."""
    started, number, threads = time.monotonic(), 0, []
    while not stop.is_set():
        thread = threading.Thread(target=action, args=(number,), daemon=True)
        thread.start()
        threads.append(thread)
        number += 1
        stop.wait(max(0.0, started + number / per_second - time.monotonic()))
    for thread in threads:
        thread.join(TIMEOUT_S + 5)


def create(client: Client, collection: str, body: object) -> None:
    """Make an object; one that is there stays. A cluster that came up a moment ago is given a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            client.request("POST", collection, body)
        except (OSError, HTTPException) as error:
            if isinstance(error, StatusError) and error.status == 409:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _read_or_write(client: Client, number: int) -> object:
    path = f"{COLLECTION}/{OBJECTS[number // 2 % len(OBJECTS)]}"
    if number % 2:
        return client.request("GET", path)
    return client.request("PATCH", path, {"data": {"n": str(number)}}, "application/merge-patch+json")


@contextmanager
def _running(loops: Mapping[Callable[[int], None], float]) -> Iterator[None]:
    """Every action at its rate, in threads, until the block has ended."""
    stop = threading.Event()
    threads = [threading.Thread(target=_at_rate, args=(rate, action, stop)) for action, rate in loops.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def reading_logs(bed: Path, pod_logs: Mapping[str, str]) -> Iterator[dict[str, Tally]]:
    """Fetch logs (API paths by name, e.g. by node) 5 times a second each while the block runs; yields what is counted, by name."""
    client, tallies = Client(bed / "kubeconfig"), {name: Tally() for name in pod_logs}

    def fetcher(name: str, path: str) -> Callable[[int], None]:
        return lambda _number: tallies[name].count("logs", lambda: client.request("GET", path))

    with _running({fetcher(name, path): LOGS_PER_SECOND for name, path in pod_logs.items()}):
        yield tallies


@contextmanager
def reading_and_writing(bed: Path) -> Iterator[Tally]:
    """Read and write objects 20 times a second while the block runs."""
    client = Client(bed / "kubeconfig")
    for name in OBJECTS:
        create(client, COLLECTION, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    tally = Tally()

    def action(number: int) -> None:
        tally.count("read" if number % 2 else "write", lambda: _read_or_write(client, number))

    with _running({action: REQUESTS_PER_SECOND}):
        yield tally
