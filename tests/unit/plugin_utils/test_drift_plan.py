# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person breaks by hand is named, exactly that, and repaired with the fewest edits; each control alone, and many at once.

The same edits are made on a real cluster by tests/drift.
"""

from __future__ import annotations

import json

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Plan
from drifting import broken, every_break, hardened, plan_for, touched
from factories import Cluster, all_controls, carried_out
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.drift import breaks, table
from tests.drift.breaks import Break

CASES = [*every_break(), *breaks.outages(all_controls())]
TOGETHER = [case for case in CASES if case.control not in table.ALONE]


def named(plan: Plan) -> set[tuple[str, str | None]]:
    """Controls that are not as wanted, and where."""
    return {(outcome.id, outcome.host) for outcome in plan.controls if outcome.status in ("change", "deviation")}


def expected(hosts: Cluster, case: Break) -> set[tuple[str, str | None]]:
    return {(control, touched(hosts, case.edit)) for control in case.controls}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_edit_is_named_and_repaired(case: Break) -> None:
    hosts = hardened(case)
    assert plan_for(hosts, case).empty and not named(plan_for(hosts, case))
    after = broken(hosts, case.edit)
    plan = plan_for(after, case)
    assert named(plan) == expected(hosts, case)
    if case.by_hand:
        assert plan.empty and not plan.changes
        return
    assert len(plan.changes) == case.changes, [(change.host, change.target) for change in plan.changes]
    again = plan_for(carried_out(after, plan), case)
    assert again.empty and not named(again)


def test_every_control_is_tried_or_listed_with_its_reason() -> None:
    known = {control.id: control for control in all_controls()}
    tried = [case.control for case in breaks.first_breaks(all_controls())]
    assert len(tried) == len(set(tried))
    lists = [tried, table.NOT_HERE, table.OUTAGES, table.ALONG]
    assert sorted(name for names in lists for name in names) == sorted(known), "a control is in none of the lists of tests/drift, or in two"
    assert set(table.OPS) | set(table.SOURCE_OPS) | set(table.SEVERAL) | set(table.ALONE) | set(table.FIRST) <= set(known)
    for name in set(table.SEVERAL) | set(table.MORE_BY_VARIANT):
        case = next(case for case in CASES if case.name == name)
        assert len(case.controls) > 1


def test_what_cannot_be_broken_really_is_not() -> None:
    """The reasons of the list, against the plan of a hardened cluster."""
    statuses: dict[str, set[str]] = {}
    for outcome in plan_for(hardened()).controls:
        statuses.setdefault(outcome.id, set()).add(outcome.status)
    held = {control.id for control in all_controls() if control.held}
    for name in table.NOT_HERE:
        assert name in held or statuses[name] <= {"ok", "held", "disabled", "not-applicable"}, (name, statuses[name])
    assert {name for name in table.NOT_HERE if table.NOT_HERE[name].startswith("held: nothing")} == held


def test_a_kind_that_nobody_has_thought_of_asks_for_an_entry() -> None:
    control = next(control for control in all_controls() if control.id == "kubelet-event-rate")
    with pytest.raises(breaks.UnknownBreakError, match=r"^kubelet-event-rate: say in"):
        breaks.operation(control)


class Drifting(RuleBasedStateMachine):
    """Several people at work on one cluster, and runs in between."""

    @initialize()
    def start(self) -> None:
        self.hosts: Cluster = hardened()
        self.open: dict[str, Break] = {}
        self.predicted: str | None = None

    @rule(case=st.sampled_from(TOGETHER))
    def break_one(self, case: Break) -> None:
        if any(case.slots & other.slots for other in self.open.values()):
            return
        note(f"broken: {case.name}")
        self.hosts = broken(self.hosts, case.edit)
        self.open[case.name] = case
        self.predicted = None

    @rule()
    def check(self) -> None:
        before = json.dumps(self.hosts, sort_keys=True)
        self.predicted = plan_for(self.hosts).digest
        assert json.dumps(self.hosts, sort_keys=True) == before

    @precondition(lambda self: any(not case.by_hand for case in self.open.values()))
    @rule()
    def harden(self) -> None:
        plan = plan_for(self.hosts)
        assert self.predicted in (None, plan.digest)
        assert set(plan.restarts.values()) <= {1}, "one worker and one control plane were touched, so nothing restarts twice"
        self.hosts = carried_out(self.hosts, plan)
        self.open = {name: case for name, case in self.open.items() if case.by_hand}
        assert plan_for(self.hosts).empty

    @invariant()
    def audit_names_exactly_what_is_broken(self) -> None:
        names = [expected(self.hosts, case) for case in self.open.values()]
        assert named(plan_for(self.hosts)) == set().union(*names)


Drifting.TestCase.settings = settings(max_examples=60, stateful_step_count=10, deadline=None, derandomize=True)
TestDrifting = Drifting.TestCase
