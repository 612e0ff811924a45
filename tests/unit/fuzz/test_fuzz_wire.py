# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that a peer sends: HTTP, TLS, JSON, PEM and DER, mostly real ones with something wrong in them."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import csr, etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError, Endpoint, endpoint
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import CONTROL, visible, visible_in
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import der, http1, probes, strict_json, tls, x509
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError
from cryptography.hazmat.primitives import serialization
from effort import examples
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import VALUES, changed_bytes, changed_data, hostile_text, hostile_values
from tls_material import Authority, Server, alternative_names, name, request_pem

NODE = "system:node:w1"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Type: application/json\r\n\r\n{\"items\": []}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.0 403 Forbidden\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
]


TAGS = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x1C, 0x1E, 0x30, 0x31, 0x80, 0x82, 0x87, 0xA0, 0xA3]
CONTENTS = [b"", b"\x00", b"\xff" * 3, b"\x80", b"a\x1b[2J", "ü\u202e".encode(), b"\x00\xd8", b"20991399999999Z", b"x" * 300]


@lru_cache(maxsize=1)
def authority() -> Authority:
    import tempfile

    return Authority(Path(tempfile.mkdtemp()), "kubernetes")


@lru_cache(maxsize=1)
def certificates() -> list[bytes]:
    """Real ones, DER."""
    pairs = [authority().pair, authority().sign(NODE, "system:nodes", dns=["w1", "w1.example.com"], ip=["10.0.0.1", "fd00::1"])]
    return [pair.certificate.public_bytes(serialization.Encoding.DER) for pair in pairs]


@lru_cache(maxsize=1)
def pems() -> list[bytes]:
    return [b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(found) + b"-----END CERTIFICATE-----\n" for found in certificates()]


@lru_cache(maxsize=1)
def requests() -> list[bytes]:
    return [request_pem(name(NODE, "system:nodes"), [alternative_names(["w1"], ["10.0.0.7"])])]


def encoded(tag: int, content: bytes) -> bytes:
    """One element of DER, its length written right."""
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (bytes([size]) if size < 0x80 else bytes([0x80 | len(digits)]) + digits) + content


def rewritten(draw: Any, data: bytes, depth: int = 0) -> bytes:
    """DER in which one element deep inside is another one, all lengths above it made right again: it reaches the readers behind the lengths."""
    try:
        element = der.parse(data)
        members = der.children(element)
    except DerError:
        members = []
    if not members or depth > 12 or draw(st.integers(0, 5)) == 0:
        tag = draw(st.sampled_from(TAGS))
        return encoded(tag, draw(st.sampled_from(CONTENTS)))
    at = draw(st.integers(0, len(members) - 1))
    parts = [member.raw for member in members]
    kind = draw(st.integers(0, 5))
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(at, parts[at])
    else:
        parts[at] = rewritten(draw, parts[at], depth + 1)
    return encoded(element.tag, b"".join(parts))


@st.composite
def elements(draw: st.DrawFn, seeds: Any) -> bytes:
    return rewritten(draw, draw(st.sampled_from(seeds)))


def only_plain_text(value: Any) -> bool:
    return not CONTROL.search(json.dumps(value, ensure_ascii=False).replace("\n", ""))


@examples(300)
@given(st.one_of(changed_bytes(certificates()), elements(certificates())))
@example(b"\x30\x80" * 30_000)
@example(b"\x30\x83\x01\x00\x00" + b"\x30\x83\x00\xff\xfb" * 20)
def test_a_certificate_is_described_or_refused(data: bytes) -> None:
    try:
        found = x509.summary(data)
    except DerError as error:
        assert str(error)
        return
    assert only_plain_text(found)


@examples(200)
@given(changed_bytes(pems(), most=4))
@example(b"-----BEGIN CERTIFICATE-----\n" * 40_000)
@example(b"".join(b"-----BEGIN A%d-----\n" % number for number in range(40_000)))
def test_a_file_of_certificates_is_described_or_refused(data: bytes) -> None:
    try:
        assert only_plain_text(x509.certificates(data))
    except DerError as error:
        assert str(error)


@lru_cache(maxsize=1)
def request_der() -> list[bytes]:
    return [x509.pem_blocks(requests()[0], "CERTIFICATE REQUEST")[0]]


def as_pem(found: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(found) + b"-----END CERTIFICATE REQUEST-----\n"


def as_document(request: Any, **spec: Any) -> dict[str, Any]:
    groups, usages = ["system:nodes"], ["digital signature", "server auth"]
    return {
        "metadata": {"name": "csr-1", "creationTimestamp": "2026-11-21T13:00:00Z", "resourceVersion": "7"},
        "spec": {"signerName": csr.SIGNER, "username": NODE, "groups": groups, "usages": usages, "request": request, **spec},
        "status": {"conditions": []},
    }


@examples(200)
@given(st.one_of(changed_bytes(requests()), elements(request_der()).map(as_pem)))
def test_only_what_the_request_may_have_is_approved(data: bytes) -> None:
    """An approval is the one thing here that cannot be taken back: what passes asks for the allowed names and nothing else."""
    verdict = csr.verdict(as_document(base64.b64encode(data).decode()), csr.allowed(["w1", "10.0.0.7"]))
    if verdict != csr.OK:
        assert not CONTROL.search(verdict)
        return
    asked = x509.request(x509.pem_blocks(data, "CERTIFICATE REQUEST")[0])
    assert {attribute for _kind, attribute in asked.subject} == {NODE, "system:nodes"} and len(asked.subject) == 2
    assert set(map(str.lower, asked.names.dns)) <= {"w1"} and set(asked.names.ip) <= {"10.0.0.7"}
    assert not (asked.names.other or asked.other_extensions or asked.other_attributes)


@examples(150)
@given(changed_data([as_document(base64.b64encode(requests()[0]).decode())], most=4))
def test_a_request_object_of_any_shape_has_a_verdict(document: Any) -> None:
    if not isinstance(document, dict):
        return
    for entry in csr.review([document], {"w1": csr.allowed(["w1", "10.0.0.7"])}):
        assert isinstance(entry.verdict, str) and entry.verdict and isinstance(entry.name, str)


@examples(200)
@given(changed_bytes(ANSWERS))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50_000)
@example(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)
def test_an_answer_is_read_or_refused(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                theirs.sendall(data)
        try:
            connection = http1.Connection(ours, "x:1")
            connection.receive(1 << 16), connection.receive(1 << 16)
        except http1.HttpError as error:
            assert str(error)


@examples(100)
@given(hostile_text, hostile_text, st.sampled_from(["GET", "PUT"]))
def test_a_request_is_one_request_or_none(target: str, value: str, method: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            http1.Connection(ours, "x:1").send(method, "/" + target, {"X": value})
        except http1.HttpError:
            return
        sent = theirs.recv(1 << 20)
    assert sent.count(b"\r\n\r\n") == 1 and sent.endswith(b"\r\n\r\n")
    assert sent.count(b"\r\n") == (5 if method == "GET" else 6)


@examples(300)
@given(changed_bytes([b'{"a": [1, 2.5, "x", null, {"b": true}], "c": "\\u00fc"}', b"[" * 60 + b"]" * 60]))
@example(b"[" * 100_000)
@example(b"[" * 65 + b"]" * 65)
@example(b'{"a":' * 65 + b"1" + b"}" * 65)
@example(b"[NaN]")
@example(b"[1e999]")
@example(b'"\\ud800"')
@example(b"9" * 5000)
@example(b"[9223372036854775808]")
def test_json_is_read_within_limits_or_refused(data: bytes) -> None:
    try:
        found = strict_json.parse(data)
    except strict_json.JsonError as error:
        assert str(error) and len(str(error)) < 200
        return
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert found == json.loads(data)


@examples(100)
@given(hostile_values)
def test_what_is_shown_has_no_controls(value: Any) -> None:
    shown = json.dumps(visible_in(value), ensure_ascii=False)
    assert not CONTROL.search(shown)  # line breaks and tabs are JSON's own escapes here


def test_controls_are_written_out() -> None:
    assert visible("a\x1b[2J\n\tb\u202ec\x9b\ud800") == "a\\x1b[2J\n\tb\\u202ec\\x9b\\ud800"


@pytest.fixture(scope="module")
def peer() -> Any:
    """A server whose answer is the last one that was put into its list."""
    said = [b""]

    def speak(channel: socket.socket) -> None:
        channel.recv(1 << 16)
        channel.sendall(said[-1])

    server = Server(speak)
    yield server, said
    server.close()


@examples(60)
@given(data=changed_bytes(ANSWERS))
def test_any_peer_gives_an_outcome(peer: Any, data: bytes) -> None:
    server, said = peer
    said.append(data)
    outcome = tls.attempt("127.0.0.1", server.port, None, "/x", timeout=2.0, limit=1 << 16)
    assert outcome.status is not None or outcome.refusal
    assert not CONTROL.search(outcome.refusal)
    assert probes.perform({"port": server.port, "timeout_s": 2}).detail
    try:
        assert isinstance(etcd.call(etcd.Url(False, "127.0.0.1", server.port), None, "/v3/none", {}), dict)
    except etcd.EtcdError as error:
        assert str(server.port) in str(error)


@examples(20)
@given(data=changed_bytes(ANSWERS))
def test_any_peer_gives_an_outcome_to_a_handshake(peer: Any, data: bytes) -> None:
    server, said = peer
    said.append(data)
    outcome = tls.attempt("127.0.0.1", server.port, tls.unverified(), timeout=2.0)
    assert outcome.stage == tls.HANDSHAKE and outcome.refusal


@examples(100)
@given(st.one_of(hostile_text, st.sampled_from([value for value in VALUES if isinstance(value, int)]).map(str)), hostile_text)
@example("²", "a")
@example("65536", "10.0.0.1")
@example("9" * 30, "10.0.0.1")
def test_an_address_of_a_command_line_is_one_or_none(port: str, address: str) -> None:
    try:
        found = endpoint([f"--advertise-address={address}", f"--secure-port={port}"])
        assert isinstance(found, Endpoint) and 0 < found.port < 1 << 16
    except ApiError as error:
        assert str(error)
    for url in etcd.urls(f"https://{address}:{port},http://[{address}]:{port}/"):
        assert 0 < url.port < 1 << 16
    probes.perform({"host": "\x00" + address, "port": 1 << 20, "path": address, "timeout_s": 0.01})
