# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from fake_node import API_UID, BOOTED, SANDBOX, UID, FakeNode, cgroupfs, systemd

OTHER = "934183fb5447cbfd47b4f4030f1f708a"
COMMAND = ["kube-apiserver", "--secure-port=6443"]


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["x", "--a=1"], "1"),
        (["x", "-a=1"], "1"),
        (["x", "--a", "1"], "1"),
        (["x", "--a=1", "--a=2"], "2"),
        (["x", "--a="], ""),
        (["x", "--a", "--b"], ""),
        (["x", "--a"], ""),
        (["x", "--ab=1", "a=1"], None),
    ],
)
def test_flag(argv: list[str], value: str | None) -> None:
    assert layout.flag(argv, "a") == value


def test_flags_of_a_manifest() -> None:
    words = ["kube-apiserver", "--advertise-address=10.0.0.1", '"--secure-port=6444"', "'--x=a b'"]
    text = "spec:\n  - command:\n" + "".join(f"    - {word}\n" for word in words) + "    image: y:--z=1\n"
    assert layout.manifest_flags(text) == ["--advertise-address=10.0.0.1", "--secure-port=6444", "--x=a b"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("staticPodPath: /etc/kubernetes/manifests\n", "/etc/kubernetes/manifests"),
        ("staticPodPath: '/x'  # here\n", "/x"),
        ("a: b\n", None),
        ("staticPodPath: /x\nstaticPodPath: /y\n", None),  # nobody knows which one counts
        ("# staticPodPath: /x\n", None),
    ],
)
def test_top_level(text: str, value: str | None) -> None:
    assert layout.top_level(text, "staticPodPath") == value


def test_certificate_paths() -> None:
    argv = [
        "x",
        "--client-ca-file=/a/ca.crt",
        "--tls-cert-file=/a/b.pem",
        "--etcd-cafile=/c",
        "--tls-private-key-file=/k",
        "--cert-file=/e",
        "--bind-address=/no",
    ]
    assert layout.certificate_paths(argv) == ["/a/ca.crt", "/a/b.pem", "/c", "/e"]


def test_foreign_manifests(root: Path) -> None:
    node = FakeNode(root)
    for name in ("kube-apiserver.yaml", "kube-apiserver.yaml.bak", ".hidden", "etcd.yaml~", "my-pod.json"):
        node.write(f"{layout.MANIFESTS}/{name}", "x")
    node.directory(f"{layout.MANIFESTS}/old")
    (root / "etc/kubernetes/manifests/link.yaml").symlink_to("my-pod.json")
    found = layout.foreign_manifests(node.host, layout.MANIFESTS)
    assert [path.rpartition("/")[2] for path in found] == ["etcd.yaml~", "kube-apiserver.yaml.bak", "link.yaml", "my-pod.json"]


def test_real_target_follows_links_within_the_host(root: Path) -> None:
    node = FakeNode(root)
    node.write("/var/lib/kubelet/pki/new.pem", "x")
    (root / "var/lib/kubelet/pki/current.pem").symlink_to("/var/lib/kubelet/pki/new.pem")
    assert layout.real_target(node.host, "/var/lib/kubelet/pki/current.pem") == str(root / "var/lib/kubelet/pki/new.pem")


@pytest.fixture(params=[cgroupfs, systemd])
def node(request: pytest.FixtureRequest, root: Path) -> FakeNode:
    """A control plane whose apiserver runs in a static pod, as process 10."""
    fake = FakeNode(root)
    fake.path = request.param  # type: ignore[attr-defined]
    fake.static_pod("kube-apiserver", "cp1", UID)
    fake.process(9, ["/pause"], request.param(UID, SANDBOX), exe="/pause")
    fake.process(10, COMMAND, request.param(UID))
    return fake


def found(node: FakeNode) -> layout.Component:
    return layout.find_components(node.host, "cp1", BOOTED)["kube-apiserver"]


def test_finds_the_process_of_the_static_pod(node: FakeNode) -> None:
    component = found(node)
    assert (component.uid, component.processes) == (UID, 1)
    assert component.process is not None
    assert (component.process.pid, component.process.argv) == (10, COMMAND)


def test_decoys_by_name_are_not_it(node: FakeNode) -> None:
    node.process(3, [*COMMAND, "--evil"], "/user.slice/user-1000.slice", started=1)
    node.process(4, [*COMMAND, "--evil"], node.path(API_UID), started=99)  # type: ignore[attr-defined]
    node.process(5, [*COMMAND, "--evil"], node.path(API_UID) + f"/kubepods/burstable/pod{UID}/x", started=99)  # type: ignore[attr-defined]
    node.static_pod("kube-apiserver", "cp1", API_UID)  # a pod called kube-apiserver-cp1, made through the API
    node.directory(f"/var/log/pods/default_kube-apiserver-cp1_{OTHER}")
    node.directory(f"/var/log/pods/kube-system_kube-apiserver-cp2_{OTHER}")
    node.process(6, [*COMMAND, "--evil"], node.path(OTHER), started=99)  # type: ignore[attr-defined]
    component = found(node)
    assert component.process is not None
    assert (component.process.pid, component.processes) == (10, 1)


def test_the_first_process_counts_not_a_shell_beside_it(node: FakeNode) -> None:
    node.process(11, ["sh"], node.path(UID), started=5)  # type: ignore[attr-defined]
    node.process(12, ["kube-apiserver", "--help"], node.path(UID), started=50)  # type: ignore[attr-defined]
    component = found(node)
    assert component.process is not None
    assert (component.process.pid, component.processes) == (10, 2)


def test_an_exec_probe_is_no_second_process(node: FakeNode) -> None:
    node.process(11, ["runc", "init"], node.path(UID), started=99)  # type: ignore[attr-defined]
    node.process(12, ["/usr/local/bin/kubectl", "get", "--raw=/readyz"], node.path(UID), started=99)  # type: ignore[attr-defined]
    component = found(node)
    assert component.process is not None
    assert (component.process.pid, component.processes) == (10, 1)


def test_of_two_pods_the_newer_one_counts(node: FakeNode) -> None:
    node.static_pod("kube-apiserver", "cp1", OTHER)
    node.process(20, COMMAND, node.path(OTHER), started=100)  # type: ignore[attr-defined]
    component = found(node)
    assert component.process is not None
    assert (component.uid, component.process.pid, component.processes) == (OTHER, 20, 2)


def test_a_pod_without_a_process(root: Path) -> None:
    fake = FakeNode(root)
    fake.static_pod("etcd", "cp1", UID)
    assert layout.find_components(fake.host, "cp1", BOOTED)["etcd"] == (None, None, 0)
