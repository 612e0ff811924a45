# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control planes: quorum, Lease, and a neighbour that fails"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from . import state
from .nodes import Nodes, at_line, words
from .table import COMMITTED, REFUSED, UNDONE, Case, parameters

FIRST, SECOND = "cp1", "cp2"
DRIFT = "edit $MANIFESTS/kube-scheduler.yaml --profiling=false --profiling=true && runs-with kube-scheduler --profiling=true"
# An etcd flag that a harden run mends, so that a run has a member to restart.
ETCD_DRIFT = "edit $MANIFESTS/etcd.yaml --auto-tls=false --auto-tls=0 && runs-with etcd --auto-tls=0"
STOP_MEMBER = "systemctl stop kubelet; crictl ps --name '^etcd$' -q | xargs crictl stop --timeout 5"
START_MEMBER = "systemctl start kubelet"
pytestmark = pytest.mark.three

MEMBER_DOWN = Case("quorum/member-down-before-the-run", "a second etcd member is down when a run begins that restarts the first", REFUSED)
MEMBER_LOST = Case("quorum/member-lost-between-plan-and-apply", "a second etcd member goes down between plan and apply", REFUSED)
MEMBER_LOST_LATE = Case("quorum/member-lost-after-the-trial", "a second etcd member goes down while the new arguments are tried out", UNDONE)
OTHER_PLANE = Case("two-runs/two-control-planes", "a run changes one control plane while another run wants to change a second one", REFUSED)
NEIGHBOUR_CUT = Case("quorum/neighbour-loses-power", "power cut on a second control plane while the first one restarts its scheduler", COMMITTED)
CONTROLLER_GONE = Case("quorum/controller-killed-between-control-planes", "the controller is killed while the first of two control planes restarts", COMMITTED)
ALL = [MEMBER_DOWN, MEMBER_LOST, MEMBER_LOST_LATE, OTHER_PLANE, NEIGHBOUR_CUT, CONTROLLER_GONE]


@pytest.fixture
def member_back(nodes: Nodes) -> Iterator[None]:
    """The second member comes back when a test is over."""
    yield
    nodes.root(SECOND, START_MEMBER, check=False)


def lost_member(nodes: Nodes) -> None:
    """Its etcd is stopped, and its kubelet, which would start it again."""
    nodes.root(SECOND, STOP_MEMBER)


def all_members(nodes: Nodes) -> None:
    """Wait until the second control plane is well again."""
    nodes.root(SECOND, START_MEMBER)
    state.wait_until_healthy(nodes)


@pytest.mark.usefixtures("member_back")
@pytest.mark.parametrize("case", parameters([MEMBER_DOWN]))
def test_member_down(nodes: Nodes, case: Case) -> None:
    nodes.root(FIRST, ETCD_DRIFT)
    state.wait_until_healthy(nodes)
    before = state.take(nodes)
    lost_member(nodes)
    ended = state.harden(nodes)
    assert ended.rc != 0
    assert SECOND in ended.output, ended.output
    assert "etcd" in ended.output, ended.output
    assert state.take(nodes) == before
    all_members(nodes)
    state.check_aftermath(nodes, before)


@pytest.mark.usefixtures("member_back")
@pytest.mark.parametrize("case", parameters([MEMBER_LOST, MEMBER_LOST_LATE]))
def test_member_lost(nodes: Nodes, case: Case) -> None:
    nodes.root(FIRST, ETCD_DRIFT)
    state.wait_until_healthy(nodes)
    before = state.take(nodes)
    nodes.order(FIRST, at_line("control-planes", 1 if case is MEMBER_LOST else 4, "SIGSTOP"))
    run = state.start(nodes)
    nodes.wait_until_stopped(FIRST)
    lost_member(nodes)
    nodes.go_on(FIRST)
    ended = run.wait()
    said = ended.output + words(nodes.newest_journal(FIRST, "control-planes"))
    assert ended.rc != 0
    assert "quorum" in said, said
    assert state.take(nodes) == before
    all_members(nodes)
    state.check_aftermath(nodes, before)


@pytest.mark.parametrize("case", parameters([OTHER_PLANE]))
def test_two_control_planes(nodes: Nodes, case: Case) -> None:
    for control_plane in (FIRST, SECOND):
        nodes.root(control_plane, DRIFT)
    state.wait_until_healthy(nodes)
    before = state.take(nodes)
    nodes.order(FIRST, at_line("control-planes", 8, "SIGSTOP"))
    first = state.start(nodes, "--limit", FIRST)
    nodes.wait_until_stopped(FIRST)
    second = state.harden(nodes, "--limit", SECOND)
    assert second.rc != 0
    assert f"@{FIRST}" in second.output or "at work" in second.output, second.output
    assert state.take(nodes).files[SECOND] == before.files[SECOND]
    nodes.go_on(FIRST)
    ended = first.wait()
    assert ended.rc == 0, ended.output
    state.check_aftermath(nodes, before)


@pytest.mark.parametrize("case", parameters([NEIGHBOUR_CUT]))
def test_neighbour_loses_power(nodes: Nodes, case: Case) -> None:
    nodes.root(FIRST, DRIFT)
    state.wait_until_healthy(nodes)
    before = state.take(nodes)
    nodes.order(FIRST, at_line("control-planes", 8, "SIGSTOP"))
    run = state.start(nodes)
    nodes.wait_until_stopped(FIRST)
    nodes.podman(SECOND, "kill", "--signal=KILL")
    nodes.go_on(FIRST)
    run.wait()
    journal = nodes.newest_journal(FIRST, "control-planes")
    assert journal[-1]["data"]["state"] == "committed", json.dumps(journal[-1])
    nodes.switch_on(SECOND)
    state.check_aftermath(nodes, before)


@pytest.mark.parametrize("case", parameters([CONTROLLER_GONE]))
def test_controller_killed_between(nodes: Nodes, case: Case) -> None:
    for control_plane in (FIRST, SECOND):
        nodes.root(control_plane, DRIFT)
    state.wait_until_healthy(nodes)
    before = state.take(nodes)
    nodes.order(FIRST, at_line("control-planes", 8, "SIGSTOP"))
    run = state.start(nodes)
    nodes.wait_until_stopped(FIRST)
    run.kill_controller()
    nodes.go_on(FIRST)
    state.wait_until_quiet(nodes)
    assert nodes.newest_journal(FIRST, "control-planes")[-1]["data"]["state"] == "committed"
    assert state.take(nodes).files[SECOND] == before.files[SECOND]
    state.check_aftermath(nodes, before)
