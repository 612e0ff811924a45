# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, requests and TLS servers for tests of the target side."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)


class Pair(NamedTuple):
    """A certificate and its key, as objects and as files."""

    certificate: x509.Certificate
    key: Any
    certificate_path: str
    key_path: str

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)


def key_pem(key: Any) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def name(common_name: str, *organizations: str) -> x509.Name:
    wanted = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, value) for value in organizations]
    return x509.Name([*wanted, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def alternative_names(dns: list[str], ip: list[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [*(x509.DNSName(value) for value in dns), *(x509.IPAddress(ipaddress.ip_address(value)) for value in ip)]
    )


class Authority:
    """A CA that signs into a directory."""

    def __init__(self, folder: Path, common_name: str) -> None:
        self.folder = folder
        self.pair = self._sign(common_name, name(common_name), ec.generate_private_key(ec.SECP256R1()), None, ca=True)

    def sign(
        self, common_name: str, *organizations: str, dns: list[str] | None = None, ip: list[str] | None = None, key: Any = None
    ) -> Pair:
        names = alternative_names(dns or [], ip or []) if dns or ip else None
        return self._sign(common_name, name(common_name, *organizations), key or ec.generate_private_key(ec.SECP256R1()), names, ca=False)

    def _sign(self, label: str, subject: x509.Name, key: Any, names: Any, *, ca: bool) -> Pair:
        issuer, signer = (subject, key) if ca else (self.pair.certificate.subject, self.pair.key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=365))
            .not_valid_after(NOW + datetime.timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        paths = [str(self.folder / f"{label.replace(':', '-')}.{ending}") for ending in ("crt", "key")]
        pair = Pair(certificate, key, *paths)
        Path(paths[0]).write_bytes(pair.pem)
        Path(paths[1]).write_bytes(pair.key_pem)
        return pair


def request_pem(subject: x509.Name, extensions: list[Any], key: Any = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def kubeconfig(ca: Pair, client: Pair, server: str = "https://127.0.0.1:6443") -> str:
    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    return f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {encoded(ca.pem)}
    server: {server}
  name: kubernetes
kind: Config
users:
- name: someone
  user:
    client-certificate-data: {encoded(client.pem)}
    client-key-data: {encoded(client.key_pem)}
"""


class Server:
    """Accepts connections on a loopback port and hands each, after the TLS handshake if there is one, to a function."""

    def __init__(self, handle: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> None:
        self._handle, self._context, self.connections = handle, context, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                channel, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(channel,), daemon=True).start()

    def _one(self, raw: socket.socket) -> None:
        with raw:
            raw.settimeout(5)
            try:
                if self._context is None:
                    self._handle(raw)
                    return
                with self._context.wrap_socket(raw, server_side=True) as channel:
                    self._handle(channel)
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


def server_context(pair: Pair, client_ca: Pair | None = None, *, demand: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate_path, pair.key_path)
    if client_ca is not None:
        context.load_verify_locations(client_ca.certificate_path)
        context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_OPTIONAL
    return context


def read_request(channel: socket.socket) -> tuple[str, dict[str, str], bytes]:
    """First line, headers and body of one HTTP request; an empty line at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = channel.recv(65536)
        if not part:
            return "", {}, b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value for key, _colon, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        body += channel.recv(65536)
    return lines[0], headers, body


def answer(status: int, body: bytes = b"{}", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
