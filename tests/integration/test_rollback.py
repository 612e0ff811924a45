# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened cluster goes back to the very files, objects, accounts and units of before, there again, and back once more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bed import Bed, Playbook
from .live import read_report

pytestmark = pytest.mark.changes_cluster(takes_back=True)

SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"
PLACES = (
    "/etc/kubernetes /etc/cni /etc/systemd/system /usr/local/lib /usr/lib/systemd/system/kubelet.service.d /var/lib/kubelet/config.yaml "
    "/var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki"
)
# Bytes, kinds, modes, owners and links of everything that a run may write, and what else it may make on a node. A serving certificate that
# the cluster's signer has signed is the kubelet's own.
STATE = f"""
find {PLACES} -printf '%p %y %m %u:%g %l\\n' | grep -v /kubelet-server-[2c] | sort
find {PLACES} -type f -exec sha256sum {{}} + | grep -v /kubelet-server-[2c] | sort -k2
stat -c '%n %a %U:%G' /var/lib/etcd 2>/dev/null
getent passwd etcd; getent group etcd
systemctl list-unit-files --no-legend 'ninepaths*'; systemctl list-units --all --no-legend 'ninepaths*'
sysctl kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom kernel.keys.root_maxkeys kernel.keys.root_maxbytes
"""
OBJECTS = ("kubeadm-config", "kubelet-config", "kube-proxy")


def state(bed: Bed) -> dict[str, Any]:
    """The cluster, as far as a run could change it."""
    found: dict[str, Any] = {node: bed.root(node, STATE, check=False).splitlines() for node in bed.nodes}
    for name in OBJECTS:
        found[name] = json.loads(bed.kubectl("-n", "kube-system", "get", "configmap", name, "-o", "json"))["data"]
    found["daemonset"] = json.loads(bed.kubectl("-n", "kube-system", "get", "daemonset", "kube-proxy", "-o", "json"))["spec"]["template"]
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Lines and objects that only one of them has."""
    found: dict[str, Any] = {}
    for key in one:
        if isinstance(one[key], list) and one[key] != other[key]:
            found[key] = sorted(set(one[key]) ^ set(other[key]))
        elif one[key] != other[key]:
            found[key] = other[key]
    return found


def files_of(fingerprint: dict[str, str]) -> dict[str, list[str]]:
    """A fingerprint without the processes."""
    return {
        node: [line for line in text.splitlines() if line.startswith("/") or re.match(r"[0-9a-f]{64} ", line)] for node, text in fingerprint.items()
    }


def statuses(report: dict[str, Any]) -> set[tuple[str, tuple[str, ...], str]]:
    return {(row["id"], tuple(sorted(map(str, row["hosts"]))), row["status"]) for path in report["paths"] for row in path["controls"]}


def well(bed: Bed) -> bool:
    """Whether the API answers, every node and every pod of the system is ready, and every kubelet gives logs to the apiserver."""
    assert bed.kubectl("get", "--raw", "/readyz") == "ok"
    bed.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    bed.kubectl("-n", "kube-system", "wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s", timeout=150)
    bed.kubectl("-n", "kube-system", "logs", "--selector=k8s-app=kube-proxy", "--tail=1")  # from the kubelet of every node
    return True


class Runs:
    """Playbooks on the bed, each with its report."""

    def __init__(self, bed: Bed, folder: Path) -> None:
        self.bed, self.folder, self.count = bed, folder, 0

    def __call__(self, name: str, *arguments: str) -> tuple[Playbook, dict[str, Any]]:
        self.count += 1
        folder = self.folder / str(self.count)
        run = self.bed.playbook(name, *arguments, "-e", f"ninepaths_report_dir={folder}")
        return run, read_report(folder)

    def back(self, run: str, *arguments: str) -> tuple[Playbook, dict[str, Any]]:
        return self("rollback", "-e", f"ninepaths_run={run}", *arguments)


@pytest.fixture(scope="module")
def runs(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Playbooks on the bed."""
    return Runs(bed, tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def audited(bed: Bed, runs: Runs) -> Iterator[dict[str, Any]]:
    """The report of the cluster as it was found; in the end nothing is left of the certificates that kubelets have asked for."""
    yield runs("audit")[1]
    for node in bed.nodes:
        bed.root(node, "rm -f /var/lib/kubelet/pki/kubelet-server-*")


@pytest.fixture(scope="module")
def before(bed: Bed, audited: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The cluster as it was found: everything, and the fingerprint's part about files."""
    assert audited
    return state(bed), files_of(bed.fingerprint())


@pytest.fixture(scope="module")
def hardened(bed: Bed, runs: Runs, before: Any) -> tuple[str, dict[str, Any]]:
    """The run that hardens it, and the cluster after it."""
    run, report = runs("harden")
    assert run.rc == 0, run.output
    after = state(bed)
    assert differences(before[0], after)
    return str(report["run"]), after


def test_without_a_run_those_that_there_are_are_told(bed: Bed, runs: Runs, hardened: tuple[str, Any]) -> None:
    run, report = runs("rollback")
    assert run.rc == 2 and f"name the one to go back to before: -e ninepaths_run={hardened[0]}" in run.output, run.output
    assert re.search(rf"run +{hardened[0]}   20.* UTC   cp1, w1   \d+ changes   files, kubelets", run.output)
    assert report["mode"] == "rollback" and report["rollback"] is None


def test_an_unknown_run_is_refused(runs: Runs, hardened: tuple[str, Any]) -> None:
    run, _report = runs.back("20200101T000000Z-000000")
    assert run.rc == 2 and "no run 20200101T000000Z-000000 is known on these hosts" in run.output and hardened[0] in run.output, run.output


def test_a_worker_alone_keeps_what_the_apiserver_verifies(bed: Bed, runs: Runs, hardened: tuple[str, Any]) -> None:
    fingerprint = bed.fingerprint()
    run, report = runs.back("last", "--limit", "w1")
    assert run.rc == 2 and bed.fingerprint() == fingerprint
    (error,) = report["errors"]
    assert error["host"] == "w1" and "kubelet-serving-bootstrap cannot be taken back any more (kubelet-verification): the apiserver of cp1" in error["cause"]
    assert "--limit" in error["advice"]


def test_an_edited_manifest_is_somebodys(bed: Bed, runs: Runs, hardened: tuple[str, Any]) -> None:
    bed.root("cp1", f"cp -p {SCHEDULER} /root/kept && printf '# mine\\n' >>{SCHEDULER}")
    try:
        fingerprint = bed.fingerprint()
        run, report = runs.back(hardened[0])
        assert run.rc == 2 and bed.fingerprint() == fingerprint
        (error,) = report["errors"]
        assert (error["host"], error["file"]) == ("cp1", SCHEDULER)
        assert f"somebody else has changed it since run {hardened[0]}" in error["cause"] and "/backup/" in error["advice"]
    finally:
        bed.root("cp1", f"mv /root/kept {SCHEDULER}")


def test_check_shows_what_would_be_written_and_touches_nothing(bed: Bed, runs: Runs, hardened: tuple[str, Any]) -> None:
    fingerprint = bed.fingerprint()
    run, report = runs.back("last", "--check", "--diff")
    assert run.rc == 0 and run.changed == 0 and bed.fingerprint() == fingerprint, run.output
    for shown in (
        "# cp1: /etc/kubernetes/manifests/kube-apiserver.yaml (",
        "-    - --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt",
        "# w1: /var/lib/kubelet/config.yaml (",
        "-serverTLSBootstrap: true",
        "+++ /dev/null",
        "ConfigMap kube-system/kubeadm-config",
        "restarts: etcd 1, kube-apiserver 1, kube-controller-manager 1, kube-scheduler 1, kubelet 2",
    ):
        assert shown in run.output, f"not shown: {shown}\n{run.output}"
    assert report["rollback"]["state"] == "predicted" and report["rollback"]["run"] == hardened[0]


@pytest.fixture(scope="module")
def taken_back(bed: Bed, runs: Runs, hardened: tuple[str, Any]) -> dict[str, Any]:
    """The rollback of that run; its report."""
    run, report = runs.back(hardened[0])
    assert run.rc == 0, run.output
    assert f"rollback run {hardened[0]} was taken back: " in run.output
    return report


def test_everything_is_as_before(bed: Bed, before: tuple[Any, Any], taken_back: dict[str, Any]) -> None:
    assert differences(before[0], state(bed)) == {}
    left = {node: [line for line in lines if "/kubelet-server-" not in line] for node, lines in files_of(bed.fingerprint()).items()}
    assert left == before[1]
    assert well(bed)


def test_each_component_restarts_once(taken_back: dict[str, Any]) -> None:
    assert taken_back["restarts"] == {"etcd": 1, "kube-apiserver": 1, "kube-controller-manager": 1, "kube-scheduler": 1, "kubelet": 2}
    assert taken_back["rollback"]["state"] == "done" and all(change["done"] for change in taken_back["rollback"]["changes"])


def test_an_audit_finds_the_deviations_of_before(runs: Runs, audited: dict[str, Any], taken_back: dict[str, Any]) -> None:
    assert taken_back
    run, report = runs("audit")
    assert run.rc == 2 and statuses(report) == statuses(audited)


@pytest.fixture(scope="module")
def forth(bed: Bed, runs: Runs, taken_back: dict[str, Any]) -> dict[str, Any]:
    """The rollback taken back."""
    run, report = runs.back("last")
    assert run.rc == 0, run.output
    assert report["rollback"]["run"] == taken_back["run"]
    return report


def test_a_rollback_can_be_taken_back(bed: Bed, runs: Runs, hardened: tuple[str, Any], forth: dict[str, Any]) -> None:
    assert forth and differences(hardened[1], state(bed)) == {} and well(bed)
    run, _report = runs("harden")
    assert run.rc == 0 and run.changed == 0 and "nothing to change" in run.output, run.output


@pytest.fixture(scope="module")
def all_back(runs: Runs, hardened: tuple[str, Any], forth: dict[str, Any]) -> dict[str, Any]:
    """The run that hardened the cluster, its rollback and the rollback of that, taken back at once."""
    assert forth
    run, report = runs.back(hardened[0])
    assert run.rc == 0 and len(report["rollback"]["runs"]) == 3, run.output
    return report


def test_three_runs_go_back_as_one(bed: Bed, before: tuple[Any, Any], all_back: dict[str, Any]) -> None:
    assert all_back["restarts"] == {"etcd": 1, "kube-apiserver": 1, "kube-controller-manager": 1, "kube-scheduler": 1, "kubelet": 2}
    assert differences(before[0], state(bed)) == {}


def test_harden_applies_again(bed: Bed, runs: Runs, before: tuple[Any, Any], all_back: dict[str, Any]) -> None:
    assert all_back
    run, report = runs("harden", "--tags", "path8", "-e", "ninepaths_fail_on=never")
    assert run.rc == 0 and report["restarts"]["kube-scheduler"] == 1, run.output
    assert differences(before[0], state(bed))
    run, _report = runs.back("last")
    assert run.rc == 0 and differences(before[0], state(bed)) == {} and well(bed), run.output
