# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host gets no certificate for a name of the apiserver or of another node because it says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from factories import PKI, Cluster, certificate, cluster, file, planned

CONFIG = "/etc/kubernetes/ninepaths/approver.json"


def apiserver_names(hosts: Cluster, dns: Sequence[str], ip: Sequence[str]) -> Cluster:
    for host in hosts.values():
        if host["components"]:
            host["certificates"][f"{PKI}/apiserver.crt"] = [{**certificate(), "dns": list(dns), "ip": list(ip)}]
    return hosts


def allowed(hosts: Cluster, **settings: Any) -> dict[str, dict[str, list[str]]]:
    """What the approver on the first control plane is told."""
    job = planned(hosts, **settings).as_dict()["jobs"]["cp1"]["files"]
    changes = [change for step in job["steps"] if step["op"] == "files" for change in step["files"]]
    found: dict[str, dict[str, list[str]]] = json.loads(base64.b64decode(next(one["content"] for one in changes if one["path"] == CONFIG)))["nodes"]
    return found


@pytest.mark.parametrize(
    "name", ["kubernetes", "kubernetes.default.svc", "w1.kube-system.svc.cluster.local", "localhost", "cp1", "*.example.com", "w2", "-x", ""]
)
def test_a_worker_that_calls_itself_by_a_foreign_name_keeps_its_own_only(name: str) -> None:
    hosts = cluster(workers=2)
    hosts["w1"]["host"]["hostname"] = name
    assert allowed(hosts)["w1"]["dns"] == ["w1"]


def test_a_longer_form_of_its_own_name_is_its_own() -> None:
    hosts = cluster()
    hosts["w1"]["host"]["hostname"] = "W1.example.com"
    assert allowed(hosts)["w1"]["dns"] == ["w1", "w1.example.com"]


@pytest.mark.parametrize(
    "address",
    [
        *("10.96.0.1", "10.89.0.11", "fd00:0:0::1", "10.89.1.2"),
        *("127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "169.254.1.1", "fe80::1%eth0", "not an address", "1.2.3"),
    ],
)
def test_a_worker_that_claims_a_foreign_address_keeps_its_own_only(address: str) -> None:
    """The Service of the apiserver is on every node where kube-proxy uses IPVS, so nobody has to lie to have it."""
    hosts = apiserver_names(cluster(workers=2), ["kubernetes"], ["10.96.0.1", "10.89.0.11", "fd00::1"])
    hosts["w1"]["host"]["addresses"].append(address)
    assert allowed(hosts)["w1"] == {"dns": ["w1"], "ip": ["10.89.1.1"]}


def test_a_second_address_of_its_own_is_its_own() -> None:
    hosts = cluster()
    hosts["w1"]["host"]["addresses"].append("192.0.2.7")
    assert allowed(hosts)["w1"]["ip"] == ["10.89.1.1", "192.0.2.7"]


def test_what_the_operator_gives_is_given() -> None:
    hosts = apiserver_names(cluster(), [], ["10.96.0.1", "10.89.0.11"])
    given = allowed(hosts, node_addresses={"w1": ("10.96.0.1", "lb.example.com")})["w1"]
    assert given == {"dns": ["lb.example.com", "w1"], "ip": ["10.89.1.1", "10.96.0.1"]}


def test_a_control_plane_has_its_own_address_although_its_apiserver_has_it_too() -> None:
    hosts = apiserver_names(cluster(planes=3), ["kubernetes"], ["10.89.0.11", "10.89.0.12", "10.89.0.13", "10.96.0.1"])
    found = allowed(hosts)
    assert [found[f"cp{number}"]["ip"] for number in (1, 2, 3)] == [["10.89.0.11"], ["10.89.0.12"], ["10.89.0.13"]]


def node_object(hosts: Cluster, name: str) -> Any:
    return next(node for node in hosts["cp1"]["cluster"]["nodes"] if node["name"] == name)


def test_a_worker_whose_node_object_has_a_control_planes_address_takes_nothing_from_it() -> None:
    hosts = cluster(workers=2)
    node_object(hosts, "w1")["addresses"].append({"type": "ExternalIP", "address": "10.89.0.11"})
    hosts["w1"]["host"]["addresses"].append("10.89.0.11")
    found = allowed(hosts)
    assert found["cp1"]["ip"] == ["10.89.0.11"]
    assert found["w1"]["ip"] == ["10.89.1.1"]


def test_what_two_workers_claim_neither_has_and_the_plan_waits_with_the_reason() -> None:
    hosts = cluster(workers=2)
    node_object(hosts, "w1")["addresses"].append({"type": "InternalIP", "address": "10.89.1.2"})
    found = allowed(hosts)
    assert (found["w1"]["ip"], found["w2"]["ip"]) == (["10.89.1.1"], [])
    held = [entry["reason"] for entry in planned(hosts).as_dict()["held"] if entry["control"] == "apiserver-verifies-kubelet"]
    assert len(held) == 1 and "w2: its Node object has 10.89.1.2, which is claimed by the node w1 as well" in held[0] and "ninepaths_node_addresses" in held[0]


def test_a_worker_cannot_say_what_the_cluster_is() -> None:
    hosts = cluster()
    hosts["w1"]["cluster"] = {**hosts["cp1"]["cluster"], "nodes": [{**node_object(hosts, "cp1"), "version": "v1.31.0"}]}
    hosts["cp1"]["kubelet"]["version"] = None
    assert planned(hosts).cluster["version"] == "v1.36.4"


def test_what_an_approver_remembers_of_a_node_that_is_away_is_judged_as_well() -> None:
    hosts = apiserver_names(cluster(workers=2), [], ["10.96.0.1"])
    known = {"schema": 1, "nodes": {"w2": {"dns": ["w2", "kubernetes"], "ip": ["10.89.1.2", "10.96.0.1"]}}}
    hosts["cp1"]["files"][CONFIG] = file(json.dumps(known))
    away = {name: host for name, host in hosts.items() if name != "w2"}
    assert allowed(away, unreachable={"w2": "away"})["w2"] == {"dns": ["w2"], "ip": ["10.89.1.2"]}
