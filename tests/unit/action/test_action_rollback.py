# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the plays of a rollback get to see and when, what is said without a run, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.action import observe, report, rollback
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import ROLLBACK_WAVES, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past

GROUPS = {"kube_control_plane": ["cp1", "cp2"], "etcd": ["cp1", "cp2"], "kube_node": ["w1", "w2"]}
HOSTS = ["cp1", "cp2", "w1", "w2"]
CLUSTER = {"name": "prod-1", "version": "v1.36.4", "layout": "kubeadm", "control_planes": 2, "nodes": 4}
OBSERVATION = {"host": {"node": "x"}, "layout": "kubeadm", "kubelet": None, "proofs": [], "cluster": None}
RUN = "20270301T100000Z-aaaaaa"
BACKWARD = {"cluster": ["cp1"], "control_planes": ["cp2", "cp1"], "late_control_plane_kubelets": ["cp1"], "late_kubelets": ["w1"], "late_files": ["w1"]}
FORWARD = {"files": ["cp1"], "kubelets": ["w1"], "certificates": ["cp1"], "control_planes": ["cp1"], "late_cluster": ["cp1"]}


def effect() -> dict[str, Any]:
    return {"kind": "sysctl", "key": "vm.x", "before": "1", "after": "2", "controls": []}


def history() -> dict[str, Any]:
    one = {"id": "t1", "run": RUN, "wave": "files", "number": 1, "at": 1.0, "state": "committed", "takes_back": [], "problem": None, "effects": [effect()]}
    return {"schema": 1, "transactions": [one], "removed": [], "now": {"files": {}, "accounts": {}, "units": {}, "sysctls": {"vm.x": "2"}}, "texts": {}}


def made(waves: dict[str, list[str]]) -> dict[str, Any]:
    changes = [
        {"host": host, "wave": wave, "controls": [], "file": "/x", "before_sha256": "0", "after_sha256": "1", "diff": "-a\n+b\n", "reason": "As before."}
        for wave, hosts in waves.items()
        for host in hosts
    ]
    jobs: dict[str, dict[str, Any]] = {}
    for wave, hosts in waves.items():
        for host in hosts:
            jobs.setdefault(host, {})[wave] = {"steps": []}
    told = {"run": RUN, "runs": [RUN], "until": ["kubelet-verification"], "needs": []}
    rest = {"controls": [], "held": [], "warnings": ["mind this"], "restarts": {"kubelet": 1}, "predicted": {}}
    every = {name: waves.get(name, []) for name in ROLLBACK_WAVES}
    return {"schema": 1, "digest": "ab" * 32, "cluster": CLUSTER, "changes": changes, "waves": every, "jobs": jobs, "rollback": told, **rest}


class Plan:
    """A plan that was made."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def as_dict(self) -> dict[str, Any]:
        return self.document


@pytest.fixture
def act(make, tmp_path, monkeypatch):
    """Run the action on a plan that is given; `given` of the last run is kept."""

    def run(waves: dict[str, list[str]], part: tuple[str, ...] = tuple(HOSTS), **more: Any) -> Any:
        options = {"run": RUN, "stage": "start", "digest": None, "hosts": ["localhost", *part], **more.pop("options", {})}
        variables = {"inventory_hostname": "localhost", "groups": GROUPS, "ninepaths_report_dir": str(tmp_path / "report"), **more.pop("variables", {})}
        action = make(rollback.ActionModule, {}, **more)
        action.controls = lambda: ()
        for host in HOSTS:
            action.spool().put("observation", host, OBSERVATION)
        for host in part:
            action.spool().put("history", host, history())
        monkeypatch.setattr(rollback, "plan", lambda given, wanted: (setattr(action, "given", given), Plan(made(waves)))[1])
        return action, action.act(options, variables)

    return run


def shown(action: Any) -> list[str]:
    return [line.text for line in action.lines]


def test_backward_kubelets_wait_for_the_gate(act):
    action, result = act(BACKWARD)
    waves = result["waves"]
    assert waves["control_planes"] == ["cp2", "cp1"] and "late_kubelets" not in waves and "late_files" not in waves
    assert (waves["gate_kubelets"], waves["gate_control_planes"], waves["elected"]) == (["cp1", "cp2"], [], ["cp1"])
    assert action.spool().get("run", "waves") == waves and result["changed"] is False
    assert waves["prove"] == ["cp1", "cp2", "w1"]


def test_forward_control_planes_wait_for_the_gate(act):
    waves = act(FORWARD)[1]["waves"]
    assert waves["kubelets"] == ["w1"] and "control_planes" not in waves and waves["gate_control_planes"] == ["cp1", "cp2"]


def test_workers_alone_need_no_gate(act):
    waves = act({"late_kubelets": ["w1"]}, part=("w1",))[1]["waves"]
    assert waves["late_kubelets"] == ["w1"] and waves["gate_kubelets"] == []
    assert waves["elected"] == ["cp1"], "a control plane that was only looked at can still say what the kubelet runs with"
    assert waves["prove"] == ["w1"]


def test_the_gate_lets_the_later_waves_begin_or_stops_them(act, monkeypatch):
    act(BACKWARD)
    asked = []
    monkeypatch.setattr(rollback, "gate", lambda given, until, needs: asked.append((until, needs)) or [])
    action, result = act(BACKWARD, options={"stage": "gate"})
    assert asked == [(["kubelet-verification"], [])] and result["waves"]["late_kubelets"] == ["w1"]
    act(BACKWARD)
    monkeypatch.setattr(rollback, "gate", lambda given, until, needs: [PlanError("cp2", None, "its apiserver is not ready", "mend it")])
    with pytest.raises(ActionError, match="cp2: its apiserver is not ready"):
        act(BACKWARD, options={"stage": "gate"})
    assert "late_kubelets" not in action.spool().get("run", "waves")


def test_only_hosts_of_the_limit_take_part(act):
    action, _result = act({}, part=("w1", "w2"))
    assert action.given.part == ("w1", "w2") and set(action.given.histories) == {"w1", "w2"} and set(action.given.observations) == set(HOSTS)


def test_check_touches_nobody_and_shows_what_would_be_written(act):
    action, result = act(BACKWARD, check_mode=True, diff=True)
    assert result["waves"] == {} and action.spool().get("run", "waves") == {}
    assert next(entry["prepared"] for entry in result["diff"]) == "# cp1: /x: As before.\n-a\n+b\n"
    assert f"rollback run {RUN}: 6 changes on 3 hosts     restarts: kubelet 1" in shown(action) and "warning  mind this" in shown(action)


def test_without_a_run_those_that_there_are_are_told(act):
    with pytest.raises(ActionError, match="no run is named"):
        act({}, options={"run": None})


def test_without_a_run_the_newest_is_offered(make, tmp_path):
    action = make(rollback.ActionModule, {})
    action.controls = lambda: ()
    variables = {"inventory_hostname": "localhost", "groups": GROUPS, "ninepaths_report_dir": str(tmp_path / "r")}
    given = type("Given", (), {"histories": {"w1": past.parse("w1", history())}})()
    with pytest.raises(ActionError):
        action._wanted(None, given, variables)
    assert shown(action)[0] == f"run      {RUN}   1970-01-01 00:00:01 UTC   w1   1 change   files"
    assert shown(action)[1] == f"error    no run is named; name the one to go back to before: -e ninepaths_run={RUN}"
    given = type("Given", (), {"histories": {}})()
    with pytest.raises(ActionError, match="no run of ninepaths has left anything"):
        action._wanted(None, given, variables)


@pytest.mark.parametrize("digest", ["cd" * 32, "ab"])
def test_the_agreed_plan_or_none(act, digest):
    with pytest.raises(ActionError, match=r"have changed since|no plan digest"):
        act(BACKWARD, options={"digest": digest})
    assert act(BACKWARD, options={"digest": "ab" * 8})[1]["waves"]


def test_a_history_that_makes_no_sense_names_its_host(act, make):
    make(rollback.ActionModule, {}).spool().put("history", "w2", {"transactions": 7})
    with pytest.raises(ActionError, match=r"w2: .*what it tells of its transactions is not of the form"):
        act({}, part=("cp1", "cp2", "w1"), options={"hosts": HOSTS})


def test_a_mistyped_variable_stops_it(act):
    with pytest.raises(ActionError, match="ninepaths_runn is no variable"):
        act({}, variables={"ninepaths_runn": "x"})


def test_a_host_whose_memory_cannot_be_read_counts_as_not_observed(make, monkeypatch):
    monkeypatch.setattr(observe, "observation_request", lambda *_arguments: {})
    action = make(observe.ActionModule, {})

    def program(entry: str, _request: Any, _variables: Any) -> dict[str, Any]:
        if entry == "history":
            raise ActionError("cp1", "the program gave no result", "look")
        return {**OBSERVATION, "files": {}, "problems": []}

    action.program = program
    options = {"prove": [], "recover": True, "return_observation": False, "history": True}
    with pytest.raises(ActionError):
        action.act(options, {"inventory_hostname": "cp1", "groups": GROUPS})
    assert action.spool().find("observation", "cp1") is None and "no result" in action.spool().get("unobserved", "cp1")["message"]


@pytest.mark.parametrize(
    ("done", "check", "state", "failed", "said"),
    [
        (["control_planes", "late_kubelets"], False, "done", None, "was taken back: 2 of 2 changes on cp1, w1"),
        (["control_planes"], False, "incomplete", "not everything was taken back", "is to be taken back, and not all of it was: 1 of 2 changes on cp1"),
        ([], True, "predicted", None, "would be taken back: 2 of 2 changes on cp1, w1"),
    ],
)
def test_the_report_says_what_became_of_it(make, tmp_path, done, check, state, failed, said):
    """Deviations are what was asked for, so they are told and fail nothing."""
    action = make(report.ActionModule, {}, check_mode=check)
    action.controls = lambda: ()
    outcome = {"id": "a", "path": 1, "host": "cp1", "status": "change", "before": None, "after": None, "reason": "", "held_by": None}
    first = {**made({"control_planes": ["cp1"], "late_kubelets": ["w1"]}), "controls": [{**outcome, "id": "taken"}]}
    action.plan_now = lambda _variables: {**first, "controls": [outcome], "rollback": None}
    action.spool().put("run", "mode", {"mode": "rollback", "check": check})
    action.spool().put("plan", "first", first)
    for host in HOSTS:
        action.spool().put("observation", host, OBSERVATION)
    for wave in done:
        host = {"control_planes": "cp1", "late_kubelets": "w1"}[wave]
        action.spool().put("result", f"{host} {wave}", {"host": host, "wave": wave, "changed": True, "restarts": {"etcd": 1}})
    result = action.act({"fail_on": None}, {"inventory_hostname": "cp1", "groups": GROUPS, "ninepaths_report_dir": str(tmp_path / "r")})
    assert result.get("msg") == failed
    assert f"rollback run {RUN} {said}" in shown(action)
    built = json.loads((tmp_path / "r" / "prod-1" / "report.json").read_text())
    schema = json.loads((Path(__file__).resolve().parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(built, schema)
    assert (built["mode"], built["rollback"]["state"], built["rollback"]["run"]) == ("rollback", state, RUN)
    assert [row["id"] for row in built["paths"][0]["controls"]] == ([] if check else ["a"]), "the way back is no state of a control"
    assert built["restarts"] == ({"kubelet": 1} if check else {"etcd": len(done)})
