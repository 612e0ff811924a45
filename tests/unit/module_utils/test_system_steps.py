# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, units and kernel parameters: done once, undone exactly as far as they were done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

FAILING = {"op": "sysctls", "values": {"vm.refuses": "1"}}


class System(bed.FakeMachine):
    """sysctl writes below the prefix; vm.refuses never changes."""

    def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
        self.commands.append(list(argv))
        if argv[0] == "sysctl":
            key, _, value = argv[-1].partition("=")
            if key != "vm.refuses":
                Path(self.at("/proc/sys/" + key.replace(".", "/"))).write_text(value + "\n")
        line = " ".join(argv)
        return next((answer for start, answer in self.answers.items() if line.startswith(start)), bed.RunResult(0, "", ""))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    for name in ("overcommit_memory", "refuses"):
        (tmp_path / "proc/sys/vm").mkdir(exist_ok=True)
        (tmp_path / f"proc/sys/vm/{name}").write_text("0\n")
    return tmp_path


def act(root: Path, steps: list[dict[str, Any]], **answers: bed.RunResult) -> tuple[str, System, list[dict[str, Any]]]:
    machine = System(root)
    machine.answers.update({key.replace("_", " "): value for key, value in answers.items()})
    directory = bed.lay(root, steps)
    state = transaction.run_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools())
    return state, machine, Journal(machine, f"{directory}/journal.jsonl").lines


def test_kernel_parameters_are_set_and_put_back(root: Path) -> None:
    step = {"op": "sysctls", "values": {"vm.overcommit_memory": "1"}}
    assert act(root, [step])[0] == "committed"
    assert (root / "proc/sys/vm/overcommit_memory").read_text() == "1\n"


def test_a_parameter_that_does_not_keep_its_value_undoes_the_others(root: Path) -> None:
    state, _, lines = act(root, [{"op": "sysctls", "values": {"vm.overcommit_memory": "1"}}, FAILING])
    assert state == "undone" and (root / "proc/sys/vm/overcommit_memory").read_text() == "0\n"
    assert "vm.refuses does not keep 1" in lines[-1]["data"]["cause"]


def test_a_parameter_that_the_kernel_lacks_stops_before_anything(root: Path) -> None:
    state, machine, lines = act(root, [{"op": "sysctls", "values": {"vm.nowhere": "1"}}])
    assert state == "undone" and "vm.nowhere" in lines[-1]["data"]["cause"]
    assert not any(command[0] == "sysctl" for command in machine.commands)


def test_only_units_that_were_not_so_already_are_undone(root: Path) -> None:
    step = {"op": "units", "daemon_reload": True, "enable": ["a.timer", "b.timer"], "start": ["a.timer"]}
    _, machine, _ = act(root, [step, FAILING], systemctl___quiet_is=bed.RunResult(0, "", ""))
    machine = System(root)
    machine.answers["systemctl --quiet is-enabled b.timer"] = bed.RunResult(0, "", "")
    machine.answers["systemctl --quiet is-"] = bed.RunResult(1, "", "")
    directory = bed.lay(root, [step, FAILING], "t2")
    transaction.run_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools())
    done = [
        " ".join(command[1:])
        for command in machine.commands
        if command[0] == "systemctl" and command[1] in ("enable", "disable", "start", "stop")
    ]
    assert done[:2] == ["enable a.timer", "start a.timer"]
    assert done[2] == "stop a.timer"
    assert ["systemctl", "--no-reload", "disable", "a.timer"] in machine.commands
    assert not any("b.timer" in line for line in done)


def test_units_are_forgotten_after_their_files_are_gone(root: Path) -> None:
    """A unit is disabled while its file is there, and systemd reads its units again only when it is not."""
    unit = "/etc/systemd/system/a.timer"
    seen: list[tuple[str, bool]] = []

    class Watching(System):
        def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
            if argv[0] == "systemctl":
                seen.append((argv[-2] if argv[-1] == "a.timer" else argv[-1], Path(self.at(unit)).exists()))
            return super().systemd(argv, stdin=stdin, timeout=timeout)

    machine = Watching(root)
    machine.answers["systemctl --quiet is-"] = bed.RunResult(1, "", "")
    files = {"op": "files", "files": [bed.change(root, unit, b"[Timer]\n", "0644")]}
    units = {"op": "units", "daemon_reload": True, "enable": ["a.timer"], "start": ["a.timer"]}
    directory = bed.lay(root, [files, units, FAILING])
    assert transaction.run_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools()) == "undone"
    assert seen[seen.index(("start", True)) + 1 :][:3] == [("disable", True), ("stop", False), ("daemon-reload", False)]


def test_an_account_is_made_and_removed_again(root: Path) -> None:
    step = {"op": "account", "name": "np-nobody-has-this", "home": "/var/lib/etcd"}
    state, machine, _ = act(root, [step])
    assert state == "committed"
    made = [command[0] for command in machine.commands]
    assert made.index("groupadd") < made.index("useradd")


def accounts_of(monkeypatch: pytest.MonkeyPatch, **known: Any) -> dict[str, Any]:
    monkeypatch.setattr(accounts, "known", lambda name: dict(known))
    return known


def test_an_account_comes_back_with_its_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts_of(monkeypatch)
    _, machine, _ = act(root, [{"op": "account", "name": "etcd", "home": "/var/lib/etcd", "uid": 997, "gid": 996}])
    (group,) = (command for command in machine.commands if command[0] == "groupadd")
    (user,) = (command for command in machine.commands if command[0] == "useradd")
    assert group == ["groupadd", "--system", "--gid", "996", "etcd"] and user[user.index("--uid") + 1] == "997"


def test_an_account_is_removed_and_an_undo_makes_it_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"user": {"uid": 997, "gid": 996, "home": "/var/lib/etcd"}, "group": {"gid": 996}}
    monkeypatch.setattr(accounts, "known", lambda name: dict(known))

    class Going(System):
        def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
            if argv[0] in ("userdel", "groupdel"):
                known.pop({"userdel": "user", "groupdel": "group"}[argv[0]], None)
            return super().systemd(argv, stdin=stdin, timeout=timeout)

    machine = Going(root)
    machine.answers["pgrep"] = bed.RunResult(1, "", "")
    directory = bed.lay(root, [{"op": "remove_account", "name": "etcd", "kinds": ["user", "group"]}, FAILING])
    assert transaction.run_job(machine, directory, node=bed.FakeNode(machine), tools=bed.FakeTools()) == "undone"
    done = [command for command in machine.commands if command[0] in ("userdel", "groupdel", "useradd", "groupadd")]
    assert done[:3] == [["userdel", "etcd"], ["groupdel", "etcd"], ["groupadd", "--system", "--gid", "996", "etcd"]]
    assert done[3][:6] == ["useradd", "--system", "--uid", "997", "--gid", "etcd"] and len(done) == 4


def test_an_account_that_runs_something_is_not_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts_of(monkeypatch, user={"uid": 997, "gid": 996, "home": "/"})
    state, machine, lines = act(root, [{"op": "remove_account", "name": "etcd", "kinds": ["user"]}])
    assert state == "undone" and "processes run as it" in lines[-1]["data"]["cause"]
    assert not any(command[0] == "userdel" for command in machine.commands)


def test_units_that_were_stopped_and_disabled_are_as_before_after_an_undo(root: Path) -> None:
    """Their files are removed in the same job: they are enabled again once these are back, and started after systemd has read them."""
    unit = "/etc/systemd/system/a.timer"
    (root / unit[1:]).write_text("[Timer]\n")
    state_of = {"enabled": True, "active": True}
    becomes = {"stop": {"active": False}, "start": {"active": True}, "enable": {"enabled": True}, "disable": {"enabled": False}}
    seen: list[tuple[str, bool]] = []

    class Watching(System):
        def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
            verb = next((word for word in argv[1:] if not word.startswith("-")), "")
            if argv[0] == "systemctl" and (argv[-1] == "a.timer" or verb == "daemon-reload"):
                if verb.startswith("is-"):
                    return bed.RunResult(0 if state_of[verb[3:]] else 1, "", "")
                seen.append((verb, Path(self.at(unit)).exists()))
                state_of.update(becomes.get(verb, {}))
            return super().systemd(argv, stdin=stdin, timeout=timeout)

    machine = Watching(root)
    gone = {**bed.change(root, unit, None, kind="absent"), "mode": None}
    steps = [{"op": "units", "stop": ["a.timer"], "disable": ["a.timer"]}, {"op": "files", "files": [gone]}, {"op": "units", "daemon_reload": True}, FAILING]
    assert transaction.run_job(machine, bed.lay(root, steps), node=bed.FakeNode(machine), tools=bed.FakeTools()) == "undone"
    assert seen == [("stop", True), ("disable", True), ("daemon-reload", False), ("enable", True), ("daemon-reload", True), ("start", True)]
    assert state_of == {"enabled": True, "active": True}


def test_a_unit_whose_file_is_gone_is_forgotten_after_the_reload(root: Path) -> None:
    _, machine, _ = act(root, [{"op": "units", "daemon_reload": True, "gone": ["a.service"]}])
    done = [command[1:] for command in machine.commands if command[0] == "systemctl"]
    first = done.index(["daemon-reload"])
    assert done[first + 1 : first + 3] == [["stop", "a.service"], ["reset-failed", "a.service"]]


@pytest.mark.parametrize(
    "step",
    [
        {"op": "units", "gone": ["--all"]},
        {"op": "remove_account", "name": "etcd", "kinds": []},
        {"op": "remove_account", "name": "etcd", "kinds": ["home"]},
        {"op": "remove_account", "name": "-x", "kinds": ["user"]},
        {"op": "account", "name": "etcd", "uid": "0 --non-unique"},
        {"op": "units", "stop": ["kubelet.service"]},
        {"op": "units", "disable": ["--now"]},
        {"op": "account", "name": "root; rm -rf /", "home": "/x"},
        {"op": "account", "name": "-x", "home": "/x"},
        {"op": "units", "start": ["kubelet.service"]},
        {"op": "units", "start": ["--now"]},
        {"op": "sysctls", "values": {"../../etc/passwd": "1"}},
        {"op": "sysctls", "values": {"kernel.x/../../y": "1"}},
        {"op": "shell", "command": "x"},
        {"op": "files"},
        {"op": "sysctls", "values": ["x"]},
        {"op": "static_pods", "changes": {"etcd": {}}},
        {},
    ],
)
def test_hostile_steps_are_refused(root: Path, step: dict[str, Any]) -> None:
    state, machine, lines = act(root, [step])
    assert state == "undone" and machine.commands == []
    assert lines[-1]["message"].startswith("nothing was changed")
