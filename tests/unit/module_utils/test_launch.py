# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch lays and starts, follow reads on, recover undoes, and none of them treads on a live transaction."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import follow, keeping, launch, recover, visit
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, JobError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    return tmp_path


def request(root: Path, name: str = "t1", **fields: Any) -> dict[str, Any]:
    job = {
        "schema": 1,
        "id": name,
        "run": "r1",
        "host": "cp1",
        "node": "cp1",
        "lease": None,
        "undo_after_s": 900,
        "steps": bed.full_steps(root),
    }
    return {"schema": 1, "job": {**job, **fields}, "program": "pass\n"}


def test_launch_lays_job_and_program_privately_and_starts_them(root: Path) -> None:
    machine = bed.FakeMachine(root)
    found = launch.launch(machine, request(root))
    directory = root / found["directory"][1:]
    assert found["unit"] == "ninepaths-t1.service"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == {"job.json": 0o600, "program.py": 0o600}
    argv = machine.commands[-1]
    assert argv[0] == "systemd-run" and "--collect" in argv and "--unit=ninepaths-t1" in argv
    assert argv[-4:] == [argv[-4], "-I", "-S", f"{found['directory']}/program.py"]
    assert any(word.startswith("--property=ExecStopPost=") and word.endswith("program.py recover") for word in argv)


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 80, "a/b", "a\nb"])
def test_an_id_that_is_no_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(JobError, match="transaction id"):
        launch.launch(bed.FakeMachine(root), request(root, name))


def test_without_systemd_the_error_says_so(root: Path) -> None:
    machine = bed.FakeMachine(root)
    machine.answers["systemd-run --version"] = bed.RunResult(127, "", "systemd-run: No such file or directory")
    with pytest.raises(TransactionError, match=r"systemd-run does not work: .*No such file"):
        launch.launch(machine, request(root))
    (root / "run/systemd/system").rmdir()
    with pytest.raises(TransactionError, match="not run by systemd"):
        launch.launch(bed.FakeMachine(root), request(root))
    assert not (root / lock.TRANSACTIONS[1:] / "t1").exists()


def test_launch_refuses_while_another_transaction_is_open_or_running(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root), "t0")
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(30, "before"))
    with pytest.raises(HeldError, match="transaction t0 on this host is open"):
        launch.launch(bed.FakeMachine(root), request(root))
    bed.execute(root, directory, mode="recover")
    with lock.hold(bed.FakeMachine(root), "someone"), pytest.raises(HeldError, match="transaction someone is changing"):
        launch.launch(bed.FakeMachine(root), request(root))
    launch.launch(bed.FakeMachine(root), request(root))
    with pytest.raises(JobError, match="launched on this host before"):
        launch.launch(bed.FakeMachine(root), request(root))


def test_launch_waits_for_a_transaction_that_has_ended_to_let_go(root: Path) -> None:
    directory = bed.lay(root, [], "t0")
    bed.execute(root, directory)
    machine = bed.FakeMachine(root)
    held = lock.hold(machine, "t0")
    held.__enter__()

    def sleep(seconds: float) -> None:
        machine.time += seconds
        if machine.time > 1003:
            held.__exit__(None, None, None)

    machine.sleep = sleep  # type: ignore[method-assign]
    assert launch.launch(machine, request(root))["id"] == "t1" and 1003 < machine.time < 1005
    machine = bed.FakeMachine(root)
    with lock.hold(machine, "t0"), pytest.raises(HeldError, match="transaction t0 is changing"):
        launch.launch(machine, request(root, "t2"))
    assert machine.time - 1000 == launch.CLOSING


def test_launch_says_why_an_undo_failed(root: Path) -> None:
    directory = bed.lay(root, [], "t0")
    data = {"state": "failed", "cause": "/etc/x cannot be put back: Operation not permitted", "advice": "decide"}
    Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").add("end", "", "undo failed", data)
    with pytest.raises(HeldError, match="t0 on this host could not be undone: /etc/x cannot be put back: Operation not permitted; decide"):
        launch.launch(bed.FakeMachine(root), request(root))


def test_limits_follow_from_the_job(root: Path) -> None:
    machine = bed.FakeMachine(root)
    launch.launch(machine, request(root, undo_after_s=7000))
    assert "--property=TimeoutStopSec=7300" in machine.commands[-1]
    units.arm(machine, "t1", "/var/lib/ninepaths/transactions/t1", {"undo_after_s": 7000})
    assert {"--on-active=7000", "--on-unit-inactive=7000", "--property=TimeoutStopSec=7300"} <= set(machine.commands[-1])
    timeouts: list[float] = []
    machine.run = lambda argv, *, stdin=b"", timeout=30.0: timeouts.append(timeout)
    units.stop(machine, "t1", {"undo_after_s": 7000})
    assert timeouts == [7400]


def test_only_the_ended_transactions_of_the_last_ten_runs_are_kept(root: Path) -> None:
    for number in range(28):
        directory = bed.lay(root, [], f"t{number:02d}", run=f"r{number // 2:02d}", wave="x", number=number + 1)
        bed.execute(root, directory)
        if number == 1:
            (root / directory[1:] / "journal.jsonl").write_bytes(b"")
        os.utime(root / directory[1:], (number, number))
    keeping.prune(bed.FakeMachine(root), ["r00"])
    left = sorted(path.name for path in (root / lock.TRANSACTIONS[1:]).iterdir())
    assert left == ["t00", "t01", *(f"t{number:02d}" for number in range(8, 28))]
    gone = keeping.removed(bed.FakeMachine(root))
    assert [(entry["id"], entry["run"], entry["state"]) for entry in gone] == [(f"t{number:02d}", f"r{number // 2:02d}", "committed") for number in range(2, 8)]
    assert (root / keeping.REMOVED[1:]).stat().st_mode & 0o777 == 0o600
    keeping.prune(bed.FakeMachine(root))
    assert sorted(path.name for path in (root / lock.TRANSACTIONS[1:]).iterdir()) == ["t01", *(f"t{number:02d}" for number in range(8, 28))]
    assert [entry["id"] for entry in keeping.removed(bed.FakeMachine(root))][-1] == "t00"


def test_transactions_are_numbered_whatever_the_clock_says(root: Path) -> None:
    for number in (1, 2, 3):
        machine = bed.FakeMachine(root)
        machine.time = 5000.0 - number  # it goes back
        name = f"t{number}"
        directory = launch.launch(machine, request(root, name, steps=[], run=name))["directory"]
        bed.execute(root, directory)
        assert keeping.job_of(machine, name)["number"] == number
    (root / keeping.REMOVED[1:]).write_text(json.dumps({"id": "t9", "run": "r9", "number": 9}) + '\n{"id"\n[]\n')
    assert keeping.next_number(bed.FakeMachine(root)) == 10


def test_follow_reads_on_from_where_it_was(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    bed.execute(root, directory)
    machine = bed.FakeMachine(root)
    machine.answers["systemctl show"] = bed.RunResult(0, "ActiveState=inactive\n", "")
    first = follow.follow(machine, {"id": "t1", "offset": 0, "wait_s": 0})
    assert first["state"] == "committed" and first["alive"] is False
    half = len(json.dumps(first["lines"][0], separators=(",", ":"))) + 1
    rest = follow.follow(machine, {"id": "t1", "offset": half, "wait_s": 0})
    assert rest["lines"] == first["lines"][1:]
    assert follow.follow(machine, {"id": "t1", "offset": first["offset"], "wait_s": 30})["lines"] == []
    assert machine.time == 1000


def test_follow_waits_for_a_live_transaction_no_longer_than_asked(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    bed.execute(root, directory)
    machine = bed.FakeMachine(root)
    machine.answers["systemctl show"] = bed.RunResult(0, "ActiveState=active\n", "")
    offset = follow.follow(machine, {"id": "t1", "offset": 0, "wait_s": 0})["offset"]
    found = follow.follow(machine, {"id": "t1", "offset": offset, "wait_s": 7})
    assert (found["lines"], found["alive"]) == ([], True)
    assert 1007 <= machine.time < 1008


def test_follow_never_shows_a_torn_line(root: Path) -> None:
    directory = bed.lay(root, [])
    (root / directory[1:] / "journal.jsonl").write_bytes(b'{"seq":1,"at":1,"event":"begin","step":"","mess')
    machine = bed.FakeMachine(root)
    found = follow.follow(machine, {"id": "t1", "offset": 0, "wait_s": 0})
    assert (found["lines"], found["offset"], found["state"]) == ([], 0, "open")


@pytest.mark.parametrize("name", ["nobody", "../../etc", ""])
def test_follow_of_an_unknown_transaction_is_an_error(root: Path, name: str) -> None:
    with pytest.raises(JobError, match="no transaction"):
        follow.follow(bed.FakeMachine(root), {"id": name})


def recovered(root: Path, **answers: bed.RunResult) -> dict[str, Any]:
    machine = bed.FakeMachine(root)
    machine.answers.update({key.replace("_", " "): value for key, value in answers.items()})
    return recover.recover(machine, {"schema": 1, "id": None}, node=bed.FakeNode(machine), tools=bed.FakeTools())


def test_recover_undoes_what_is_open_and_says_how_it_ended(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(40, "before"))
    found = recovered(root)
    assert [(one["id"], one["run"], one["state"], one["healthy"]) for one in found["transactions"]] == [("t1", "r1", "undone", True)]
    assert bed.tree(root) == old
    assert recovered(root)["transactions"] == []


def test_recover_leaves_a_live_transaction_alone(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(40, "before"))
    before = len(Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines)
    with lock.hold(bed.FakeMachine(root), "t1"):
        assert recovered(root)["transactions"][0]["state"] == "running"
    found = recovered(root, systemctl_show=bed.RunResult(0, "ActiveState=deactivating\n", ""))
    assert found["transactions"][0]["state"] == "running"
    assert len(Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines) == before


def test_recover_reports_a_job_that_cannot_be_read(root: Path) -> None:
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(40, "before"))
    (root / directory[1:] / "job.json").write_text("{")
    found = recovered(root)["transactions"][0]
    assert found["state"] == "failed" and "job.json" in found["cause"]


def test_recover_goes_on_with_an_undo_that_failed(root: Path) -> None:
    old = bed.tree(root)
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(40, "before"))
    Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").add("end", "", "undo failed", {"state": "failed", "cause": "x", "advice": "y"})
    found = recovered(root)["transactions"]
    assert [(one["id"], one["state"]) for one in found] == [("t1", "undone")] and bed.tree(root) == old


def test_visit_recovers_what_is_open_and_what_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    journals: list[dict[str, str]] = []
    monkeypatch.setattr(visit.observe, "main", lambda request, run: {"journals": journals})
    monkeypatch.setattr(recover, "main", lambda request, run: {"transactions": calls.append("recovered") or ["t"]})
    for state, wanted in (("committed", []), ("undone", []), ("open", ["t"]), ("failed", ["t"])):
        journals[:] = [{"state": state}]
        assert visit.main({}, bed.FakeMachine(Path("/")).systemd)["recovered"] == wanted


def test_an_unexpected_error_of_one_transaction_keeps_recover_from_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("t1", "t2"):
        bed.lay(root, [], name)

    def fails(machine: Any, directory: str, **_: Any) -> str:
        raise KeyError("token=abc")

    monkeypatch.setattr(recover.transaction, "recover_job", fails)
    found = recovered(root)["transactions"]
    assert [one["state"] for one in found] == ["failed"] * 2 and "KeyError" in found[0]["cause"] and "abc" not in str(found)


def test_the_boot_unit_runs_before_the_kubelet_and_never_with_a_mere_restart_of_it(root: Path) -> None:
    machine = bed.FakeMachine(root)
    units.arm(machine, "t1", "/var/lib/ninepaths/transactions/t1", {})
    text = (root / units.UNITS[1:] / units.BOOT_UNIT).read_text()
    assert "Before=kubelet.service" in text and "program.py boot" in text
    assert (root / units.WANTS[1:] / units.BOOT_UNIT).is_symlink()
    assert "kubelet.service.wants" not in units.WANTS
    units.disarm(machine, "t2", "/var/lib/ninepaths/transactions/t2")
    assert (root / units.UNITS[1:] / units.BOOT_UNIT).exists()
    units.disarm(machine, "t1", "/var/lib/ninepaths/transactions/t1")
    assert not (root / units.UNITS[1:] / units.BOOT_UNIT).exists() and not (root / units.WANTS[1:] / units.BOOT_UNIT).is_symlink()


@pytest.mark.parametrize(("state", "told"), [("loaded", True), ("not-found", False)])
def test_systemd_forgets_the_boot_unit_where_it_has_read_it(root: Path, state: str, told: bool) -> None:
    """It does where the transaction had it read its units again."""
    machine = bed.FakeMachine(root)
    machine.answers["systemctl show --property=LoadState ninepaths-recover.service"] = bed.RunResult(0, f"LoadState={state}\n", "")
    units.arm(machine, "t1", "/var/lib/ninepaths/transactions/t1", {})
    units.disarm(machine, "t1", "/var/lib/ninepaths/transactions/t1")
    assert (["systemctl", "daemon-reload"] in machine.commands) is told
