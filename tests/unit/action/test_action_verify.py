# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a batch of kubelets: what they run with is what was planned, however long they take to say so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.action import verify
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError

CONTROL = SimpleNamespace(id="rotation", component="kubelet", field="serverTLSBootstrap")
PLAN = {"controls": [{"id": "rotation", "host": "w1", "status": "change", "after": True}]}
SILENT = {"node": "node-1", "error": None, "configz": None, "configz_error": "status 503"}


@pytest.fixture
def act(make, monkeypatch):
    """Run the action on w1; each item of `said` is what its kubelet says about its configuration when asked once more."""
    slept: list[float] = []
    monkeypatch.setattr(verify.time, "sleep", slept.append)
    monkeypatch.setattr(verify, "observation_request", lambda *_: {})

    def run(said: list[dict[str, Any] | None]) -> tuple[dict[str, Any], list[float]]:
        action = make(verify.ActionModule, {})
        action.spool().put("plan", "first", PLAN)
        action.spool().put("observation", "w1", {"host": {"node": "node-1"}})
        action.controls = lambda: [CONTROL]
        action.settings = lambda _variables: SimpleNamespace(node_addresses={})
        action.failed = lambda _variables, errors: ActionError("w1", errors[0]["cause"])
        answers = iter(said)
        action.program = lambda *_: {"cluster": {"kubelets": [{**SILENT, "configz": next(answers)}, {**SILENT, "node": "other"}]}}
        return action.act({"hosts": ["w1"]}, {}), slept

    return run


def test_one_look_is_enough_when_the_kubelet_answers(act):
    assert act([{"serverTLSBootstrap": True}]) == ({"changed": False, "verified": ["w1"]}, [])


def test_a_kubelet_that_does_not_answer_yet_is_asked_again(act):
    result, slept = act([None, None, {"serverTLSBootstrap": True}])
    assert result["verified"] == ["w1"]
    assert slept == list(verify.PAUSES[:2])


def test_one_that_never_answers_fails_with_its_cause(act):
    with pytest.raises(ActionError, match=r"configz could not be read.*status 503"):
        act([None] * (len(verify.PAUSES) + 1))


def test_another_value_is_final(act):
    with pytest.raises(ActionError, match="serverTLSBootstrap"):
        act([{"serverTLSBootstrap": False}])
