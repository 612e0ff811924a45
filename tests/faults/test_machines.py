# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine, a service or a clock fails in the middle"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest

from . import scenarios, state
from .nodes import HOME, Nodes, Order, at_line
from .scenarios import Scenario
from .table import STATES, UNDONE, Case, load, parameters

CLOCK = f"{HOME}/clock"
SHIFTED = f"{HOME}/shifted"


@dataclass(frozen=True)
class Machine(Case):
    """What happens on the node while a transaction stands at a line; it goes on right after `script`, if there is still one."""

    scenario: Scenario = scenarios.SCHEDULER
    line: int = 8
    script: str = ""
    later: str = ""  # run in the background, while the transaction goes on
    clock: int = 0
    hangs: bool = False


MACHINES = load(Machine, "machines")


@pytest.mark.parametrize("case", parameters(MACHINES))
def test_machine(nodes: Nodes, case: Machine) -> None:
    node, wave = case.scenario.node, case.scenario.wave
    case.scenario.break_it(nodes)
    before = state.take(nodes)
    order = at_line(wave, case.line, "SIGSTOP")
    if case.clock:
        nodes.root(node, f"echo 0 >{CLOCK}")
        order = replace(order, prefix=(SHIFTED,))
    if case.hangs:
        order = Order(wave, hang=case.line)
    nodes.order(node, order)
    run = state.start(nodes)
    nodes.wait_until_stopped(node)
    nodes.root(node, f"echo {case.clock} >{CLOCK}\n{case.script}")
    nodes.root(node, f"nohup setsid sh -c '{case.later}' >/dev/null 2>&1 &\n")
    if not case.hangs:
        nodes.go_on(node)
    run.wait()
    state.check_aftermath(nodes, before)
    _check_state(nodes, case.scenario, case.outcome)


def _check_state(nodes: Nodes, scenario: Scenario, outcome: str) -> None:
    """One of the last two transactions of the wave is the one that met the fault; it ended as it has to."""
    taken = [name for name in nodes.transactions(scenario.node) if name.endswith(f"-{scenario.wave}")]
    ended = {nodes.journal(scenario.node, name)[-1]["data"].get("state") for name in taken[-2:]}
    assert ended & STATES[outcome], (taken, ended)


@dataclass(frozen=True)
class Power(Case):
    """The machine stops at a line of the journal, with or without its controller, and is switched on again."""

    scenario: Scenario = scenarios.SCHEDULER
    line: int = 8
    how: str = "cut"  # or: reboot
    controller: str = "gone"  # or: waits


POWER = load(Power, "power")
ALL = [*MACHINES, *POWER]


@pytest.mark.parametrize("case", parameters(POWER))
def test_power(nodes: Nodes, case: Power) -> None:
    node = case.scenario.node
    case.scenario.break_it(nodes)
    before = state.take(nodes)
    nodes.order(node, at_line(case.scenario.wave, case.line, "SIGSTOP"))
    run = state.start(nodes)
    nodes.wait_until_stopped(node)
    if case.controller == "gone":
        run.kill_controller()
    if case.how == "cut":
        nodes.podman(node, "kill", "--signal=KILL")
    else:  # systemd ends and wakes it itself
        nodes.podman(node, "stop", "--time=120")
    time.sleep(2)
    nodes.switch_on(node)
    ended = run.wait()
    if case.controller == "waits":
        assert ended.rc != 0
        assert node in ended.output
    now = state.check_aftermath(nodes, before)
    if case.outcome == UNDONE:
        assert now == before
    _check_state(nodes, case.scenario, case.outcome)

