# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something is killed at a line of the journal"""

from __future__ import annotations

import re

import pytest

from . import interruptions, state
from .interruptions import Interruption
from .nodes import Nodes, at_line
from .scenarios import Scenario
from .table import STATES, UNDONE, parameters

ALL = interruptions.CASES


@pytest.mark.parametrize("case", parameters(ALL))
def test_killed(nodes: Nodes, case: Interruption) -> None:
    scenario = case.scenario
    scenario.break_it(nodes)
    before = state.take(nodes)
    nodes.order(scenario.node, at_line(scenario.wave, case.line, "SIGSTOP"))
    run = state.start(nodes)
    stopped = nodes.wait_until_stopped(scenario.node)
    assert (stopped["seq"], case.is_at(stopped["message"])) == (case.line, True), stopped
    if case.victim == "target":
        nodes.kill(scenario.node)
    elif case.victim == "ssh":
        assert run.kill_ssh() > 0
        nodes.go_on(scenario.node)
    else:
        run.kill_controller()
        nodes.go_on(scenario.node)
    ended = run.wait()
    now = state.check_aftermath(nodes, before)
    lines = [
        nodes.journal(scenario.node, name)
        for name in nodes.transactions(scenario.node)
        if nodes.journal(scenario.node, name)[case.line - 1 :][:1] == [stopped]
    ]
    assert lines[0][-1]["data"]["state"] in STATES[case.outcome]
    if case.outcome == UNDONE:
        assert now == before
        assert ended.rc != 0
        assert scenario.node in ended.output
        assert "the transaction was interrupted" in ended.output
    elif case.victim != "controller":
        assert ended.rc == 0, ended.output


@pytest.mark.parametrize("scenario", interruptions.LINES, ids=lambda scenario: scenario.name)
def test_every_line_has_its_cases(nodes: Nodes, scenario: Scenario) -> None:
    scenario.break_it(nodes)
    run = state.harden(nodes)
    assert (run.rc, run.changed) == (0, 1), run.output
    messages = [line["message"] for line in nodes.newest_journal(scenario.node, scenario.wave)]
    known = interruptions.LINES[scenario]
    assert len(messages) == len(known), messages
    assert [message for (_name, says), message in zip(known, messages, strict=True) if not re.match(says, message)] == []
