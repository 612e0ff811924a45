# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's members and health, asked over its JSON gateway with the apiserver's own client certificate."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, text, texts, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, plain
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import http1, strict_json, tls

TIMEOUT, ANSWER = 5.0, 15.0  # seconds: for a step, and for a whole answer
LIMIT = http1.MAX_BODY


class EtcdError(Exception):
    """An etcd that does not answer, or not with what was asked for."""


class Url(NamedTuple):
    """One URL of an etcd."""

    secure: bool
    address: str
    port: int


def parse_url(written: str) -> Url | None:
    """An http or https URL of host and port, or None."""
    scheme, mark, rest = written.strip().partition("://")
    address, _colon, port = rest.split("/")[0].rpartition(":")
    number = plain.number(port, plain.PORTS)
    if not mark or scheme not in ("http", "https") or not address or not number:
        return None
    return Url(scheme == "https", address.strip("[]"), number)


def urls(written: str | None) -> list[Url]:
    """URLs of a flag with commas."""
    return [url for url in map(parse_url, (written or "").split(",")) if url]


def client_context(host: Host, argv: Sequence[str]) -> ssl.SSLContext | None:
    """TLS as the apiserver's flags have it; None where they name no CA. Raises EtcdError."""
    ca, certificate, key = (layout.flag(argv, f"etcd-{name}") for name in ("cafile", "certfile", "keyfile"))
    if not ca:
        return None
    try:
        context = tls.verified(files.read_bytes(layout.real_target(host, ca)).decode("ascii"))
        return tls.with_client(context, host.real(certificate), host.real(key)) if certificate and key else context
    except (OSError, UnicodeDecodeError, tls.TlsError) as error:
        raise EtcdError(f"the apiserver's etcd certificates cannot be used: {error}") from error


def call(url: Url, context: ssl.SSLContext | None, path: str, document: object = None) -> dict[str, Any]:
    """Ask one etcd for JSON, POST with a document; raises EtcdError."""
    where = http1.authority(url.address, url.port)
    try:
        with socket.create_connection((url.address, url.port), TIMEOUT) as raw:
            if not url.secure:
                return _call(raw, where, path, document)
            if context is None:
                raise EtcdError(f"{where}: https, but the apiserver's flags name no CA for it")
            with context.wrap_socket(raw, server_hostname=url.address) as channel:
                return _call(channel, where, path, document)
    except (OSError, ValueError, http1.HttpError) as error:
        raise EtcdError(f"{where}: {tls.reason(error)}") from error


def _call(channel: socket.socket, where: str, path: str, document: object) -> dict[str, Any]:
    connection = http1.Connection(channel, where, ANSWER)
    body = b"" if document is None else json.dumps(document).encode("utf-8")
    connection.send("POST" if body else "GET", path, {"Connection": "close", "Content-Type": "application/json"}, body)
    answer = connection.receive(LIMIT)
    try:
        found = strict_json.parse(answer.body)
    except ValueError as error:
        raise EtcdError(f"{where}{path}: status {answer.status}, and the answer cannot be read: {error}") from error
    if not isinstance(found, dict) or (answer.status != 200 and "health" not in found):
        raise EtcdError(f"{where}{path}: status {answer.status}")
    return found


def observe(host: Host, argv: Sequence[str]) -> dict[str, Any] | None:
    """Members with health and leader, as the first etcd of the apiserver's flags tells them; None without such a flag."""
    servers = urls(layout.flag(argv, "etcd-servers"))
    if not servers:
        return None
    failures = []
    try:
        context = client_context(host, argv)
    except EtcdError as error:
        return {"members": [], "error": str(error)}
    for server in servers:
        try:
            members = mappings(call(server, context, "/v3/cluster/member/list", {}).get("members"))
            return {"members": [_member(member, context) for member in members], "error": None}
        except EtcdError as error:
            failures.append(str(error))
    return {"members": [], "error": "; ".join(failures)}


def status(url: Url, context: ssl.SSLContext | None) -> tuple[str, str]:
    """Ids of a member and of the leader that it follows. Raises EtcdError, also where it is not healthy.

    Healthy is one that follows a leader, has no alarm, and reads through the quorum: what its status and its /health together say.
    """
    answer = call(url, context, "/v3/maintenance/status", {})
    leader = str(whole(answer.get("leader")))
    if leader == "0" or answer.get("errors"):
        raise EtcdError(f"{url.address}: has no leader or reports errors")
    if call(url, context, "/health").get("health") not in ("true", True):
        raise EtcdError(f"{url.address}: is not healthy")
    return str(whole(mapping(answer, "header").get("member_id"))), leader


def status_of(client_urls: Sequence[Url], context: ssl.SSLContext | None) -> tuple[str, str] | None:
    """The status of a member by the first of its URLs that gives a healthy one; None where none does."""
    for url in client_urls:
        try:
            return status(url, context)
        except EtcdError:  # the next URL of the same member may answer
            continue
    return None


def _member(member: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
    number = str(whole(member.get("ID")))
    client_urls = texts(member.get("clientURLs"))
    found = status_of(urls(",".join(client_urls)), context)
    return {
        "id": f"{int(number):x}",
        "name": text(member.get("name")) or "",
        "peer_urls": texts(member.get("peerURLs")),
        "client_urls": client_urls,
        "healthy": found is not None,
        "leader": found is not None and found[1] == number,
    }
