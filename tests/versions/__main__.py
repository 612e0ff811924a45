# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each entry of VERSIONS a 1+1 cluster: up, hardened, hardened again without a change, judged by kube-bench, used, down.

`VERSIONS="1.31 1.36/bullseye" python3 -m tests.versions`; what a failed step printed is in build/versions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.integration.bed import ROOT, Bed
from tests.versions import legs
from tests.versions.legs import Leg

LOGS = ROOT / "build" / "versions"


class StepError(Exception):
    """A step did not end as it has to; `output` is all that it printed."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def command(*argv: str, timeout: float) -> str:
    """Standard output of a program; raises StepError with everything it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    if done.returncode:
        raise StepError(f"{' '.join(argv[:4])} ended with {done.returncode}", done.stdout + done.stderr)
    return done.stdout


def up(leg: Leg, bed: Bed) -> str:
    # An interrupted run may have left it; a cluster that is hardened already proves little.
    down(leg, bed)
    command("make", "testbed-up", f"BED={leg.bed}", f"KUBERNETES={leg.minor}", f"NODE_RELEASE={leg.release}", timeout=7200)
    python = bed.ssh(bed.nodes[0], "/usr/bin/python3 --version").strip()
    return f"Kubernetes {bed.facts['kubernetes']}, etcd {bed.facts['versions']['etcd']}, {python}"


def harden(bed: Bed) -> dict[str, int]:
    run = bed.playbook("harden", "-e", f"ninepaths_report_dir={bed.folder}/report")
    if run.rc:
        raise StepError(f"harden ended with {run.rc}", run.output)
    try:
        return legs.changed(run.output)
    except ValueError as error:
        raise StepError(str(error), run.output) from error


def harden_first(_leg: Leg, bed: Bed) -> str:
    found = harden(bed)
    untouched = [node for node in bed.nodes if not found.get(node)]
    if untouched:
        raise StepError(f"nothing was changed on {', '.join(untouched)}")
    return "changed " + ", ".join(bed.nodes)


def harden_again(_leg: Leg, bed: Bed) -> str:
    found = {host: count for host, count in harden(bed).items() if count}
    if found:
        raise StepError(f"a second run changed something: {found}")
    return "changed nothing"


def kube_bench(_leg: Leg, bed: Bed) -> str:
    table = command(sys.executable, "-m", "tests.oracles.kube_bench", "--bed", str(bed.folder), "--require", "explained", timeout=600)
    rows = [line.split() for line in table.splitlines()[1:]]
    return "PASS/FAIL/WARN " + ", ".join(f"{node} {'/'.join(counts)}" for node, *counts in rows)


def logs_and_exec(_leg: Leg, bed: Bed) -> str:
    """Through the apiserver to every kubelet, with the pod that every node has."""
    pods = bed.kubectl(
        "--namespace=kube-system",
        "get",
        "pods",
        "--selector=k8s-app=kube-proxy",
        "--output=jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}\n{end}",
    )
    by_node = dict(line.split() for line in pods.splitlines())
    if sorted(by_node) != sorted(bed.nodes):
        raise StepError(f"kube-proxy runs on {sorted(by_node)} instead of {sorted(bed.nodes)}")
    for node, pod in by_node.items():
        if not bed.kubectl("--namespace=kube-system", "logs", "--tail=1", pod).strip():
            raise StepError(f"{node}: no log of {pod}")
        version = bed.kubectl("--namespace=kube-system", "exec", pod, "--", "kube-proxy", "--version").split()[-1]
        if version != f"v{bed.facts['kubernetes']}":
            raise StepError(f"{node}: kube-proxy says {version}")
    return ", ".join(by_node)


def down(leg: Leg, _bed: Bed) -> str:
    command("make", "testbed-down", f"BED={leg.bed}", timeout=600)
    return ""


Step = Callable[[Leg, Bed], str]
STEPS: dict[str, Step] = {
    "up": up,
    "harden": harden_first,
    "harden again": harden_again,
    "kube-bench": kube_bench,
    "logs and exec": logs_and_exec,
}


def take(name: str, step: Step, leg: Leg, bed: Bed) -> bool:
    """One step and its line."""
    started = time.monotonic()
    try:
        said = step(leg, bed)
    except (StepError, RuntimeError, subprocess.TimeoutExpired) as error:
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{leg.bed}-{name.replace(' ', '-')}.log"
        log.write_text(f"{error}\n{getattr(error, 'output', '') or ''}", encoding="utf-8")
        print(f"    {name:<15}{time.monotonic() - started:>5.0f} s  FAILED: {error}; see {log.relative_to(ROOT)}", flush=True)
        return False
    print(f"    {name:<15}{time.monotonic() - started:>5.0f} s  {said}".rstrip(), flush=True)
    return True


def run(leg: Leg) -> bool:
    """One cluster from up to down; the first step that fails ends it, and it is taken down whatever happens."""
    print(f"==> {leg}", flush=True)
    bed, started = Bed(ROOT / f".testbed-{leg.bed}"), time.monotonic()
    try:
        passed = all(take(name, step, leg, bed) for name, step in STEPS.items())
    finally:
        gone = take("down", down, leg, bed)
    passed = passed and gone
    print(f"==> {leg} {'passed in' if passed else 'FAILED after'} {time.monotonic() - started:.0f} s", flush=True)
    return passed


def main() -> int:
    try:
        wanted = legs.parse(os.environ.get("VERSIONS") or legs.DEFAULT)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    results = {str(leg): run(leg) for leg in wanted}
    failed = [name for name, passed in results.items() if not passed]
    if failed:
        print(f"failed: {' '.join(failed)}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
