# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import observe
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.layout_kubeadm import KUBELET_CLIENT, MANIFESTS
from fake_node import UID, FakeNode, FakeRun, cgroupfs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_material import Authority, kubeconfig

KEYS = {
    "schema", "at", "took_ms", "host", "layout", "problems", "kubelet", "components", "manifests_foreign", "files", "certificates",
    "listening", "sysctls", "accounts", "journals", "cluster", "proofs",
}  # fmt: skip
REQUEST: dict[str, Any] = {"schema": 1, "stat": [], "sysctls": [], "accounts": [], "prove": [], "addresses": {}}


def look(node: FakeNode, run: FakeRun | None = None, **request: Any) -> dict[str, Any]:
    observation = observe.observe({**REQUEST, **request}, run or FakeRun(), node.host)
    assert set(observation) == KEYS
    return json.loads(json.dumps(observation))  # it travels as JSON


def causes(observation: dict[str, Any]) -> str:
    return "; ".join(f"{problem['file']}: {problem['cause']}" for problem in observation["problems"])


@pytest.fixture
def worker(root: Path, authority: Authority) -> tuple[FakeNode, FakeRun]:
    """A node with a kubelet as process 40."""
    node = FakeNode(root)
    node.write("/etc/kubernetes/kubelet.conf", "kind: Config\n", 0o600)
    node.write("/etc/kubernetes/pki/ca.crt", authority.pair.pem)
    node.write("/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n")
    node.write("/var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.7"\n')
    client = authority.sign("system:node:node-w1", "system:nodes")
    node.write("/var/lib/kubelet/pki/kubelet-client-2026.pem", client.pem + client.key_pem, 0o600)
    os.symlink("/var/lib/kubelet/pki/kubelet-client-2026.pem", node.host.real(KUBELET_CLIENT))
    argv = [
        "/usr/bin/kubelet",
        "--config=/var/lib/kubelet/config.yaml",
        "--config-dir=/etc/kubernetes/kubelet.conf.d",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
    ]
    node.process(40, argv, "/system.slice/kubelet.service", started=20, sockets=[500])
    node.write("/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
    unit = node.unit(
        40,
        FragmentPath="/lib/systemd/system/kubelet.service",
        DropInPaths="/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
        EnvironmentFiles="/var/lib/kubelet/kubeadm-flags.env (ignore_errors=yes)\n"
        "EnvironmentFiles=/etc/default/kubelet (ignore_errors=yes)",
    )
    return node, FakeRun(systemctl=unit, version="Kubernetes v1.36.4\n")


@pytest.fixture
def plane(worker: tuple[FakeNode, FakeRun]) -> tuple[FakeNode, FakeRun]:
    """The same with an etcd, whose process is 50."""
    node, run = worker
    node.write(f"{MANIFESTS}/etcd.yaml", "kind: Pod\n", 0o600)
    node.static_pod("etcd", "node-w1", UID)
    node.process(50, ["etcd", "--cert-file=/etc/kubernetes/pki/etcd/server.crt"], cgroupfs(UID))
    return node, run


def test_a_host_without_kubernetes(root: Path) -> None:
    observation = look(FakeNode(root))
    assert (observation["layout"], observation["kubelet"], observation["components"], observation["problems"]) == ("none", None, {}, [])
    assert observation["host"]["node"] is None


def test_a_host_without_anything(root: Path) -> None:
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host

    observation = observe.observe(REQUEST, FakeRun(), Host(str(root)))
    assert set(observation) == KEYS
    assert "/proc/stat" in causes(observation)


def test_a_worker(worker: tuple[FakeNode, FakeRun]) -> None:
    node, run = worker
    node.write("/etc/kubernetes/kubelet.conf.d/20-b.conf", "kind: KubeletConfiguration\n")
    node.write("/etc/kubernetes/kubelet.conf.d/10-a.d/x.conf", "kind: KubeletConfiguration\n")
    node.write("/etc/kubernetes/kubelet.conf.d/30.conf.bak", "kind: KubeletConfiguration\n")
    tcp = "  sl\n   0: 00000000:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 500 1 0 100 0 0 10 0\n"
    node.write("/proc/net/tcp", tcp)
    observation = look(node, run)
    kubelet = observation["kubelet"]
    assert observation["problems"] == []
    assert (observation["layout"], observation["host"]["node"]) == ("kubeadm", "node-w1")
    assert (kubelet["active"], kubelet["pid"], kubelet["version"]) == (True, 40, "v1.36.4")
    assert kubelet["dropins"] == ["/etc/kubernetes/kubelet.conf.d/10-a.d/x.conf", "/etc/kubernetes/kubelet.conf.d/20-b.conf"]
    assert kubelet["flags_env"] == "/var/lib/kubelet/kubeadm-flags.env"
    assert kubelet["unit_files"] == ["/lib/systemd/system/kubelet.service", "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"]
    assert observation["listening"] == [{"address": "0.0.0.0", "port": 10250, "pid": 40, "component": "kubelet"}]
    shipped = {path for path, facts in observation["files"].items() if "text" in facts}
    assert shipped == {
        "/var/lib/kubelet/config.yaml",
        "/var/lib/kubelet/kubeadm-flags.env",
        "/lib/systemd/system/kubelet.service",
        *kubelet["dropins"],
    }
    assert observation["certificates"][KUBELET_CLIENT][0]["subject"]["cn"] == "system:node:node-w1"


def test_a_stopped_kubelet_is_seen_and_not_started(worker: tuple[FakeNode, FakeRun]) -> None:
    node, run = worker
    run.answers["systemctl"] = node.unit(0)
    kubelet = look(node, run)["kubelet"]
    assert (kubelet["active"], kubelet["pid"], kubelet["argv"], kubelet["version"]) == (False, None, [], None)
    assert kubelet["config"] == "/var/lib/kubelet/config.yaml"
    assert [call[0] for call in run.calls] == ["systemctl"]


def test_a_component(plane: tuple[FakeNode, FakeRun]) -> None:
    observation = look(*plane)
    component = observation["components"]["etcd"]
    assert (component["uid"], component["pid"], component["processes"], component["version"]) == (UID, 50, 1, None)
    assert observation["files"][f"{MANIFESTS}/etcd.yaml"]["text"] == "kind: Pod\n"
    assert set(observation["components"]) == {"etcd"}


def test_a_process_without_a_manifest_and_two_processes_are_problems(plane: tuple[FakeNode, FakeRun]) -> None:
    node, run = plane
    node.process(51, ["etcd"], cgroupfs(UID), started=30)
    assert "2 processes run in static pods named etcd" in causes(look(node, run))
    os.unlink(node.host.real(f"{MANIFESTS}/etcd.yaml"))
    observation = look(node, run)
    assert "has no manifest" in causes(observation)
    assert observation["components"] == {}


def test_backups_in_the_manifests_directory(plane: tuple[FakeNode, FakeRun]) -> None:
    node, run = plane
    node.write(f"{MANIFESTS}/etcd.yaml.bak", "kind: Pod\n")
    assert look(node, run)["manifests_foreign"] == [f"{MANIFESTS}/etcd.yaml.bak"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"\xff\xfe: [", "not UTF-8 text"), (b"a" * ((1 << 20) + 1), "larger than")],
)
def test_a_broken_manifest_is_a_problem_with_its_name(plane: tuple[FakeNode, FakeRun], content: bytes, cause: str) -> None:
    node, run = plane
    node.write(f"{MANIFESTS}/etcd.yaml", content)
    observation = look(node, run)
    assert f"{MANIFESTS}/etcd.yaml: {cause}" in causes(observation)
    assert "text" not in observation["files"][f"{MANIFESTS}/etcd.yaml"]


def test_a_manifest_that_is_a_link_or_a_fifo(plane: tuple[FakeNode, FakeRun]) -> None:
    node, run = plane
    place = Path(node.host.real(f"{MANIFESTS}/etcd.yaml"))
    place.rename(place.with_name(".etcd.yaml"))
    place.symlink_to(".etcd.yaml")
    observation = look(node, run)
    assert observation["files"][f"{MANIFESTS}/etcd.yaml"]["type"] == "link"
    assert observation["files"][f"{MANIFESTS}/.etcd.yaml"]["text"] == "kind: Pod\n"
    place.unlink()
    os.mkfifo(place)
    assert look(node, run)["files"][f"{MANIFESTS}/etcd.yaml"]["type"] == "other"


def test_hostile_file_names_are_reported_and_harmless(plane: tuple[FakeNode, FakeRun]) -> None:
    node, run = plane
    folder = os.fsencode(node.host.real("/etc/kubernetes/pki"))
    for name in (b"a\n\x1b[31mred.crt", b"\xff.crt"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"x")
    observation = look(node, run, stat=["/etc/kubernetes/pki/**"])
    assert len(observation["problems"]) == 2
    assert all(problem["file"].isprintable() and problem["file"].isascii() for problem in observation["problems"])
    assert all(path.isprintable() for path in observation["files"])


def test_too_many_files_are_a_problem(plane: tuple[FakeNode, FakeRun], monkeypatch: pytest.MonkeyPatch) -> None:
    node, run = plane
    monkeypatch.setattr(files, "MAX_MATCHES", 1)
    node.write("/etc/kubernetes/pki/b.crt", "")
    observation = look(node, run, stat=["/etc/**"])
    assert "more than 1 files match" in causes(observation)


def test_no_secret_leaves_the_host(plane: tuple[FakeNode, FakeRun], authority: Authority, client_pair: Any) -> None:
    node, run = plane
    secrets = {"swordfish-token", "aGVyZSBpcyB0aGUga2V5", "hunter2proxy", "abc123cloud", "hunter2registry"}
    node.write("/etc/kubernetes/admin.conf", kubeconfig(authority.pair, client_pair), 0o600)
    node.write("/etc/kubernetes/ninepaths/tokens.yaml", "token: swordfish-token\n")
    node.write("/etc/kubernetes/ninepaths/encryption.yaml", "kind: EncryptionConfiguration\nkeys: [{secret: aGVyZSBpcyB0aGUga2V5}]\n")
    node.write("/etc/kubernetes/ninepaths/audit.yaml", "kind: Policy\n")
    node.write("/etc/kubernetes/pki/etcd/server.key", client_pair.key_pem)
    node.write("/etc/default/kubelet", "HTTPS_PROXY=http://ops:hunter2proxy@proxy:3128\n")
    node.write("/etc/default/cloud", "KUBELET_EXTRA_ARGS=--v=2\nAWS_SECRET_ACCESS_KEY=abc123cloud\n")
    node.write("/etc/systemd/system/kubelet.service.d/30-x.conf", '[Service]\nEnvironment="REGISTRY_PASSWORD=hunter2registry"\n')
    node.write("/etc/default/fine", "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/token\nKUBELET_EXTRA_ARGS=--token-file=/x\n")
    run.answers["systemctl"] = node.unit(
        40,
        EnvironmentFiles="\nEnvironmentFiles=".join(f"/etc/default/{name} (ignore_errors=no)" for name in ("kubelet", "cloud", "fine")),
        DropInPaths="/etc/systemd/system/kubelet.service.d/30-x.conf",
    )
    text = json.dumps(look(node, run, stat=["/etc/kubernetes/**"]))
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in text
    key = client_pair.key_pem.decode().splitlines()[1]
    assert not [secret for secret in {*secrets, key, "PRIVATE KEY", "client-key-data"} if secret in text]
    assert "kind: Policy" in text
    assert "kubernetes-admin" in text


def test_a_certificate_that_cannot_be_read(plane: tuple[FakeNode, FakeRun]) -> None:
    node, run = plane
    node.write("/etc/kubernetes/pki/etcd/server.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    observation = look(node, run)
    assert "/etc/kubernetes/pki/etcd/server.crt: a certificate that cannot be read" in causes(observation)


def test_stat_patterns_sysctls_and_accounts(worker: tuple[FakeNode, FakeRun]) -> None:
    node, run = worker
    node.write("/proc/sys/kernel/panic", "10\n")
    observation = look(
        node,
        run,
        stat=["/etc/kubernetes/pki/*", "/not/there", "relative"],
        sysctls=["kernel.panic", "kernel.none", "../../etc/passwd", "kernel./panic"],
        accounts=["root", "nobody-has-this-name"],
    )
    assert observation["files"]["/etc/kubernetes/pki/ca.crt"]["sha256"]
    assert observation["files"]["/not/there"] == {"type": "absent"}
    assert observation["sysctls"] == {"kernel.panic": "10", "kernel.none": None, "../../etc/passwd": None, "kernel./panic": None}
    assert observation["accounts"] == {"root": {"uid": 0, "gid": 0}, "nobody-has-this-name": None}
    assert "relative: not an absolute path" in causes(observation)


def test_journals(worker: tuple[FakeNode, FakeRun]) -> None:
    node, run = worker
    begin = {"seq": 1, "at": 5.0, "event": "begin", "step": "", "message": "m", "data": {"run": "r1"}}
    step = {"seq": 2, "at": 6.0, "event": "step", "step": "kubelet", "message": "m", "data": {}}
    end = {"seq": 3, "at": 7.0, "event": "end", "step": "", "message": "m", "data": {"state": "committed"}}
    for name, lines, tail in (
        ("t1", [begin, step, end], ""),
        ("t2", [begin, step], '{"seq": 3, "at'),
        ("t3", [], ""),
        ("t4", [], "not json\n"),
        ("t5", [begin, {**end, "seq": 9}], ""),  # not the line that comes next: nothing after it counts
        ("t6", [begin, {**end, "seq": 2, "data": None}], ""),
    ):
        text = "".join(json.dumps(line) + "\n" for line in lines) + tail
        node.write(f"/var/lib/ninepaths/transactions/{name}/journal.jsonl", text)
    node.directory("/var/lib/ninepaths/transactions/empty")
    assert look(node, run)["journals"] == [
        {"id": "t1", "run": "r1", "state": "committed", "step": "", "at": 7.0},
        {"id": "t2", "run": "r1", "state": "open", "step": "kubelet", "at": 6.0},
        {"id": "t3", "run": "", "state": "open", "step": "", "at": 0.0},
        {"id": "t4", "run": "", "state": "open", "step": "", "at": 0.0},
        {"id": "t5", "run": "r1", "state": "open", "step": "", "at": 5.0},
        {"id": "t6", "run": "r1", "state": "open", "step": "", "at": 5.0},
    ]


def test_an_apiserver_that_does_not_answer_is_a_problem(plane: tuple[FakeNode, FakeRun], authority: Authority, client_pair: Any) -> None:
    node, run = plane
    node.write(f"{MANIFESTS}/kube-apiserver.yaml", "    - --advertise-address=127.0.0.1\n    - --secure-port=1\n")
    observation = look(node, run)
    assert "admin.conf" in causes(observation)
    node.write("/etc/kubernetes/admin.conf", kubeconfig(authority.pair, client_pair))
    observation = look(node, run)
    assert "https://127.0.0.1:1" in causes(observation)
    assert observation["cluster"] is None
    assert observation["kubelet"]["version"] == "v1.36.4"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([
    "/proc/stat", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/fib_trie", "/proc/net/if_inet6",
    "/proc/40/stat", "/proc/40/cmdline", "/proc/50/cgroup", "/proc/50/stat",
    "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env", f"{MANIFESTS}/etcd.yaml", f"{MANIFESTS}/kube-apiserver.yaml",
    "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/admin.conf", "/var/lib/ninepaths/transactions/x/journal.jsonl",
]), st.binary(max_size=200), min_size=1))  # fmt: skip
def test_never_raises_for_what_it_finds(plane: tuple[FakeNode, FakeRun], contents: dict[str, bytes]) -> None:
    node, run = plane
    before = {path: Path(node.host.real(path)).read_bytes() for path in contents if os.path.exists(node.host.real(path))}
    for path, content in contents.items():
        node.write(path, content)
    try:
        look(node, run, stat=["/etc/**"])
    finally:
        for path in contents:
            os.unlink(node.host.real(path))
        for path, content in before.items():
            node.write(path, content)
