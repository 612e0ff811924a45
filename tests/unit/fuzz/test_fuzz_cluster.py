# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that an apiserver, an etcd or a kubelet returns, of any shape: an observation has problems, a transaction an error, nobody a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import approval, csr, etcd, etcd_gateway, lease
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError, Endpoint
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mappings
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine, Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import cluster, proofs_control_plane
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.proofs import Scene
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import drain, objects, toolbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import http1, strict_json, tls
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import changed_bytes, changed_data, hostile_text

ARGV = ["kube-apiserver", "--client-ca-file=/ca", "--etcd-servers=http://10.0.0.1:2379"]
SYSTEM = "/api/v1/namespaces/kube-system"
NODE = {
    "metadata": {"name": "cp1", "uid": "u", "labels": {"node-role.kubernetes.io/control-plane": ""}, "annotations": {}},
    "spec": {"podCIDRs": ["10.244.0.0/24"]},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.254"}, {"type": "Hostname", "address": "cp1"}],
        "nodeInfo": {"kubeletVersion": "v1.36.4", "osImage": "Debian"}, "daemonEndpoints": {"kubeletEndpoint": {"Port": 9}},
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
    },
}  # fmt: skip
LEASE = {
    "metadata": {"name": "cp1", "resourceVersion": "5", "uid": "u"},
    "spec": {"holderIdentity": "r@cp2", "renewTime": "2026-11-21T10:00:00.000000Z", "leaseDurationSeconds": 600, "leaseTransitions": 3},
}
DAEMON_SET = {
    "metadata": {"generation": 3}, "spec": {"template": {"metadata": {"annotations": {objects.ANNOTATION: "x"}}}},
    "status": {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "observedGeneration": 3},
}  # fmt: skip
REQUEST = {
    "metadata": {"name": "csr-1", "creationTimestamp": "2026-11-21T13:00:00Z", "resourceVersion": "7"}, "status": {"conditions": [{"type": "Approved"}]},
    "spec": {"signerName": csr.SIGNER, "username": "system:node:cp1", "groups": ["system:nodes"], "usages": ["server auth"], "request": "QUFB"},
}  # fmt: skip
POD = {
    "metadata": {"name": "etcd-cp1", "uid": "u", "annotations": {toolbox.MIRRORED: "h"}},
    "status": {"containerStatuses": [{"started": True, "ready": True}]},
}
OBJECTS: dict[str, Any] = {
    "/version": {"gitVersion": "v1.36.4"},
    "/api/v1/nodes": {"items": [NODE], "metadata": {}},
    "/api/v1/nodes/cp1": NODE,
    "/api/v1/nodes/cp1/proxy/configz": {"kubeletconfig": {"port": 10250, "staticPodURLHeader": {"Authorization": ["hunter2"]}}},
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases": {"items": [LEASE], "metadata": {"continue": ""}},
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/cp1": LEASE,
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ninepaths": LEASE,
    csr.COLLECTION: {"items": [REQUEST], "metadata": {}},
    "/apis/apps/v1/deployments": {"items": [{"metadata": {"namespace": "x", "name": "kubelet-csr-approver"}}], "metadata": {}},
    "/apis/apps/v1/namespaces/x/deployments/kubelet-csr-approver": {"status": {"availableReplicas": 1}},
    f"{SYSTEM}/configmaps/kubeadm-config": {"metadata": {"resourceVersion": "1"}, "data": {"ClusterConfiguration": "a: 1\n"}},
    f"{SYSTEM}/configmaps/kubelet-config": {"metadata": {"resourceVersion": "1"}, "data": {"kubelet": "a: 1\n"}},
    f"{SYSTEM}/configmaps/kube-proxy": {"metadata": {"resourceVersion": "1"}, "data": {"config.conf": "a: 1\n", "kubeconfig.conf": "x"}},
    f"{SYSTEM}/pods/etcd-cp1": POD,
    "/api/v1/namespaces/default/services/kubernetes": {"spec": {"clusterIP": "10.96.0.1"}},
    "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy": DAEMON_SET,
    drain.KUBERNETES_SERVICE: {"endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]},
}
ETCD: dict[str, Any] = {
    "/v3/cluster/member/list": {"members": [{"ID": "123", "name": "cp1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["http://10.0.0.1:2379"]}]},
    "/v3/maintenance/status": {"header": {"member_id": "123"}, "leader": "123"},
    "/health": {"health": "true"},
    "/v3/kv/range": {"kvs": [{"key": "YQ==", "value": "azhzOmVuYzphZXNjYmM6djE6azE6eA=="}], "count": "1"},
    "/v3/maintenance/transfer-leadership": {},
}
METRICS = b"# HELP x\nserviceaccount_stale_tokens_total{code=\"200\"} 2\nserviceaccount_stale_tokens_total 1e3\n"


class Answers(Api):
    """A real client whose exchanges are answered from a table, as text: whatever stands there goes through the client's own reader."""

    def __init__(self, table: dict[str, Any], raw: bytes = METRICS) -> None:
        self.where, self.table, self.metrics, self.received, self.sent = Endpoint("10.0.0.1", 6443), table, raw, 0, []  # type: ignore[var-annotated]

    def another(self, seconds: float = 0.0, limit: int = 0) -> Any:
        return self

    def close(self) -> None:
        pass

    def _exchange(self, method: str, path: str, headers: Any, body: bytes) -> http1.Response:
        path = path.partition("?")[0]
        self.sent.append((method, path))
        assert path.isascii() and "/../" not in path and " " not in path
        if path in ("/readyz", "/metrics"):
            return http1.Response(200, {}, self.metrics, True)
        if path not in self.table:
            return http1.Response(404, {}, b'{"message": "no", "reason": "NotFound"}', True)
        answer = json.dumps(self.table[path]).encode()
        self.received += len(answer)
        return http1.Response(200, {}, answer, True)


@st.composite
def tables(draw: st.DrawFn, good: dict[str, Any]) -> dict[str, Any]:
    """The table with some answers that are not as they should be."""
    table = copy.deepcopy(good)
    for path in draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=3)):
        table[path] = draw(changed_data([good[path]]))
    return table


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No real connection, no waiting."""
    monkeypatch.setattr(tls, "look", lambda *_more: (tls.Outcome(tls.HANDSHAKE, "refused"), "refused"))
    monkeypatch.setattr(cluster, "kubelet_context", lambda *_more: None)
    monkeypatch.setattr(cluster.time, "sleep", lambda _seconds: None)
    return


def etcd_from(table: dict[str, Any]) -> Any:
    def call(url: etcd.Url, context: Any, path: str, document: object = None) -> dict[str, Any]:
        try:
            found = strict_json.parse(json.dumps(table.get(path)))
        except ValueError as error:
            raise etcd.EtcdError(str(error)) from error
        if not isinstance(found, dict):
            raise etcd.EtcdError(f"{path}: no object")
        return found

    return call


@examples(150)
@given(table=tables(OBJECTS), members=tables(ETCD), metrics=changed_bytes([METRICS, b"[-]etcd failed\n[+]ping ok\n"]))
def test_whatever_the_cluster_says_the_observation_of_it_has_its_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, table: Any, members: Any, metrics: bytes
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(etcd, "call", etcd_from(members))
        seen = Collection(Host("/nonexistent"))
        found = cluster.Cluster(Answers(table, metrics), ARGV, seen, {"addresses": {"cp1": ["10.0.0.1"]}}).observe([])
    answers.CLUSTER(json.loads(json.dumps({"version": None, **found}, allow_nan=False)))


def test_of_what_may_hold_a_token_nothing_leaves_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd, "call", etcd_from(ETCD))
    found = cluster.Cluster(Answers(OBJECTS), ARGV, Collection(Host("/nonexistent")), {}).observe([])
    assert found["kubelets"][0]["configz"] == {"port": 10250} and "hunter2" not in json.dumps(found)
    assert found["configmaps"]["kube-proxy"]["data"] == {"config.conf": "a: 1\n"}


@pytest.mark.parametrize("part", ["osImage", "kubeletVersion", "address", "uid", "name"])
def test_what_a_kubelet_writes_about_itself_spoils_nothing_else(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A Node object is its kubelet's to write; the observation of a control plane has to stay one that the controller reads."""
    monkeypatch.setattr(etcd, "call", etcd_from(ETCD))
    node, long = copy.deepcopy(NODE), "x" * 200_000
    for place in (node["metadata"], node["status"]["nodeInfo"], node["status"]["addresses"][0]):
        if part in place:
            place[part] = long
    node["status"]["addresses"] += [{"type": "InternalDNS", "address": f"x{number}"} for number in range(5000)]
    requests = [{**REQUEST, "spec": {**REQUEST["spec"], "username": "system:node:" + long, "usages": [long]}}]
    table = {**OBJECTS, "/api/v1/nodes": {"items": [node, NODE]}, csr.COLLECTION: {"items": requests}}
    found = cluster.Cluster(Answers(table), ARGV, Collection(Host("/nonexistent")), {}).observe([])
    answers.CLUSTER(json.loads(json.dumps({"version": None, **found})))
    assert [one["name"] for one in found["nodes"]][-1] == "cp1"


@examples(100)
@given(table=tables({path: OBJECTS[path] for path in OBJECTS if "nodes" in path or "pods" in path or "endpointslices" in path or "leases" in path}))
def test_a_node_is_ready_or_waited_for_or_named(table: Any) -> None:
    tools = toolbox.Toolbox(Machine(lambda *_more, **_options: RunResult(0, "", "")), "cp1")
    tools._as_kubelet = Answers(table)
    for ask in (lambda: tools.node_is_back(0.0), lambda: tools.pod_is_ready(SimpleNamespace(), "etcd", "h")):
        try:
            ask()
        except (Waiting, TransactionError) as reason:
            assert str(reason)
        tools._as_kubelet = Answers(table)
    client = Answers(table)
    try:
        assert drain.other_apiservers(client) >= 0
        drain.begin(Machine(lambda *_more, **_options: RunResult(1, "", "")), ["--secure-port=6443"], drain.inside(client, ["--cluster-cidr=10.0.0.0/8"]))
    except ApiError as error:
        assert str(error)


@examples(80)
@given(body=st.one_of(changed_data([{"items": [POD]}]).map(lambda value: json.dumps(value).encode()), changed_bytes([json.dumps({"items": [POD]}).encode()])))
def test_what_the_kubelet_lists_is_read_or_waited_for(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    machine = Machine(lambda *_more, **_options: RunResult(0, "", ""))
    tools = toolbox.Toolbox(machine, "cp1")
    with monkeypatch.context() as patched:
        patched.setattr(machine, "exists", lambda _path: True)
        patched.setattr(tls, "with_client", lambda *_more: None)
        patched.setattr(tls, "attempt", lambda *_more, **_options: tls.Outcome(tls.RESPONSE, status=200, body=body))
        for ask in (tools.static_pods_known, lambda: tools.pod_is_ready(SimpleNamespace(), "etcd", "h")):
            try:
                ask()
            except Waiting as reason:
                assert str(reason)


class Clock(Machine):
    """A machine without a clock of its own."""

    def __init__(self) -> None:
        super().__init__(lambda *_more, **_options: RunResult(0, "", ""))
        self.time = 0.0

    def clock(self) -> float:
        return self.time

    def now(self) -> float:
        return 1_795_000_000.0 + self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 60.0)


@examples(100)
@given(found=changed_data([LEASE]))
def test_a_lease_of_any_shape_is_taken_under_guard_or_refused(found: Any) -> None:
    path = f"{lease.GROUP}/kube-system/leases/ninepaths"
    client = Answers({path: found, f"{lease.GROUP}/kube-system/leases": {}})
    mine = lease.Lease(Clock(), lambda: client, {"namespace": "kube-system", "name": "ninepaths", "seconds": 600, "holder": "r2"}, "cp1")
    for ask in (lambda: mine.acquire(lambda _message: None), mine.keep, mine.release):
        try:
            ask()
        except (TransactionError, ApiError) as error:
            assert str(error)
    if ("PUT", path) in client.sent:
        assert isinstance(found["metadata"]["resourceVersion"], str)


@examples(100)
@given(members=tables(ETCD))
def test_a_quorum_is_there_or_named(monkeypatch: pytest.MonkeyPatch, members: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(etcd, "call", etcd_from(members))
        gateway = etcd_gateway.Gateway(Clock(), ["etcd", "--listen-client-urls=http://127.0.0.1:2379"])
        for ask in (etcd_gateway.check_quorum, etcd_gateway.hand_over):
            try:
                ask(gateway)
            except TransactionError as error:
                assert error.cause and error.advice
        scene = Scene(Host("/nonexistent"), "cp1", {"components": {"kube-apiserver": {"argv": ARGV}}}, {})
        for proof in proofs_control_plane.secrets_at_rest(scene):
            answers.PROOF(json.loads(json.dumps(proof)))


@examples(80)
@given(data=st.data())
def test_a_configmap_and_a_rollout_of_any_shape_are_replaced_or_named(data: st.DataObject) -> None:
    name = "kube-proxy"
    paths = [f"{SYSTEM}/configmaps/{name}", f"/apis/apps/v1/namespaces/kube-system/daemonsets/{name}"]
    client = Answers(data.draw(tables({path: OBJECTS[path] for path in paths})))
    step = {"namespace": "kube-system", "name": name, "resource_version": "1", "data": {"config.conf": "b: 2\n"}}
    context = SimpleNamespace(tools=SimpleNamespace(administrator=lambda _context: client), directory="/x", machine=Clock(), say=lambda *_more: None)
    change = objects.ConfigMap(step, context, "1:configmap")  # type: ignore[arg-type]
    for ask in (change.check, change._annotation, lambda: change._put(change._read(), {"config.conf": None})):
        try:
            ask()
        except TransactionError as error:
            assert error.cause


@examples(60)
@given(table=tables({csr.COLLECTION: OBJECTS[csr.COLLECTION], "/api/v1/nodes/cp1": NODE}), name=hostile_text)
def test_a_pass_of_the_approver_over_any_requests_ends(table: Any, name: str) -> None:
    try:
        found = approval.approve_pending(Answers(table), {"cp1": csr.allowed(["cp1", "10.0.0.1"]), name: csr.allowed([name])})
    except ApiError as error:
        assert str(error)
        return
    assert found["approved"] == [] and isinstance(found["refused"], list)


@examples(60)
@given(changed_data([{"cp1": {"dns": ["cp1"], "ip": ["10.0.0.1"]}}]))
def test_nodes_of_the_approver_are_read_or_refused(nodes: Any) -> None:
    try:
        found = approval.parse_nodes(nodes)
    except (ValueError, KeyError, TypeError):  # each of its callers says what the form is
        return
    assert all(isinstance(names, csr.Allowed) for names in found.values())


def test_a_collection_that_never_ends_is_left() -> None:
    client = Answers({"/x": {"items": [{}], "metadata": {"continue": "again"}}})
    with pytest.raises(ApiError, match="more than 50000 objects"):
        list(client.list("/x"))
    assert len(client.sent) == 100


@pytest.mark.parametrize("name", ["../../secrets", "a/b", "a?b=c", "a b", "..", ".", "ü", "a#b", "a\r\nX: y", "%2e%2e"])
def test_a_node_of_any_name_is_one_segment_of_a_path(name: str) -> None:
    client = Answers({})
    tools = toolbox.Toolbox(Clock(), name)
    tools._as_kubelet = client
    with pytest.raises(Waiting):
        tools.node_is_back(0.0)
    assert all(path.count("/") == 7 for _method, path in client.sent)
    assert mappings([{"a": 1}, None, 5]) == [{"a": 1}]
