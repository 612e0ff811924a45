# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold after any fault: every file old or new, nothing left over, the cluster healthy, the next run done and the one after it idle."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.bed import ROOT, Playbook

from . import runs
from .nodes import Nodes

HARDEN = ROOT / "playbooks" / "harden.yml"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
MANIFESTS = frozenset(f"/etc/kubernetes/manifests/{component}.yaml" for component in COMPONENTS)
OBJECTS = ("kubeadm-config", "kubelet-config", "kube-proxy")
QUIET, HEALTHY = 600.0, 300.0  # seconds that a host has to end or undo what was begun, and the cluster to be well again
# A transaction's unit begins with the year; the approver's do not.
BUSY = "systemctl list-units --state=active,activating,deactivating,failed --plain --no-legend 'ninepaths-2*' | awk '{print $1, $3, $4}'"
LEFT_OVER = """
find /etc /var/lib/kubelet /usr/local /var/lib/ninepaths -xdev \\( -name '.ninepaths-*' -o -name ballast \\) 2>/dev/null
ls /etc/systemd/system/ninepaths-recover.service /etc/systemd/system/multi-user.target.wants/ninepaths-recover.service 2>/dev/null
true
"""


@dataclass(frozen=True)
class State:
    """Files per node with digest, owner and mode; the ConfigMaps' data."""

    files: dict[str, dict[str, str]]
    objects: dict[str, Any]


def take(nodes: Nodes) -> State:
    """What is there now."""
    found = json.loads(nodes.bed.kubectl("-n", "kube-system", "get", "configmaps", "-o", "json"))
    objects = {item["metadata"]["name"]: item.get("data") for item in found["items"] if item["metadata"]["name"] in OBJECTS}
    return State(nodes.files(), objects)


def neither_old_nor_new(before: State, now: State, after: State) -> list[str]:
    """Paths and objects that are neither as before the fault nor as after the run that finished it."""
    wrong = [
        f"{node}: {path}: {before.files[node].get(path)} -> {now.files[node].get(path)}, not {after.files[node].get(path)}"
        for node in now.files
        for path in sorted({*before.files[node], *now.files[node], *after.files[node]})
        if now.files[node].get(path) not in (before.files[node].get(path), after.files[node].get(path))
    ]
    return wrong + [name for name in OBJECTS if now.objects.get(name) not in (before.objects.get(name), after.objects.get(name))]


def foreign_manifests(now: State) -> list[str]:
    """What lies in a manifests directory and is no manifest of the control plane."""
    return [
        path
        for files in now.files.values()
        for path in files
        if path.startswith("/etc/kubernetes/manifests/") and path not in MANIFESTS
    ]


def eventually(what: str, condition: Callable[[], str], seconds: float) -> None:
    """Wait until the condition has no complaint any more; the last one is in the error."""
    deadline = time.monotonic() + seconds
    while complaint := condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s: {complaint}")
        time.sleep(0.5)


def wait_until_quiet(nodes: Nodes, seconds: float = QUIET) -> None:
    """Nothing of a transaction runs any more, and nothing is armed or left over, on no node.

    What is left over may still go by itself: soon after a power cut the unit that undoes at boot is there and does not run yet.
    """

    def complaint() -> str:
        try:
            busy = [f"{node}: {line}" for node in nodes.bed.nodes for line in nodes.bed.root(node, BUSY + "\n" + LEFT_OVER).splitlines()]
        except (RuntimeError, subprocess.TimeoutExpired) as error:  # a node that is starting
            return str(error)
        return "; ".join(busy)

    eventually("nothing of ninepaths is at work, armed or left over", complaint, seconds)


def wait_until_healthy(nodes: Nodes, seconds: float = HEALTHY) -> None:
    """The API answers, all nodes are Ready, all pods of the control plane too, and the Lease is free."""

    def complaint() -> str:
        try:
            nodes.bed.kubectl("get", "--raw=/readyz")
            found = json.loads(nodes.bed.kubectl("get", "nodes", "-o", "json"))["items"]
            pods = json.loads(nodes.bed.kubectl("-n", "kube-system", "get", "pods", "-l", "tier=control-plane", "-o", "json"))["items"]
            lease = nodes.bed.kubectl("-n", "kube-system", "get", "lease", "ninepaths", "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return str(error)
        ill = [item["metadata"]["name"] for item in (*found, *pods) if not _is_ready(item)]
        return f"not ready: {', '.join(ill)}" if ill else (f"the Lease is held by {lease}" if lease else "")

    eventually("the cluster is healthy without a human", complaint, seconds)


def _is_ready(item: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in item["status"].get("conditions", ()))


def harden(nodes: Nodes, *arguments: str) -> Playbook:
    """One whole harden run."""
    return start(nodes, *arguments).wait()


def start(nodes: Nodes, *arguments: str, inventory: Path | None = None) -> runs.Run:
    """A harden run in the background."""
    return runs.start(inventory or nodes.bed.folder / "inventory.yml", HARDEN, *arguments)


def check_aftermath(nodes: Nodes, before: State) -> State:
    """All that has to hold after any fault; returns what was there before the next run."""
    wait_until_quiet(nodes)
    wait_until_healthy(nodes)
    now = take(nodes)
    assert not foreign_manifests(now), foreign_manifests(now)
    finished = harden(nodes)
    assert finished.rc == 0, finished.output
    idle = harden(nodes)
    assert (idle.rc, idle.changed) == (0, 0), idle.output
    wait_until_quiet(nodes)
    assert not neither_old_nor_new(before, now, take(nodes))
    return now
