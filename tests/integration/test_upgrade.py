# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened cluster is upgraded with kubeadm to the next minor, as its documentation says: what was hardened is still so, without another run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .bed import Bed
from .live import bed_command, read_report

pytestmark = pytest.mark.upgrades

# NINEPATHS_UPGRADE_TO: the next minor of the bed's.
TO = os.environ.get("NINEPATHS_UPGRADE_TO", "1.37")
ARGUMENTS = "for name in kube-apiserver kube-controller kube-scheduler etcd; do xargs -0 -n1 </proc/$(pgrep -x $name)/cmdline; done"
SOURCES = ("kubeadm-config", "kubelet-config")
TRANSACTIONS = "/var/lib/ninepaths/transactions"


@dataclass(frozen=True)
class State:
    """What a hardened cluster runs with: arguments of every control plane's components, and every kubelet's own word for its configuration."""

    arguments: dict[str, set[str]]
    kubelets: dict[str, dict[str, Any]]


def state(bed: Bed) -> State:
    control_planes = [node["name"] for node in bed.facts["nodes"] if node["role"] == "control-plane"]
    return State(
        {node: set(bed.root(node, ARGUMENTS).splitlines()) for node in control_planes},
        {node: json.loads(bed.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"] for node in bed.nodes},
    )


@pytest.fixture(scope="module")
def default(bed: Bed) -> State:
    """The cluster as kubeadm made it."""
    return state(bed)


@pytest.fixture(scope="module")
def report(bed: Bed, default: State, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that hardens it; its report."""
    assert default
    folder = tmp_path_factory.mktemp("report")
    run = bed.playbook("harden", "-e", f"ninepaths_report_dir={folder}")
    assert run.rc == 0, run.output
    return read_report(folder)


@pytest.fixture(scope="module")
def hardened(bed: Bed, report: dict[str, Any]) -> State:
    """What it runs with then."""
    assert report
    return state(bed)


@pytest.fixture(scope="module")
def upgraded(bed: Bed, hardened: State) -> State:
    """What it runs with after the upgrade, before any other run."""
    assert hardened
    bed_command(bed, "upgrade", "--kubernetes", TO, timeout=3600)
    return state(bed)


def journals(bed: Bed, run: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every transaction of a run: lines by node and wave."""
    found = {}
    for node in bed.nodes:
        for wave in bed.root(node, f"cd {TRANSACTIONS} && ls -d {run}-* 2>/dev/null || true").split():
            lines = bed.root(node, f"cat {TRANSACTIONS}/{wave}/journal.jsonl").splitlines()
            found[node, wave.removeprefix(f"{run}-")] = [json.loads(line) for line in lines]
    return found


def test_sources_of_truth_are_written_when_all_nodes_are_healthy(bed: Bed, report: dict[str, Any]) -> None:
    """By the journals' times: all nodes have committed, which they do when their components and kubelet are well."""
    found = journals(bed, report["run"])
    ends = {key: lines[-1] for key, lines in found.items()}
    assert all(line["event"] == "end" and line["data"]["state"] == "committed" for line in ends.values()), ends
    waves = {wave for _, wave in found}
    assert {"kubelets", "control-plane-kubelets", "certificates", "control-planes", "cluster"} <= waves
    written = {name: [line["at"] for (_, wave), lines in found.items() for line in lines if name in line["message"]] for name in SOURCES}
    last = max(line["at"] for (_, wave), line in ends.items() if wave != "cluster")
    assert all(times and min(times) > last for times in written.values()), (written, last)


def test_every_node_runs_the_new_minor(bed: Bed, upgraded: State) -> None:
    assert upgraded
    items = json.loads(bed.kubectl("get", "nodes", "-o", "json"))["items"]
    versions = {item["metadata"]["name"]: item["status"]["nodeInfo"]["kubeletVersion"] for item in items}
    assert all(version.startswith(f"v{TO}.") for version in versions.values()), versions
    assert json.loads(bed.kubectl("get", "--raw", "/version"))["gitVersion"].startswith(f"v{TO}.")


def test_what_was_hardened_still_runs(default: State, hardened: State, upgraded: State) -> None:
    for node, arguments in hardened.arguments.items():
        added = arguments - default.arguments[node]
        assert added, f"{node}: nothing was hardened"
        assert added <= upgraded.arguments[node], f"{node} lost {sorted(added - upgraded.arguments[node])}"
    for node, configuration in hardened.kubelets.items():
        changed = {key: value for key, value in configuration.items() if default.kubelets[node].get(key) != value}
        assert changed, f"{node}: nothing was hardened"
        assert {key: upgraded.kubelets[node].get(key) for key in changed} == changed


def test_check_finds_nothing_to_do(bed: Bed, upgraded: State) -> None:
    assert upgraded
    run = bed.playbook("harden", "--check", "--diff")
    assert run.rc == 0 and "nothing to change" in run.output, run.output


def test_audit_is_content(bed: Bed, upgraded: State) -> None:
    assert upgraded
    run = bed.playbook("audit")
    assert run.rc == 0, run.output


def test_harden_changes_nothing(bed: Bed, upgraded: State, tmp_path: Path) -> None:
    assert upgraded
    before = bed.fingerprint()
    run = bed.playbook("harden", "-e", f"ninepaths_report_dir={tmp_path}")
    assert run.rc == 0 and run.changed == 0, run.output
    assert read_report(tmp_path)["restarts"] == {}
    assert bed.fingerprint() == before
