# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member goes down only while the others are a quorum, and hands over leadership first."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import etcd, etcd_gateway
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.etcd import EtcdError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

ARGV = ["etcd", "--listen-client-urls=http://127.0.0.1:2379"]


class Cluster:
    """Members by id: 1 is the local one, on 127.0.0.1; the others are 10.0.0.<id>."""

    def __init__(self, members: int, *, leader: int = 1, ill: tuple[int, ...] = (), learners: tuple[int, ...] = (), stuck: tuple[int, ...] = ()) -> None:
        self.members, self.leader, self.ill, self.learners, self.stuck = members, leader, ill, learners, stuck
        self.moved: list[str] = []

    def call(self, url: Any, context: Any, path: str, document: Any = None) -> dict[str, Any]:
        number = 1 if url.address == "127.0.0.1" else int(url.address.rsplit(".", 1)[1])
        if number in self.ill:
            raise EtcdError(f"{url.address}: connection refused")
        if path.endswith("member/list"):
            every = range(1, self.members + 1)
            urls = {one: [f"http://10.0.0.{one}:2379"] for one in every}
            return {
                "members": [
                    {"ID": str(one), "name": f"cp{one}", "clientURLs": urls[one], "isLearner": one in self.learners} for one in every
                ]
            }
        if path.endswith("transfer-leadership"):
            self.moved.append(document["targetID"])
            return {}
        if path == "/health":
            return {"health": "false" if number in self.stuck else "true"}
        return {"header": {"member_id": str(number)}, "leader": str(self.leader)}


def gateway(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> etcd_gateway.Gateway:
    monkeypatch.setattr(etcd, "call", cluster.call)
    return etcd_gateway.Gateway(Machine(lambda argv, **_: None), ARGV)


@pytest.mark.parametrize(
    ("cluster", "allowed"),
    [
        (Cluster(1), True),
        (Cluster(3), True),
        (Cluster(5, ill=(5,)), True),
        (Cluster(3, ill=(2,)), False),
        (Cluster(3, stuck=(2,)), False),
        (Cluster(3, stuck=(1,)), False),
        (Cluster(2), False),
        (Cluster(5, ill=(4, 5)), False),
        (Cluster(3, learners=(3,)), False),
        (Cluster(1, leader=0), False),
        (Cluster(3, ill=(1,)), False),
    ],
)
def test_quorum_without_this_member(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, allowed: bool) -> None:
    one = gateway(monkeypatch, cluster)
    if allowed:
        etcd_gateway.check_quorum(one)
    else:
        with pytest.raises(PreconditionError, match=r"quorum|unknown"):
            etcd_gateway.check_quorum(one)


def test_the_leader_hands_over_to_a_healthy_voter(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(4, ill=(2,), learners=(3,))
    assert etcd_gateway.hand_over(gateway(monkeypatch, cluster)) == "leadership moved to cp4"
    assert cluster.moved == ["4"]


def test_a_follower_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(3, leader=2)
    assert "another member is the leader" in etcd_gateway.hand_over(gateway(monkeypatch, cluster))
    assert cluster.moved == []


def test_the_only_member_has_nobody_to_hand_over_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nobody" in etcd_gateway.hand_over(gateway(monkeypatch, Cluster(1)))


def test_an_etcd_that_does_not_answer_stops_the_roll(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransactionError, match="cannot be moved away"):
        etcd_gateway.hand_over(gateway(monkeypatch, Cluster(1, ill=(1,))))


def test_the_secure_loopback_url_is_preferred() -> None:
    argv = ["etcd", "--listen-client-urls=http://127.0.0.1:1,https://10.0.0.1:2379,https://127.0.0.1:2379"]
    assert etcd_gateway.local_url(argv) == etcd.Url(True, "127.0.0.1", 2379)
    with pytest.raises(PreconditionError, match="no TCP client URL"):
        etcd_gateway.local_url(["etcd", "--listen-client-urls=unixs://x"])
