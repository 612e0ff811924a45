# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several controls broken at once, audits, checks and runs in an order that hypothesis draws, on one hardened bed.

DRIFT_SEED=… draws another order; the seed is printed. The same machine runs on generated clusters in
tests/unit/plugin_utils/test_drift_plan.py, with many more examples.
"""

from __future__ import annotations

import os

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from . import breaks, edits, table
from .breaks import Break
from .conftest import Hardened
from .live import Live, Named, Run
from .snapshot import Snapshot, changed
from .test_check_predicts import unpredicted, wrong
from .test_drift import WRITTEN, component

SEED = int(os.environ.get("DRIFT_SEED", "4"))
ALL = breaks.all_breaks(controls.load(), WRITTEN)
# What is mended by a run, needs no choice of its own, and does not wait for a certificate: that is tried alone.
CASES = sorted((case for case in ALL if not case.by_hand and case.control not in {*table.ALONE, *table.CHANGES, *table.FIRST}), key=lambda case: case.name)


def machine(live: Live) -> type[RuleBasedStateMachine]:
    """The machine for one bed."""

    class Drifting(RuleBasedStateMachine):
        """People at work on a bed, and runs in between."""

        def __init__(self) -> None:
            super().__init__()
            self.open: dict[str, Break] = {}
            self.expected: Named = set()
            self.checked: tuple[Run, Snapshot] | None = None
            say("a hardened bed")

        @rule(case=st.sampled_from(CASES))
        def break_one(self, case: Break) -> None:
            if any(case.slots & other.slots or keeps_down(other, case) for other in self.open.values()):
                return
            say(f"break {case.name}")
            self.expected |= {(control, host) for control in case.controls for host in live.hand.touched(case.edit)}
            live.hand.make(case.edit)
            self.open[case.name] = case
            self.checked = None

        @precondition(lambda self: self.open)
        @rule()
        def audit(self) -> None:
            say("audit")
            before = live.snapshot()
            found = live.run("audit")
            assert found.named == self.expected, found.playbook.output
            assert found.unexplained_proofs(name for name, _host in self.expected) == []
            assert changed(before, live.snapshot()) == set()

        @precondition(lambda self: self.open and self.checked is None)
        @rule()
        def check(self) -> None:
            say("check")
            before = live.snapshot()
            found = live.run("harden", "--check")
            assert found.named == self.expected, found.playbook.output
            assert changed(before, live.snapshot()) == set()
            self.checked = found, before

        @precondition(lambda self: self.open)
        @rule()
        def harden(self) -> None:
            say("harden")
            run = live.run("harden")
            assert run.playbook.rc == 0, run.playbook.output
            assert run.repaired == self.expected and run.named == set()
            touched = {name for case in self.open.values() if (name := component(case.edit))}
            assert run.report["restarts"] == dict.fromkeys(touched, 1)
            if self.checked:
                predicted, before = self.checked[0].report["predicted"], self.checked[1]
                after = live.snapshot()
                assert run.report["plan_digest"] == self.checked[0].report["plan_digest"]
                assert wrong(predicted, after) == [] and unpredicted(predicted, before, after) == set()
            again = live.run("harden")
            assert again.playbook.rc == 0 and again.playbook.changed == 0, again.playbook.output
            self._clean()

        def _clean(self) -> None:
            for case in self.open.values():
                live.hand.clean(case.edit)
            self.open, self.expected, self.checked = {}, set(), None

        def teardown(self) -> None:
            """Each example leaves a hardened bed."""
            if self.open:
                self.harden()

    return Drifting


def keeps_down(first: Break, then: Break) -> bool:
    """A kubelet that protects the kernel's settings does not start where somebody has changed one: an outage, and another matter."""
    return isinstance(first.edit, edits.Sysctl) and component(then.edit) == "kubelet"


def say(text: str) -> None:
    print(f"  {text}", flush=True)


@pytest.mark.parametrize("number", [SEED], ids=lambda number: f"seed-{number}")
def test_random_drift(live: Live, hardened: Hardened, number: int) -> None:
    assert hardened
    print(f"DRIFT_SEED={number}")
    chosen = settings(
        max_examples=5, stateful_step_count=6, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        print_blob=False,
    )  # fmt: skip
    run_state_machine_as_test(seed(number)(machine(live)), settings=chosen)
