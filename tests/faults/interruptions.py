# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every line of the journals of four small transactions, and what is killed in the moment in which it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import scenarios
from .scenarios import Scenario
from .table import COMMITTED, UNDONE, Case

BEGIN = ("begin", r"transaction .* on ")
LEASE = ("lease-held", r"holds the cluster's Lease")
ARMED = ("undo-armed", r"everything is as planned; undo is armed")
DONE = ("step-done", r"step 1:\w+ is done")
COMMIT = ("committed", r"committed")

# Names of the lines, in their order, with what they say. A line that is not here makes the tests fail: every step is interrupted.
LINES: dict[Scenario, tuple[tuple[str, str], ...]] = {
    scenarios.FILES: (
        BEGIN, ARMED, ("step-begins", r"step 1:files begins"), ("creating-a-file", r"creating .*/approver\.json"),
        ("owner-and-mode", r"owner and mode of .*/scheduler\.conf"), ("replacing-a-file", r"replacing .*/approver\.py"),
        ("files-written", r"3 files written"), DONE, ("units-begin", r"step 2:units begins"), ("daemon-reload", r"systemd reads its units again"),
        ("units-done", r"step 2:units is done"), COMMIT,
    ),
    scenarios.CLUSTER: (
        BEGIN, LEASE, ARMED, ("step-begins", r"step 1:configmap begins"), ("replacing-an-object", r".*: replacing ClusterConfiguration"),
        ("object-replaced", r".*: ClusterConfiguration replaced"), DONE, COMMIT,
    ),
    scenarios.KUBELET: (
        BEGIN, ARMED, ("step-begins", r"step 1:kubelet begins"), ("process-noted", r"kubelet: runs as process"),
        ("replacing-its-file", r"replacing /var/lib/kubelet/config\.yaml"), ("judged", r"kubelet: new arguments accepted"),
        ("restarting", r"kubelet: restarting"), ("waiting-for-process", r"kubelet: waiting for its new process"),
        ("new-process", r"kubelet: new process"), ("waiting-for-health", r"kubelet: waiting for its health port"),
        ("healthy", r"kubelet: answers on its health port"), ("waiting-for-node", r"kubelet: waiting until its Node"),
        ("node-ready", r"kubelet: its Node is Ready"), ("waiting-for-pods", r"kubelet: waiting until it knows"),
        ("pods-known", r"kubelet: it knows its static pods"), DONE, COMMIT,
    ),
    scenarios.SCHEDULER: (
        BEGIN, LEASE, ARMED, ("step-begins", r"step 1:static_pods begins"), ("tried-out", r"kube-scheduler: new arguments accepted"),
        ("process-noted", r"kube-scheduler: runs as process"), ("replacing-manifest", r"replacing /etc/kubernetes/manifests/kube-scheduler\.yaml"),
        ("manifest-in-place", r"kube-scheduler: new manifest in place"), ("waiting-for-process", r"kube-scheduler: waiting for the new process"),
        ("ready", r"kube-scheduler: ready"), ("waiting-for-kubelet", r"kube-scheduler: waiting until the kubelet"),
        ("kubelet-agrees", r"kube-scheduler: the kubelet calls it"), DONE, COMMIT,
    ),
}  # fmt: skip
VICTIMS = {"target": "the transaction's process", "ssh": "all ssh connections", "controller": "the controller"}
# What `make test` runs of them: the moments after which something is there that has to be taken back, or is lost.
QUICK = {
    "files/target/replacing-a-file", "cluster/target/object-replaced", "kubelet/target/restarting", "kubelet/controller/restarting",
    "scheduler/target/manifest-in-place", "scheduler/ssh/manifest-in-place",
}  # fmt: skip


@dataclass(frozen=True)
class Interruption(Case):
    """SIGKILL for a victim in the moment in which a line of a scenario's journal is written."""

    scenario: Scenario = scenarios.FILES
    victim: str = "target"
    line: int = 1
    says: str = ""

    def is_at(self, message: str) -> bool:
        """Is this the line?"""
        return re.match(self.says, message) is not None


def _case(scenario: Scenario, victim: str, number: int, line: tuple[str, str]) -> Interruption:
    name = f"{scenario.name}/{victim}/{line[0]}"
    outcome = UNDONE if victim == "target" and line != COMMIT else COMMITTED
    fault = f"SIGKILL for {VICTIMS[victim]} at line {number} of the journal"
    return Interruption(name, fault, outcome, name in QUICK, scenario, victim, number, line[1])


CASES = [
    _case(scenario, victim, number, line)
    for scenario, lines in LINES.items()
    for victim in VICTIMS
    for number, line in enumerate(lines, 1)
]
