# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kubelet counts as done when node, Lease and static pods are known again, and has its old files back when they are not."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import ValidationError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

CONFIG = "/var/lib/kubelet/config.yaml"


class Kubelet(bed.FakeMachine):
    """systemd with a kubelet: each restart gives a new process that read the files of that moment; `bad` text makes it end at once."""

    def __init__(self, root: Path, files: Any = None) -> None:
        super().__init__(root, files)
        self.pid, self.started, self.restarts = 50, 1.0, 0
        self.text = self.config()

    def config(self) -> str:
        return Path(self.at(CONFIG)).read_text()

    def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
        if list(argv[:2]) == ["systemctl", "restart"]:
            self.time += 0.1
            self.pid, self.started, self.text = self.pid + 1, self.time, self.config()
            self.restarts += 1
        if list(argv[:2]) == ["systemctl", "show"] and argv[-1] == "kubelet.service":
            alive = "exits" not in self.text
            state = f"ActiveState={'active' if alive else 'activating'}\nMainPID={self.pid if alive else 0}\n"
            return bed.RunResult(0, f"{state}ExecMainStartTimestampMonotonic={int(self.started * 1e6)}\n", "")
        return super().systemd(argv, stdin=stdin, timeout=timeout)


class Tools(bed.FakeTools):
    """Helpers; `machine` tells them what the running kubelet has read."""

    machine: Kubelet

    def validate_kubelet(self, context: Any, pid: int, argv: Any) -> str:
        if "refused" in self.machine.config():
            raise ValidationError("the kubelet refuses its new configuration", "correct it")
        return "accepted"

    def forget_kubelet_api(self) -> None:
        self.log.append("forgotten")

    def argv_of(self, pid: int) -> list[str]:
        return ["kubelet", "--config=x"]

    def unit_words(self, unit: str) -> str:
        return "failed to run Kubelet" if "exits" in self.machine.text else ""

    def node_is_back(self, since: float) -> bool:
        if "notready" in self.machine.text:
            raise Waiting("Node not Ready")
        return True

    def static_pods_known(self) -> bool:
        return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    (tmp_path / "var/lib/kubelet").mkdir()
    (tmp_path / CONFIG[1:]).write_text("old")
    (tmp_path / CONFIG[1:]).chmod(0o644)
    return tmp_path


def lay(root: Path, content: str, argv: list[str] | None = None) -> str:
    step = {"op": "kubelet", "files": [bed.change(root, CONFIG, content.encode())], "expect": {"argv": argv}}
    return bed.lay(root, [step])


def act(root: Path, directory: str, mode: str = "run", files: Any = None, machine: Kubelet | None = None) -> tuple[str, Kubelet]:
    machine = machine or Kubelet(root, files)
    tools = Tools()
    tools.machine = machine
    action = {"run": transaction.run_job, "recover": transaction.recover_job, "boot": transaction.boot_job}[mode]
    return action(machine, directory, node=bed.FakeNode(machine), tools=tools), machine


def end(root: Path, directory: str) -> dict[str, Any]:
    return Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines[-1]


def test_one_restart_and_proof(root: Path) -> None:
    directory = lay(root, "new")
    state, machine = act(root, directory)
    assert (state, machine.restarts, machine.text) == ("committed", 1, "new")
    messages = [line["message"] for line in Journal(machine, f"{directory}/journal.jsonl").lines]
    assert any("its Node is Ready, its Lease renewed" in message for message in messages)
    assert any("it knows its static pods again" in message for message in messages)
    assert not any("after 0.0 s" in message or "until answers" in message for message in messages)


@pytest.mark.parametrize(("content", "cause"), [("exits", "failed to run Kubelet"), ("notready", "Node not Ready")])
def test_a_kubelet_that_does_not_come_back_gets_its_old_files(root: Path, content: str, cause: str) -> None:
    old = bed.tree(root)
    directory = lay(root, content)
    state, machine = act(root, directory)
    data = end(root, directory)["data"]
    assert (state, data["healthy"], machine.restarts, machine.text) == ("undone", True, 2, "old")
    assert cause in data["cause"]
    assert bed.tree(root) == old


def test_a_configuration_that_the_binary_refuses_restarts_nothing(root: Path) -> None:
    state, machine = act(root, lay(root, "refused"))
    assert (state, machine.restarts, machine.config()) == ("undone", 0, "old")


def test_a_kubelet_that_somebody_else_restarted_gets_its_old_configuration_back(root: Path) -> None:
    """systemd, or an upgrade of the package, between our writing and the refusal."""
    directory, machine = lay(root, "refused"), Kubelet(root)
    tools = Tools()
    tools.machine = machine

    def refuse(context: Any, pid: int, argv: Any) -> str:
        machine.systemd(["systemctl", "restart", "kubelet.service"])
        machine.sleep(1.0)
        raise ValidationError("the kubelet refuses its new configuration", "correct it")

    tools.validate_kubelet = refuse  # type: ignore[method-assign]
    assert transaction.run_job(machine, directory, node=bed.FakeNode(machine), tools=tools) == "undone"
    assert (machine.restarts, machine.text, machine.config()) == (2, "old", "old")
    assert any("its Node is Ready, its Lease renewed" in line["message"] for line in Journal(machine, f"{directory}/journal.jsonl").lines)


def test_a_restart_before_the_first_file_was_written_needs_no_other(root: Path) -> None:
    directory, machine = lay(root, "new"), Kubelet(root, bed.FaultyFiles())
    files: Any = machine.files
    act(root, directory, machine=machine)
    backup = next(number for number, call in enumerate(files.seen, 1) if "/backup/" in call)
    root2 = root / "again"
    bed.make_tree(root2)
    (root2 / "var/lib/kubelet").mkdir()
    (root2 / CONFIG[1:]).write_text("old")
    directory, machine = lay(root2, "new"), Kubelet(root2, bed.FaultyFiles(backup - 1, "before"))
    with contextlib.suppress(bed.Killed):
        act(root2, directory, machine=machine)
    again = Kubelet(root2)
    again.pid += 1
    state, _ = act(root2, directory, "recover", machine=again)
    assert (state, again.restarts, again.config()) == ("undone", 0, "old")


def test_the_health_port_is_that_of_the_kubelets_own_configuration(root: Path) -> None:
    asked: list[Any] = []

    class Node(bed.FakeNode):
        def probe(self, pod_probes: Any) -> Any:
            asked.extend((probe["host"], probe["port"]) for probe in pod_probes.values())
            return super().probe(pod_probes)

    (root / "etc/kubernetes/kubelet-config.yaml").write_text("healthzBindAddress: 10.0.0.1\nhealthzPort: 10999\n")
    machine, tools = Kubelet(root), Tools()
    tools.machine = machine
    tools.argv_of = lambda pid: ["kubelet", "--config=/etc/kubernetes/kubelet-config.yaml"]  # type: ignore[method-assign]
    assert transaction.run_job(machine, lay(root, "new"), node=Node(machine), tools=tools) == "committed"
    assert asked == [("10.0.0.1", 10999)]


def test_arguments_that_another_file_overrides_are_noticed(root: Path) -> None:
    directory = lay(root, "new", ["kubelet", "--config=y"])
    assert act(root, directory)[0] == "undone"
    assert "other arguments than planned (--config)" in end(root, directory)["data"]["cause"]


def test_a_kubelet_that_does_not_run_is_not_touched(root: Path) -> None:
    (root / CONFIG[1:]).write_text("exits")
    directory = lay(root, "new")
    assert act(root, directory)[0] == "undone"
    assert "does not run on this host" in end(root, directory)["data"]["cause"]


def test_killed_at_any_call_the_kubelet_runs_with_the_files_that_are_there(tmp_path: Path) -> None:
    def make(name: str) -> Path:
        root = tmp_path / name
        bed.make_tree(root)
        (root / "var/lib/kubelet").mkdir()
        (root / CONFIG[1:]).write_text("old")
        return root

    root = make("count")
    files = bed.FaultyFiles()
    act(root, lay(root, "new"), files=files)
    for at in range(1, files.count + 1):
        root = make(str(at))
        directory = lay(root, "new")
        machine = Kubelet(root, bed.FaultyFiles(at, "after"))
        with contextlib.suppress(bed.Killed):
            act(root, directory, machine=machine)
        again = Kubelet(root)
        again.pid, again.started, again.text, again.time = machine.pid, machine.started, machine.text, machine.time + 1
        state, _ = act(root, directory, "recover", machine=again)
        assert again.text == again.config() == ("new" if state == "committed" else "old"), f"call {at}"


def test_an_undo_that_fails_again_and_again_restarts_the_kubelet_once(root: Path) -> None:
    directory = lay(root, "notready")
    machine = Kubelet(root)

    class Stuck(bed.QuickFiles):
        def rename(self, source: str, target: str) -> None:
            if source.endswith(".old"):
                raise PermissionError(1, "Operation not permitted", target)
            super().rename(source, target)

    machine.files = Stuck()
    assert act(root, directory, machine=machine)[0] == "failed"
    restarts = machine.restarts
    for _ in range(3):
        assert act(root, directory, "recover", machine=machine)[0] == "failed"
    assert machine.restarts == restarts == 2
    machine.files = bed.QuickFiles()
    assert act(root, directory, "recover", machine=machine)[0] == "undone"
    assert (machine.restarts, machine.text) == (3, "old")


def test_units_are_reloaded_when_a_drop_in_changes(root: Path) -> None:
    (root / "etc/systemd/system/kubelet.service.d").mkdir()
    change = bed.change(root, "/etc/systemd/system/kubelet.service.d/20-x.conf", b"[Service]\n", "0644")
    _, machine = act(root, bed.lay(root, [{"op": "kubelet", "files": [change], "expect": {"argv": None}}]))
    assert ["systemctl", "daemon-reload"] in machine.commands
