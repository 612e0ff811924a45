# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs at once, and a bad configuration for many nodes"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from . import scenarios, state
from .nodes import Nodes, at_line, words
from .scenarios import CONTROL_PLANE, WORKER
from .table import COMMITTED, REFUSED, UNDONE, Case, parameters

SECOND = "w2"
PICKY = "/etc/systemd/system/kubelet.service.d/99-picky.conf"
NOT_PICKY = f"rm -f {PICKY}; systemctl daemon-reload"
# A wrapper of the distribution, say, that cannot live with what the configuration will be; no look at the file can tell.
MAKE_PICKY = f"""
mkdir -p $(dirname {PICKY})
printf '[Service]\\nExecStartPre=/bin/sh -c "! grep -q VersionTLS12 {scenarios.KUBELET_CONFIG}"\\n' >{PICKY}
chmod 600 {PICKY}
systemctl daemon-reload
"""
LEASE = """
cat <<END | kubectl apply -f -
{{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {{name: ninepaths, namespace: kube-system}}, spec: {{
  holderIdentity: "{holder}", leaseDurationSeconds: 600, acquireTime: "{now}", renewTime: "{now}"}}}}
END
"""


@dataclass(frozen=True)
class Another(Case):
    """A second run, with its arguments, while the first one stands at the beginning of its step."""

    arguments: tuple[str, ...] = ()
    says: tuple[str, ...] = ()


ANOTHER = [
    Another("two-runs/same-host", "a second operator starts the same run", REFUSED, True, says=("at work here",)),
    Another("two-runs/slice", "a slice of the inventory that holds the host", REFUSED, arguments=("--limit", CONTROL_PLANE), says=("at work here",)),
    Another("two-runs/check-meanwhile", "somebody looks with --check", REFUSED, arguments=("--check",), says=("at work here",)),
]


@pytest.mark.parametrize("case", parameters(ANOTHER))
def test_another_run_begins(nodes: Nodes, case: Another) -> None:
    scenarios.SCHEDULER.break_it(nodes)
    before = state.take(nodes)
    nodes.order(CONTROL_PLANE, at_line("control-planes", 4, "SIGSTOP"))
    first = state.start(nodes)
    nodes.wait_until_stopped(CONTROL_PLANE)
    known = nodes.transactions(CONTROL_PLANE)
    second = state.harden(nodes, *case.arguments)
    assert second.rc != 0
    missing = [word for word in (CONTROL_PLANE, *case.says) if word not in second.output]
    assert not missing, second.output
    assert nodes.transactions(CONTROL_PLANE) == known
    nodes.go_on(CONTROL_PLANE)
    ended = first.wait()
    assert ended.rc == 0, ended.output
    state.check_aftermath(nodes, before)


SLICES = Case("two-runs/two-slices-of-workers", "two slices of one inventory change their own workers at the same time", COMMITTED, True)


@pytest.mark.parametrize("case", parameters([SLICES]))
def test_two_slices(nodes: Nodes, case: Case) -> None:
    for worker in (WORKER, SECOND):
        nodes.root(worker, scenarios.KUBELET.drift)
    before = state.take(nodes)
    running = [state.start(nodes, "--limit", worker) for worker in (WORKER, SECOND)]
    for run in running:
        ended = run.wait()
        assert ended.rc == 0, ended.output
        assert ended.changed == 1
    state.check_aftermath(nodes, before)


HELD_LEASE = Case("two-runs/lease-of-another-run", "another run holds the cluster's Lease", REFUSED, True)


@pytest.mark.parametrize("case", parameters([HELD_LEASE]))
def test_lease_is_held(nodes: Nodes, case: Case) -> None:
    scenarios.SCHEDULER.break_it(nodes)
    before = state.take(nodes)
    holder = "20260101T000000Z-abcdef@cp9"
    nodes.root(CONTROL_PLANE, f"now=$(date -u +%Y-%m-%dT%H:%M:%S.000000Z)\n{LEASE.format(holder=holder, now='$now')}")
    try:
        ended = state.harden(nodes)
        said = ended.output + words(nodes.newest_journal(CONTROL_PLANE, "control-planes"))
        assert ended.rc != 0
        assert holder in said
        assert state.take(nodes) == before
    finally:
        nodes.root(CONTROL_PLANE, "kubectl -n kube-system delete lease ninepaths")
    state.check_aftermath(nodes, before)


@pytest.fixture
def picky_kubelets(nodes: Nodes) -> Iterator[None]:
    """Kubelets of the workers that do not start with what is planned for them."""
    for worker in (WORKER, SECOND):
        nodes.root(worker, scenarios.KUBELET.drift + MAKE_PICKY)
    yield
    for worker in (WORKER, SECOND):
        nodes.root(worker, f"{NOT_PICKY}; systemctl reset-failed kubelet; systemctl start kubelet", check=False)


CANARY = Case("canary/kubelets-that-do-not-start", "no kubelet starts with its new configuration: the run stops at the first one", UNDONE)


ALL = [*ANOTHER, SLICES, HELD_LEASE, CANARY]


@pytest.mark.usefixtures("picky_kubelets")
@pytest.mark.parametrize("case", parameters([CANARY]))
def test_canary(nodes: Nodes, case: Case) -> None:
    before = state.take(nodes)
    known = {worker: nodes.transactions(worker) for worker in (WORKER, SECOND)}
    ended = state.harden(nodes)
    assert ended.rc != 0
    tried = [worker for worker in (WORKER, SECOND) if nodes.transactions(worker) != known[worker]]
    assert len(tried) == 1, ended.output
    assert f"{tried[0]}: " in ended.output
    assert "does not restart" in ended.output
    state.wait_until_quiet(nodes)
    state.wait_until_healthy(nodes)
    assert state.take(nodes) == before
    for worker in (WORKER, SECOND):
        nodes.root(worker, NOT_PICKY)
    state.wait_until_healthy(nodes)
    finished = state.harden(nodes)
    assert (finished.rc, finished.changed) == (0, 2), finished.output
    assert state.harden(nodes).changed == 0
