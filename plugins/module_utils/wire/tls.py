# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to one address: how far it gets, what is spoken, who answers, and why it ends.

A peer that refuses a client often says so only after the handshake (TLS 1.3), so every attempt asks a question and waits for an answer.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import http1, x509
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError

TIMEOUT = 5.0
NO_ADDRESS = "not an address that can be dialled"
CONNECT, HANDSHAKE, RESPONSE = "connect", "handshake", "response"
PLAIN_TO_TLS = b"HTTP request to an HTTPS server"  # what Go's server says to plain HTTP on a TLS port
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
EVIDENCE_BODY = 1 << 22


class TlsError(Exception):
    """A certificate, key or CA of ours that cannot be used."""


class Outcome(NamedTuple):
    """How an attempt ended.

    `stage` is where: `connect` (nobody answered), `handshake` (TLS failed), `response` (an HTTP status, or an end without one).
    `refusal` is the reason in words, empty after a whole answer; with a status it says why the body could not be read. `by_peer` is True
    when the other side ended it without an answer, not this program and not the network.
    """

    stage: str
    refusal: str = ""
    by_peer: bool = False
    tls: str | None = None
    cipher: str | None = None
    certificate: dict[str, Any] | None = None
    status: int | None = None
    body: bytes = b""

    def evidence(self) -> dict[str, Any]:
        """What a report shows of it; never the body."""
        shown: dict[str, Any] = {"stage": self.stage, "tls": self.tls, "cipher": self.cipher, "status": self.status}
        shown["refusal"] = self.refusal or None
        if self.certificate:
            for key in ("dns", "ip", "not_after", "sha256"):
                shown[key] = self.certificate[key]
            shown["subject"] = self.certificate["subject"]["cn"]
            shown["issuer"] = self.certificate["issuer"]
        return {key: value for key, value in shown.items() if value is not None}


def verified(ca: str) -> ssl.SSLContext:
    """Accept only a server whose certificate one of these CAs (PEM text) signed, for the address that is dialled. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, TypeError, ValueError) as error:  # TypeError: not ASCII
        raise TlsError(f"the CA cannot be used: {reason(error)}") from error
    return context


def unverified() -> ssl.SSLContext:
    """Accept any server: to see what it serves and what it refuses, never to send it a secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def outdated() -> ssl.SSLContext:
    """Offer TLS 1.1 and nothing newer."""
    context = unverified()
    context.set_ciphers("ALL:@SECLEVEL=0")  # at the usual level OpenSSL itself would not offer it
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def with_client(context: ssl.SSLContext, certificate: str, key: str) -> ssl.SSLContext:
    """Show a client certificate from files. Raises TlsError."""
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"{certificate}: cannot be used with {key}: {reason(error)}") from error
    return context


def with_client_data(context: ssl.SSLContext, certificate: bytes, key: bytes) -> ssl.SSLContext:
    """Show a client certificate that is in memory; the key reaches OpenSSL through an anonymous file, never a disk. Raises TlsError."""
    handle = os.memfd_create("ninepaths", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as memory:
            memory.write(certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"the client certificate cannot be used: {reason(error)}") from error
    finally:
        os.close(handle)
    return context


def attempt(
    address: str,
    port: int,
    context: ssl.SSLContext | None,
    path: str = "/",
    headers: Mapping[str, str] = NO_HEADERS,
    timeout: float = TIMEOUT,
    limit: int = EVIDENCE_BODY,
) -> Outcome:
    """Connect, shake hands (without a context: plain HTTP), ask for a path, and say how it ended.

    `timeout` is in seconds, for each of the three as a whole; `limit` is the most bytes of a body. Never raises for what the peer does.
    """
    if not 0 < port < 1 << 16:  # the resolver would take it modulo 65536
        return Outcome(CONNECT, NO_ADDRESS)
    try:
        raw = socket.create_connection((address, port), timeout)
    except (socket.gaierror, ValueError):
        return Outcome(CONNECT, NO_ADDRESS)
    except OSError as error:
        return Outcome(CONNECT, reason(error), by_peer=isinstance(error, ConnectionRefusedError))
    with raw:
        ask = _Question(http1.authority(address, port), path, headers, timeout, limit)
        if context is None:
            return _ask(raw, Outcome(RESPONSE), ask)
        try:
            channel = context.wrap_socket(raw, server_hostname=address)
        except (OSError, ValueError) as error:
            return Outcome(HANDSHAKE, reason(error), by_peer=_peer_ended(error))
        with channel:
            cipher = channel.cipher()
            shaken = Outcome(RESPONSE, tls=channel.version(), cipher=cipher[0] if cipher else None, certificate=_certificate(channel))
            return _ask(channel, shaken, ask)


def _certificate(channel: ssl.SSLSocket) -> dict[str, Any] | None:
    served = channel.getpeercert(binary_form=True)
    try:
        return x509.summary(served) if served else None
    except DerError:
        return None


class _Question(NamedTuple):
    authority: str
    path: str
    headers: Mapping[str, str]
    timeout: float
    limit: int


def _ask(channel: socket.socket, known: Outcome, ask: _Question) -> Outcome:
    connection = http1.Connection(channel, ask.authority, ask.timeout)
    try:
        connection.send("GET", ask.path, {"Accept": "*/*", "Connection": "close", **ask.headers})
    except OSError as error:  # the refusal may lie in the receive buffer already
        return known._replace(refusal=_last_word(channel) or reason(error), by_peer=_peer_ended(error))
    except http1.HttpError as error:
        return known._replace(refusal=str(error))
    try:
        answer = connection.receive(ask.limit)
    except (OSError, http1.HttpError) as error:  # whoever sends a status has answered, whatever becomes of the body
        by_peer = connection.status is None and (isinstance(error, http1.ClosedError) or _peer_ended(error))
        return known._replace(status=connection.status, refusal=reason(error), by_peer=by_peer)
    if known.tls is None and answer.status == 400 and PLAIN_TO_TLS in answer.body:
        return known._replace(refusal=one_line(answer.body[:400].decode("latin-1"))[:200], by_peer=True)
    return known._replace(status=answer.status, body=answer.body)


def _last_word(channel: socket.socket) -> str:
    try:
        channel.recv(1)
    except OSError as error:
        return reason(error)
    return ""


def _peer_ended(error: BaseException) -> bool:
    """An alert, a reset or a closed connection; our own verification failures and time-outs are not the peer's doing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError) or "ALERT" in (getattr(error, "reason", None) or "")
    return isinstance(error, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError))


def reason(error: BaseException) -> str:
    """An error in words that name no file content."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message or "the certificate cannot be verified")
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or "TLS error").lower().replace("_", " ")
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error) or type(error).__name__


def look(address: str, port: int, trusted: ssl.SSLContext, path: str = "/", headers: Mapping[str, str] = NO_HEADERS) -> tuple[Outcome, str]:
    """Ask a server that must be verified; returns the outcome and why verification failed, empty when it did not.

    A server that fails is asked once more without credentials, only to see which certificate it serves.
    """
    outcome = attempt(address, port, trusted, path, headers)
    if outcome.stage != HANDSHAKE:
        return outcome, outcome.refusal if outcome.stage == CONNECT else ""
    seen = attempt(address, port, unverified(), path)
    return outcome._replace(certificate=seen.certificate), outcome.refusal
