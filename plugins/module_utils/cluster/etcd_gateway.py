# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps etcd's quorum and leader out of harm's way while the local member restarts, with the certificates that the node has already."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.etcd import EtcdError, Url
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mappings, text, texts, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls

CLIENT_PAIRS = ("apiserver-etcd-client", "etcd/healthcheck-client")


class Member(NamedTuple):
    """A member of the cluster; a `learner` has no vote."""

    id: str
    name: str
    client_urls: list[Url]
    learner: bool


class Gateway:
    """etcd as this node reaches it; `argv` is that of the local member."""

    def __init__(self, machine: Machine, argv: Sequence[str]) -> None:
        self.local = local_url(argv)
        self.context = client_context(machine, argv) if self.local.secure else None

    def members(self) -> list[Member]:
        """All members. Raises EtcdError."""
        found = mappings(self._call(self.local, "cluster/member/list").get("members"))
        return [
            Member(
                str(whole(one.get("ID"))),
                text(one.get("name")) or "",
                etcd.urls(",".join(texts(one.get("clientURLs")))),
                bool(one.get("isLearner")),
            )
            for one in found
        ]

    def status(self) -> tuple[str, str]:
        """Ids of the local member and of the leader that it follows; see etcd.status. Raises EtcdError."""
        return etcd.status(self.local, self.context)

    def is_healthy(self, member: Member) -> bool:
        """Does the member answer, and is it well?"""
        return etcd.status_of(member.client_urls, self.context) is not None

    def move_leader(self, target: str) -> None:
        """Make another member the leader; only the leader itself may be asked. Raises EtcdError."""
        self._call(self.local, "maintenance/transfer-leadership", {"targetID": target})

    def _call(self, url: Url, method: str, body: Any = None) -> dict[str, Any]:
        return etcd.call(url, self.context, f"/v3/{method}", body or {})


def local_url(argv: Sequence[str]) -> Url:
    """The local member's client URL, TLS preferred, then loopback. Raises PreconditionError when it has none."""
    urls = etcd.urls(layout_kubeadm.flag(argv, "listen-client-urls"))
    if not urls:
        raise PreconditionError("etcd has no TCP client URL in --listen-client-urls", "its health cannot be seen, so it is not restarted")
    return min(urls, key=lambda url: (not url.secure, url.address not in ("127.0.0.1", "::1")))


def client_context(machine: Machine, argv: Sequence[str]) -> ssl.SSLContext:
    """TLS to etcd: verified against its CA, with the first client pair that this node has. Raises PreconditionError."""
    pki = layout_kubeadm.PKI
    authority = layout_kubeadm.flag(argv, "trusted-ca-file") or f"{pki}/etcd/ca.crt"
    for pair in CLIENT_PAIRS:
        certificate, key = f"{pki}/{pair}.crt", f"{pki}/{pair}.key"
        if not (machine.exists(certificate) and machine.exists(key)):
            continue
        try:
            trusted = tls.verified(machine.read(authority).decode("ascii", "replace"))
            return tls.with_client(trusted, machine.at(certificate), machine.at(key))
        except (OSError, tls.TlsError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            raise PreconditionError(
                f"etcd: {certificate} with CA {authority} cannot be used: {cause}", "renew it (kubeadm certs renew)"
            ) from error
    raise PreconditionError(
        f"etcd: no client certificate in {pki} ({', '.join(CLIENT_PAIRS)})", "its health cannot be seen, so it is not restarted"
    )


def check_quorum(gateway: Gateway) -> None:
    """May the local member go down? Raises PreconditionError when the others would be no quorum."""
    try:
        voters = [member for member in gateway.members() if not member.learner]
        own, _errors = gateway.status()
    except EtcdError as error:
        raise PreconditionError(
            f"etcd's health is unknown: {error}", "make etcd healthy first (etcdctl endpoint status), then run again"
        ) from error
    if len(voters) == 1:
        return
    ill = [member.name for member in voters if member.id != own and not gateway.is_healthy(member)]
    healthy, quorum = len(voters) - 1 - len(ill), len(voters) // 2 + 1
    if healthy < quorum:
        raise PreconditionError(
            f"etcd would lose its quorum: without this member {healthy} of {len(voters)} are healthy, {quorum} are needed"
            f" (ill: {', '.join(ill) or 'none'})",
            "make the other members healthy first, or add a third",
        )


def hand_over(gateway: Gateway) -> str:
    """Move leadership away from the local member; says what was done. Raises TransactionError when there is a candidate and it fails."""
    try:
        members = gateway.members()
        own, leader = gateway.status()
        if own != leader:
            return "another member is the leader"
        for member in members:
            if member.id != own and not member.learner and gateway.is_healthy(member):
                gateway.move_leader(member.id)
                return f"leadership moved to {member.name}"
    except EtcdError as error:
        raise TransactionError(f"etcd: leadership cannot be moved away: {error}", "look at etcd's health, then run again") from error
    return "the only healthy member, there is nobody to hand leadership to"
