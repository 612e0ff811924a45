# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watcher goes on from the last revision, and tells when it could not; a writer makes every number one revision, whatever answers get lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPException, RemoteDisconnected

import pytest

from tests.oracles import watches
from tests.oracles.api import StatusError
from tests.oracles.watches import Counter, Event, GoneError, Seen, follow


class Server:
    """Answers one list or watch after the other, as a script says; the last one stops the watcher."""

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.stop = threading.Event()

    def _next(self) -> object:
        answer = self.script.pop(0)
        if not self.script:
            self.stop.set()
        return answer

    def now(self) -> tuple[int, str]:
        self.asked.append("list")
        answer = self._next()
        assert isinstance(answer, tuple)
        return answer

    def events(self, revision: str) -> Iterator[Event]:
        self.asked.append(revision)
        answer = self._next()
        assert isinstance(answer, list)
        for one in answer:
            if isinstance(one, Exception):
                raise one
            yield Event(*one)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "RETRY_S", 0.0)


def watched(*script: object) -> tuple[Seen, list[str]]:
    server, seen = Server(*script), Seen()
    follow(server, seen, server.stop)
    return seen, server.asked


def test_a_watch_goes_on_from_the_last_revision() -> None:
    seen, asked = watched((5, "100"), [(6, "101"), (None, "140")], [(7, "141"), RemoteDisconnected("cut")], [OSError("refused")], [(8, "150")])
    assert asked == ["list", "100", "140", "141", "141"]
    assert seen.numbers == [5, 6, 7, 8]
    assert (seen.missing(8), seen.disordered(), seen.relists) == ([], 0, [])
    assert [cause for _, cause in seen.cuts] == ["ended", "RemoteDisconnected: cut"]
    assert seen.refused == 1


def test_a_revision_that_is_too_old_is_a_gap() -> None:
    seen, asked = watched((5, "100"), [(6, "101"), GoneError("too old")], (9, "200"), [(10, "201")])
    assert asked == ["list", "100", "list", "200"]
    assert len(seen.relists) == 1
    assert seen.missing(10) == [7, 8]


def test_a_list_that_says_nothing_new_is_no_gap_but_is_counted() -> None:
    seen, _ = watched((5, "100"), [(6, "101"), GoneError("too old")], (6, "200"), [(7, "201")])
    assert (seen.numbers, seen.missing(7), len(seen.relists)) == ([5, 6, 7], [], 1)


def test_what_was_written_last_has_to_be_seen() -> None:
    seen, _ = watched((5, "100"), [(6, "101")])
    assert seen.missing(8) == [7, 8]
    assert Seen().missing(8) == [8]


@pytest.mark.parametrize(("numbers", "disordered"), [([1, 2, 3], 0), ([1, 2, 2, 3], 1), ([1, 3, 2, 4], 1), ([3, 2, 1], 2)])
def test_disorder(numbers: list[int], disordered: int) -> None:
    assert Seen(numbers=numbers).disordered() == disordered


def lines(*documents: object) -> watches.Collection:
    class Client:
        def lines(self, _path: str, _silence: float) -> Iterator[bytes]:
            for document in documents:
                if isinstance(document, Exception):
                    raise document
                yield json.dumps(document).encode()

    return watches.Collection(Client(), "/configmaps")  # type: ignore[arg-type]


def item(name: str, revision: str, number: int) -> dict[str, object]:
    return {"metadata": {"name": name, "resourceVersion": revision, "annotations": {watches.ANNOTATION: str(number)}}}


def test_lines_of_a_watch() -> None:
    other = {"type": "MODIFIED", "object": item("kube-root-ca.crt", "9", 77)}
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}
    ours = {"type": "MODIFIED", "object": item(watches.NAME, "13", 4)}
    assert list(lines(other, bookmark, ours).events("1")) == [Event(None, "9"), Event(None, "12"), Event(4, "13")]


@pytest.mark.parametrize("answer", [{"type": "ERROR", "object": {"code": 410, "message": "too old"}}, StatusError(410, "GET /configmaps: 410")])
def test_both_ways_to_say_too_old(answer: object) -> None:
    with pytest.raises(GoneError):
        list(lines(answer).events("1"))


@pytest.mark.parametrize("answer", [{"type": "ERROR", "object": {"code": 500}}, StatusError(403, "GET /configmaps: 403")])
def test_another_error_is_tried_again(answer: object) -> None:
    with pytest.raises(HTTPException):
        list(lines(answer).events("1"))


class Api:
    """One object, guarded by its revision. `faults`: what happens to the next writes: lost before they are carried out, or after."""

    def __init__(self, *faults: str) -> None:
        self.number, self.revision, self.faults = 0, 1, list(faults)
        self.history: list[int] = []

    def request(self, method: str, _path: str, body: object = None, _content_type: str = "") -> bytes:
        if method == "PATCH":
            fault = self.faults.pop(0) if self.faults else ""
            if fault == "before":
                raise RemoteDisconnected("before")
            self._write(body)
            if fault == "after":
                raise TimeoutError("after")
        return json.dumps(item(watches.NAME, str(self.revision), self.number)).encode()

    def _write(self, body: object) -> None:
        assert isinstance(body, dict)
        if body["metadata"]["resourceVersion"] != str(self.revision):
            raise StatusError(409, "conflict")
        self.number, self.revision = int(body["metadata"]["annotations"][watches.ANNOTATION]), self.revision + 1
        self.history.append(self.number)


@pytest.mark.parametrize("faults", [(), ("before",), ("after",), ("", "after", "before", "after")])
def test_every_number_is_written_once(faults: tuple[str, ...]) -> None:
    api, stop = Api(*faults), threading.Event()
    counter = Counter(api, "ConfigMap")  # type: ignore[arg-type]
    for _ in range(4):
        counter.advance(stop)
    assert api.history == [1, 2, 3, 4]
    assert counter.number == 4
    assert counter.repeated == len([fault for fault in faults if fault])


def test_counting_goes_on_where_an_earlier_run_stopped() -> None:
    api = Api()
    api.number = 41
    counter = Counter(api, "ConfigMap")  # type: ignore[arg-type]
    counter.advance(threading.Event())
    assert api.history == [42]
