# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaks with etcd over its JSON gateway on the client port, with the certificates that the node already has."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import layout_kubeadm
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.failures import PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.machine import Machine

CLIENT_PAIRS = ("apiserver-etcd-client", "etcd/healthcheck-client")
TIMEOUT = 5.0


class Member(NamedTuple):
    """A member of the cluster; `learner` has no vote."""

    id: str
    name: str
    client_urls: tuple[str, ...]
    learner: bool


class EtcdError(Exception):
    """etcd did not answer, or not with what was asked for."""


class Gateway:
    """etcd as this node reaches it; `argv` is that of the local member."""

    def __init__(self, machine: Machine, argv: Sequence[str]) -> None:
        self.local = local_url(argv)
        self.context: ssl.SSLContext | None = None
        if self.local.startswith("https:"):
            self.context = client_context(machine, argv)

    def members(self) -> list[Member]:
        """All members. Raises EtcdError."""
        found = self._call(self.local, "cluster/member/list").get("members", [])
        return [Member(str(one.get("ID", "0")), str(one.get("name", "")), tuple(one.get("clientURLs", ())), bool(one.get("isLearner", False))) for one in found]

    def status(self, url: str) -> tuple[str, str]:
        """Ids of a member and of the leader it follows. Raises EtcdError, also for a member without a leader or with errors."""
        answer = self._call(url, "maintenance/status")
        leader = str(answer.get("leader", "0"))
        if leader == "0" or answer.get("errors"):
            raise EtcdError(f"{url} has no leader or reports errors")
        return str(answer["header"]["member_id"]), leader

    def is_healthy(self, member: Member) -> bool:
        """Does the member answer, and has it a leader?"""
        for url in member.client_urls:
            try:
                self.status(url)
                return True
            except EtcdError:
                continue
        return False

    def move_leader(self, target: str) -> None:
        """Make another member the leader; only the leader itself may be asked. Raises EtcdError."""
        self._call(self.local, "maintenance/transfer-leadership", {"targetID": target})

    def _call(self, url: str, method: str, body: Any = None) -> Any:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 2379
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            if self.context is None:
                raise EtcdError(f"{url}: the local member speaks no TLS, this one does")
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self.context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(body or {}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EtcdError(f"{url}: {getattr(error, 'strerror', None) or type(error).__name__}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise EtcdError(f"{url}: {method} gave {response.status}")
        try:
            return json.loads(text)
        except ValueError as error:
            raise EtcdError(f"{url}: {method} gave no JSON") from error


def local_url(argv: Sequence[str]) -> str:
    """The local member's client URL, loopback preferred, TLS preferred. Raises PreconditionError when it has none."""
    urls = [url for url in (layout_kubeadm.flag(argv, "listen-client-urls") or "").split(",") if url.startswith(("https://", "http://"))]
    if not urls:
        raise PreconditionError("etcd has no TCP client URL in --listen-client-urls", "ninepaths cannot ask its health")
    return min(urls, key=lambda url: (not url.startswith("https:"), "//127.0.0.1" not in url and "//[::1]" not in url))


def client_context(machine: Machine, argv: Sequence[str]) -> ssl.SSLContext:
    """TLS to etcd: verified against its CA, with the first client pair that this node has. Raises PreconditionError."""
    pki = layout_kubeadm.PKI
    authority = layout_kubeadm.flag(argv, "trusted-ca-file") or f"{pki}/etcd/ca.crt"
    for pair in CLIENT_PAIRS:
        certificate, key = machine.at(f"{pki}/{pair}.crt"), machine.at(f"{pki}/{pair}.key")
        try:
            context = ssl.create_default_context(cafile=machine.at(authority))
            context.load_cert_chain(certificate, key)
        except FileNotFoundError:
            continue
        except (OSError, ssl.SSLError) as error:
            raise PreconditionError(f"etcd: the client certificate {pki}/{pair}.crt cannot be used: {error.strerror}", "renew it (kubeadm certs renew)") from error
        return context
    raise PreconditionError(f"etcd: no client certificate in {pki} ({', '.join(CLIENT_PAIRS)})", "its health cannot be seen, so it is not restarted")


def check_quorum(gateway: Gateway) -> None:
    """May the local member go down? Raises PreconditionError when the others would be no quorum."""
    try:
        voters = [member for member in gateway.members() if not member.learner]
        own, _ = gateway.status(gateway.local)
    except EtcdError as error:
        raise PreconditionError(f"etcd's health is unknown: {error}", "make etcd healthy first (etcdctl endpoint status), then run again") from error
    if len(voters) == 1:
        return
    ill = [member.name for member in voters if member.id != own and not gateway.is_healthy(member)]
    healthy, quorum = len(voters) - 1 - len(ill), len(voters) // 2 + 1
    if healthy < quorum:
        raise PreconditionError(
            f"etcd would lose its quorum: without this member {healthy} of {len(voters)} are healthy, {quorum} are needed (ill: {', '.join(ill) or 'none'})",
            "make the other members healthy first, or add a third",
        )


def hand_over(gateway: Gateway) -> str:
    """Move leadership away from the local member; says what was done. Raises TransactionError when there is a candidate and it fails."""
    try:
        members = gateway.members()
        own, leader = gateway.status(gateway.local)
        if own != leader:
            return "another member is the leader"
        for member in members:
            if member.id != own and not member.learner and gateway.is_healthy(member):
                gateway.move_leader(member.id)
                return f"leadership moved to {member.name}"
    except EtcdError as error:
        raise TransactionError(f"etcd: leadership cannot be moved away: {error}", "look at etcd's health, then run again") from error
    return "the only healthy member, there is nobody to hand leadership to"
