# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods on every node, and the one run by the letter of cis-level-2 that several tests look at from different sides."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracles import clients

from .bed import ROOT, Bed, Playbook

PROFILE = "cis-level-2"
NAMESPACE = "live"
# The approver's timer waits, so that the run itself approves: what is served until then is seen for seconds, not for a moment.
LATER = """
mkdir -p /etc/systemd/system/ninepaths-approver.timer.d
printf '[Timer]\nOnActiveSec=\nOnActiveSec=600\n' >/etc/systemd/system/ninepaths-approver.timer.d/later.conf
"""
NO_LATER = "rm -rf /etc/systemd/system/ninepaths-approver.timer.d; systemctl daemon-reload; systemctl restart ninepaths-approver.timer"


@dataclass(frozen=True)
class Hardened:
    """A run, its report, and the log requests that were sent to every node meanwhile."""

    run: Playbook
    report: dict[str, Any]
    logs: dict[str, clients.Tally]

    def journal(self, bed: Bed, node: str, wave: str) -> list[dict[str, Any]]:
        """What the node's transaction of a wave said, with its times."""
        text = bed.root(node, f"cat /var/lib/ninepaths/transactions/{self.report['run']}-{wave}/journal.jsonl")
        return [json.loads(line) for line in text.splitlines()]


def read_report(folder: Path) -> dict[str, Any]:
    """The one report.json below a folder."""
    found: dict[str, Any] = json.loads(next(folder.glob("*/report.json")).read_text(encoding="utf-8"))
    return found


def example(page: Path, word: str) -> str:
    """The play of a page in which a word stands."""
    blocks = re.findall(r"^(?:    - name: .*\n)(?:    .*\n|\n(?=    ))*", page.read_text(encoding="utf-8"), re.MULTILINE)
    return textwrap.dedent(next(block for block in blocks if word in block))


def pod(node: str, image: str) -> dict[str, Any]:
    """A pod on this very node that says where it is."""
    container = {"name": "tool", "image": image, "command": ["sh", "-c", f"echo here-is-{node}; exec sleep 100000"]}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"tool-{node}", "namespace": NAMESPACE}, "spec": spec}


def start_pods(bed: Bed) -> None:
    """A pod on every node; those that are there stay."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    items = [namespace, *(pod(node, bed.facts["tool_image"]) for node in bed.nodes)]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    bed.root(bed.facts["nodes"][0]["name"], f"kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f - <<'END'\n{document}\nEND\n")
    bed.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s", timeout=150)


def bed_command(bed: Bed, *arguments: str, timeout: float = 600) -> str:
    """One command of the test bed for this bed; a failure shows what it said."""
    name = bed.folder.name.removeprefix(".testbed").lstrip("-") or "default"
    argv = [sys.executable, "-m", "tests.testbed", *arguments, "--bed", name]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def log_path(node: str) -> str:
    """API path of the log of a node's pod."""
    return f"/api/v1/namespaces/{NAMESPACE}/pods/tool-{node}/log?tailLines=1"


def harden(bed: Bed, folder: Path) -> Hardened:
    """Harden by the letter while logs of a pod on every node are fetched 5 times a second each."""
    control_plane = bed.facts["nodes"][0]["name"]
    bed.root(control_plane, LATER)
    try:
        with clients.reading_logs(bed.folder, {node: log_path(node) for node in bed.nodes}) as logs:
            run = bed.playbook("harden", "-e", f"ninepaths_profile={PROFILE}", "-e", f"ninepaths_report_dir={folder}")
            time.sleep(3)  # what breaks right after the end counts as well
    finally:
        bed.root(control_plane, NO_LATER, check=False)
    return Hardened(run, read_report(folder), logs)
