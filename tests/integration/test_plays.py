# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays that docs/modules.md and the roles' pages show, run as they stand there."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest

from .bed import ROOT, Bed, Playbook
from .live import PROFILE, Hardened, example

pytestmark = pytest.mark.changes_cluster

MODULES = ROOT / "docs" / "modules.md"
# The command line of a node's only process of this name.
COMMAND_LINE = "tr '\\0' ' ' </proc/$(pgrep -x {name})/cmdline"
CERTIFICATES = "for file in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt; do openssl x509 -in $file -noout -enddate; done"


@pytest.fixture
def play(bed: Bed, hardened: Hardened, tmp_path: Path):
    """Run the text of a play, which has to succeed."""
    assert hardened

    def run(text: str, *arguments: str) -> Playbook:
        (tmp_path / "example.yml").write_text(text, encoding="utf-8")
        done = bed.play(tmp_path / "example.yml", *arguments)
        assert done.rc == 0, done.output
        return done

    return run


def test_static_pod(bed: Bed, play) -> None:
    text, scheduler = example(MODULES, "static_pod:"), COMMAND_LINE.format(name="kube-scheduler")
    before = bed.fingerprint()
    predicted = play(text, "--check", "--diff")
    assert predicted.changed == 1 and "+    - --v=2" in predicted.output, predicted.output
    assert bed.fingerprint() == before
    assert play(text).changed == 1
    assert "--v=2 " in bed.root(bed.nodes[0], scheduler)
    assert play(text).changed == 0
    assert play(re.sub(r"flags:\s+v: 2", "absent: [v]", text)).changed == 1
    assert "--v=" not in bed.root(bed.nodes[0], scheduler)


def test_kubelet_config(bed: Bed, play) -> None:
    text = example(MODULES, "kubelet_config:")
    before = bed.fingerprint()
    assert play(text, "--check", "--diff").changed == len(bed.nodes)
    assert bed.fingerprint() == before
    assert play(text).changed == len(bed.nodes)
    for node in bed.nodes:
        running = json.loads(bed.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]
        assert (running["containerLogMaxFiles"], running["containerLogMaxSize"]) == (7, "50Mi")
    assert play(text).changed == 0
    assert play(re.sub(r"fields:(?:\n {8,}container.*)+", "absent: [containerLogMaxFiles, containerLogMaxSize]", text)).changed == len(bed.nodes)
    assert "containerLogMax" not in bed.root(bed.nodes[0], "cat /var/lib/kubelet/config.yaml")


def test_certificate_info(bed: Bed, play) -> None:
    done = play(example(MODULES, "certificate_info:"))
    assert done.changed == 0
    said = bed.root(bed.nodes[0], CERTIFICATES)
    ends = [datetime.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z") for line in said.splitlines()]
    assert f"ends on {min(ends):%Y-%m-%d}" in done.output, done.output


def test_csr_approve(play) -> None:
    assert play(example(MODULES, "csr_approve:")).changed == 0


@pytest.mark.parametrize("role", ["audit", "harden"])
def test_a_role_finds_nothing_to_do(bed: Bed, play, role: str) -> None:
    before = bed.fingerprint()
    done = play(example(ROOT / "roles" / role / "README.md", "roles:"), "-e", f"ninepaths_profile={PROFILE}")
    assert done.changed == 0, done.output
    assert bed.fingerprint() == before


def test_role_harden_repairs(bed: Bed, play) -> None:
    """A mode that somebody has widened."""
    bed.root(bed.nodes[0], "chmod 644 /etc/kubernetes/admin.conf")
    done = play(example(ROOT / "roles" / "harden" / "README.md", "roles:"), "-e", f"ninepaths_profile={PROFILE}")
    assert done.changed == 1, done.output
    assert bed.root(bed.nodes[0], "stat --format %a /etc/kubernetes/admin.conf").strip() == "600"
