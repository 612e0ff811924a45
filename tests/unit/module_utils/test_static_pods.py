# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a roll, and what counts as the new process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import static_pods
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    return tmp_path


def job(root: Path, *components: str, flag: str = "--new", **fields: Any) -> str:
    changes = {name: {**bed.pod_change(root, name, flag), **fields} for name in components}
    return bed.lay(root, [{"op": "static_pods", "changes": changes}])


def end(root: Path, directory: str) -> dict[str, Any]:
    return Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines[-1]


ALL = ("kube-scheduler", "kube-controller-manager", "etcd", "kube-apiserver")


def test_apiserver_then_etcd_then_the_two_others(root: Path) -> None:
    _, _, node = bed.execute(root, job(root, *ALL))
    assert node.log == ["kube-apiserver --new", "etcd --new", "kube-controller-manager --new", "kube-scheduler --new"]


def test_leadership_moves_after_the_apiserver_has_gone_and_before_etcd(root: Path) -> None:
    events: list[str] = []

    class Tools(bed.FakeTools):
        def hand_over_leadership(self, context: Any, argv: Any) -> str:
            events.extend(context.node.log)
            assert argv == ("etcd", "--old")
            return super().hand_over_leadership(context, argv)

    tools = Tools()
    bed.execute(root, job(root, *ALL), tools=tools)
    assert events == ["kube-apiserver --new"]
    assert tools.log == [*["pressure checked", "quorum checked"] * 2, "quorum checked", "leader moved"]


def test_a_kubelet_that_stops_during_the_trial_starts_keeps_the_old_manifests(root: Path) -> None:
    class Tools(bed.FakeTools):
        def check_pressure(self) -> None:
            super().check_pressure()
            if len(self.log) > 1:
                raise PreconditionError("the kubelet does not run on this host", "mend it first")

    old, directory = bed.tree(root), job(root, "kube-scheduler")
    state, _, node = bed.execute(root, directory, tools=Tools())
    assert (state, node.log, bed.tree(root)) == ("undone", [], old)


@pytest.mark.parametrize(("asked", "rolled"), [(2, []), (3, ["kube-apiserver"])])
def test_a_quorum_that_is_lost_meanwhile_leaves_etcd_alone(root: Path, asked: int, rolled: list[str]) -> None:
    class Lost(bed.FakeTools):
        def check_quorum(self, context: Any, argv: Any) -> None:
            super().check_quorum(context, argv)
            if self.log.count("quorum checked") == asked:
                raise PreconditionError("etcd would lose its quorum", "make cp2 healthy")

    tools, directory, old = Lost(), job(root, *ALL), bed.tree(root)
    state, machine, node = bed.execute(root, directory, tools=tools)
    assert (state, bed.tree(root)) == ("undone", old)
    assert node.log == [f"{name} {flag}" for name in rolled for flag in ("--new", "--old")]
    lines = Journal(machine, f"{directory}/journal.jsonl").lines
    assert not any(line["event"] == "step" and "etcd.yaml" in line["message"] for line in lines)
    assert tools.log[-1] == "quorum checked" and "lose its quorum" in lines[-1]["data"]["cause"]


def test_etcd_waits_until_the_old_apiserver_has_gone(root: Path) -> None:
    directory = job(root, "kube-apiserver", "etcd")
    node = warmed(bed.FakeNode(bed.FakeMachine(root)))
    old = node.pids["kube-apiserver"]
    state, real, _ = bed.execute(root, directory, node=Late(node, old[1], old[0]))
    assert state == "committed"
    lines = Journal(real, f"{directory}/journal.jsonl").lines
    gone = next(line for line in lines if "old process gone after" in line["message"])
    etcd = next(line for line in lines if "etcd: new manifest" in line["message"])
    assert gone["seq"] < etcd["seq"] and "30." in gone["message"]


class Late:
    """Passes on to a node, but keeps its old apiserver alive for 30 s of the waiting machine's time."""

    name = "cp1"

    def __init__(self, node: bed.FakeNode, pid: int, uid: str) -> None:
        self.node, self.pid, self.uid, self.asked = node, pid, uid, 0

    def running(self, component: str) -> list[Running]:
        found = bed.FakeNode.running(self.node, component)
        if component == "kube-apiserver" and self.node.log:
            self.asked += 1
            if self.asked <= 121:  # four times a second
                return [Running(self.pid, 1.0, self.uid, ("kube-apiserver", "--old"))]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def test_a_component_with_two_processes_is_not_touched(root: Path) -> None:
    class Twice(bed.FakeNode):
        def running(self, component: str) -> list[Running]:
            return super().running(component) * 2

    directory = job(root, "kube-scheduler")
    machine = bed.FakeMachine(root)
    state, _, _ = bed.execute(root, directory, node=Twice(machine))
    assert state == "undone"
    assert "2 processes" in end(root, directory)["data"]["cause"]


def test_a_component_that_restarts_in_the_moment_of_the_check_is_waited_for(root: Path) -> None:
    class Away(bed.FakeNode):
        asked_for = 0

        def running(self, component: str) -> list[Running]:
            self.asked_for += 1
            return [] if self.asked_for < 40 else super().running(component)

    directory = job(root, "kube-scheduler")
    assert bed.execute(root, directory, node=Away(bed.FakeMachine(root)))[0] == "committed"


def test_another_pod_than_the_observed_one_is_refused(root: Path) -> None:
    directory = job(root, "kube-scheduler", old={"pid": 1, "started": 1.0, "uid": "f" * 32})
    state, _, node = bed.execute(root, directory)
    assert (state, node.log) == ("undone", [])
    assert "another pod than the one observed" in end(root, directory)["data"]["cause"]


def test_a_restart_since_the_observation_is_no_obstacle(root: Path) -> None:
    assert bed.execute(root, job(root, "kube-scheduler", old={"pid": 1, "started": 1.0, "uid": None}))[0] == "committed"


def test_a_probe_that_fails_is_not_success_although_the_process_runs(root: Path) -> None:
    directory = job(root, "kube-apiserver", flag="--ill")
    state, machine, _ = bed.execute(root, directory)
    assert state == "undone" and machine.time - 1000 >= static_pods.READY["kube-apiserver"]
    assert "readiness probe /readyz on port 1: 503" in end(root, directory)["data"]["cause"]


def test_probes_that_want_a_credential_are_not_waited_for(root: Path) -> None:
    directory = job(root, "kube-apiserver", flag="--unauthorized")
    state, machine, _ = bed.execute(root, directory)
    assert state == "undone" and static_pods.CREDENTIAL_WANTED <= machine.time - 1000 < static_pods.READY["kube-apiserver"]
    assert "wants a credential of its own probes" in end(root, directory)["data"]["cause"]


def test_a_kubelet_that_never_calls_it_ready_is_undone(root: Path) -> None:
    class Never(bed.FakeTools):
        def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
            return False

    old = bed.tree(root)
    assert bed.execute(root, job(root, "kube-scheduler"), tools=Never())[0] == "undone"
    assert bed.tree(root) == old


def test_not_healthy_after_the_undo_is_said_honestly(root: Path) -> None:
    class Lost(bed.FakeNode):
        """What stops never starts again: its image is gone."""

        def running(self, component: str) -> list[Running]:
            found = super().running(component)
            return [] if self.log else found

    machine = bed.FakeMachine(root)
    directory = job(root, "kube-scheduler")
    state, _, _ = bed.execute(root, directory, node=warmed(Lost(machine)))
    data = end(root, directory)["data"]
    assert (state, data["state"], data["healthy"]) == ("undone", "undone", False)
    assert "kube-scheduler" in data["ill"][0]


def warmed(node: bed.FakeNode) -> bed.FakeNode:
    for name in ALL:
        node.running(name)
    node.log.clear()
    return node


def test_starts_of_a_former_life_do_not_count(root: Path) -> None:
    class Reborn(bed.FakeNode):
        """The new manifest is one that ran before: its log directory is there with many starts, and its first process takes a while."""

        def running(self, component: str) -> list[Running]:
            found = super().running(component)
            return found if not self.log or self.machine.time > 1010 else []

        def starts(self, component: str, uid: str) -> int:
            return 17

    machine = bed.FakeMachine(root)
    directory = job(root, "kube-scheduler")
    node = warmed(Reborn(machine))

    def sleep(seconds: float) -> None:
        machine.time += seconds

    node.machine.sleep = sleep  # type: ignore[method-assign]
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction

    assert transaction.run_job(machine, directory, node=node, tools=bed.FakeTools()) == "committed"


def test_an_undo_goes_dependants_first(root: Path) -> None:
    class Never(bed.FakeTools):
        def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
            return False

    directory = job(root, *ALL)
    bed.execute(root, directory, tools=Never())
    lines = Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines
    back = [line["message"].partition(":")[0] for line in lines if "old manifest back" in line["message"]]
    assert back == ["kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"]


def test_differences_name_arguments_never_values() -> None:
    text = static_pods.difference(["a", "--token=abc", "--x=1"], ["a", "--x=1"])
    assert "--token" in text and "abc" not in text


def test_only_components_of_the_control_plane(root: Path) -> None:
    change = bed.pod_change(root, "etcd", "--new")
    directory = bed.lay(root, [{"op": "static_pods", "changes": {"kube-proxy": change}}])
    assert bed.execute(root, directory)[0] == "undone"
    assert "kube-proxy is none of" in end(root, directory)["data"]["cause"]


def test_a_path_is_changed_once_per_job(root: Path) -> None:
    step = {"op": "files", "files": [bed.change(root, "/etc/kubernetes/audit.yaml", b"new")]}
    directory = bed.lay(root, [step, step])
    assert bed.execute(root, directory)[0] == "undone"
    assert "changed twice in one job" in end(root, directory)["data"]["cause"]
