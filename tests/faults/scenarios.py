# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small runs to interrupt: on a hardened bed one thing drifts, and the next harden run has one transaction to mend it."""

from __future__ import annotations

from dataclasses import dataclass

from .nodes import Nodes

CONTROL_PLANE, WORKER = "cp1", "w1"
MANIFESTS = "/etc/kubernetes/manifests"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"


@dataclass(frozen=True)
class Scenario:
    """A drift, and the transaction that mends it: on which node, in which wave (as in its directory's name)."""

    name: str
    node: str
    wave: str
    drift: str  # a shell script on the node; when it ends, what was broken runs so

    def break_it(self, nodes: Nodes) -> None:
        """Drift."""
        nodes.root(self.node, self.drift)


SCHEDULER = Scenario(
    "scheduler", CONTROL_PLANE, "control-planes",
    f"edit {MANIFESTS}/kube-scheduler.yaml --profiling=false --profiling=true && runs-with kube-scheduler --profiling=true",
)  # fmt: skip
KUBELET = Scenario(
    "kubelet", WORKER, "kubelets",
    f"edit {KUBELET_CONFIG} 'tlsMinVersion: VersionTLS12' 'tlsMinVersion: VersionTLS10' && systemctl restart kubelet && sleep 2",
)  # fmt: skip
FILES = Scenario(
    "files", CONTROL_PLANE, "files",
    "set -e; chmod 0644 /etc/kubernetes/scheduler.conf; printf '# edited\\n' >>/usr/local/lib/ninepaths/approver.py\n"
    "rm /etc/kubernetes/ninepaths/approver.json",
)  # fmt: skip
CLUSTER = Scenario("cluster", CONTROL_PLANE, "cluster", "edit-configmap kubeadm-config s/audit-log-maxage/audit-log-maxfoo/")
ALL = (SCHEDULER, KUBELET, FILES, CLUSTER)


def named(name: str) -> Scenario:
    """The scenario of this name."""
    return next(scenario for scenario in ALL if scenario.name == name)
