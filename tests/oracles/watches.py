# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that make a known sequence of revisions, and watchers that have to see each of them once and in order.

A watcher does what client-go's reflector does: list, watch from that revision with bookmarks, after a cut go on from the last revision
that was seen, and list again only where the apiserver says that it is too old (410). What was written in between is then missing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from tests.oracles.api import Client, StatusError
from tests.oracles.clients import create

NAMESPACE = "ninepaths-clients"
NAME = "ninepaths-counter"
ANNOTATION = "ninepaths-counter"
# Three kinds: the apiserver keeps a watch cache for each, which starts anew with every restart.
COLLECTIONS = {
    "ConfigMap": f"/api/v1/namespaces/{NAMESPACE}/configmaps",
    "Secret": f"/api/v1/namespaces/{NAMESPACE}/secrets",
    "Lease": f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
}
VERSIONS = {"ConfigMap": "v1", "Secret": "v1", "Lease": "coordination.k8s.io/v1"}
WRITES_PER_SECOND = 2.0
RETRY_S = 0.2
# A connection on which nothing comes is given up as client-go does it: a ping after 30 s, 15 s for its answer.
SILENCE_S = 45.0
# The apiserver ends a watch itself after this; client-go asks for 5 to 10 minutes.
WATCH_S = 400
SETTLE_S = 60.0
BROKEN = (OSError, HTTPException)


class GoneError(Exception):
    """The revision is too old: what happened since then cannot be told any more."""


@dataclass(frozen=True)
class Event:
    """A revision, and the number that the object has from it on; None where it is about something else, like a bookmark."""

    number: int | None
    revision: str


class Source(Protocol):
    """Where a watcher looks: the number that stands in the object now, and what happens after a revision."""

    def now(self) -> tuple[int, str]:
        """Number and revision of the object."""

    def events(self, revision: str) -> Iterator[Event]:
        """Everything after `revision`. Raises GoneError, OSError or HTTPException."""


def _number(item: dict[str, Any]) -> int:
    return int(item["metadata"].get("annotations", {}).get(ANNOTATION, 0))


@dataclass(frozen=True)
class Collection:
    """The objects of a kind in our namespace, one of which is counted."""

    client: Client
    path: str

    def now(self) -> tuple[int, str]:
        found = json.loads(self.client.request("GET", self.path))
        return next(_number(item) for item in found["items"] if item["metadata"]["name"] == NAME), str(found["metadata"]["resourceVersion"])

    def events(self, revision: str) -> Iterator[Event]:
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={WATCH_S}"
        try:
            for line in self.client.lines(f"{self.path}?{query}", SILENCE_S):
                yield _event(json.loads(line))
        except StatusError as error:
            if error.status == 410:
                raise GoneError(str(error)) from error
            raise


def _event(document: dict[str, Any]) -> Event:
    item = document["object"]
    if document["type"] == "ERROR" and item.get("code") == 410:
        raise GoneError(item.get("message"))
    if document["type"] == "ERROR":
        raise HTTPException(f"the watch ended: {item}")
    ours = document["type"] != "BOOKMARK" and item["metadata"]["name"] == NAME
    return Event(_number(item) if ours else None, str(item["metadata"]["resourceVersion"]))


@dataclass
class Seen:
    """What a watcher saw, with times in seconds since the epoch. `cuts`: ends of a watch on which something came, with their causes."""

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cuts: list[tuple[float, str]] = field(default_factory=list)
    refused: int = 0
    relists: list[float] = field(default_factory=list)

    def see(self, number: int) -> None:
        self.numbers.append(number)
        self.times.append(time.time())

    def missing(self, written: int) -> list[int]:
        """Numbers after the first one that were written and not seen."""
        return sorted(set(range(self.numbers[0], written + 1)) - set(self.numbers)) if self.numbers else [written]

    def disordered(self) -> int:
        """How often a number was not greater than the one before."""
        return sum(after <= before for before, after in pairwise(self.numbers))

    def longest_silence(self) -> float:
        return max((after - before for before, after in pairwise(self.times)), default=0.0)


def follow(source: Source, seen: Seen, stop: threading.Event) -> None:
    """Watch until `stop` is set; whatever happens is written into `seen`."""
    revision: str | None = None
    while not stop.is_set():
        opened = False
        try:
            if revision is None:
                number, revision = source.now()
                if not seen.numbers or number != seen.numbers[-1]:
                    seen.see(number)
            for event in source.events(revision):
                opened, revision = True, event.revision
                if event.number is not None:
                    seen.see(event.number)
                if stop.is_set():
                    return
            seen.cuts.append((time.time(), "ended"))
        except GoneError:
            revision = None
            seen.relists.append(time.time())
        except BROKEN as error:
            if opened:
                seen.cuts.append((time.time(), f"{type(error).__name__}: {error}"))
            else:
                seen.refused += 1
            stop.wait(RETRY_S)


class Counter:
    """Writes 1, 2, 3 … into an object, each only when the one before is known to be there, so that every number is one revision."""

    def __init__(self, client: Client, kind: str) -> None:
        self.client = client
        self.collection = COLLECTIONS[kind]
        self.path = f"{self.collection}/{NAME}"
        self.repeated = 0
        create(client, self.collection, {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": {"name": NAME}})
        self.number, self.revision = self._read()

    def count(self, stop: threading.Event) -> None:
        """Write at the usual rate until `stop` is set."""
        while not stop.is_set():
            self.advance(stop)
            stop.wait(1 / WRITES_PER_SECOND)

    def advance(self, stop: threading.Event) -> None:
        """Write the next number. Where the answer got lost, look whether it is there; the revision keeps a late write of an earlier number out."""
        wanted = self.number + 1
        known: str | None = self.revision
        while not stop.is_set():
            try:
                if known is None:
                    found, known = self._read()
                    if found == wanted:
                        break
                known = self._write(wanted, known)
                break
            except BROKEN:
                known = None
                self.repeated += 1
                stop.wait(RETRY_S)
        else:
            return
        self.number, self.revision = wanted, known

    def _read(self) -> tuple[int, str]:
        item = json.loads(self.client.request("GET", self.path))
        return _number(item), str(item["metadata"]["resourceVersion"])

    def _write(self, number: int, revision: str) -> str:
        patch = {"metadata": {"resourceVersion": revision, "annotations": {ANNOTATION: str(number)}}}
        item = json.loads(self.client.request("PATCH", self.path, patch, "application/merge-patch+json"))
        return str(item["metadata"]["resourceVersion"])


def create_namespace(client: Client) -> None:
    """Where all objects of the clients live."""
    create(client, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})


@dataclass
class Watch:
    """One kind: who writes it, and what its watcher saw."""

    kind: str
    counter: Counter
    seen: Seen = field(default_factory=Seen)

    def as_dict(self, started: float) -> dict[str, object]:
        """For the result file, with times since `started`."""
        seen, written = self.seen, self.counter.number
        missing = seen.missing(written)
        return {
            "kind": self.kind,
            "revisions": written - seen.numbers[0] if seen.numbers else 0,
            "missing": len(missing),
            "missing_first": missing[:20],
            "disordered": seen.disordered(),
            "relists": [round(at - started, 2) for at in seen.relists],
            "cuts": [(round(at - started, 2), cause[:200]) for at, cause in seen.cuts[:100]],
            "refused": seen.refused,
            "longest_silence_s": round(seen.longest_silence(), 2),
            "repeated_writes": self.counter.repeated,
        }


def _wait(watches: Sequence[Watch], seconds: float) -> None:
    """Until every watcher has seen what is written, or for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(not watch.seen.numbers or watch.seen.numbers[-1] < watch.counter.number for watch in watches):
        time.sleep(0.1)


@contextmanager
def watching(bed: Path) -> Iterator[list[Watch]]:
    """Write and watch an object of each kind while the block runs."""
    client = Client(bed / "kubeconfig")
    create_namespace(client)
    watches = [Watch(kind, Counter(client, kind)) for kind in COLLECTIONS]
    no_more_writes, no_more = threading.Event(), threading.Event()
    readers = [threading.Thread(target=follow, args=(Collection(client, watch.counter.collection), watch.seen, no_more), daemon=True) for watch in watches]
    writers = [threading.Thread(target=watch.counter.count, args=(no_more_writes,), daemon=True) for watch in watches]
    for thread in readers:
        thread.start()
    _wait(watches, SETTLE_S)  # the first numbers are there before the first is written
    for thread in writers:
        thread.start()
    try:
        yield watches
    finally:
        no_more_writes.set()
        for thread in writers:
            thread.join()
        _wait(watches, SETTLE_S)
        no_more.set()
