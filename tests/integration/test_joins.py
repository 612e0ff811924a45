# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers and a control plane that join a hardened cluster: not without their files, then prepared, joined with kubeadm, hardened without a restart."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .bed import Bed, Playbook
from .live import NAMESPACE, bed_command, read_report, start_pods

pytestmark = pytest.mark.joins

PLANE, WORKER, UNPREPARED_WORKER = "cp4", "w9", "w8"
GROUPS = {PLANE: ("kube_control_plane", "etcd"), WORKER: ("kube_node",)}
ROLES = {PLANE: "control-plane", WORKER: "worker"}
DOCUMENTS = "/etc/kubernetes/ninepaths"
# Whose requests are approved, by names and addresses: it is how the new machines get their certificates.
APPROVER = f"{DOCUMENTS}/approver.json"
LISTED = f"cd {DOCUMENTS} && find . -exec stat --format '%n %F %a %U:%G' {{}} + | sort && find . -type f -exec sha256sum {{}} + | sort -k2"


@pytest.fixture(scope="module")
def hardened(bed: Bed) -> dict[str, str]:
    """A hardened cluster; its fingerprint."""
    run = bed.playbook("harden")
    assert run.rc == 0, run.output
    return bed.fingerprint()


@pytest.fixture(scope="module")
def machines(bed: Bed, hardened: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines that have not joined, in their groups; the inventory."""
    assert hardened
    for name, role in ROLES.items():
        bed_command(bed, "add-node", name, "--role", role)
    inventory = bed.inventory
    groups = inventory["all"]["children"]
    for name, variables in groups.pop("prepared")["hosts"].items():
        for group in GROUPS[name]:
            groups[group]["hosts"][name] = variables
    return bed.write_inventory(tmp_path_factory.mktemp("inventory") / "inventory.yml", inventory)


@dataclass(frozen=True)
class Failure:
    """A control plane that was joined without being prepared: what kubeadm said, what its apiserver said, and what a run said to it."""

    kubeadm: str
    apiserver: str
    harden: Playbook
    fingerprint: dict[str, str]


@pytest.fixture(scope="module")
def unprepared(bed: Bed, machines: Path) -> Failure:
    """The join that fails; afterwards the machine is as new, as docs/join.md says."""
    with pytest.raises(RuntimeError) as caught:
        bed_command(bed, "add-node", PLANE, "--role", ROLES[PLANE], "--join", timeout=900)
    log = bed.root(PLANE, "cat /var/log/pods/kube-system_kube-apiserver-*/kube-apiserver/*.log")
    run, found = bed.playbook("harden", inventory=machines), bed.fingerprint()
    bed.root(PLANE, "kubeadm reset --force")
    bed.kubectl("delete", "node", PLANE)
    return Failure(str(caught.value), log, run, found)


@pytest.fixture(scope="module")
def prepared(bed: Bed, machines: Path, unprepared: Failure) -> Playbook:
    """The machines after prepare, the control plane after a join that failed for want of it."""
    assert unprepared
    run = bed.playbook("prepare", inventory=machines)
    assert run.rc == 0, run.output
    return run


@pytest.fixture(scope="module")
def joined(bed: Bed, prepared: Playbook) -> dict[str, str]:
    """The cluster after both have joined, and a worker that nobody has prepared; its fingerprint."""
    assert prepared
    for name, role in {**ROLES, UNPREPARED_WORKER: "worker"}.items():
        bed_command(bed, "add-node", name, "--role", role, "--join")
    return bed.fingerprint()


@pytest.fixture(scope="module")
def settled(bed: Bed, joined: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run right after the joins; its report."""
    assert joined
    folder = tmp_path_factory.mktemp("report")
    run = bed.playbook("harden", "-e", f"ninepaths_report_dir={folder}")
    assert run.rc == 0, run.output
    return read_report(folder)


def processes(fingerprint: str) -> list[str]:
    """Lines that name a process and its start."""
    return [line for line in fingerprint.splitlines() if line.startswith("P ")]


def test_until_then_harden_says_what_is_missing(bed: Bed, machines: Path, hardened: dict[str, str]) -> None:
    run = bed.playbook("harden", inventory=machines)
    assert run.rc != 0
    for name in ROLES:
        assert f"{name}" in run.output
    assert "it has not joined a cluster" in run.output, run.output
    assert {node: bed.fingerprint()[node] for node in hardened} == hardened


def test_check_predicts_and_touches_nothing(bed: Bed, machines: Path) -> None:
    run = bed.playbook("prepare", "--check", "--diff", inventory=machines)
    assert run.rc == 0, run.output
    assert f"{DOCUMENTS}/audit-policy" in run.output, run.output
    assert bed.root(PLANE, f"ls {DOCUMENTS}", check=False) == ""


def test_without_prepare_a_control_plane_does_not_join(unprepared: Failure) -> None:
    """kubeadm names the component, and the component the file that is not there."""
    assert "kube-apiserver" in unprepared.kubeadm, unprepared.kubeadm
    assert f"{DOCUMENTS}/" in unprepared.apiserver and "no such file or directory" in unprepared.apiserver, unprepared.apiserver[-2000:]


def test_and_harden_names_the_file_and_what_to_do(unprepared: Failure, hardened: dict[str, str]) -> None:
    assert unprepared.harden.rc != 0
    for words in (PLANE, f"{DOCUMENTS}/", "which is not there", "kubeadm reset on it, then prepare"):
        assert words in unprepared.harden.output, unprepared.harden.output
    assert {node: unprepared.fingerprint[node] for node in hardened} == hardened


def test_a_control_plane_gets_the_documents_of_another_one(bed: Bed, prepared: Playbook) -> None:
    assert prepared.changed
    assert bed.root(PLANE, LISTED) == bed.root(bed.nodes[0], LISTED)
    assert "audit-policy" in bed.root(PLANE, LISTED)


def test_members_are_left_alone(bed: Bed, prepared: Playbook, hardened: dict[str, str]) -> None:
    assert prepared
    found = bed.fingerprint()
    assert {node: found[node] for node in hardened} == hardened


def test_preparing_again_changes_nothing(bed: Bed, machines: Path, prepared: Playbook) -> None:
    assert prepared
    again = bed.playbook("prepare", inventory=machines)
    assert again.rc == 0 and again.changed == 0, again.output


def contents(fingerprint: str) -> set[str]:
    """Files with the digest of what is in them."""
    return {line for line in fingerprint.splitlines() if re.match(r"[0-9a-f]{64} ", line)}


def test_only_modes_and_certificates_change(bed: Bed, joined: dict[str, str], settled: dict[str, Any]) -> None:
    found = bed.fingerprint()
    assert settled["restarts"] == {}
    assert {node: processes(found[node]) for node in found} == {node: processes(joined[node]) for node in joined}
    changed = {line.split()[1] for node in found for line in contents(found[node]) ^ contents(joined[node])}
    assert changed <= {APPROVER}, changed


def test_their_serving_certificates_are_signed(bed: Bed, settled: dict[str, Any]) -> None:
    assert settled["serving_certificates"]
    for name in (*ROLES, UNPREPARED_WORKER):
        text = bed.root(name, "openssl x509 -in /var/lib/kubelet/pki/kubelet-server-current.pem -noout -subject -issuer")
        assert f"system:node:{name}" in text and "kubernetes" in text, text


def test_a_second_run_changes_nothing(bed: Bed, settled: dict[str, Any]) -> None:
    assert settled
    before = bed.fingerprint()
    run = bed.playbook("harden")
    assert run.rc == 0 and run.changed == 0, run.output
    assert "nothing to change" in run.output
    assert bed.fingerprint() == before


def test_logs_and_exec_work_on_the_new_nodes(bed: Bed, settled: dict[str, Any]) -> None:
    assert settled
    start_pods(bed)
    for name in (*ROLES, UNPREPARED_WORKER):
        assert f"here-is-{name}" in bed.kubectl("-n", NAMESPACE, "logs", f"tool-{name}")
        assert bed.kubectl("-n", NAMESPACE, "exec", f"tool-{name}", "--", "echo", "came-in").strip() == "came-in"


def test_the_new_control_plane_is_a_full_member(bed: Bed, settled: dict[str, Any]) -> None:
    """Its etcd is one of the members and its apiserver answers, hardened as the others."""
    assert settled
    pods = json.loads(bed.kubectl("-n", "kube-system", "get", "pods", "-l", "tier=control-plane", "-o", "json"))["items"]
    arguments = {
        pod["spec"]["nodeName"]: {word.partition("=")[0] for word in pod["spec"]["containers"][0]["command"]}
        for pod in pods
        if pod["metadata"]["labels"]["component"] == "kube-apiserver"
    }
    assert arguments[PLANE] == arguments[bed.nodes[0]]
