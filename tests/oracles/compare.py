# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of requests: the same clients on two fresh 3+1 beds, one hardened with ninepaths, one with the resulting files written everywhere at once.

`python3 -m tests.oracles.compare` prints both, writes docs/reliability-requests.md and build/requests.json, and ends with 1 where ninepaths lost something.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import yaml

from tests.integration.bed import ROOT, Bed
from tests.oracles import at_once, load, page
from tests.oracles.at_once import Files

NAME = "requests"
PAGE = ROOT / "docs" / "reliability-requests.md"
RESULTS = ROOT / "build" / "requests.json"


@contextmanager
def fresh_bed() -> Iterator[Bed]:
    """A default 3+1 bed, which is removed afterwards, whatever happens."""
    down = ["make", "testbed-down", f"BED={NAME}"]
    subprocess.run(down, cwd=ROOT, check=True)
    try:
        subprocess.run(["make", "testbed-up", f"BED={NAME}", "CONTROL_PLANES=3", "WORKERS=1"], cwd=ROOT, check=True)
        yield Bed(ROOT / f".testbed-{NAME}")
    finally:
        subprocess.run(down, cwd=ROOT, check=True)


def hardened() -> tuple[dict[str, Any], Files]:
    """The first leg: what clients lost, and the files that it left."""
    with fresh_bed() as bed:
        with load.using(bed.folder) as used:
            run = bed.playbook("harden", "-e", f"ninepaths_report_dir={bed.folder}/report")
        if run.rc:
            raise RuntimeError(f"harden ended with {run.rc}:\n{run.output}")
        report = json.loads(next((bed.folder / "report").glob("*/report.json")).read_text(encoding="utf-8"))
        result = {**used.result(), "healthy_s": _seconds(report), "versions": dict(bed.facts["versions"])}
        return result, at_once.take(bed)


def _seconds(report: dict[str, Any]) -> float:
    """A run ends when everything is healthy."""
    return round(float(report["finished"]) - float(report["started"]), 1)


def everything_at_once(files: Files) -> dict[str, Any]:
    """The second leg."""
    with fresh_bed() as bed:
        with load.using(bed.folder) as used, at_once.approving(bed):
            healthy = at_once.wait_until_healthy(bed, at_once.write(bed, files))
        return {**used.result(), "healthy_s": healthy, "versions": dict(bed.facts["versions"])}


def versions(result: dict[str, Any]) -> list[str]:
    """What was measured, and on what."""
    collection = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    found = result["versions"]
    return [
        f"ninepaths {collection}",
        f"Kubernetes {found['kubernetes']}",
        f"etcd {found['etcd']}",
        f"containerd {found['containerd']}",
        f"ansible-core {metadata.version('ansible-core')}",
        f"three control planes and one worker on one machine with {os.cpu_count()} cores",
    ]


def main() -> int:
    first, files = hardened()
    results = {"ninepaths": first, "at_once": everything_at_once(files)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1), encoding="utf-8")
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    PAGE.write_text(page.page(results, versions(first), today), encoding="utf-8")
    print(page.terminal(results))
    print(f"written: {PAGE.relative_to(ROOT)}, {RESULTS.relative_to(ROOT)}")
    return 1 if page.broken(results) else 0


if __name__ == "__main__":
    sys.exit(main())
