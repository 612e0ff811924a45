# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from tls_material import Authority, Pair, Server, answer, read_request, server_context

Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that are stopped after the test."""
    running: list[Server] = []

    def make(context: ssl.SSLContext | None, handle: Callable[[socket.socket], None] | None = None) -> Server:
        running.append(Server(handle or reply, context))
        return running[-1]

    yield make
    for server in running:
        server.close()


def reply(channel: socket.socket) -> None:
    """200 for a known client, else 401, as an apiserver does."""
    read_request(channel)
    known = isinstance(channel, ssl.SSLSocket) and channel.getpeercert()
    channel.sendall(answer(200 if known else 401, b"secret body"))


def test_a_verified_server_and_a_known_client(start: Start, authority: Authority, server_pair: Pair, client_pair: Pair) -> None:
    server = start(server_context(server_pair, authority.pair))
    context = tls.with_client(tls.verified(authority.pair.pem.decode()), client_pair.certificate_path, client_pair.key_path)
    outcome, failure = tls.look("127.0.0.1", server.port, context, "/healthz")
    assert (failure, outcome.status, outcome.tls) == ("", 200, "TLSv1.3")
    evidence = outcome.evidence()
    assert (evidence["subject"], evidence["ip"], evidence["status"]) == ("kube-apiserver", ["127.0.0.1"], 200)
    assert "secret body" not in str(evidence)


def test_an_unverified_server_is_named_and_its_certificate_shown(start: Start, stranger: Authority, server_pair: Pair) -> None:
    server = start(server_context(server_pair))
    outcome, failure = tls.look("127.0.0.1", server.port, tls.verified(stranger.pair.pem.decode()))
    assert "unable to get local issuer certificate" in failure
    assert (outcome.stage, outcome.by_peer, outcome.status) == (tls.HANDSHAKE, False, None)
    assert outcome.certificate is not None
    assert outcome.certificate["subject"]["cn"] == "kube-apiserver"


def test_a_certificate_without_the_address_is_not_verified(start: Start, authority: Authority) -> None:
    pair = authority.sign("other", dns=["localhost"], ip=["127.0.0.9"])
    server = start(server_context(pair))
    _outcome, failure = tls.look("127.0.0.1", server.port, tls.verified(authority.pair.pem.decode()))
    assert "IP address mismatch" in failure


def test_anonymous_is_refused_by_status(start: Start, authority: Authority, server_pair: Pair) -> None:
    server = start(server_context(server_pair, authority.pair))
    outcome = tls.attempt("127.0.0.1", server.port, tls.unverified(), "/pods")
    assert (outcome.stage, outcome.status, outcome.refusal) == (tls.RESPONSE, 401, "")


@pytest.mark.parametrize("foreign", [False, True])
def test_a_server_that_demands_a_certificate_refuses_after_the_handshake(
    start: Start, authority: Authority, stranger: Authority, server_pair: Pair, foreign: bool
) -> None:
    server = start(server_context(server_pair, authority.pair, demand=True))
    context = tls.unverified()
    if foreign:
        pair = stranger.sign("intruder")
        tls.with_client(context, pair.certificate_path, pair.key_path)
    outcome = tls.attempt("127.0.0.1", server.port, context)
    assert (outcome.status, outcome.by_peer) == (None, True)
    assert outcome.refusal


def test_tls_1_1_is_really_offered_and_refused_by_the_peer(start: Start, server_pair: Pair) -> None:
    server = start(server_context(server_pair))
    outcome = tls.attempt("127.0.0.1", server.port, tls.outdated())
    assert (outcome.stage, outcome.by_peer) == (tls.HANDSHAKE, True)
    assert "alert" in outcome.refusal


def test_tls_1_1_is_seen_where_it_is_spoken(start: Start, server_pair: Pair) -> None:
    context = server_context(server_pair)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    outcome = tls.attempt("127.0.0.1", start(context).port, tls.outdated())
    assert (outcome.stage, outcome.tls, outcome.status) == (tls.RESPONSE, "TLSv1.1", 401)


def test_plain_http_on_a_tls_port(start: Start, server_pair: Pair) -> None:
    outcome = tls.attempt("127.0.0.1", start(server_context(server_pair)).port, None)
    assert (outcome.status, outcome.by_peer, outcome.tls) == (None, True, None)


def test_what_go_says_to_plain_http_is_a_refusal(start: Start) -> None:
    def go(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")

    outcome = tls.attempt("127.0.0.1", start(None, go).port, None)
    assert (outcome.status, outcome.by_peer) == (None, True)
    assert "HTTPS server" in outcome.refusal


def test_plain_http_that_is_answered_is_no_refusal(start: Start) -> None:
    outcome = tls.attempt("127.0.0.1", start(None).port, None)
    assert (outcome.status, outcome.by_peer, outcome.refusal) == (401, False, "")


@pytest.mark.parametrize(("address", "port"), [("no-such-name.invalid", 1), ("a..b", 1), ("127.0.0.1", 99999999), ("x" * 300, 1)])
def test_what_is_no_address(address: str, port: int) -> None:
    assert tls.attempt(address, port, None) == tls.Outcome(tls.CONNECT, tls.NO_ADDRESS)


def test_a_closed_port_is_the_peers_doing_and_silence_is_not(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    assert tls.attempt("127.0.0.1", port, None) == tls.Outcome(tls.CONNECT, "connection refused", True)
    silent = start(None, _wait)
    outcome = tls.attempt("127.0.0.1", silent.port, tls.unverified(), timeout=0.2)
    assert (outcome.stage, outcome.by_peer, outcome.refusal) == (tls.HANDSHAKE, False, "no answer in time")


def _wait(channel: socket.socket) -> None:
    while channel.recv(1000):
        pass


def test_a_server_that_hangs_up_after_the_handshake(start: Start, server_pair: Pair) -> None:
    outcome = tls.attempt("127.0.0.1", start(server_context(server_pair), lambda _channel: None).port, tls.unverified())
    assert (outcome.stage, outcome.status, outcome.by_peer) == (tls.RESPONSE, None, True)


@pytest.mark.parametrize("sent", [answer(200, b"x" * 2000), answer(200, b"xx")[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_a_status_counts_whatever_becomes_of_the_body(start: Start, server_pair: Pair, sent: bytes) -> None:
    def serve(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(sent)

    outcome = tls.attempt("127.0.0.1", start(server_context(server_pair), serve).port, tls.unverified(), "/pods", limit=1000)
    assert (outcome.status, outcome.by_peer) == (200, False)
    assert outcome.refusal


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 2"])
def test_an_answer_that_is_no_http_is_no_refusal(start: Start, server_pair: Pair, sent: bytes) -> None:
    def serve(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(sent)

    outcome = tls.attempt("127.0.0.1", start(server_context(server_pair), serve).port, tls.unverified())
    assert (outcome.status, outcome.by_peer) == (None, False)


def test_a_peer_that_drips_is_left_in_time(start: Start, server_pair: Pair) -> None:
    def drip(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        for _line in range(60):
            channel.sendall(b"a: b\r\n")
            time.sleep(0.1)

    began = time.monotonic()
    outcome = tls.attempt("127.0.0.1", start(server_context(server_pair), drip).port, tls.unverified(), timeout=0.5)
    assert time.monotonic() - began < 4
    assert (outcome.status, outcome.by_peer) == (200, False)


def test_the_alert_is_read_after_a_broken_pipe() -> None:
    class Gone:
        """A connection that the peer has closed after sending an alert."""

        def gettimeout(self) -> float:
            return 5.0

        def settimeout(self, seconds: float) -> None:
            return None

        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError(32, "Broken pipe")

        def recv(self, size: int) -> bytes:
            alert = ssl.SSLError(1, "an alert")
            alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
            raise alert

    outcome = tls._ask(Gone(), tls.Outcome(tls.RESPONSE), tls._Question("x:1", "/", {}, 5.0, 1000))  # type: ignore[arg-type]
    assert (outcome.by_peer, outcome.refusal) == (True, "tlsv13 alert certificate required")


def test_a_pair_in_memory_leaves_no_file(client_pair: Pair) -> None:
    before = set(os.listdir("/proc/self/fd"))
    context = tls.with_client_data(tls.unverified(), client_pair.pem, client_pair.key_pem)
    assert isinstance(context, ssl.SSLContext)
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_cannot_be_used_is_named_without_its_content(client_pair: Pair, server_pair: Pair) -> None:
    failures: list[Any] = []
    for use in (
        lambda: tls.with_client(tls.unverified(), client_pair.certificate_path, server_pair.key_path),
        lambda: tls.with_client(tls.unverified(), "/not/there.crt", "/not/there.key"),
        lambda: tls.with_client_data(tls.unverified(), b"nothing", client_pair.key_pem),
        lambda: tls.verified("no certificate"),
        lambda: tls.verified("ü"),
    ):
        with pytest.raises(tls.TlsError) as failure:
            use()
        failures.append(str(failure.value))
    assert client_pair.certificate_path in failures[0]
    assert "no such file" in failures[1]
    assert not [text for text in failures if "PRIVATE" in text]
