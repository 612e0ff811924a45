# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`harden --check --diff` on a default cluster shows every change and touches nothing; audit says the same as an exit code and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .bed import Bed


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Where the run leaves its report."""
    return tmp_path / "report"


def read(report: Path) -> dict[str, object]:
    """The one report.json below a folder."""
    found: dict[str, object] = json.loads(next(report.glob("*/report.json")).read_text(encoding="utf-8"))
    return found


def test_check_shows_every_file_and_touches_nothing(bed: Bed, report: Path) -> None:
    before = bed.fingerprint()
    run = bed.playbook("harden", "--check", "--diff", "-e", f"ninepaths_report_dir={report}")
    assert bed.fingerprint() == before
    assert run.rc == 2, run.output
    for shown in (
        "cp1: /etc/kubernetes/manifests/kube-apiserver.yaml",
        "+    - --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt",
        "cp1: /etc/kubernetes/manifests/etcd.yaml",
        "w1: /var/lib/kubelet/config.yaml",
        "+serverTLSBootstrap: true",
        "ConfigMap kube-system/kubeadm-config",
        "digest ",
    ):
        assert shown in run.output, f"not shown: {shown}\n{run.output}"
    assert read(report)["mode"] == "check"


def test_check_gives_the_same_digest_twice_and_a_pinned_plan_is_that_plan_or_nothing(bed: Bed) -> None:
    def digest() -> str:
        output = bed.playbook("harden", "--check").output
        return output.split("digest ", 1)[1].split()[0]

    first = digest()
    assert digest() == first
    before = bed.fingerprint()
    run = bed.playbook("harden", "-e", "ninepaths_plan=000000000000")
    assert bed.fingerprint() == before
    assert run.rc != 0
    assert "the plan is now" in run.output


def test_audit_fails_on_deviations_and_can_be_told_not_to(bed: Bed, report: Path) -> None:
    before = bed.fingerprint()
    assert bed.playbook("audit", "-e", f"ninepaths_report_dir={report}").rc == 2
    assert bed.playbook("audit", "-e", "ninepaths_fail_on=never", "-e", f"ninepaths_report_dir={report}").rc == 0
    assert bed.fingerprint() == before
    assert read(report)["mode"] == "audit"
