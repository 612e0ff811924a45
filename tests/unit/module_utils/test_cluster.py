# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError, Endpoint
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import parallel
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import cluster
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from fake_node import FakeNode
from test_csr import document
from tls_material import Authority, Pair, Server, answer, read_request, server_context

ARGV = ["kube-apiserver", "--client-ca-file=/ca", "--kubelet-preferred-address-types=InternalIP,Hostname"]


class FakeApi:
    """Answers from a table; an ApiError in it is raised."""

    where = Endpoint("10.0.0.1", 6443)

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def _look(self, path: str) -> Any:
        found = self.answers.get(path)
        if isinstance(found, ApiError):
            raise found
        return found

    def find(self, path: str) -> Any:
        return self._look(path)

    def get(self, path: str) -> Any:
        found = self._look(path)
        if found is None:
            raise ApiError(404, "NotFound", path)
        return found

    def list(self, path: str, **query: str) -> Iterator[Any]:
        return iter(self._look(path) or [])

    def raw(self, path: str) -> tuple[int, str]:
        return self._look(path) or (404, "")

    def another(self, seconds: float, limit: int) -> FakeApi:
        assert (seconds, limit) == (10.0, 256 << 10)
        return self

    def close(self) -> None:
        pass


@pytest.fixture
def kubelet(server_pair: Pair) -> Iterator[Server]:
    """A kubelet that serves a certificate of the cluster's CA."""

    def serve(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(answer(401))

    server = Server(serve, server_context(server_pair))
    yield server
    server.close()


def node(name: str, address: str, port: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": "u", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            "nodeInfo": {"kubeletVersion": "v1.36.4", "osImage": "Debian"},
        },
    }


def deployment(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "kube-system"}}


@pytest.fixture
def answers(kubelet: Server) -> dict[str, Any]:
    spec = {"holderIdentity": "run-1", "renewTime": "1970-01-01T00:01:40.500000Z", "leaseDurationSeconds": 600}
    return {
        "/readyz?verbose": (200, "[+]ping ok\nreadyz check passed\n"),
        "/api/v1/nodes": [node("w1", "127.0.0.1", kubelet.port)],
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases": [
            {"metadata": {"name": "w1"}, "spec": {"renewTime": "1970-01-01T00:00:10.000000Z"}}
        ],
        "/apis/certificates.k8s.io/v1/certificatesigningrequests": [
            document(label="good"),
            document(label="bad", username="system:node:w2"),
        ],
        "/api/v1/namespaces/kube-system/configmaps/kubeadm-config": {
            "metadata": {"resourceVersion": "5"},
            "data": {"ClusterConfiguration": "x: y"},
        },
        "/api/v1/namespaces/kube-system/configmaps/kube-proxy": {
            "metadata": {"resourceVersion": "6"},
            "data": {"config.conf": "mode: nftables", "kubeconfig.conf": "users:\n- user:\n    token: swordfish\n"},
        },
        "/metrics": (200, "# HELP x\nserviceaccount_stale_tokens_total 3\nserviceaccount_valid_tokens_total 9\n"),
        "/apis/apps/v1/deployments": [deployment("coredns"), deployment("kubelet-csr-approver"), deployment("machine-approver")],
        "/apis/apps/v1/namespaces/kube-system/deployments/kubelet-csr-approver": {"status": {"availableReplicas": 1}},
        "/apis/apps/v1/namespaces/kube-system/deployments/machine-approver": {"status": {}},
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ninepaths": {"spec": spec},
        "/api/v1/nodes/w1/proxy/configz": {"kubeletconfig": {"readOnlyPort": 0}},
    }


def observe(
    root: Path, authority: Authority, answers: dict[str, Any], argv: list[str], **addresses: list[str]
) -> tuple[dict[str, Any], list[Any]]:
    fake = FakeNode(root)
    fake.write("/ca", authority.pair.pem)
    seen = Collection(fake.host)
    found = cluster.Cluster(FakeApi(answers), argv, seen, {"addresses": addresses}).observe(["ninepaths-approver.timer"])  # type: ignore[arg-type]
    return json.loads(json.dumps(found)), seen.problems


def test_a_healthy_cluster(root: Path, authority: Authority, answers: dict[str, Any], kubelet: Server) -> None:
    found, problems = observe(root, authority, answers, ARGV, w1=["10.0.0.7"])
    assert problems == []
    assert (found["readyz"], found["detail"], found["endpoint"], found["etcd"]) == (True, "ok", "https://10.0.0.1:6443", None)
    [seen] = found["nodes"]
    assert (seen["name"], seen["ready"], seen["control_plane"], seen["lease_renewed"], seen["kubelet_port"]) == (
        "w1",
        True,
        True,
        10.0,
        kubelet.port,
    )
    assert [(entry["name"], entry["node"], entry["state"]) for entry in found["serving_csrs"]] == [
        ("bad", "w2", "pending"),
        ("good", "w1", "pending"),
    ]
    assert [entry["verdict"] == "ok" for entry in found["serving_csrs"]] == [False, True]
    assert found["stale_tokens"] == 3
    assert found["approvers"] == ["ninepaths-approver.timer", "kube-system/kubelet-csr-approver"]
    assert found["lease"] == {"holder": "run-1", "renewed": 100.5, "seconds": 600}
    [entry] = found["kubelets"]
    assert (entry["address"], entry["verified"], entry["error"], entry["configz"]) == ("127.0.0.1", True, None, {"readOnlyPort": 0})
    assert entry["certificate"]["subject"]["cn"] == "kube-apiserver"


def test_configmaps_without_what_is_secret(root: Path, authority: Authority, answers: dict[str, Any]) -> None:
    found, _problems = observe(root, authority, answers, ARGV)
    assert found["configmaps"] == {
        "kubeadm-config": {"resource_version": "5", "data": {"ClusterConfiguration": "x: y"}},
        "kubelet-config": None,
        "kube-proxy": {"resource_version": "6", "data": {"config.conf": "mode: nftables"}},
    }


def test_the_verdict_forecasts_with_the_nodes_own_addresses(root: Path, authority: Authority, answers: dict[str, Any]) -> None:
    found, _problems = observe(root, authority, answers, ARGV)
    good = next(entry for entry in found["serving_csrs"] if entry["name"] == "good")
    assert "10.0.0.7" in good["verdict"]  # the Node object says 127.0.0.1 only


def test_no_token_is_stale_once_tokens_are_not_extended(root: Path, authority: Authority, answers: dict[str, Any]) -> None:
    del answers["/metrics"]
    assert observe(root, authority, answers, ARGV)[0]["stale_tokens"] is None
    assert observe(root / "b", authority, answers, [*ARGV, "--service-account-extend-token-expiration=false"])[0]["stale_tokens"] == 0


NOT_READY = (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")


def test_an_apiserver_that_stays_not_ready_says_why(
    root: Path, authority: Authority, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(cluster.time, "sleep", slept.append)
    answers["/readyz?verbose"] = NOT_READY
    found, _problems = observe(root, authority, answers, ARGV)
    assert (found["readyz"], found["detail"]) == (False, "[-]etcd failed: reason withheld")
    assert len(slept) == cluster.LOOKS - 1


def test_a_readiness_that_flaps_once_does_not_count(
    root: Path, authority: Authority, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mend(_seconds: float) -> None:
        answers["/readyz?verbose"] = (200, "readyz check passed\n")

    monkeypatch.setattr(cluster.time, "sleep", mend)
    answers["/readyz?verbose"] = NOT_READY
    assert observe(root, authority, answers, ARGV)[0]["readyz"] is True


def test_what_the_apiserver_refuses_is_a_problem_and_an_empty_part(root: Path, authority: Authority, answers: dict[str, Any]) -> None:
    answers["/apis/certificates.k8s.io/v1/certificatesigningrequests"] = ApiError(403, "Forbidden", "not yours")
    found, problems = observe(root, authority, answers, ARGV)
    assert found["serving_csrs"] == []
    assert "not yours" in problems[0]["cause"]
    assert found["nodes"]


def test_a_kubelet_that_is_not_verified_and_one_without_an_address(root: Path, stranger: Authority, answers: dict[str, Any]) -> None:
    lost = node("w2", "x", 10250)
    lost["status"]["addresses"] = []
    answers["/api/v1/nodes"].append(lost)
    found, _problems = observe(root, stranger, answers, ARGV)
    first, second = found["kubelets"]
    assert (first["verified"], first["certificate"]["subject"]["cn"], first["configz"]) == (False, "kube-apiserver", {"readOnlyPort": 0})
    assert first["error"]
    assert (second["verified"], second["address"], second["certificate"], second["configz"]) == (False, None, None, None)
    assert "InternalIP, Hostname" in second["error"]


def test_preferred_addresses() -> None:
    known = [
        {"type": "Hostname", "address": "w1"},
        {"type": "InternalIP", "address": "10.0.0.7"},
        {"type": "InternalIP", "address": "fd00::7"},
    ]
    assert cluster.preferred(known, ["ExternalIP", "InternalIP"]) == "10.0.0.7"
    assert cluster.preferred(known, cluster.DEFAULT_ADDRESS_TYPES.split(",")) == "w1"
    assert cluster.preferred(known, ["ExternalIP"]) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://10.0.0.1:2379", etcd.Url(True, "10.0.0.1", 2379)),
        (" http://[fd00::1]:2379/", etcd.Url(False, "fd00::1", 2379)),
        ("https://10.0.0.1", None),
        ("https://10.0.0.1:65536", None),
        ("unix:///run/etcd", None),
        ("", None),
    ],
)
def test_etcd_urls(text: str, url: etcd.Url | None) -> None:
    assert etcd.parse_url(text) == url


@pytest.fixture
def member(authority: Authority, server_pair: Pair) -> Iterator[Server]:
    """An etcd that wants a certificate and has a second member that is down."""

    def serve(channel: socket.socket) -> None:
        line, _headers, _body = read_request(channel)
        url = f"https://127.0.0.1:{server.port}"
        members = [{"ID": "255", "name": "cp1", "peerURLs": [url], "clientURLs": ["https://127.0.0.1:1", url]}]
        members.append({"ID": "16", "name": "cp2", "peerURLs": ["https://127.0.0.1:1"], "clientURLs": ["https://127.0.0.1:1"]})
        documents = {
            "POST /v3/cluster/member/list": {"members": members},
            "POST /v3/maintenance/status": {"leader": "255"},
            "GET /health": {"health": "true"},
        }
        channel.sendall(answer(200, json.dumps(documents[line.rpartition(" ")[0]]).encode()))

    server = Server(serve, server_context(server_pair, authority.pair, demand=True))
    yield server
    server.close()


def etcd_argv(port: int, pair: Pair) -> list[str]:
    servers = f"--etcd-servers=https://127.0.0.1:1,https://127.0.0.1:{port}"
    return ["kube-apiserver", servers, "--etcd-cafile=/ca", f"--etcd-certfile={pair.certificate_path}", f"--etcd-keyfile={pair.key_path}"]


def test_etcd_members(root: Path, authority: Authority, member: Server, client_pair: Pair) -> None:
    fake = FakeNode(root)
    fake.write("/ca", authority.pair.pem)
    for path in (client_pair.certificate_path, client_pair.key_path):
        fake.write(path, Path(path).read_bytes())
    found = etcd.observe(fake.host, etcd_argv(member.port, client_pair))
    assert found is not None
    assert found["error"] is None
    assert [(entry["id"], entry["name"], entry["healthy"], entry["leader"]) for entry in found["members"]] == [
        ("ff", "cp1", True, True),
        ("10", "cp2", False, False),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"/v3/maintenance/status": {"leader": "255", "errors": ["memberID:255 alarm:NOSPACE"]}},
        {"/v3/maintenance/status": {"leader": "0"}},
        {"/v3/maintenance/status": {}},
        {"/health": {"health": "false", "reason": "NOSPACE"}},
    ],
)
def test_a_member_is_healthy_only_without_alarms_and_with_a_leader(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]) -> None:
    answers = {"/v3/maintenance/status": {"leader": "255"}, "/health": {"health": "true"}}
    monkeypatch.setattr(etcd, "call", lambda url, context, path, document=None: answers[path])
    member = {"ID": "255", "name": "cp1", "clientURLs": ["http://10.0.0.1:2379"]}
    assert (etcd._member(member, None)["healthy"], etcd._member(member, None)["leader"]) == (True, True)
    answers.update(wrong)
    assert etcd._member(member, None)["healthy"] is False


def test_etcd_that_cannot_be_asked(root: Path, authority: Authority, client_pair: Pair) -> None:
    fake = FakeNode(root)
    assert etcd.observe(fake.host, ["kube-apiserver"]) is None
    missing = etcd.observe(fake.host, etcd_argv(1, client_pair))
    assert missing is not None
    assert "No such file" in missing["error"] or "no such file" in missing["error"]
    fake.write("/ca", authority.pair.pem)
    refused = etcd.observe(fake.host, ["x", "--etcd-servers=https://127.0.0.1:1", "--etcd-cafile=/ca"])
    assert refused == {"members": [], "error": "127.0.0.1:1: connection refused"}


@pytest.mark.parametrize("spare", [0, 3])
def test_a_host_without_a_process_to_spare_does_it_one_after_the_other(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == spare:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert parallel.in_parallel(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]


def test_in_parallel_keeps_the_order_and_the_exception() -> None:
    assert parallel.in_parallel(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert parallel.in_parallel(lambda number: number, []) == []

    def fail(number: int) -> int:
        if number == 30:
            raise tls.TlsError("here")
        return number

    with pytest.raises(tls.TlsError, match="here"):
        parallel.in_parallel(fail, range(100))
