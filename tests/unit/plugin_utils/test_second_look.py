# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the control planes are touched: what is a surprise and what was only given up, and what somebody else has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import second_look
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import CONTROL_PLANES
from drifting import broken, hardened
from factories import MANIFESTS, NOW, Cluster, carried_out, cluster, planned

from tests.drift import edits

PATH = "/m/a.yaml"
SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"


def change(controls: list[str], wave: str = "control_planes", before: str = "0", after: str = "1", **more: Any) -> dict[str, Any]:
    return {"host": "cp1", "wave": wave, "file": PATH, "controls": controls, "before_sha256": before, "after_sha256": after, **more}


def plan(*changes: dict[str, Any], held: Any = (), **statuses: str) -> dict[str, Any]:
    controls = [{"id": name, "host": "cp1", "status": status} for name, status in statuses.items()]
    return {"changes": list(changes), "held": list(held), "controls": controls}


def found(predicted: Any, fresh: Any, before: Any = None, now: Any = None) -> list[second_look.Surprise]:
    return second_look.surprises(predicted, fresh, ["cp1"], before or {}, now or {})


@pytest.mark.parametrize(
    ("predicted", "fresh", "words"),
    [
        (plan(change(["a", "b"])), plan(change(["a", "b"])), None),
        (plan(change(["a", "b"])), plan(change(["a"], after="2"), b="held"), None),
        (plan(change(["a"])), plan(a="held"), None),
        (plan(), plan(change(["a"], wave="kubelets") | {"host": "w1"}), None),
        (plan(), plan(change(["a"], wave="files")), None),
        (plan(), plan(change(["a"], wave="certificates")), None),
        (plan(), plan(change(["a"])), "not planned when this run began"),
        (plan(change(["a"])), plan(change(["a", "b"], after="2")), "for b as well"),
        (plan(change(["a"])), plan(change(["a"], after="2")), "something else than was planned"),
        (plan(change(["a"])), plan(change(["a"], before="9")), "somebody else has changed it since this run began"),
        (plan(change(["a", "b"])), plan(change(["a"], before="9"), b="held"), "somebody else has changed it since this run began"),
        (plan(change(["a", "b"])), plan(change(["a"], before="9"), b="ok"), "somebody else has changed it since this run began"),
        (plan(change(["a"])), plan(a="ok"), "it was to change for a, and somebody else has done so"),
        (plan(change(["a"])), plan(change(["a"]) | {"host": "cp2"}, a="held"), "not planned when this run began"),
        (plan(change(["a"], wave="control_plane_kubelets")), plan(change(["a"], wave="control_plane_kubelets")), "although this run has seen to it"),
    ],
    ids=[
        "same", "one held", "all held", "a worker", "files", "a request for a certificate", "new file", "new control", "other result", "other file",
        "other file, one held", "other file, one done", "done by hand", "other host", "a kubelet once more",
    ],
)  # fmt: skip
def test_surprises(predicted: Any, fresh: Any, words: str | None) -> None:
    assert [words in surprise.cause for surprise in found(predicted, fresh)] == ([True] if words else [])


def test_objects_are_compared_as_files_are() -> None:
    thing = {key: value for key, value in change(["a"], wave="cluster").items() if key != "file"} | {"object": "ConfigMap kube-system/kubeadm-config"}
    assert found(plan(thing), plan(thing)) == []
    (surprise,) = found(plan(), plan(thing))
    assert surprise.as_error("x")["file"] == "ConfigMap kube-system/kubeadm-config"
    # On another host the control waits, so the cluster's own document does not say it either.
    assert found(plan(thing), {**plan(a="ok"), "controls": [{"id": "a", "host": "cp2", "status": "held"}]}) == []


def test_what_is_given_up_is_named_with_its_reason() -> None:
    held = [
        {"control": "a", "hosts": ["cp1"], "reason": "w3 serves no signed certificate"},
        {"control": "x", "hosts": ["cp1"], "reason": "was held before"},
    ]
    assert second_look.given_up(plan(change(["a", "b"])), plan(change(["b"], after="2"), held=held)) == ["a: w3 serves no signed certificate"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("- --a=1\n- --b=1\n", "- --b=2\n- --a=1\n", "(gone: --b=1; new: --b=2)"),
        ("a: 1\n", "a: 1\nb: 2\n", "(new: b: 2)"),
        ("a: 1\n", "", "(gone: a: 1)"),
        ("", "".join(f"line {number}\n" for number in range(9)), "(new: line 0, line 1, line 2, line 3 and 5 more lines)"),
        ("a: 1\n", "password: hunter2\na: 1\n", "(new: password: ********)"),
        ("same", "same", ""),
        (None, "new", ""),
    ],
)
def test_what_somebody_else_has_changed_is_told(old: str | None, new: str, words: str) -> None:
    before = {"cp1": {PATH: old}} if old is not None else {"cp1": {}}
    (surprise,) = found(plan(change(["a"])), plan(change(["a"], before="9")), before, {"cp1": {PATH: new}})
    assert surprise.cause == "somebody else has changed it since this run began" + (f" {words}" if words else "")
    assert (surprise.host, surprise.file) == ("cp1", PATH)


def again(first: Cluster, then: Cluster) -> list[str]:
    """What the second look says about a cluster that became another one after the first plan."""
    one, other = planned(first).as_dict(), planned(then, stage=CONTROL_PLANES).as_dict()
    texts = [second_look.documents(hosts, ["cp1"]) for hosts in (first, then)]
    return [f"{surprise.file}: {surprise.cause}" for surprise in second_look.surprises(one, other, ["cp1"], *texts)]


def after_the_kubelets(hosts: Cluster) -> Cluster:
    """The cluster as a run finds it when it comes to the control planes."""
    plan = planned(hosts)
    early = {name: {wave: job for wave, job in jobs.items() if wave not in second_look.LATE_WAVES} for name, jobs in plan.jobs.items()}
    after = carried_out(hosts, replace(plan, jobs=early))
    for name, jobs in early.items():
        for step in (step for job in jobs.values() for step in job["steps"]):
            for change in step.get("files", ()):
                after[name]["files"][change["path"]]["mtime"] = NOW  # newer than what reads it
    return after


PROFILING = edits.Flags("kube-scheduler", {"profiling": edits.Put(True)})
STARTS: dict[str, Cluster] = {
    "default": cluster(),
    "three control planes": cluster("1.36", 3, 2),
    "a flag": broken(hardened(), PROFILING),
    "a document edited": broken(hardened(), edits.Document("kube-apiserver", "audit-policy-file", "edit")),
    "a document deleted": broken(hardened(), edits.Document("kube-apiserver", "audit-policy-file", "delete")),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_run_does_not_surprise_itself(start: str) -> None:
    hosts = STARTS[start]
    assert "control_planes" in planned(hosts).jobs["cp1"]
    assert again(hosts, after_the_kubelets(hosts)) == []


def test_a_component_that_was_restarted_for_a_document_is_restarted_again_for_the_next_edit() -> None:
    hosts, marks = hardened(), []
    for _time in range(3):
        hosts = broken(hosts, edits.Document("kube-apiserver", "audit-policy-file", "edit"))
        plan = planned(hosts)
        assert plan.restarts == {"kube-apiserver": 1}
        hosts = carried_out(hosts, plan)
        assert planned(hosts).empty
        marks.append(hosts["cp1"]["files"][f"{MANIFESTS}/kube-apiserver.yaml"]["sha256"])
    assert len(set(marks)) == 3


def test_an_edit_of_somebody_else_is_told_with_file_and_lines() -> None:
    hosts = cluster()
    edited = broken(after_the_kubelets(hosts), edits.Flags("kube-scheduler", {"v": edits.Put(4)}))
    assert again(hosts, edited) == [f"{SCHEDULER}: somebody else has changed it since this run began (new: --v=4)"]


def test_who_does_what_the_run_was_to_do_is_told_too() -> None:
    hosts = broken(hardened(), PROFILING)
    mended = broken(hosts, edits.Flags("kube-scheduler", {"profiling": edits.Put(False)}))
    (told,) = again(hosts, mended)
    assert told == (
        f"{SCHEDULER}: it was to change for scheduler-profiling-off, and somebody else has done so since this run began"
        " (gone: --profiling=true; new: --profiling=false)"
    )


def test_an_edit_of_a_source_of_truth_is_told() -> None:
    hosts = broken(hardened(), edits.Arguments("kube-scheduler", {"profiling": edits.Put(True)}))
    edited = broken(hosts, edits.Arguments("kube-scheduler", {"v": edits.Put(4)}))
    (told,) = again(hosts, edited)
    assert told.startswith("ConfigMap kube-system/kubeadm-config: somebody else has changed it since this run began (new: name: v, value: '4')")
