# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-bench on every node of a bed: an opinion that is not ours.

`python3 -m tests.oracles.kube_bench --bed .testbed [--save FILE] [--before FILE] [--require no-fail|explained] [--profile NAME]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

BENCHMARK = "cis-1.12"
ALL_CHECKS = 131
NODE_CHECKS = 25
# kube-bench globs `*etcd*` in its working directory, so it is started from an empty one (facts: its unquoted `sh -c`).
COMMAND = (
    "sudo sh -c 'mkdir -p /run/kube-bench-cwd && cd /run/kube-bench-cwd && /opt/kube-bench/kube-bench run --targets {targets} "
    "--config-dir /opt/kube-bench/cfg --config /opt/kube-bench/cfg/config.yaml --benchmark {benchmark} --json'"
)

# Checks of sections 1 to 4 that have a test and that do not pass, each with its reason: whatever the profile, and by profile.
_ALWAYS = {
    "1.1.9": "depends on the CNI",
    "1.1.10": "depends on the CNI",
    "1.2.27": "held: comes with the data-at-rest work",
    "1.2.28": "held: comes with the data-at-rest work",
    "4.1.3": "kube-proxy has no file on the host with kubeadm",
    "4.1.4": "kube-proxy has no file on the host with kubeadm",
    "4.2.9": "held: a fixed certificate file is against rotation",
}
_LITERAL = {
    "1.2.1": "held: kubeadm's probes of the apiserver are anonymous, and kubelet would kill it",
}
EXPLAINED: Mapping[str, Mapping[str, str]] = {
    "recommended": {
        **_ALWAYS,
        "1.2.1": "set the structured way: anonymous only on the health paths",
        "1.2.3": "disruptive: existing Services with external addresses stop working",
        "1.2.9": "disruptive: limits requests of every user",
        "1.2.11": "disruptive: preloaded images stop starting",
        "4.2.13": "disruptive: limits the processes of every pod",
        "4.2.14": "disruptive: confines pods that name no seccomp profile",
    },
    "cis-level-2": {**_ALWAYS, **_LITERAL},
}


class OracleError(Exception):
    """kube-bench could not be asked, or did not run all its checks."""


@dataclass(frozen=True)
class Check:
    """One check: its status and whether it carries a test at all."""

    status: str
    tested: bool
    title: str


@dataclass(frozen=True)
class NodeResult:
    """All checks of one node by their CIS number."""

    node: str
    checks: dict[str, Check]

    def count(self, status: str) -> int:
        """Number of checks with a status: PASS, FAIL, WARN or INFO."""
        return sum(1 for check in self.checks.values() if check.status == status)


def parse(node: str, text: str, expected: int) -> NodeResult:
    """Read kube-bench's JSON; `expected` guards against targets that it skips silently."""
    try:
        controls = json.loads(text)["Controls"]
    except (ValueError, KeyError) as error:
        raise OracleError(f"{node}: kube-bench printed no JSON: {text[:200]!r}") from error
    checks = {
        result["test_number"]: Check(result["status"], result["type"] != "manual", result["test_desc"])
        for control in controls
        for group in control["tests"]
        for result in group["results"]
    }
    if len(checks) != expected:
        raise OracleError(f"{node}: kube-bench ran {len(checks)} checks instead of {expected}; is a component down?")
    return NodeResult(node, checks)


def ask(bed: Path, node: str, control_plane: bool) -> NodeResult:
    """Run kube-bench on one node of a bed over ssh."""
    targets, expected = ("master,etcd,controlplane,node,policies", ALL_CHECKS) if control_plane else ("node", NODE_CHECKS)
    argv = ["ssh", "-F", str(bed / "ssh_config"), node, COMMAND.format(targets=targets, benchmark=BENCHMARK)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise OracleError(f"{node}: kube-bench ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return parse(node, done.stdout, expected)


def ask_all(bed: Path) -> list[NodeResult]:
    """Run kube-bench on every node of a bed, control planes with all targets."""
    facts = json.loads((bed / "bed.json").read_text(encoding="utf-8"))
    return [ask(bed, node["name"], node["role"] == "control-plane") for node in facts["nodes"]]


def _judged(result: NodeResult) -> list[tuple[str, Check]]:
    """Checks of sections 1 to 4 that have a test."""
    return [(number, check) for number, check in sorted(result.checks.items()) if number[0] in "1234" and check.tested]


def unexplained(result: NodeResult, reasons: Mapping[str, str]) -> list[str]:
    """Checks of sections 1 to 4 that do not pass, have a test and have no reason."""
    return [f"{result.node}: {number} {check.title}: {check.status}" for number, check in _judged(result) if check.status != "PASS" and number not in reasons]


def outdated(results: Iterable[NodeResult], reasons: Mapping[str, str]) -> set[str]:
    """Numbers with a reason why they do not pass that pass on every node."""
    failing = {number for result in results for number, check in _judged(result) if check.status != "PASS"}
    return set(reasons) - failing


def table(after: list[NodeResult], before: dict[str, dict[str, int]]) -> str:
    """A few lines for a terminal, with the figures from before where there are any."""
    lines = [f"kube-bench {BENCHMARK}      PASS        FAIL        WARN"]
    for result in after:
        cells = []
        for status in ("PASS", "FAIL", "WARN"):
            was = before.get(result.node, {}).get(status)
            cells.append(f"{was} -> {result.count(status)}" if was is not None else str(result.count(status)))
        lines.append(f"  {result.node:<20}" + "".join(f"{cell:<12}" for cell in cells).rstrip())
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Command line: print the table, save the counts, and judge if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bed", type=Path, default=Path(".testbed"))
    parser.add_argument("--save", type=Path, help="write the counts and all checks as JSON")
    parser.add_argument("--before", type=Path, help="counts saved earlier, shown beside the new ones")
    parser.add_argument("--profile", choices=sorted(EXPLAINED), default="recommended", help="whose reasons `explained` takes")
    parser.add_argument("--require", choices=["no-fail", "explained"], help="exit 1 on a FAIL; `explained`: also on a check without a reason")
    options = parser.parse_args(argv)
    results = ask_all(options.bed)
    before = json.loads(options.before.read_text(encoding="utf-8"))["counts"] if options.before else {}
    print(table(results, before))
    if options.save:
        counts = {result.node: {status: result.count(status) for status in ("PASS", "FAIL", "WARN", "INFO")} for result in results}
        options.save.write_text(json.dumps({"counts": counts, "nodes": [asdict(result) for result in results]}), encoding="utf-8")
    complaints = [f"{r.node}: {n} {c.title}: FAIL" for r in results for n, c in sorted(r.checks.items()) if c.status == "FAIL"]
    if options.require == "explained":
        complaints += [line for result in results for line in unexplained(result, EXPLAINED[options.profile]) if line not in complaints]
    if options.require and complaints:
        print("\n".join(complaints), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OracleError as problem:
        sys.exit(str(problem))
