# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launching and following a transaction: progress, lost connections, and what is left when it goes wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.action import apply
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import following
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError

HOST = {"inventory_hostname": "cp1", "groups": {"kube_control_plane": ["cp1"]}}
JOB = {"schema": 1, "id": "", "run": "", "wave": "files", "lease": None, "steps": [{"op": "kubelet"}]}
CHANGE = {"host": "cp1", "wave": "files", "controls": ["a"], "file": "/x", "diff": "-a\n+b\n"}
PLAN = {
    "jobs": {"cp1": {"files": JOB}},
    "changes": [CHANGE],
    "digest": "d" * 64,
    "controls": [],
    "held": [],
    "warnings": [],
    "restarts": {},
}

UNDONE = {"id": "x", "state": "undone", "cause": "it was killed", "advice": "run again"}


def line(number: int, event: str = "done", **data: Any) -> dict[str, Any]:
    return {"seq": number, "at": 100.0 + number, "event": event, "step": "s", "message": f"line {number}", "data": data}


def answer(*lines: dict[str, Any], alive: bool = True, offset: int = 1) -> dict[str, Any]:
    return {"lines": list(lines), "offset": offset, "alive": alive, "state": "open"}


@pytest.fixture
def act(make, tmp_path, monkeypatch):
    """Run the action against a list of answers of `follow`; an exception in it is raised. Returns (result, action, asked)."""
    monkeypatch.setattr(following, "RECONNECT_S", 0)
    monkeypatch.setattr(following.bundle, "build", lambda entry, request: b"program")

    def run(
        answers: list[Any], plan: dict[str, Any] | None = None, errors: int = 0, recover: Any = (UNDONE,), **kind: bool
    ) -> tuple[dict[str, Any], Any, list[str]]:
        action = make(apply.ActionModule, {}, **kind)
        action._connection.close = lambda: None
        asked: list[str] = []
        waiting, recovered = list(answers), list(recover)

        def program(entry: str, request: dict[str, Any], _vars: Any) -> dict[str, Any]:
            asked.append(f"{entry} {request.get('offset', '')}".strip())
            if entry == "recover":
                return {"transactions": [recovered.pop(0)]}
            if entry != "follow":
                return {}
            found = waiting.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        action.program = program
        spool = action.spool()
        spool.put("plan", "first", plan or PLAN)
        for number in range(errors):
            spool.put("error", str(number), {"host": "w1", "file": None, "cause": "x", "advice": None})
        variables = {**HOST, "ninepaths_report_dir": str(tmp_path / "report")}
        return action.act({"wave": "files", "reconnect_s": 5}, variables), action, asked

    return run


def test_the_journal_is_followed_line_by_line_to_its_end(act):
    end = answer(line(3), line(4, "end", state="committed"), offset=9)
    result, action, asked = act([answer(line(1), line(2), offset=5), answer(offset=5), end])
    assert asked == ["launch", "follow 0", "follow 5", "follow 5"]
    assert [shown.text for shown in action.lines] == [f"cp1      {number - 1:6.1f} s  line {number}" for number in range(1, 5)]
    assert (result["changed"], result["state"], result["restarts"]) == (True, "committed", {"kubelet": 1})
    assert action.spool().get("result", "cp1 files")["transaction"] == f"{action.spool().run_id()}-files"


def test_steps_are_not_announced_and_a_long_wait_is_shown_while_it_lasts(act):
    begin, wait = {**line(1, "step"), "data": {"begun": True}}, {**line(2, "wait"), "message": "waiting for it"}
    answers = [answer(begin, wait, offset=5), answer(offset=5), answer(line(9, "end", state="committed"), offset=9)]
    _result, action, asked = act(answers)
    assert [shown.text.split("s  ")[1] for shown in action.lines] == ["waiting for it", "line 9"] and len(asked) == 4


def test_a_lost_connection_is_taken_up_where_it_broke(act):
    broken = AnsibleConnectionFailure("gone")
    result, action, asked = act([answer(line(1), offset=7), broken, broken, answer(line(2, "end", state="committed"))])
    assert result["changed"] and asked[2:] == ["follow 7", "follow 7", "follow 7"] and len(action.lines) == 2


def test_short_losses_do_not_add_up(act, monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(clock))
    broken = AnsibleConnectionFailure("gone")
    result, _action, _asked = act([broken, answer(line(1)), broken, answer(), broken, answer(line(2, "end", state="committed"))])
    assert result["changed"]


def test_a_connection_that_stays_lost_ends_with_a_report(act, tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(clock))
    with pytest.raises(ActionError, match="cp1: gone"):
        act([AnsibleConnectionFailure("cp1: gone")] * 50)
    report = json.loads((tmp_path / "report" / "unknown" / "report.json").read_text(encoding="utf-8"))
    assert report["errors"][0]["host"] == "cp1" and "finishes or undoes its transaction by itself" in report["errors"][0]["advice"]


def test_a_killed_transaction_is_recovered(act):
    end = answer(line(2, "end", state="undone", cause="it was killed", advice="run again"))
    with pytest.raises(ActionError, match="it was killed; everything is as it was before"):
        act([answer(line(1)), answer(alive=False), end])


def test_an_undo_that_failed_without_an_end_line_is_told_at_once(act):
    failed = {"id": "x", "state": "failed", "cause": "journal.jsonl: No space left on device", "advice": "df -h"}
    with pytest.raises(ActionError, match="No space left on device; it could not be undone"):
        act([answer(alive=False)], recover=[failed])


def test_a_journal_that_gets_no_end_line_is_not_asked_for_ever(act):
    with pytest.raises(ActionError, match="its journal does not say so"):
        act([answer(line(1)), answer(alive=False), answer(alive=False)], recover=[UNDONE, UNDONE])


def test_an_undo_of_another_process_is_waited_for(act, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(following.time, "sleep", slept.append)
    running = {"id": "x", "state": "running", "cause": None, "advice": "follow it"}
    dead = [answer(alive=False)] * 3
    with pytest.raises(ActionError, match="it was killed"):
        act([*dead, answer(line(2, "end", state="undone", cause="it was killed", advice=""))], recover=[running] * 3)
    assert slept == [following.RUNNING_S] * 3


def test_an_undone_transaction_fails_and_changed_nothing(act, tmp_path):
    with pytest.raises(ActionError, match="cp1: files: the probe fails"):
        act([answer(line(1, "end", state="undone", cause="the probe fails", advice="look"))])
    report = json.loads((tmp_path / "report" / "unknown" / "report.json").read_text(encoding="utf-8"))
    assert "the probe fails" in report["errors"][0]["cause"]


def test_no_host_is_touched_after_one_has_failed(act):
    with pytest.raises(ActionError, match="not touched"):
        act([], errors=1)


def test_a_host_without_a_part_is_left_alone(act):
    result, _action, asked = act([], plan={**PLAN, "jobs": {"w1": {"files": JOB}}})
    assert (result["changed"], asked) == (False, [])


def test_check_mode_predicts_with_a_diff(act):
    result, _action, asked = act([], check_mode=True, diff=True)
    assert asked == [] and result["changed"] and result["diff"] == [{"prepared": "-a\n+b\n"}] and result["restarts"] == {"kubelet": 1}
