# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do a component's certificates fit: certificate and key belong together, and the CA that the other side uses verifies them.

Python's own TLS in memory does it, with the real files; nothing of a key leaves this process.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import ValidationError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.layout_kubeadm import flag


class Pair(NamedTuple):
    """Flags that name a certificate, its key and the CA that must verify it; `role` is how the certificate is used."""

    certificate: str
    key: str
    authority: str | None
    role: str


SERVING = Pair("tls-cert-file", "tls-private-key-file", None, "server")
PAIRS = (
    SERVING,
    Pair("etcd-certfile", "etcd-keyfile", "etcd-cafile", "client"),
    Pair("kubelet-client-certificate", "kubelet-client-key", None, "client"),
    Pair("proxy-client-cert-file", "proxy-client-key-file", "requestheader-client-ca-file", "client"),
    Pair("cert-file", "key-file", "trusted-ca-file", "server"),
    Pair("peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "server"),
    Pair("peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "client"),
)
AUTHORITIES = (
    "client-ca-file", "etcd-cafile", "kubelet-certificate-authority", "requestheader-client-ca-file", "trusted-ca-file",
    "peer-trusted-ca-file", "root-ca-file", "cluster-signing-cert-file",
)  # fmt: skip


def check(argv: Sequence[str], place: Callable[[str], str]) -> None:
    """Check all pairs and CAs that an argv names; `place` turns a pod's path into one of this host. Raises ValidationError."""
    for name in AUTHORITIES:
        path = flag(argv, name)
        if path:
            _authority(name, path, place)
    for pair in PAIRS:
        certificate, key = flag(argv, pair.certificate), flag(argv, pair.key)
        if certificate and key:
            _pair(pair, certificate, key, flag(argv, pair.authority) if pair.authority else None, place)


def _authority(name: str, path: str, place: Callable[[str], str]) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(place(path))
    except (OSError, ssl.SSLError) as error:
        raise ValidationError(f"--{name}: {path} holds no usable certificate ({_why(error)})", "correct the file or the path") from error


def _pair(pair: Pair, certificate: str, key: str, authority: str | None, place: Callable[[str], str]) -> None:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    try:
        for context in (server, client):
            context.load_cert_chain(place(certificate), place(key))
    except (OSError, ssl.SSLError) as error:
        raise ValidationError(
            f"--{pair.certificate} {certificate} and --{pair.key} {key} do not fit together ({_why(error)})", "correct the files"
        ) from error
    if authority is None:
        return
    verifier = client if pair.role == "server" else server
    verifier.load_verify_locations(place(authority))
    verifier.verify_mode = ssl.CERT_REQUIRED
    try:
        handshake(server, client)
    except ssl.SSLError as error:
        raise ValidationError(
            f"--{pair.certificate} {certificate} as {pair.role} is not verified by --{pair.authority} {authority} ({_why(error)})",
            "correct the files",
        ) from error


def check_server(argv: Sequence[str], place: Callable[[str], str], authority: str, name: str) -> None:
    """Would a client that trusts `authority` (PEM text) and dials `name` accept the serving certificate? Raises ValidationError."""
    certificate, key = flag(argv, SERVING.certificate), flag(argv, SERVING.key)
    if not certificate or not key:
        return
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        server.load_cert_chain(place(certificate), place(key))
        client.load_verify_locations(cadata=authority)
        handshake(server, client, name)
    except (OSError, ssl.SSLError) as error:
        raise ValidationError(
            f"--{SERVING.certificate} {certificate} would be refused by the kubelet of this node, which dials {name} ({_why(error)})",
            "give it a certificate that the cluster's CA signed for that name and that has not expired",
        ) from error


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> None:
    """A whole handshake in memory, finished on both sides; the client dials `name`. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_side=False, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(sides)
    for _attempt in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            _read_alert(sides[0])  # under TLS 1.3 the server's verdict on the client comes after the client's handshake
            return
    raise ssl.SSLError("the handshake did not end")


def _read_alert(side: ssl.SSLObject) -> None:
    try:
        side.read(1)
    except ssl.SSLWantReadError:
        return


def _why(error: BaseException) -> str:
    """OpenSSL's own words, without the place in its source."""
    return (
        getattr(error, "verify_message", None) or getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    )
