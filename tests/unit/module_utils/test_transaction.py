# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise of the engine: whatever ends a transaction, the host is as before or as planned, and nothing foreign lies about."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, UndoError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from test_lease import FakeApi


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path / "host")
    return tmp_path / "host"


def lines(root: Path, directory: str) -> list[dict[str, Any]]:
    return Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines


def planned(tmp_path: Path) -> dict[str, Any]:
    """The tree that a whole run makes, on a second host."""
    other = tmp_path / "other-host"
    bed.make_tree(other)
    state, _, _ = bed.execute(other, bed.lay(other, bed.full_steps(other)))
    assert state == states.COMMITTED
    return bed.tree(other)


def calls(tmp_path: Path) -> list[str]:
    """The calls of a whole run, on a host of its own."""
    other = tmp_path / "counted"
    bed.make_tree(other)
    files = bed.FaultyFiles()
    bed.execute(other, bed.lay(other, bed.full_steps(other)), files)
    return files.seen


def number_of_calls(tmp_path: Path) -> int:
    return len(calls(tmp_path))


def last_line(tmp_path: Path) -> int:
    """Number of the call that writes the end line."""
    seen = calls(tmp_path)
    return max(number for number, call in enumerate(seen, 1) if call.startswith("append"))


def test_a_whole_job_is_committed_and_leaves_nothing_behind(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root))
    state, machine, _ = bed.execute(root, directory)
    new = bed.tree(root)
    assert state == states.COMMITTED
    assert {name for name in new if name not in old} == {"etc/kubernetes/ninepaths", "etc/kubernetes/ninepaths/audit-policy-1.yaml"}
    assert new["etc/kubernetes/audit.yaml"] == ("file", 0o600, b"newer policy")
    assert new["etc/kubernetes/pki/ca.crt"] == ("file", 0o600, b"public")
    assert lines(root, directory)[-1]["data"] == {"state": "committed"}
    assert ["systemctl", "stop", "ninepaths-t1-undo.timer"] in machine.commands


def test_undo_is_armed_before_the_first_file_and_disarmed_after_the_last(root: Path) -> None:
    files = bed.FaultyFiles()
    _, machine, _ = bed.execute(root, bed.lay(root, bed.full_steps(root)), files)
    first = next(number for number, call in enumerate(files.seen) if "make_directory" in call and call.endswith("kubernetes/ninepaths"))
    armed = next(number for number, call in enumerate(files.seen) if call.startswith("symlink"))
    assert armed < first
    assert machine.commands[0][0] == "systemd-run" and "--on-active=900" in machine.commands[0]
    last = max(number for number, call in enumerate(files.seen) if call.startswith("append"))
    assert all(not call.startswith("remove") or not call.endswith(units.BOOT_UNIT) for call in files.seen[armed:last])
    assert not (root / units.UNITS[1:] / units.BOOT_UNIT).exists()


@pytest.mark.parametrize("flag", ["--refused", "--broken", "--ill"])
def test_a_bad_setting_is_undone_and_everything_is_healthy_again(root: Path, flag: str) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root, flag=flag))
    state, _, _ = bed.execute(root, directory)
    end = lines(root, directory)[-1]
    assert (state, end["data"]["healthy"]) == (states.UNDONE, True)
    assert bed.tree(root) == old
    assert end["data"]["cause"] and end["data"]["advice"]


def test_a_refused_setting_restarts_nothing(root: Path) -> None:
    _, _, node = bed.execute(root, bed.lay(root, bed.full_steps(root, flag="--refused")))
    assert node.log == []


def test_the_cause_names_what_the_component_said(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root, flag="--broken"))
    bed.execute(root, directory)
    assert "unknown flag: --broken" in lines(root, directory)[-1]["data"]["cause"]


@pytest.mark.parametrize("how", ["before", "after", "torn"])
def test_killed_at_any_call_recover_gives_the_old_or_the_new_tree(tmp_path: Path, how: str) -> None:
    total, new = number_of_calls(tmp_path), planned(tmp_path)
    assert total > 60
    for at in range(1, total + 1):
        root = tmp_path / f"{how}-{at}"
        bed.make_tree(root)
        old = bed.tree(root)
        directory = bed.lay(root, bed.full_steps(root))
        with contextlib.suppress(bed.Killed):
            bed.execute(root, directory, bed.FaultyFiles(at, how))
        state, _, _ = bed.execute(root, directory, mode="recover")
        assert bed.tree(root) == (new if state == states.COMMITTED else old), f"call {at}"
        assert state in (states.COMMITTED, states.UNDONE), f"call {at}"
        assert lines(root, directory)[-1]["event"] == "end"


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_recover_that_is_killed_too_is_taken_up_by_the_next(tmp_path: Path, how: str) -> None:
    total = number_of_calls(tmp_path)
    for at in range(20, total, 7):
        for again in range(1, 24, 3):
            root = tmp_path / f"{at}-{again}"
            bed.make_tree(root)
            old = bed.tree(root)
            directory = bed.lay(root, bed.full_steps(root))
            with pytest.raises(bed.Killed):
                bed.execute(root, directory, bed.FaultyFiles(at, how))
            if lines(root, directory)[-1]["event"] == "end":
                continue
            with contextlib.suppress(bed.Killed):
                bed.execute(root, directory, bed.FaultyFiles(again, how), mode="recover")
            assert bed.execute(root, directory, mode="recover")[0] == states.UNDONE
            assert bed.tree(root) == old, f"call {at}, then {again}"


def test_a_disk_that_is_full_once_is_undone_cleanly(tmp_path: Path) -> None:
    total, new = number_of_calls(tmp_path), planned(tmp_path)
    for at in range(1, total + 1):
        root = tmp_path / f"full-{at}"
        bed.make_tree(root)
        old = bed.tree(root)
        directory = bed.lay(root, bed.full_steps(root))
        try:
            state, _, _ = bed.execute(root, directory, bed.FaultyFiles(at, "full"))
        except OSError:  # not even the begin line could be written
            assert lines(root, directory) == []
            continue
        assert bed.tree(root) == (new if state == states.COMMITTED else old), f"call {at}"
        assert state in (states.COMMITTED, states.UNDONE)


def test_a_disk_that_stays_full_still_gets_its_old_files_back(tmp_path: Path) -> None:
    for at in range(10, number_of_calls(tmp_path), 3):
        root = tmp_path / f"stays-{at}"
        bed.make_tree(root)
        old = bed.tree(root)
        directory = bed.lay(root, bed.full_steps(root))
        try:
            bed.execute(root, directory, bed.FaultyFiles(at, "full", keep_failing=True))
        except Exception as error:  # the end line could not be written: timer and boot unit stay armed
            assert "No space" in str(error) or "journal" in str(error)
        if lines(root, directory)[-1]["event"] == "end" and lines(root, directory)[-1]["data"]["state"] == states.COMMITTED:
            continue
        left = {name: entry for name, entry in bed.tree(root).items() if "systemd" not in name}
        assert left == {name: entry for name, entry in old.items() if "systemd" not in name}, f"call {at}"
        assert bed.execute(root, directory, mode="recover")[0] == states.UNDONE
        assert bed.tree(root) == old


def test_after_a_power_cut_the_old_files_are_back_before_the_kubelet_starts(tmp_path: Path) -> None:
    for at in range(12, number_of_calls(tmp_path), 5):
        root = tmp_path / f"cut-{at}"
        bed.make_tree(root)
        old = {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")}
        directory = bed.lay(root, bed.full_steps(root))
        with contextlib.suppress(bed.Killed):
            bed.execute(root, directory, bed.FaultyFiles(at, "torn" if at % 2 else "after"))
        state, machine, _ = bed.execute(root, directory, mode="boot")
        if state == states.COMMITTED:
            continue
        assert {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")} == old
        assert any("--property=After=kubelet.service" in command for command in machine.commands)
        assert bed.execute(root, directory, mode="recover")[0] == states.UNDONE


def test_a_changed_file_stops_the_job_before_anything_happens(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    (root / "etc/kubernetes/audit.yaml").write_text("somebody was here")
    old = bed.tree(root)
    state, _, node = bed.execute(root, directory)
    end = lines(root, directory)[-1]
    assert (state, bed.tree(root), node.log) == (states.UNDONE, old, [])
    assert "/etc/kubernetes/audit.yaml" in end["data"]["cause"] and end["message"].startswith("nothing was changed")


def test_an_edit_of_somebody_else_during_the_transaction_is_kept_aside(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    files = bed.FaultyFiles()

    class Editing(bed.FakeTools):
        def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
            (root / "etc/kubernetes/audit.yaml").write_text("somebody was here")
            raise bed.Killed

    with pytest.raises(bed.Killed):
        bed.execute(root, directory, files, tools=Editing())
    assert bed.execute(root, directory, mode="recover")[0] == states.UNDONE
    assert (root / "etc/kubernetes/audit.yaml").read_text() == "old policy"
    kept = list((root / directory[1:] / "backup").glob("*.foreign"))
    assert [path.read_text() for path in kept] == ["somebody was here"]


def test_a_mistake_of_ours_is_undone_at_once_and_says_nothing_of_its_data(root: Path) -> None:
    directory, before = bed.lay(root, bed.full_steps(root)), bed.tree(root)

    class Mistaken(bed.FakeTools):
        def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
            raise KeyError("hunter2")

    assert bed.execute(root, directory, tools=Mistaken())[0] == states.UNDONE
    assert bed.tree(root) == before
    text = (root / directory[1:] / "journal.jsonl").read_text()
    assert "does not expect (KeyError)" in text and "hunter2" not in text


def test_what_cannot_be_put_back_is_called_failed_and_names_the_backup(root: Path, tmp_path: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(last_line(tmp_path / "other"), "before"))
    target = root / "etc/kubernetes/audit.yaml"
    target.unlink()
    target.mkdir()
    (target / "x").write_text("in the way")
    assert bed.execute(root, directory, mode="recover")[0] == states.FAILED
    end = lines(root, directory)[-1]["data"]
    assert "/etc/kubernetes/audit.yaml" in end["cause"] and "/backup/" in end["advice"]
    assert (root / units.UNITS[1:] / units.BOOT_UNIT).exists()


class Dies(bed.FakeTools):
    """The process is gone when everything has been written."""

    def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
        raise bed.Killed


def killed_at_the_end(root: Path) -> str:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, tools=Dies())
    return directory


def in_the_way(root: Path, name: str) -> Path:
    """A manifest that cannot be put back: a directory with something in it lies in its place."""
    path = root / bed.MANIFESTS[1:] / f"{name}.yaml"
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")
    return path


class Blind(bed.FakeNode):
    """A node that is not looked at: one of its manifests is none."""

    def running(self, component: str) -> list[Any]:
        return []


@pytest.mark.parametrize("mode", ["recover", "boot"])
def test_what_cannot_be_put_back_keeps_nothing_else_new(root: Path, mode: str) -> None:
    old = bed.tree(root)
    directory = killed_at_the_end(root)
    in_the_way(root, "kube-scheduler")
    machine = bed.FakeMachine(root)
    machine_and_node = {"node": Blind(machine)}
    if mode == "boot":
        from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

        with pytest.raises(UndoError, match=r"kube-scheduler\.yaml"):
            transaction.boot_job(machine, directory, tools=bed.FakeTools(), **machine_and_node)
        assert any("--property=After=kubelet.service" in command for command in machine.commands)
    else:
        assert bed.execute(root, directory, mode=mode, **machine_and_node)[0] == states.FAILED
    new = bed.tree(root)
    wrong = {name for name in old if new.get(name) != old[name]}
    assert wrong == {"etc/kubernetes/manifests/kube-scheduler.yaml"}


def test_a_failed_undo_is_finished_by_the_next_recover(root: Path) -> None:
    old = bed.tree(root)
    directory = killed_at_the_end(root)
    path = in_the_way(root, "kube-scheduler")
    state, machine, _ = bed.execute(root, directory, mode="recover", node=Blind(bed.FakeMachine(root)))
    assert state == states.FAILED and ["systemctl", "stop", "ninepaths-t1-undo.timer"] in machine.commands
    assert str(path)[len(str(root)) :] in lines(root, directory)[-1]["data"]["cause"]
    shutil.rmtree(path)
    path.write_bytes(bed.manifest("kube-scheduler", "--new"))
    state, _, _ = bed.execute(root, directory, mode="recover")
    assert (state, bed.tree(root)) == (states.UNDONE, old)
    assert lines(root, directory)[-1]["data"]["cause"] == "the transaction was interrupted"


@pytest.mark.parametrize("mode", ["recover", "boot"])
def test_what_people_did_after_a_failed_undo_is_theirs(root: Path, mode: str) -> None:
    """Mended by hand, upgraded, rebooted months later: the manifests of then do not come back."""
    directory = killed_at_the_end(root)
    path = in_the_way(root, "kube-scheduler")
    assert bed.execute(root, directory, mode="recover", node=Blind(bed.FakeMachine(root)))[0] == states.FAILED
    shutil.rmtree(path)
    for name in ("kube-scheduler", "etcd", "kube-apiserver"):
        (root / bed.MANIFESTS[1:] / f"{name}.yaml").write_bytes(bed.manifest(name, "--upgraded"))
    if mode == "boot":
        with pytest.raises(UndoError, match="decide by hand"):
            bed.execute(root, directory, mode=mode)
    else:
        assert bed.execute(root, directory, mode=mode)[0] == states.FAILED
        assert f"move {directory} to another place" in lines(root, directory)[-1]["data"]["advice"]
    for name in ("kube-scheduler", "etcd", "kube-apiserver"):
        assert (root / bed.MANIFESTS[1:] / f"{name}.yaml").read_bytes() == bed.manifest(name, "--upgraded")


def test_an_error_that_nobody_expects_ends_no_undo(root: Path) -> None:
    old = bed.tree(root)

    class Mad(bed.FakeNode):
        def running(self, component: str) -> list[Any]:
            if "undo" in [line["event"] for line in lines(root, directory)]:
                raise KeyError("token=abc")
            return super().running(component)

    directory = bed.lay(root, bed.full_steps(root, flag="--refused"))
    with pytest.raises(bed.Killed):
        bed.execute(root, bed.lay(root, bed.full_steps(root), "t2"), tools=Dies())
    directory = f"{lock.TRANSACTIONS}/t2"
    machine = bed.FakeMachine(root)
    node = Mad(machine)
    state, _, _ = bed.execute(root, directory, mode="recover", node=node)
    data = lines(root, directory)[-1]["data"]
    assert (state, data["healthy"], bed.tree(root)) == (states.UNDONE, False, old)
    assert "KeyError" in data["ill"][0] and "abc" not in json.dumps(data)


class Leased(bed.FakeTools):
    """Helpers with an API that knows the cluster's Lease."""

    def __init__(self, api: FakeApi) -> None:
        super().__init__()
        self.api = api

    def administrator(self, context: Any) -> FakeApi:
        return self.api


LEASE = {"namespace": "kube-system", "name": "ninepaths", "holder": "r1", "seconds": 600}


def holder(api: FakeApi) -> str:
    assert api.stored is not None
    return str(api.stored["spec"]["holderIdentity"])


def test_the_lease_is_given_back_before_anything_else_is_tidied_up(root: Path) -> None:
    api, held = FakeApi(), []

    class Watching(bed.QuickFiles):
        def remove(self, path: str) -> None:
            if path.endswith("ballast"):
                held.append(holder(api))
            super().remove(path)

    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)
    assert bed.execute(root, directory, Watching(), tools=Leased(api))[0] == states.COMMITTED
    assert held == [""]


def test_a_lease_that_cannot_be_given_back_is_tried_three_times_and_by_the_next_recover(root: Path) -> None:
    class Slow(FakeApi):
        refused = 0

        def put(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
            if document["spec"]["holderIdentity"] == "" and self.refused < 4:
                self.refused += 1
                raise ApiError(0, "NoAnswer", "refused")
            return super().put(path, document)

    api = Slow()
    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)
    state, machine, _ = bed.execute(root, directory, tools=Leased(api))
    assert (state, api.refused, holder(api)) == (states.COMMITTED, 3, "r1@cp1")
    assert "not tidied up yet" in lines(root, directory)[-1]["message"] and units.is_armed(machine, directory)
    state, machine, _ = bed.execute(root, directory, mode="recover", tools=Leased(api))
    assert (state, holder(api)) == (states.COMMITTED, "") and not units.is_armed(machine, directory)


class Starting(FakeApi):
    """The apiserver of a node that boots: it answers when it was asked often enough."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.silent = asked

    def find(self, path: str) -> dict[str, Any] | None:
        self.silent -= 1
        if self.silent >= 0:
            raise ApiError(0, "NoAnswer", "connection refused")
        return super().find(path)


def settled(root: Path, directory: str, api: FakeApi) -> tuple[str, bed.FakeMachine]:
    """What is done before the kubelet is started, and then what it starts after that."""
    _state, machine, _ = bed.execute(root, directory, mode="boot", tools=bed.FakeTools())
    assert any("settle" in command for command in machine.commands), "nobody goes on once the apiserver runs"
    state, machine, _ = bed.execute(root, directory, mode="settle", tools=Leased(api))
    return state, machine


@pytest.mark.parametrize("begun", [True, False], ids=["steps were begun", "nothing was begun"])
def test_after_a_power_cut_the_lease_is_given_back_when_the_apiserver_has_started(root: Path, begun: bool) -> None:
    api = FakeApi()
    directory = bed.lay(root, bed.full_steps(root) if begun else [], lease=LEASE)

    class Cut(bed.QuickFiles):
        def append(self, path: str, data: bytes) -> None:
            if b'"event":"end"' in data:
                raise bed.Killed
            super().append(path, data)

    with pytest.raises(bed.Killed):
        bed.execute(root, directory, Cut(), tools=Leased(api))
    starting = Starting(asked=20)
    starting.stored, starting.version = api.stored, api.version
    state, machine = settled(root, directory, starting)
    assert (state, holder(starting)) == (states.UNDONE, "") and not units.is_armed(machine, directory)


def test_after_a_power_cut_behind_the_commit_the_lease_is_given_back_as_well(root: Path) -> None:
    api = FakeApi()
    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)

    class Cut(bed.QuickFiles):
        def append(self, path: str, data: bytes) -> None:
            super().append(path, data)
            if b'"event":"end"' in data:
                raise bed.Killed

    with pytest.raises(bed.Killed):
        bed.execute(root, directory, Cut(), tools=Leased(api))
    assert holder(api) == "r1@cp1"
    starting = Starting(asked=20)
    starting.stored, starting.version = api.stored, api.version
    new = {name: entry for name, entry in bed.tree(root).items() if "systemd" not in name and ".ninepaths-" not in name}
    state, machine = settled(root, directory, starting)
    assert (state, holder(starting)) == (states.COMMITTED, "") and not units.is_armed(machine, directory)
    assert {name: entry for name, entry in bed.tree(root).items() if "systemd" not in name} == new


def test_an_apiserver_that_does_not_come_back_ends_the_wait_and_not_the_undo(root: Path) -> None:
    api = FakeApi()
    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, tools=type("Both", (Leased, Dies), {})(api))
    api.down = True
    state, machine, _ = bed.execute(root, directory, mode="settle", tools=Leased(api))
    assert state == states.UNDONE and machine.time - bed.FakeMachine(root).time >= 600


def test_while_the_apiserver_starts_nothing_is_written_beside_whoever_holds_the_lock(root: Path) -> None:
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    api = FakeApi()
    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, tools=type("Both", (Leased, Dies), {})(api))
    before, machine = lines(root, directory), bed.FakeMachine(root)
    for down in (True, False):
        api.down = down
        transaction.Transaction(machine, directory, node=bed.FakeNode(machine), tools=Leased(api)).wait_for_apiserver()
    assert lines(root, directory) == before


def test_the_lease_is_renewed_while_undoing_and_never_taken_again(root: Path) -> None:
    api, seen = FakeApi(), []
    directory = bed.lay(root, bed.full_steps(root), lease=LEASE)
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, tools=type("Both", (Leased, Dies), {})(api))

    class Looking(bed.FakeNode):
        def probe(self, probes: Any) -> Any:
            seen.append(holder(api))
            if len(seen) == 3 and api.stored is not None:
                api.stored["spec"]["holderIdentity"] = "thief@cp9"
            self.machine.time += 15
            return super().probe(probes)

    version, machine = api.version, bed.FakeMachine(root)
    node = Looking(machine)
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    assert transaction.recover_job(machine, directory, node=node, tools=Leased(api)) == states.UNDONE
    assert seen[0] == "r1@cp1" and api.version == version + 1 and holder(api) == "thief@cp9"
    assert any("undoing without the cluster's Lease" in line["message"] for line in lines(root, directory))


def test_lines_that_an_undo_could_not_write_are_counted(root: Path) -> None:
    directory = killed_at_the_end(root)

    class FullForAWhile(bed.QuickFiles):
        refused = 0

        def append(self, path: str, data: bytes) -> None:
            if self.refused < 5:
                self.refused += 1
                raise OSError(28, "No space left on device", path)
            super().append(path, data)

    assert bed.execute(root, directory, FullForAWhile(), mode="recover")[0] == states.UNDONE
    assert lines(root, directory)[-1]["message"].endswith("; 5 lines before this one could not be written")


def test_a_question_for_the_holder_does_not_fail_a_transaction_that_starts(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    descriptor = os.open(str(root) + lock.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    machine = bed.FakeMachine(root)

    def sleep(seconds: float) -> None:
        machine.time += seconds
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    machine.sleep = sleep  # type: ignore[method-assign]
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    node = bed.FakeNode(machine)
    for component in ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"):
        node.running(component)
    try:
        assert transaction.run_job(machine, directory, node=node, tools=bed.FakeTools()) == states.COMMITTED
    finally:
        os.close(descriptor)


def test_two_jobs_on_one_host_the_second_says_who_is_there(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root), "second")
    with lock.hold(bed.FakeMachine(root), "first"):
        state, _, _ = bed.execute(root, directory)
    assert (state, bed.tree(root)) == (states.UNDONE, old)
    assert "transaction first is changing this host" in lines(root, directory)[-1]["message"]


def test_the_lock_dies_with_its_holder_and_waits_when_asked(root: Path) -> None:
    machine = bed.FakeMachine(root)
    with lock.hold(machine, "first"):
        assert lock.holder(machine) == "first"
        with pytest.raises(HeldError), lock.hold(machine, "second", patience=5):
            pass
        assert machine.time >= 1005
    assert lock.holder(machine) is None


def test_a_kubelet_restart_and_a_static_pod_never_share_a_job(root: Path) -> None:
    steps = [*bed.full_steps(root), {"op": "kubelet", "files": [], "expect": {"argv": None}}]
    directory = bed.lay(root, steps)
    state, _, node = bed.execute(root, directory)
    assert (state, node.log) == (states.UNDONE, [])
    assert "different waves" in lines(root, directory)[-1]["data"]["advice"]


def test_without_an_undo_timer_nothing_is_touched(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root))
    machine = bed.FakeMachine(root)
    machine.answers["systemd-run"] = bed.RunResult(1, "", "Failed to connect to bus")
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    node = bed.FakeNode(machine)
    for component in ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"):
        node.running(component)
    assert transaction.run_job(machine, directory, node=node, tools=bed.FakeTools()) == states.UNDONE
    assert bed.tree(root) == old
    assert "undo timer cannot be armed: Failed to connect to bus" in lines(root, directory)[-1]["message"]


def test_a_timer_that_fires_stops_a_transaction_that_hangs(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(50, "before"))
    machine = bed.FakeMachine(root)
    held = lock.hold(machine, "t1")
    held.__enter__()
    stopped: list[str] = []

    def systemd(argv: Any, **_: Any) -> bed.RunResult:
        if list(argv[:2]) == ["systemctl", "stop"] and argv[2] == "ninepaths-t1.service":
            stopped.append(argv[2])
            held.__exit__(None, None, None)
        return bed.RunResult(0, "", "")

    machine.run = systemd
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    node = bed.FakeNode(machine)
    assert transaction.recover_job(machine, directory, node=node, tools=bed.FakeTools()) == states.UNDONE
    assert stopped == ["ninepaths-t1.service"]


def test_while_the_machine_goes_down_files_are_put_back_and_the_boot_unit_stays(root: Path, tmp_path: Path) -> None:
    old = {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")}
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(last_line(tmp_path / "other"), "before"))
    machine = bed.FakeMachine(root)
    machine.answers["systemctl is-system-running"] = bed.RunResult(1, "stopping\n", "")
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    assert transaction.recover_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools()) == states.OPEN
    assert {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")} == old
    assert (root / units.UNITS[1:] / units.BOOT_UNIT).exists()


def test_no_content_of_a_file_reaches_the_journal(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    bed.execute(root, directory)
    text = json.dumps(lines(root, directory))
    assert "policy" not in text.replace("audit-policy-1.yaml", "") and "public" not in text


def test_messages_are_sentences_with_seconds(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    bed.execute(root, directory)
    messages = [line["message"] for line in lines(root, directory)]
    assert any(message.startswith("kube-apiserver: old process gone") for message in messages)
    assert any(message.startswith("etcd: ready") for message in messages)
