# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise of the engine: whatever ends a transaction, the host is as before or as planned, and nothing foreign lies about."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal as journals
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal


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
    assert state == journals.COMMITTED
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
    assert state == journals.COMMITTED
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
    assert (state, end["data"]["healthy"]) == (journals.UNDONE, True)
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
        assert bed.tree(root) == (new if state == journals.COMMITTED else old), f"call {at}"
        assert state in (journals.COMMITTED, journals.UNDONE), f"call {at}"
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
            assert bed.execute(root, directory, mode="recover")[0] == journals.UNDONE
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
        assert bed.tree(root) == (new if state == journals.COMMITTED else old), f"call {at}"
        assert state in (journals.COMMITTED, journals.UNDONE)


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
        if lines(root, directory)[-1]["event"] == "end" and lines(root, directory)[-1]["data"]["state"] == journals.COMMITTED:
            continue
        left = {name: entry for name, entry in bed.tree(root).items() if "systemd" not in name}
        assert left == {name: entry for name, entry in old.items() if "systemd" not in name}, f"call {at}"
        assert bed.execute(root, directory, mode="recover")[0] == journals.UNDONE
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
        if state == journals.COMMITTED:
            continue
        assert {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")} == old
        assert any("--property=After=kubelet.service" in command for command in machine.commands)
        assert bed.execute(root, directory, mode="recover")[0] == journals.UNDONE


def test_a_changed_file_stops_the_job_before_anything_happens(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    (root / "etc/kubernetes/audit.yaml").write_text("somebody was here")
    old = bed.tree(root)
    state, _, node = bed.execute(root, directory)
    end = lines(root, directory)[-1]
    assert (state, bed.tree(root), node.log) == (journals.UNDONE, old, [])
    assert "/etc/kubernetes/audit.yaml" in end["data"]["cause"] and end["message"].startswith("nothing was changed")


def test_an_edit_of_somebody_else_during_the_transaction_is_kept_aside(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    files = bed.FaultyFiles()

    class Editing(bed.FakeTools):
        def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
            (root / "etc/kubernetes/audit.yaml").write_text("somebody was here")
            raise RuntimeError("and then we die")

    with pytest.raises(RuntimeError):
        bed.execute(root, directory, files, tools=Editing())
    assert bed.execute(root, directory, mode="recover")[0] == journals.UNDONE
    assert (root / "etc/kubernetes/audit.yaml").read_text() == "old policy"
    kept = list((root / directory[1:] / "backup").glob("*.foreign"))
    assert [path.read_text() for path in kept] == ["somebody was here"]


def test_what_cannot_be_put_back_is_called_failed_and_names_the_backup(root: Path, tmp_path: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(last_line(tmp_path / "other"), "before"))
    target = root / "etc/kubernetes/audit.yaml"
    target.unlink()
    target.mkdir()
    (target / "x").write_text("in the way")
    assert bed.execute(root, directory, mode="recover")[0] == journals.FAILED
    end = lines(root, directory)[-1]["data"]
    assert "/etc/kubernetes/audit.yaml" in end["cause"] and "/backup/" in end["advice"]
    assert (root / units.UNITS[1:] / units.BOOT_UNIT).exists()


def test_two_jobs_on_one_host_the_second_says_who_is_there(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root), "second")
    with lock.hold(bed.FakeMachine(root), "first"):
        state, _, _ = bed.execute(root, directory)
    assert (state, bed.tree(root)) == (journals.UNDONE, old)
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
    assert (state, node.log) == (journals.UNDONE, [])
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
    assert transaction.run_job(machine, directory, node=node, tools=bed.FakeTools()) == journals.UNDONE
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
    assert transaction.recover_job(machine, directory, node=node, tools=bed.FakeTools()) == journals.UNDONE
    assert stopped == ["ninepaths-t1.service"]


def test_while_the_machine_goes_down_files_are_put_back_and_the_boot_unit_stays(root: Path, tmp_path: Path) -> None:
    old = {name: entry for name, entry in bed.tree(root).items() if name.endswith(".yaml")}
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(last_line(tmp_path / "other"), "before"))
    machine = bed.FakeMachine(root)
    machine.answers["systemctl is-system-running"] = bed.RunResult(1, "stopping\n", "")
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    assert transaction.recover_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools()) == journals.OPEN
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
    assert any(message.startswith("kube-apiserver: old process gone after 0.") for message in messages)
    assert any(message.startswith("etcd: ready after") for message in messages)
