# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs, proofs_control_plane
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.proofs import (
    ALLOWED,
    FORBIDDEN,
    FOREIGN,
    NOBODY,
    OLD,
    PLAIN,
    Probe,
    Proof,
    Scene,
)
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.tls import CONNECT, HANDSHAKE, RESPONSE, Outcome
from fake_node import FakeNode
from tls_material import Authority, Pair, Server, answer, kubeconfig, read_request, server_context

REFUSED = Outcome(CONNECT, "connection refused", True)
SILENT = Outcome(CONNECT, "no answer in time")
CUT = Outcome(RESPONSE, "tlsv13 alert certificate required", True, "TLSv1.3")
ALERT = Outcome(HANDSHAKE, "tlsv1 alert protocol version", True)
OURS = Outcome(HANDSHAKE, "no protocols available")
STATUS = {status: Outcome(RESPONSE, status=status, tls="TLSv1.3") for status in (200, 401, 403, 404, 500)}


@pytest.mark.parametrize(
    ("passes", "good"),
    [
        (proofs.answered, [STATUS[200]]),
        (proofs.not_authenticated, [STATUS[401], CUT, ALERT]),
        (proofs.refused, [STATUS[401], STATUS[403], CUT, ALERT]),
        (proofs.not_authorized, [STATUS[403]]),
        (proofs.ended, [CUT, ALERT]),
        (proofs.no_handshake, [ALERT]),
        (proofs.closed, [REFUSED, SILENT]),
    ],
)
def test_what_counts_as_passed(passes: Any, good: list[Outcome]) -> None:
    everything = [REFUSED, SILENT, Outcome(CONNECT, tls.NO_ADDRESS), CUT, ALERT, OURS, *STATUS.values()]
    assert [outcome for outcome in everything if passes(outcome)] == [outcome for outcome in everything if outcome in good]


@pytest.fixture
def node(root: Path, authority: Authority, stranger: Authority, server_pair: Pair, client_pair: Pair) -> Iterator[FakeNode]:
    """A node whose apiserver answers 401 to strangers, 403 about secrets, else 200."""

    def serve(channel: socket.socket) -> None:
        line, _headers, _body = read_request(channel)
        known = isinstance(channel, ssl.SSLSocket) and channel.getpeercert()
        channel.sendall(answer(401 if not known else 403 if "secrets" in line else 200, b"the body is nobody's business"))

    server = Server(serve, server_context(server_pair, authority.pair))
    fake = FakeNode(root)
    fake.port = server.port  # type: ignore[attr-defined]
    client = authority.sign("system:node:w1", "system:nodes")
    fake.write("/etc/kubernetes/kubelet.conf", kubeconfig(authority.pair, client, f"https://127.0.0.1:{server.port}"))
    own = stranger.sign("w1@1795266216")
    fake.write("/var/lib/kubelet/pki/kubelet.crt", own.pem)
    fake.write("/var/lib/kubelet/pki/kubelet.key", own.key_pem)
    yield fake
    server.close()


def observation(**changes: Any) -> dict[str, Any]:
    kubelet = {"kubeconfig": "/etc/kubernetes/kubelet.conf", "argv": ["kubelet", "--x"]}
    base = {"host": {"node": "w1", "addresses": []}, "kubelet": kubelet, "components": {}, "cluster": None, "certificates": {}}
    base["listening"] = []
    return {**base, **changes}


def test_a_worker_proves_path_2(node: FakeNode) -> None:
    made = proofs.passive(Collection(node.host), observation(), None)
    assert [(proof["kind"], proof["passed"]) for proof in made] == [
        (ALLOWED, True),
        (FORBIDDEN, True),
        (FORBIDDEN, True),
        (FORBIDDEN, True),
        (FORBIDDEN, True),
    ]
    assert {(proof["id"], proof["path"], proof["from"]) for proof in made} == {("kubelet_to_apiserver", 2, "w1")}
    assert made[0]["evidence"]["request"] == "GET /api/v1/nodes/w1, the certificate of node w1"
    assert [proof["evidence"]["expected"] for proof in made] == ["200", "403", "401 or 403", "an end of the connection", "401"]
    assert (made[0]["evidence"]["tls"], made[0]["evidence"]["subject"]) == ("TLSv1.3", "kube-apiserver")
    text = json.dumps(made)
    assert "nobody's business" not in text
    assert "PRIVATE" not in text


def test_a_foreign_certificate_is_skipped_where_there_is_none(node: FakeNode) -> None:
    for ending in ("crt", "key"):
        Path(node.host.real(f"/var/lib/kubelet/pki/kubelet.{ending}")).unlink()
    made = proofs.passive(Collection(node.host), observation(), None)
    assert not [proof for proof in made if FOREIGN in proof["evidence"]["request"]]


def test_an_impostor_is_a_failed_proof(node: FakeNode, stranger: Authority) -> None:
    path = node.host.real("/etc/kubernetes/kubelet.conf")
    lines = Path(path).read_text().splitlines()
    wrong = base64.b64encode(stranger.pair.pem).decode()
    Path(path).write_text(
        "\n".join(f"    certificate-authority-data: {wrong}" if "authority-data" in line else line for line in lines) + "\n"
    )
    allowed = proofs.passive(Collection(node.host), observation(), None)[0]
    assert allowed["passed"] is False
    assert "certificate" in allowed["evidence"]["refusal"]


def test_a_credential_that_cannot_be_used_is_a_failed_proof(node: FakeNode) -> None:
    path = node.host.real("/etc/kubernetes/kubelet.conf")
    Path(path).write_text(Path(path).read_text().replace("client-key-data", "no-key-data"))
    made = proofs.passive(Collection(node.host), observation(), None)
    assert [proof["passed"] for proof in made] == [False, False, True, True, True]
    assert "client-key" in made[0]["evidence"]["refusal"]


def test_nothing_to_prove_without_a_kubelet(node: FakeNode) -> None:
    assert proofs.passive(Collection(node.host), observation(kubelet=None), None) == []
    Path(node.host.real("/etc/kubernetes/kubelet.conf")).unlink()
    assert proofs.passive(Collection(node.host), observation(), None) == []


def test_the_fingerprint_follows_argv_and_certificate(node: FakeNode, server_pair: Pair) -> None:
    def prints(**changes: Any) -> list[str]:
        return [proof["fingerprint"] for proof in proofs.passive(Collection(node.host), observation(**changes), None)]

    assert prints() == prints()
    kubelet = {"kubeconfig": "/etc/kubernetes/kubelet.conf", "argv": ["kubelet", "--y"]}
    assert not set(prints()) & set(prints(kubelet=kubelet))


def test_what_drops_connections_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs.tls, "attempt", lambda *_: Outcome(tls.CONNECT, "timed out"))
    monkeypatch.setattr(proofs.time, "sleep", lambda _seconds: pytest.fail("every run would wait"))
    probe = Probe(Proof("pod_to_apiserver", 7), proofs.FORBIDDEN, "service", "10.96.0.1", 443, proofs.PLAIN, proofs.ended, tries=3)
    assert proofs.perform("cp1", probe, {}, {})["passed"] is False


@pytest.mark.parametrize(("away", "passed", "slept"), [(0, True, 0), (2, True, 2), (9, False, 2)])
def test_a_service_whose_endpoint_is_away_is_looked_at_again(monkeypatch: pytest.MonkeyPatch, away: int, passed: bool, slept: int) -> None:
    outcomes = iter([Outcome(tls.CONNECT, "Connection refused", by_peer=True)] * away + [Outcome(tls.RESPONSE, "ended", by_peer=True)])
    pauses: list[float] = []
    monkeypatch.setattr(proofs.tls, "attempt", lambda *_: next(outcomes))
    monkeypatch.setattr(proofs.time, "sleep", pauses.append)
    probe = Probe(Proof("pod_to_apiserver", 7), proofs.FORBIDDEN, "service", "10.96.0.1", 443, proofs.PLAIN, proofs.ended, tries=3)
    assert proofs.perform("cp1", probe, {}, {})["passed"] is passed
    assert pauses == [proofs.AGAIN_AFTER] * slept


def test_an_allowed_connection_that_works_unverified_fails(node: FakeNode, stranger: Authority) -> None:
    probe = Probe(Proof("x", 1), ALLOWED, "y", "127.0.0.1", node.port, "who", proofs.answered)  # type: ignore[attr-defined]
    made = proofs.perform("w1", probe, {"who": tls.verified(stranger.pair.pem.decode())}, {})
    assert made["passed"] is False


APISERVER = [
    "kube-apiserver",
    "--advertise-address=10.0.0.1",
    "--client-ca-file=/ca",
    "--etcd-servers=https://127.0.0.1:2379",
    "--kubelet-client-certificate=/c",
    "--kubelet-client-key=/k",
]
ETCD = ["etcd", "--advertise-client-urls=https://10.0.0.1:2379", "--initial-advertise-peer-urls=https://10.0.0.1:2380"]


class FakeApi:
    """Knows the service of the apiserver."""

    def find(self, path: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/default/services/kubernetes"
        return {"spec": {"clusterIP": "10.96.0.1"}}


def component(*argv: str) -> dict[str, Any]:
    return {"argv": list(argv), "manifest": "/etc/kubernetes/manifests/x.yaml"}


def test_a_component_without_a_process_is_a_failed_proof(root: Path) -> None:
    components = {"kube-apiserver": component(), "etcd": component(), "kube-scheduler": component(), "kube-controller-manager": component()}
    made = proofs.passive(Collection(FakeNode(root).host), observation(kubelet=None, components=components), None)
    assert {proof["path"] for proof in made} == {1, 3, 4, 5, 7, 8}
    assert {(proof["to"], proof["passed"]) for proof in made} == {(f"{name} w1", False) for name in components}
    assert "no process of its pod was found" in made[0]["evidence"]["refusal"]
    others = proofs_control_plane.without_process(Scene(FakeNode(root).host, "cp1", observation(components={"etcd": component("etcd")}), {}))
    assert others == []


LISTENING = [
    {"address": "127.0.0.1", "port": 2379, "pid": 5, "component": "etcd"},
    {"address": "10.0.0.1", "port": 2379, "pid": 5, "component": "etcd"},
    {"address": "::", "port": 2390, "pid": 5, "component": "etcd"},
    {"address": "0.0.0.0", "port": 2380, "pid": 5, "component": "etcd"},
    {"address": "127.0.0.1", "port": 2381, "pid": 5, "component": "etcd"},
    {"address": "10.0.0.1", "port": 2382, "pid": 5, "component": "etcd"},
    {"address": "0.0.0.0", "port": 10250, "pid": 6, "component": "kubelet"},
]


def test_every_listening_socket_of_etcd_is_tried(root: Path) -> None:
    argv = [*ETCD, "--listen-peer-urls=https://0.0.0.0:2380", "--listen-metrics-urls=http://127.0.0.1:2381,http://10.0.0.1:2382"]
    scene = Scene(FakeNode(root).host, "cp1", observation(components={"etcd": component(*argv)}, listening=LISTENING), {})
    found = [probe for probe in proofs_control_plane.probes(scene, None) if probe.who in (PLAIN, proofs_control_plane.CLUSTER_CLIENT)]
    tried = {(probe.proof.path, probe.address, probe.port, probe.who == PLAIN) for probe in found}
    sockets = [(4, "127.0.0.1", 2379), (4, "10.0.0.1", 2379), (4, "::1", 2390), (5, "127.0.0.1", 2380), (4, "10.0.0.1", 2382)]
    assert {one for one in tried if one[1:3] != ("10.0.0.1", 2380)} == {(*socket, plain) for socket in sockets for plain in (True, False)}
    assert len(found) == len(tried)
    assert {probe.passes for probe in found} == {proofs.ended}


@pytest.mark.parametrize(("trusted", "passed"), [("etcd", True), ("cluster", False)])
def test_an_etcd_that_takes_the_clusters_own_ca_is_a_failed_proof(
    root: Path, authority: Authority, stranger: Authority, server_pair: Pair, client_pair: Pair, trusted: str, passed: bool
) -> None:
    """`authority` is the cluster's CA here and signed the apiserver's pair for kubelets; etcd trusts its own, or the cluster's."""

    def serve(channel: socket.socket) -> None:
        read_request(channel)
        channel.sendall(answer(200, b'{"health":"true"}'))

    member = Server(serve, server_context(server_pair, {"etcd": stranger, "cluster": authority}[trusted].pair, demand=True))
    open_to_all = Server(serve)
    fake = FakeNode(root)
    for path in (client_pair.certificate_path, client_pair.key_path):
        fake.write(path, Path(path).read_bytes())
    apiserver = [f"--kubelet-client-certificate={client_pair.certificate_path}", f"--kubelet-client-key={client_pair.key_path}"]
    sockets = [{"address": "127.0.0.1", "port": server.port, "pid": 5, "component": "etcd"} for server in (member, open_to_all)]
    components = {"kube-apiserver": component("kube-apiserver", *apiserver), "etcd": component("etcd")}
    seen = observation(kubelet=None, components=components, listening=sockets)
    made = {
        (proof["evidence"]["address"].rpartition(":")[2], proof["evidence"]["request"].partition(", ")[2]): proof["passed"]
        for proof in proofs.passive(Collection(fake.host), seen, None)
    }
    member.close()
    open_to_all.close()
    assert made[str(member.port), proofs_control_plane.CLUSTER_CLIENT] is passed
    assert made[str(member.port), PLAIN] is True
    assert made[str(open_to_all.port), PLAIN] is False


def plane(root: Path, api: Any = None) -> list[Probe]:
    cluster = {
        "kubelets": [{"node": "w1", "address": "10.0.0.7", "port": 10250}, {"node": "w2", "address": None, "port": 10250}],
        "nodes": [{"name": "cp1", "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}],
        "etcd": {"members": [{"peer_urls": ["https://10.0.0.1:2380"]}, {"peer_urls": ["https://10.0.0.2:2380"]}]},
    }
    components = {
        "kube-apiserver": {"argv": APISERVER},
        "etcd": {"argv": ETCD},
        "kube-scheduler": {"argv": ["kube-scheduler", "--bind-address=127.0.0.1"]},
    }
    seen = observation(components=components, cluster=cluster)
    return proofs_control_plane.probes(Scene(FakeNode(root).host, "cp1", seen, {}), api)


def test_a_control_plane_tries_every_path_in_both_directions(root: Path) -> None:
    found = plane(root, FakeApi())
    kinds = {(probe.proof.path, probe.kind) for probe in found}
    assert kinds == {(path, kind) for path in (1, 3, 4, 5, 8) for kind in (ALLOWED, FORBIDDEN)} | {(7, FORBIDDEN)}
    kubelet = {(probe.kind, probe.who, probe.port) for probe in found if probe.proof.path == 1}
    assert kubelet == {
        (ALLOWED, proofs_control_plane.APISERVER, 10250),
        (FORBIDDEN, NOBODY, 10250),
        (FORBIDDEN, FOREIGN, 10250),
        (FORBIDDEN, PLAIN, 10250),
        (FORBIDDEN, OLD, 10250),
        (FORBIDDEN, PLAIN, 10255),
    }
    assert {probe.address for probe in found if probe.proof.path == 5} == {"10.0.0.1", "10.0.0.2"}
    assert {probe.address for probe in found if probe.proof.path == 4} == {"10.0.0.1", "127.0.0.1"}
    outer = [probe for probe in found if probe.proof.path == 8 and probe.passes is proofs.closed]
    assert [(probe.address, probe.port) for probe in outer] == [("10.0.0.1", 10259)]


def test_a_connection_shows_one_aspect(root: Path) -> None:
    found = {(probe.proof.id, proofs.aspect(probe)) for probe in plane(root, FakeApi())}
    strangers = {"anonymous", "plain", "foreign", "old-tls"}
    assert {aspect for name, aspect in found if name == "apiserver_to_kubelet"} == {"allowed", "port"} | strangers
    assert {aspect for name, aspect in found if name == "user_to_apiserver"} == {"allowed", "token"} | strangers
    assert {aspect for name, aspect in found if name == "apiserver_to_etcd"} == {"allowed"} | strangers
    scheduler = {f"kube-scheduler-{aspect}" for aspect in ("anonymous", "plain", "old-tls", "port")}
    assert {aspect for name, aspect in found if name == "control_plane_to_apiserver"} == {"allowed"} | scheduler


def test_every_caller_of_a_probe_has_a_context(root: Path) -> None:
    cluster_free = Scene(FakeNode(root).host, "cp1", observation(components={"etcd": {"argv": ETCD}}), {})
    assert {probe.proof.path for probe in proofs_control_plane.probes(cluster_free, None)} == {5}
    scene = Scene(
        FakeNode(root / "x").host, "cp1", observation(components={"kube-apiserver": {"argv": APISERVER}, "etcd": {"argv": ETCD}}), {}
    )
    scene.contexts.update(proofs._common(scene.host))
    assert {probe.who for probe in proofs_control_plane.probes(scene, None)} <= {*scene.contexts, PLAIN}


def test_a_foreign_certificate_is_foreign_to_the_server_it_is_shown_to(root: Path) -> None:
    """Where the kubelet's first pair is gone, etcd's CA is foreign to the apiserver, and the cluster's CA to etcd."""
    host = FakeNode(root).host
    assert proofs.foreign_pair(host)[0].endswith("apiserver-etcd-client.crt")
    scene = Scene(host, "cp1", observation(components={"kube-apiserver": {"argv": APISERVER}}), {})
    with pytest.raises(tls.TlsError, match="/c: cannot be used with"):
        proofs_control_plane._contexts(scene)[proofs_control_plane.FOREIGN_TO_ETCD]()


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ([b"k8s:enc:secretbox:v1:key1:\x01\x02", b"k8s:enc:aescbc:v1:key1:\x01"], (True, 2, 2, ["aescbc", "secretbox"])),
        ([b"k8s:enc:secretbox:v1:key1:\x01", b"k8s\x00hunter2"], (False, 2, 1, ["secretbox"])),
        ([], None),
    ],
)
def test_secrets_at_rest(root: Path, monkeypatch: pytest.MonkeyPatch, values: list[bytes], result: Any) -> None:
    asked: list[Any] = []

    def call(url: Any, context: Any, path: str, document: Any) -> dict[str, Any]:
        assert (document["limit"], document["sort_target"], document["sort_order"]) == (50, "MOD", "ASCEND")
        asked.append((url.port, path, {key: base64.b64decode(document[key]) for key in ("key", "range_end")}))
        return {"count": "70", "kvs": [{"value": base64.b64encode(value).decode()} for value in values]}

    monkeypatch.setattr(proofs_control_plane.etcd, "call", call)
    scene = Scene(FakeNode(root).host, "cp1", observation(components={"kube-apiserver": {"argv": APISERVER}}), {})
    made = proofs_control_plane.secrets_at_rest(scene)
    assert asked == [(2379, "/v3/kv/range", {"key": b"/registry/secrets/", "range_end": b"/registry/secrets0"})]
    if result is None:
        assert made == []
        return
    evidence = made[0]["evidence"]
    assert evidence["total"] == 70
    assert evidence["answer"] == f"{evidence['encrypted']} of {evidence['read']} are encrypted"
    assert (made[0]["passed"], evidence["read"], evidence["encrypted"], evidence["providers"]) == result
    assert "hunter2" not in json.dumps(made)
