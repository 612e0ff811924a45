# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody changes something between plan and apply"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from . import scenarios, state
from .nodes import Nodes, at_line, words
from .scenarios import Scenario
from .table import REFUSED, Case, load, parameters


@dataclass(frozen=True)
class Meanwhile(Case):
    """An edit by hand while the transaction stands at a line; `undo` takes the edit back after the test; `says` is in the message."""

    scenario: Scenario = scenarios.SCHEDULER
    line: int = 1
    edit: str = ""
    undo: str = "true"
    says: tuple[str, ...] = ()
    kept: str = "true"  # a command that succeeds while the edit is there




ALL = load(Meanwhile, "meanwhile")


@pytest.mark.parametrize("case", parameters(ALL))
def test_meanwhile(nodes: Nodes, case: Meanwhile) -> None:
    node, wave = case.scenario.node, case.scenario.wave
    case.scenario.break_it(nodes)
    before = state.take(nodes)
    nodes.order(node, at_line(wave, case.line, "SIGSTOP"))
    run = state.start(nodes)
    nodes.wait_until_stopped(node)
    nodes.root(node, case.edit)
    try:
        edited = state.take(nodes)
        nodes.go_on(node)
        ended = run.wait()
        said = ended.output + words(nodes.newest_journal(node, wave))
        assert ended.rc != 0, said
        missing = [word for word in (node, *case.says) if word not in said]
        assert not missing, f"{missing} not in {said}"
        state.wait_until_quiet(nodes)
        nodes.root(node, case.kept)  # what somebody did is theirs
        if case.outcome == REFUSED:
            assert state.take(nodes) == edited
    finally:
        nodes.root(node, case.undo, check=False)
    assert state.check_aftermath(nodes, before) == before
