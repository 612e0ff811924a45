# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading
import time

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import http1
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.http1 import ClosedError, Connection, HttpError
from hypothesis import given, settings
from hypothesis import strategies as st


def receive(data: bytes, limit: int = 1000) -> http1.Response:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(data)
        return Connection(ours, "x:1").receive(limit)


@pytest.mark.parametrize(
    ("data", "status", "body", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nhi", 200, b"hi", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n4;x=y\r\n you\r\n0\r\nTrailer: 1\r\n\r\n", 200, b"hi you", True),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nto the end", 400, b"to the end", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 401\r\nContent-Length: 0\r\n\r\n", 401, b"", True),
    ],
)
def test_receive(data: bytes, status: int, body: bytes, reusable: bool) -> None:
    found = receive(data)
    assert (found.status, found.body, found.reusable) == (status, body, reusable)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "more than 1000"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n", "more than 1000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, "more than 1000"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "number"),
        (b"\x15\x03\x01\x00\x02\x02\x50\r\n\r\n", "no HTTP"),
        (b"x" * 80000, "headers without an end"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 65 + b"\r\n", "more than 64 headers"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 65 + b"\r\n", "more than 64 trailers"),
    ],
)
def test_receive_names_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(HttpError, match=reason):
        receive(data)


@pytest.mark.parametrize("data", [b"", http1.TLS_ALERT + b"\x01\x00\x02\x02\x50"])
def test_an_end_without_an_answer_has_its_own_name(data: bytes) -> None:
    with pytest.raises(ClosedError):
        receive(data)


@pytest.mark.parametrize("data", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_an_answer_that_is_cut_off_was_begun(data: bytes) -> None:
    with pytest.raises(HttpError) as failure:
        receive(data)
    assert not isinstance(failure.value, ClosedError)


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_an_answer_that_never_ends_is_left_at_the_deadline(begin: bytes) -> None:
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        theirs.sendall(begin)
        while not over.wait(0.05):
            theirs.sendall(b"a")

    thread = threading.Thread(target=drip)
    with ours, theirs:
        ours.settimeout(5)
        connection = Connection(ours, "x:1", 0.5)
        connection.send("GET", "/", {})
        thread.start()
        began = time.monotonic()
        try:
            with pytest.raises((HttpError, TimeoutError)):
                connection.receive()
            assert time.monotonic() - began < 3
        finally:
            over.set()
            thread.join()


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]))
def test_hostile_bytes_raise_the_named_error_only(data: bytes, start: bytes) -> None:
    try:
        receive(start + data)
    except HttpError:
        return


def test_two_requests_on_one_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, "[::1]:6443")
        connection.send("PUT", "/a?b=c", {"X": "y"}, b"{}")
        assert (
            theirs.recv(1000) == b"PUT /a?b=c HTTP/1.1\r\nHost: [::1]:6443\r\nUser-Agent: ninepaths\r\nX: y\r\nContent-Length: 2\r\n\r\n{}"
        )
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 201 OK\r\nContent-Length: 1\r\n\r\nx")
        assert connection.receive().body == b"{}"
        assert connection.receive().status == 201


@pytest.mark.parametrize("target", ["/a\r\nX-Evil: 1", "/a b", "/a\n"])
def test_a_request_cannot_be_split(target: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(HttpError):
        Connection(ours, "x").send("GET", target, {})


def test_authority() -> None:
    assert (http1.authority("10.0.0.1", 1), http1.authority("fd00::1", 2)) == ("10.0.0.1:1", "[fd00::1]:2")
