# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the plays after the plan get to see, and when there are none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.action import observe, plan, report
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import WAVES

GROUPS = {"kube_control_plane": ["cp1", "cp2"], "etcd": ["cp1", "cp2"], "kube_node": ["w1", "w2"]}
VARIABLES = {"inventory_hostname": "localhost", "groups": GROUPS}
CLUSTER = {"name": "prod-1", "version": "v1.36.4", "layout": "kubeadm", "control_planes": 2, "nodes": 4}
EMPTY: dict[str, list[str]] = {name: [] for name in WAVES}
OBSERVATION = {"host": {"node": "x"}, "layout": "kubeadm", "kubelet": None, "proofs": [], "cluster": None}


def made(waves: dict[str, list[str]], **parts: Any) -> dict[str, Any]:
    changes = [
        {
            "host": host,
            "wave": wave,
            "controls": ["a"],
            "file": "/x",
            "before_sha256": "0",
            "after_sha256": "1",
            "diff": "-a\n+b\n",
            "reason": "r",
        }
        for wave, hosts in waves.items()
        for host in hosts
    ]
    rest = {"controls": [], "held": [], "warnings": [], "jobs": {}, "restarts": {}, "predicted": {}}
    return {"schema": 1, "digest": "ab" * 32, "cluster": CLUSTER, "changes": changes, "waves": {**EMPTY, **waves}, **rest, **parts}


@pytest.fixture
def act(make, tmp_path):
    """Run the plan action on a plan that is given, with all hosts observed."""

    def run(document: dict[str, Any], observed: tuple[str, ...] = ("cp1", "cp2", "w1", "w2"), **more: Any) -> Any:
        options = {"mode": "harden", "stage": "start", "digest": None, **more.pop("options", {})}
        variables = {**VARIABLES, "ninepaths_report_dir": str(tmp_path / "report"), **more.pop("variables", {})}
        action = make(plan.ActionModule, {}, **more)
        for host in observed:
            action.spool().put("observation", host, OBSERVATION)
        action.planned_stages = []
        action.plan_now = lambda _variables, stage="start": action.planned_stages.append(stage) or document
        return action, action.act(options, variables)

    return run


def test_an_empty_plan_names_nobody(act):
    action, result = act(made({}))
    assert not any(hosts for name, hosts in result["waves"].items() if name != "elected") and not result["changed"]
    assert action.spool().get("run", "waves") == result["waves"]


def test_late_waves_wait_for_the_second_plan(act):
    document = made({"files": ["cp1"], "kubelets": ["w1"], "control_planes": ["cp2", "cp1"], "cluster": ["cp1"]})
    action, result = act(document)
    waves = result["waves"]
    assert action.planned_stages == ["start"]
    assert "control_planes" not in waves and "cluster" not in waves
    assert (waves["observe_again"], waves["plan_again"], waves["elected"]) == (["cp1", "cp2"], ["cp1"], ["cp1"])
    assert waves["prove"] == ["cp1", "cp2", "w1"]
    action, again = act(document, options={"stage": "control_planes"})
    assert action.planned_stages == ["control_planes"], "a prediction must not let the apiserver verify kubelets"
    assert (again["waves"]["control_planes"], again["waves"]["cluster"]) == (["cp2", "cp1"], ["cp1"])


def test_workers_alone_need_no_second_plan(act):
    waves = act(made({"kubelets": ["w1"]}))[1]["waves"]
    assert (waves["observe_again"], waves["plan_again"], waves["elected"], waves["kubelets"]) == ([], [], ["cp1"], ["w1"])


def test_a_surprise_stops_before_the_control_planes(act):
    act(made({"control_planes": ["cp1"]}))
    with pytest.raises(ActionError, match="cp2: /x: it is to change"):
        act(made({"control_planes": ["cp1", "cp2"]}), options={"stage": "control_planes"})


@pytest.mark.parametrize("kind", [{"check_mode": True}, {"options": {"mode": "audit"}}])
def test_check_and_audit_touch_nobody(act, kind):
    action, result = act(made({"files": ["cp1"], "control_planes": ["cp1"]}), **kind)
    assert result["waves"] == {} and action.spool().get("run", "waves") == {}
    assert result["changed"] is False


def test_check_with_diff_shows_every_change_with_its_reason(act):
    action, result = act(made({"files": ["cp1"]}), check_mode=True, diff=True)
    assert [entry["prepared"] for entry in result["diff"]] == ["# cp1: /x (1 control)\n#   a\n-a\n+b\n"]
    assert ("-a", "bad") in action.lines and ("+b", "good") in action.lines, "Ansible shows differences of changed tasks only"
    action, result = act(made({"files": ["cp1"]}), check_mode=True)
    assert "diff" not in result and ("-a", "bad") not in action.lines


def test_a_plan_that_fails_is_told_once(make, tmp_path):
    action = make(plan.ActionModule, {})
    action.controls = lambda: ()
    error = {"host": "w1", "file": None, "cause": "its kubelet does not run", "advice": "start it, then run again"}
    failure = action.failed({**VARIABLES, "ninepaths_report_dir": str(tmp_path / "r")}, [error, {**error, "host": "w2"}])
    assert str(failure) == "w1: its kubelet does not run (and 1 more)" and failure.result == {}
    assert [line.text for line in action.lines] == [
        "error    w1: its kubelet does not run; start it, then run again",
        "error    w2: its kubelet does not run; start it, then run again",
        f"report   {tmp_path / 'r' / 'unknown' / 'report.json'}",
    ]
    assert str(action.failed(VARIABLES | {"ninepaths_report_dir": str(tmp_path / "r")}, [{**error, "host": None}])) == "its kubelet does not run"


def test_hosts_that_the_limit_left_out_are_not_what_is_wrong(make, tmp_path):
    action = make(plan.ActionModule, {})
    action.spool().put("unobserved", "w1", {"message": "cannot be reached: no route"})
    variables = {**VARIABLES, "ninepaths_report_dir": str(tmp_path / "r"), "ansible_limit": "w1"}
    with pytest.raises(ActionError, match=r"^w1: cannot be reached: no route$"):
        action.plan_now(variables)


def test_a_plan_with_a_limit_says_that_it_is_partial(act):
    action, _result = act(made({}), observed=("w1",), variables={"ansible_limit": "w1"})
    assert any("partial run (--limit w1): no control plane takes part" in line.text for line in action.lines)


@pytest.mark.parametrize("digest", ["ab" * 32, "ab" * 6])
def test_the_agreed_plan_is_carried_out(act, digest):
    assert act(made({"files": ["cp1"]}), options={"digest": digest})[1]["waves"]["files"] == ["cp1"]


@pytest.mark.parametrize(("digest", "words"), [("cd" * 32, "have changed since"), ("ab", "no plan digest"), ("xyz" * 8, "no plan digest")])
def test_another_plan_is_not(act, digest, words):
    with pytest.raises(ActionError, match=words):
        act(made({"files": ["cp1"]}), options={"digest": digest})


def test_a_new_plan_forgets_an_earlier_run(act):
    action, _result = act(made({}))
    action.spool().put("error", "x", {"host": None, "file": None, "cause": "old", "advice": None})
    assert act(made({}))[0].spool().all("error") == {}


def test_observe_leaves_its_observation_or_the_reason_for_none(make, monkeypatch):
    monkeypatch.setattr(observe, "observation_request", lambda _spool, _addresses, prove: {"prove": prove})
    action = make(observe.ActionModule, {})
    options = {"prove": ["passive"], "recover": True, "return_observation": False, "history": False}
    variables = {**VARIABLES, "inventory_hostname": "cp1"}
    entries = []
    found = {**OBSERVATION, "files": {}, "problems": [], "recovered": [{"id": "t1"}]}
    action.program = lambda entry, _request, _variables: entries.append(entry) or dict(found)
    result = action.act(options, variables)
    assert entries == ["visit"] and result["changed"] and result["recovered"] == [{"id": "t1"}] and "observation" not in result
    assert "recovered" not in action.spool().get("observation", "cp1")

    def refuse(*_arguments: Any) -> dict[str, Any]:
        raise ActionError("cp1", "sudo asks for a password", "give it")

    action.program = refuse
    with pytest.raises(ActionError):
        action.act(options, variables)
    assert action.spool().find("observation", "cp1") is None
    assert action.spool().get("unobserved", "cp1") == {"message": "sudo asks for a password; give it"}


def test_check_mode_recovers_nothing(make, monkeypatch):
    monkeypatch.setattr(observe, "observation_request", lambda *_arguments: {})
    action = make(observe.ActionModule, {}, check_mode=True)
    entries: list[str] = []
    action.program = lambda entry, _request, _variables: entries.append(entry) or {**OBSERVATION, "files": {}, "problems": []}
    action.act({"prove": [], "recover": True, "return_observation": True, "history": False}, {**VARIABLES, "inventory_hostname": "cp1"})
    assert entries == ["observe"]


@pytest.mark.parametrize(
    ("status", "fail_on", "limit", "failed"),
    [("ok", None, None, False), ("change", None, None, True), ("change", "never", None, False), ("held", None, None, False)],
)
def test_the_report_decides_the_exit_code(make, tmp_path, status, fail_on, limit, failed):
    action = make(report.ActionModule, {})
    outcome = {"id": "a", "path": 1, "host": "cp1", "status": status, "before": None, "after": None, "reason": "", "held_by": None}
    action.controls = lambda: ()
    action.spool().put("plan", "first", made({}, controls=[outcome]))
    for host in ("cp1", "cp2", "w1", "w2"):
        action.spool().put("observation", host, OBSERVATION)
    result = action.act({"fail_on": fail_on}, {**VARIABLES, "ninepaths_report_dir": str(tmp_path / "r"), "ansible_limit": limit})
    assert result.get("failed", False) is failed and (tmp_path / "r" / "prod-1" / "report.json").exists()
    if failed:  # short: all of it is printed above and stands in the report
        assert result["msg"] == "not yet as wanted: 1 deviation (1 control); nothing was changed"
        assert not {"deviations", "errors", "restarts"} & set(result)


@pytest.mark.parametrize(("limit", "failed"), [(None, True), ("cp1", False)])
def test_a_host_that_was_not_observed_fails_the_run_unless_it_was_left_out(make, tmp_path, limit, failed):
    action = make(report.ActionModule, {})
    action.controls = lambda: ()
    action.spool().put("plan", "first", made({}))
    action.spool().put("observation", "cp1", OBSERVATION)
    result = action.act({"fail_on": "never"}, {**VARIABLES, "ninepaths_report_dir": str(tmp_path / "r"), "ansible_limit": limit})
    assert result.get("failed", False) is failed
