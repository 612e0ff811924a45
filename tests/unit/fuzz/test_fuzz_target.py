# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on a host: files, journals, jobs and locks, torn, damaged or hostile. An observation is always one; a transaction ends with a cause."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import approver, follow, keeping, launch, observe, recover, transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError, credential
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import kubelet, lock, mounts, processes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal, node, states
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers, bundle
from effort import examples
from factories import FIXTURES
from fake_node import UID, FakeNode, FakeRun, cgroupfs
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import changed_bytes, changed_data, changed_text, hostile_text
from tls_material import Authority, kubeconfig

MANIFESTS = "/etc/kubernetes/manifests"
PROC_TCP = "  sl  local_address rem_address   st\n   0: 0100007F:0907 00000000:0000 0A 0:0 00:0 0 0 0 100 1 0 100 0 0 10 0\n"
TRIE = "Main:\n  |-- 10.0.0.7\n     /32 host LOCAL\n"
MOUNTS = "36 35 98:0 /a /b rw,noatime master:1 - ext3 /dev/root rw\n"
REQUEST = {
    "stat": ["/etc/kubernetes/pki/**", "/etc/kubernetes/*"], "places": {"kubelet.config": [""], "etcd.data_dir": ["", "*"]}, "sysctls": ["kernel.panic"],
    "accounts": ["root"],
}  # fmt: skip


class World:
    """A control plane made of real files, one per process of the tests, put back as it was after each example."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.node = FakeNode(self.root)
        authority = Authority(Path(tempfile.mkdtemp()), "kubernetes")
        client = authority.sign("system:node:cp1", "system:nodes")
        etcd, api = ((FIXTURES / "kubeadm-1.36" / f"{name}.yaml").read_text() for name in ("etcd", "kube-apiserver"))
        self.files: dict[str, bytes] = {
            path: content if isinstance(content, bytes) else content.encode()
            for path, content in {
                f"{MANIFESTS}/etcd.yaml": etcd,
                f"{MANIFESTS}/kube-apiserver.yaml": api,
                f"{MANIFESTS}/other.yaml": "kind: Pod\nx: {y: z}\n",
                "/var/lib/kubelet/config.yaml": (FIXTURES / "kubeadm-1.36" / "kubelet.yaml").read_text(),
                "/etc/kubernetes/kubelet.conf.d/10-x.conf": "kind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n",
                "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.7"\n',
                "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": '[Service]\nEnvironment="A=b"\nExecStart=/usr/bin/kubelet\n',
                "/etc/kubernetes/pki/ca.crt": authority.pair.pem,
                "/var/lib/kubelet/pki/kubelet-client-current.pem": client.pem + client.key_pem,
                "/etc/kubernetes/admin.conf": kubeconfig(authority.pair, client),
                "/etc/kubernetes/kubelet.conf": kubeconfig(authority.pair, client),
                "/etc/kubernetes/ninepaths/approver.json": '{"schema": 1, "nodes": {"cp1": {"dns": ["cp1"], "ip": ["10.0.0.7"]}}}',
                "/var/lib/ninepaths/transactions/t1/journal.jsonl": json.dumps(LINE) + "\n",
                "/proc/stat": "btime 1700000000\n", "/proc/net/tcp": PROC_TCP, "/proc/net/fib_trie": TRIE, "/proc/50/mountinfo": MOUNTS,
                "/proc/self/mountinfo": MOUNTS, "/proc/sys/kernel/panic": "10\n",
            }.items()
        }  # fmt: skip
        self.node.process(40, ["kubelet", "--config=/var/lib/kubelet/config.yaml", "--config-dir=/etc/kubernetes/kubelet.conf.d"], "/system.slice")
        self.node.process(50, ["etcd", "--data-dir=/var/lib/etcd"], cgroupfs(UID), sockets=[100])
        self.node.static_pod("etcd", "cp1", UID)
        self.files.update({path: Path(self.node.host.real(path)).read_bytes() for path in ("/proc/50/cmdline", "/proc/50/stat", "/proc/50/cgroup")})
        unit = self.node.unit(
            40,
            EnvironmentFiles="/var/lib/kubelet/kubeadm-flags.env (ignore_errors=yes)",
            DropInPaths="/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
        )
        self.run = FakeRun(systemctl=unit, version="Kubernetes v1.36.4\n")
        for path, content in self.files.items():
            self.node.write(path, content)

    @contextmanager
    def with_files(self, contents: dict[str, bytes]) -> Iterator[None]:
        for path, content in contents.items():
            self.node.write(path, content)
        try:
            yield
        finally:
            for path in contents:
                self.node.write(path, self.files[path])


LINE = {"seq": 1, "at": 5.0, "event": "begin", "step": "", "message": "m", "data": {"run": "r1"}}
WORLD = World()


def observed(run: Any = WORLD.run) -> dict[str, Any]:
    """The observation as the controller takes it for one: sent as text, read back, checked."""
    found = observe.observe(REQUEST, run, WORLD.node.host)
    read = bundle.parse(f"{bundle.BEGIN}\n{json.dumps(found, allow_nan=False)}\n{bundle.END}\n")
    answers.check("observe", read)
    return read


def test_the_world_is_seen_as_it_is() -> None:
    """Otherwise what follows would test nothing."""
    seen = observed()
    assert seen["host"]["node"] == "cp1" and seen["components"]["etcd"]["pid"] == 50 and seen["kubelet"]["dropins"]
    assert seen["journals"][0]["run"] == "r1" and seen["listening"] and seen["certificates"] and seen["sysctls"] == {"kernel.panic": "10"}
    assert {path for path, entry in seen["files"].items() if "text" in entry} >= {f"{MANIFESTS}/etcd.yaml", "/var/lib/kubelet/config.yaml"}


@examples(120)
@given(st.data())
def test_whatever_the_files_hold_it_is_an_observation(data: st.DataObject) -> None:
    paths = data.draw(st.lists(st.sampled_from(sorted(WORLD.files)), min_size=1, max_size=4, unique=True))
    with WORLD.with_files({path: data.draw(changed_bytes([WORLD.files[path]])) for path in paths}):
        observed()


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "nan", "-1"])
def test_a_time_that_cannot_be_is_none(number: str) -> None:
    """JSON has no word for infinity, and no float holds the second."""
    ticks = f"50 (a) S 1 {'0 ' * 17}{number} 0"
    with WORLD.with_files({"/proc/stat": f"btime {number}\n".encode(), "/proc/50/stat": ticks.encode()}):
        with pytest.raises(ValueError, match="no btime"):
            processes.boot_time(WORLD.node.host)
        assert processes.process(WORLD.node.host, 50, 0.0) is None
        observed()


def test_a_certificate_without_an_absolute_path_is_named() -> None:
    path = "/var/lib/kubelet/config.yaml"
    with WORLD.with_files({path: WORLD.files[path].replace(b"clientCAFile: /etc", b"clientCAFile: etc")}):
        assert "etc/kubernetes/pki/ca.crt" in [problem["file"] for problem in observed()["problems"]]


@examples(60)
@given(changed_text([WORLD.run.answers["systemctl"]]))
def test_whatever_systemd_says_it_is_an_observation(text: str) -> None:
    observed(FakeRun(systemctl=text, version="v1"))
    kubelet.service(bed.Machine(lambda *_more, **_options: RunResult(0, text, "")))


@pytest.mark.parametrize("size", [(1 << 18) + 1, (1 << 20) + 1])
@pytest.mark.parametrize("filler", [b"\n", b" ", b"a", b"- --a=", b"SECRET", b"token: ", b"://a:", b"\xff"])
def test_a_document_that_is_too_large_is_named(filler: bytes, size: int) -> None:
    path = f"{MANIFESTS}/etcd.yaml"
    with WORLD.with_files({path: (filler * size)[:size]}):
        seen = observed()
    assert [problem["cause"] for problem in seen["problems"] if problem["file"] == path] == ["larger than 262144 bytes"]


@examples(60)
@given(changed_text(['apiVersion: v1\nkind: Config\npassword: x\n- name: A_TOKEN\n  value: y\n--x-secret=z\nhttp://u:p@h\n', *(
    text.decode() for path, text in WORLD.files.items() if path.endswith((".yaml", ".env"))
)]))  # fmt: skip
@example("\n" * (1 << 18))
@example(" " * (1 << 18))
@example("SECRET" * (1 << 15))
@example("eyJ" * (1 << 16))
@example("value: " * (1 << 15))
@example("token:" + "\n" * (1 << 18))
def test_a_text_has_secrets_or_none(text: str) -> None:
    found = secrets.found_in(text)
    assert found is None or 0 < len(found) <= max(len(text), 64)  # a word of ours, or of the text
    secrets.masked(text.split())
    node.harmless(text)


@examples(80)
@given(changed_bytes([WORLD.files["/etc/kubernetes/admin.conf"]]))
def test_a_kubeconfig_is_a_credential_or_named(data: bytes) -> None:
    with WORLD.with_files({"/etc/kubernetes/admin.conf": data}):
        try:
            assert repr(credential(WORLD.node.host, "/etc/kubernetes/admin.conf")) == "Credential(…)"
        except ApiError as error:
            assert "/etc/kubernetes/admin.conf" in str(error) and "PRIVATE" not in str(error)


@examples(80)
@given(changed_bytes([WORLD.files["/etc/kubernetes/ninepaths/approver.json"]]))
def test_the_approvers_configuration_is_read_or_named(data: bytes) -> None:
    path = "/etc/kubernetes/ninepaths/approver.json"
    with WORLD.with_files({path: data}):
        try:
            approver.configuration(WORLD.node.host, path)
        except approver.ApproverError as error:
            assert path in str(error)
    with WORLD.with_files({f"{MANIFESTS}/kube-apiserver.yaml": data}):
        try:
            approver.manifest_argv(WORLD.node.host)
        except approver.ApproverError as error:
            assert "kube-apiserver" in str(error)


@examples(60)
@given(changed_text([MOUNTS]), hostile_text)
def test_a_place_behind_mounts_is_found_or_not(table: str, path: str) -> None:
    with WORLD.with_files({"/proc/50/mountinfo": table.encode("utf-8", "replace")}):
        mounts.on_host(WORLD.node.host, 50, path)
    processes.pod_of(table)


# --- transactions ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def host(**fields: Any) -> Iterator[tuple[Path, str]]:
    """A fresh host with one transaction that is laid, and the outside that nothing may reach."""
    outer = Path(tempfile.mkdtemp())
    try:
        (outer / "outside").mkdir()
        (outer / "outside" / "kept").write_text("not ours")
        root = outer / "root"
        root.mkdir()
        bed.make_tree(root)
        yield root, bed.lay(root, bed.full_steps(root), **fields)
        assert (outer / "outside" / "kept").read_text() == "not ours" and sorted(os.listdir(outer)) == ["outside", "root"]
    finally:
        shutil.rmtree(outer)


def interrupted(root: Path, directory: str, at: int) -> None:
    """Run the transaction until it is killed at some call."""
    try:
        bed.execute(root, directory, bed.FaultyFiles(at, "before"))
    except bed.Killed:
        return


def all_entries(root: Path, directory: str) -> None:
    """Everything that reads a transaction's directory."""
    machine = bed.FakeMachine(root)
    found = recover.recover(machine, {"id": None}, node=bed.FakeNode(machine), tools=bed.FakeTools())
    answers.check("recover", json.loads(json.dumps(found)))
    for entry in found["transactions"]:
        assert "unexpected" not in str(entry["cause"])
    answers.check("follow", json.loads(json.dumps(follow.follow(bed.FakeMachine(root), {"id": "t1", "offset": 0, "wait_s": 0}))))
    try:
        launch.launch(bed.FakeMachine(root), {"job": {"id": "t2", "steps": []}, "program": ""})
    except TransactionError as error:
        assert error.cause and error.advice
    keeping.prune(bed.FakeMachine(root))


@examples(40)
@given(st.integers(5, 40), st.data())
def test_a_journal_with_anything_in_it_is_undone_or_named(at: int, data: st.DataObject) -> None:
    with host() as (root, directory):
        interrupted(root, directory, at)
        path = Path(f"{root}{directory}/journal.jsonl")
        if path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            changed = data.draw(changed_data([lines], most=2))
            text = "".join(json.dumps(line) + "\n" for line in changed) if isinstance(changed, list) else json.dumps(changed)
            path.write_bytes(data.draw(st.sampled_from([text.encode(), text.encode()[:-7]])))
        all_entries(root, directory)


@examples(40)
@given(st.integers(5, 40), st.data())
def test_a_journal_of_any_bytes_is_undone_or_named(at: int, data: st.DataObject) -> None:
    with host() as (root, directory):
        interrupted(root, directory, at)
        path = Path(f"{root}{directory}/journal.jsonl")
        path.write_bytes(data.draw(changed_bytes([path.read_bytes() if path.exists() else b""])))
        all_entries(root, directory)


@examples(40)
@given(st.data())
def test_a_job_of_any_shape_is_carried_out_or_refused(data: st.DataObject) -> None:
    with host() as (root, directory):
        path = Path(f"{root}{directory}/job.json")
        job = data.draw(changed_data([json.loads(path.read_text())]))
        path.write_text(json.dumps(job))
        before = bed.tree(root)
        try:
            state = bed.execute(root, directory)[0]
        except (TransactionError, OSError) as error:
            assert str(error)
            return
        assert state in (states.COMMITTED, states.UNDONE, states.FAILED)
        if state == states.UNDONE:
            assert bed.tree(root) == before
            end = journal.parse(Path(f"{root}{directory}/journal.jsonl").read_bytes())[0][-1]
            assert "does not expect" not in end["data"]["cause"], end


@pytest.mark.parametrize(
    ("place", "value"),
    [(("op",), ["static_pods"]), (("changes", "etcd", "argv"), None), (("changes", "etcd", "argv"), []), (("changes", "etcd", "probes", "readiness"), [1])],
)
def test_a_step_of_another_form_is_refused_before_anything_is_touched(place: tuple[str, ...], value: Any) -> None:
    with host() as (root, directory):
        path = Path(f"{root}{directory}/job.json")
        job = json.loads(path.read_text())
        part = job["steps"][1]
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        path.write_text(json.dumps(job))
        before = bed.tree(root)
        assert bed.execute(root, directory)[0] == states.UNDONE and bed.tree(root) == before
        lines = journal.parse(Path(f"{root}{directory}/journal.jsonl").read_bytes())[0]
        assert re.search("not of the form that this version knows|is none of", lines[-1]["data"]["cause"]) and not any("file" in line["data"] for line in lines)


def test_a_journal_whose_run_is_no_text_is_undone() -> None:
    with host() as (root, directory):
        interrupted(root, directory, 34)
        path = Path(f"{root}{directory}/journal.jsonl")
        path.write_text(path.read_text().replace('"run":"r1"', '"run":["r1"]', 1))
        all_entries(root, directory)
        assert journal.parse(path.read_bytes())[0][-1]["data"]["state"] == states.UNDONE


@examples(60)
@given(changed_bytes([b'{"schema": 1, "steps": []}']))
@example(b"[" * 100_000)
@example(b"")
def test_a_job_of_any_bytes_is_read_or_named(content: bytes) -> None:
    with host() as (root, directory):
        Path(f"{root}{directory}/job.json").write_bytes(content)
        try:
            transaction._read_job(bed.FakeMachine(root), directory)
        except JobError as error:
            assert "job.json" in str(error)


@examples(200)
@given(changed_bytes([json.dumps(LINE).encode() + b"\n" + json.dumps({**LINE, "seq": 2}).encode() + b"\n"]))
@example(b"[" * 100_000 + b"\n")
@example(b'{"seq": 1, "event": "end", "data": {}}\n')
@example(json.dumps({**LINE, "more": 1}).encode() + b"\n")
@example(json.dumps({**LINE, "seq": True}).encode() + b"\n")
def test_lines_of_a_journal_count_as_far_as_they_are_whole(text: bytes) -> None:
    lines, size = journal.parse(text)
    assert size <= len(text) and journal.parse(text[:size]) == (lines, size)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1)) and all(line.keys() == LINE.keys() for line in lines)
    assert not any(line["seq"] is True for line in lines)
    journal.state(lines), journal.end(lines)


@pytest.mark.parametrize("name", ["../../../etc", "..", "/etc/passwd", "t1/../t1", "", "a b", "\x00", "{{ 1 }}", "x" * 300, "-x", "t1\n"])
def test_a_transaction_of_any_name_is_refused(name: str) -> None:
    with host() as (root, _directory):
        machine = bed.FakeMachine(root)
        for ask in (
            lambda: launch.launch(machine, {"job": {"id": name, "steps": []}, "program": ""}),
            lambda: follow.follow(machine, {"id": name}),
            lambda: recover.recover(machine, {"id": name}),
        ):
            with pytest.raises(JobError):
                ask()
        (root / "var/lib/ninepaths/lock").write_text(name)
        with lock.hold(bed.FakeMachine(root), "t1"):
            (root / "var/lib/ninepaths/lock").write_text(name)
            with pytest.raises(TransactionError):
                launch.launch(machine, {"job": {"id": "t9", "steps": []}, "program": ""})
