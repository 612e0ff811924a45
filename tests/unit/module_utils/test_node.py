# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A component is the process in its static pod's cgroup, and its log says why it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import toolbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Node
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.toolbox import Toolbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from fake_node import FakeNode, cgroupfs

OLD, NEW = "a" * 32, "b" * 32


def log(root: Path, uid: str, number: int, *lines: str) -> None:
    folder = root / f"var/log/pods/kube-system_kube-scheduler-cp1_{uid}/kube-scheduler"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.log").write_text("".join(f"2026-11-21T13:00:00.1Z stderr F {line}\n" for line in lines))


def test_last_words_are_the_last_error_of_the_newest_start(tmp_path: Path) -> None:
    log(tmp_path, NEW, 9, "Error: an old one")
    log(tmp_path, NEW, 10, "I1121 13:00:00.1 1 x.go:1] starting", "Error: unknown flag: --x", "some usage")
    node = Node(bed.FakeMachine(tmp_path), "cp1")
    assert node.last_words("kube-scheduler", NEW) == "Error: unknown flag: --x"
    assert node.starts("kube-scheduler", NEW) == 11
    assert (node.starts("kube-scheduler", OLD), node.last_words("kube-scheduler", OLD)) == (0, "")
    assert node.newest_pod("kube-scheduler") == NEW and node.newest_pod("etcd") == ""


def test_decoys_are_not_taken_for_the_component(root: Path) -> None:
    fake = FakeNode(root)
    fake.write("/proc/stat", b"btime 1000\n")
    fake.static_pod("kube-scheduler", "cp1", NEW)
    fake.process(7, ["kube-scheduler", "--real"], cgroupfs(NEW))
    fake.process(8, ["kube-scheduler", "--decoy"], cgroupfs("0ce8b99c-51be-4d42-880b-2eb5a4c51bad"))
    fake.process(9, ["kube-scheduler", "--decoy"], "/system.slice/x.service")
    fake.process(10, ["sh"], cgroupfs(NEW))
    found = Node(bed.FakeMachine(root), "cp1").running("kube-scheduler")
    assert [(one.pid, one.uid, one.argv) for one in found] == [(7, NEW, ("kube-scheduler", "--real"))]


def pods(*entries: tuple[str, str, bool]) -> bytes:
    items = [
        {"metadata": {"name": name, "uid": uid}, "status": {"containerStatuses": [{"started": True, "ready": ready}]}}
        for name, uid, ready in entries
    ]
    return json.dumps({"items": items}).encode()


class FakeKubelet:
    """Answers /pods."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        (root / "etc/kubernetes/pki").mkdir(parents=True, exist_ok=True)
        for end in ("crt", "key"):
            (root / f"etc/kubernetes/pki/apiserver-kubelet-client.{end}").write_text("")
        self.body, self.status = b"{}", 200
        monkeypatch.setattr(tls, "with_client", lambda context, certificate, key: context)
        self.stage, self.dialled = tls.RESPONSE, []  # type: ignore[var-annotated]
        monkeypatch.setattr(tls, "attempt", self.attempt)

    def attempt(self, address: str, port: int, context: Any, path: str, *, timeout: float, limit: int) -> tls.Outcome:
        assert path == "/pods" and limit == 64 << 20
        self.dialled.append((address, port))
        return tls.Outcome(self.stage, status=self.status, body=self.body)


def kubelet_process(root: Path, *flags: str) -> bed.FakeMachine:
    """A machine whose kubelet is process 40, started at 1010 unix seconds."""
    fake, machine = FakeNode(root), bed.FakeMachine(root)
    fake.write("/proc/stat", b"btime 1000\n")
    fake.process(40, ["kubelet", *flags], "/system.slice/kubelet.service", started=10.0)
    machine.answers["systemctl show"] = bed.RunResult(0, "ActiveState=active\nMainPID=40\nExecMainStartTimestampMonotonic=1\n", "")
    return machine


@pytest.mark.parametrize(
    ("flags", "config", "dropin", "expected"),
    [
        ((), "kind: KubeletConfiguration\n", "", ("127.0.0.1", 10250)),
        ((), "address: 0.0.0.0\nport: 10350\n", "", ("127.0.0.1", 10350)),
        ((), 'address: "10.0.0.1"\n', "", ("10.0.0.1", 10250)),
        ((), "address: 10.0.0.1\nport: 1\n", "address: '::'\n", ("127.0.0.1", 1)),
        (("--address=10.0.0.2", "--port=2"), "address: 10.0.0.1\nport: 1\n", "", ("10.0.0.2", 2)),
    ],
)
def test_a_kubelet_is_dialled_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], config: str, dropin: str, expected: tuple[str, int]
) -> None:
    machine = kubelet_process(tmp_path, "--config=/etc/kubernetes/kubelet.yaml", "--config-dir=/etc/kubernetes/kubelet.d", *flags)
    kubelet, tools = FakeKubelet(monkeypatch, tmp_path), Toolbox(machine, "cp1")
    (tmp_path / "etc/kubernetes/kubelet.yaml").write_text(config)
    (tmp_path / "etc/kubernetes/kubelet.d").mkdir()
    (tmp_path / "etc/kubernetes/kubelet.d/10-x.conf").write_text("address: 192.0.2.1\n" if dropin else "")
    (tmp_path / "etc/kubernetes/kubelet.d/20-x.conf").write_text(dropin)
    kubelet.body = pods(("x", NEW, True))
    assert tools.pod_is_ready(None, "kube-scheduler", NEW)  # type: ignore[arg-type]
    assert kubelet.dialled == [expected]


def test_where_the_kubelet_cannot_be_dialled_its_mirror_pod_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet, tools = FakeKubelet(monkeypatch, tmp_path), Toolbox(bed.FakeMachine(tmp_path), "cp1")
    (tmp_path / "etc/kubernetes/manifests").mkdir()
    (tmp_path / "etc/kubernetes/manifests/etcd.yaml").write_text("")
    kubelet.stage, ready = tls.CONNECT, False

    class Mirror:
        def get(self, path: str) -> dict[str, Any]:
            assert path == "/api/v1/namespaces/kube-system/pods/etcd-cp1"
            return dict(json.loads(pods(("etcd-cp1", NEW, ready)))["items"][0])

    monkeypatch.setattr(tools, "kubelet_api", Mirror)
    for ask in (lambda: tools.pod_is_ready(None, "etcd", NEW), tools.static_pods_known):  # type: ignore[arg-type]
        ready = False
        with pytest.raises(Waiting, match="ready"):
            ask()
        ready = True
        assert ask()


def test_a_client_pair_that_is_being_renewed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kubelet, tools = FakeKubelet(monkeypatch, tmp_path), Toolbox(bed.FakeMachine(tmp_path), "cp1")

    def broken(context: Any, certificate: str, key: str) -> Any:
        raise tls.TlsError("key values mismatch")

    monkeypatch.setattr(tls, "with_client", broken)
    with pytest.raises(Waiting, match="mismatch"):
        tools.pod_is_ready(None, "kube-scheduler", NEW)  # type: ignore[arg-type]


def test_the_kubelet_itself_says_whether_our_pod_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet, tools = FakeKubelet(monkeypatch, tmp_path), Toolbox(bed.FakeMachine(tmp_path), "cp1")
    lagging, starting = pods(("x", OLD, True)), pods(("x", NEW, False))
    for body, reason in ((lagging, "not report the new pod"), (starting, "not started and ready"), (b"{", "no JSON")):
        kubelet.body = body
        with pytest.raises(Waiting, match=reason):
            tools.pod_is_ready(None, "kube-scheduler", NEW)  # type: ignore[arg-type]
    kubelet.body = pods(("x", OLD, False), ("x", NEW, True))
    assert tools.pod_is_ready(None, "kube-scheduler", NEW)  # type: ignore[arg-type]
    kubelet.status = 401
    with pytest.raises(Waiting, match="401"):
        tools.pod_is_ready(None, "kube-scheduler", NEW)  # type: ignore[arg-type]


def test_all_static_pods_have_to_be_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet, tools = FakeKubelet(monkeypatch, tmp_path), Toolbox(bed.FakeMachine(tmp_path), "cp1")
    assert tools.static_pods_known()
    (tmp_path / "etc/kubernetes/manifests").mkdir()
    (tmp_path / "etc/kubernetes/manifests/etcd.yaml").write_text("")
    with pytest.raises(Waiting, match="not yet ready: etcd-cp1"):
        tools.static_pods_known()
    kubelet.body = pods(("etcd-cp1", OLD, True))
    assert tools.static_pods_known()


class FakeApi:
    """The API as the kubelet sees it."""

    def __init__(self, renewed: str = "2023-11-14T22:13:20.000000Z", **conditions: str) -> None:
        self.conditions, self.renewed = conditions, renewed

    def get(self, path: str) -> dict[str, Any]:
        if "leases" in path:
            return {"spec": {"renewTime": self.renewed}}
        return {"status": {"conditions": [{"type": key, "status": value} for key, value in self.conditions.items()]}}

    def close(self) -> None:
        return None


@pytest.mark.parametrize("pressure", toolbox.PRESSURES)
def test_a_node_under_pressure_is_not_rolled(tmp_path: Path, pressure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Toolbox(kubelet_process(tmp_path), "cp1")
    monkeypatch.setattr(tools, "kubelet_api", lambda: FakeApi(Ready="True", **{pressure: "True"}))
    with pytest.raises(PreconditionError, match=f"reports {pressure}"):
        tools.check_pressure()
    monkeypatch.setattr(tools, "kubelet_api", lambda: FakeApi(Ready="True", **{pressure: "False"}))
    tools.check_pressure()


def test_a_kubelet_that_could_not_roll_a_static_pod_is_given_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = kubelet_process(tmp_path)
    tools, since = Toolbox(machine, "cp1"), "1970-01-01T00:16:51"  # unix 1011; the kubelet was started at 1010
    for client, cause in (
        (FakeApi(Ready="False"), "Node not Ready"),
        (FakeApi(Ready="Unknown"), "Node not Ready"),
        (FakeApi(since + ".000000Z", Ready="True"), "Lease not renewed"),
    ):
        monkeypatch.setattr(tools, "kubelet_api", lambda client=client: client)
        with pytest.raises(PreconditionError, match=f"no state to replace a static pod: {cause}"):
            tools.check_pressure()
    monkeypatch.setattr(tools, "kubelet_api", lambda: FakeApi(since + ".500000Z", Ready="True"))
    tools.check_pressure()
    for state in ("ActiveState=active\nMainPID=41\n", "ActiveState=activating\nMainPID=40\n", ""):
        machine.answers["systemctl show"] = bed.RunResult(0, state, "")
        with pytest.raises(PreconditionError, match="the kubelet does not run"):
            tools.check_pressure()


def test_a_lease_of_before_the_restart_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Toolbox(bed.FakeMachine(tmp_path), "cp1")
    monkeypatch.setattr(tools, "kubelet_api", lambda: FakeApi(Ready="True"))
    with pytest.raises(Waiting, match="Lease not renewed"):
        tools.node_is_back(1_700_000_001.0)
    assert tools.node_is_back(1_699_999_999.0)
    monkeypatch.setattr(tools, "kubelet_api", lambda: FakeApi(Ready="Unknown"))
    with pytest.raises(Waiting, match="not Ready"):
        tools.node_is_back(1_699_999_999.0)
