# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of the fault tests, and docs/reliability.md, which is made of them: `python3 -m tests.faults.reliability`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.integration.bed import ROOT

from .table import OUTCOMES, Case

RESULTS = ROOT / "build" / "faults"  # a file for each bed, since several may be at work side by side
PAGE = ROOT / "docs" / "reliability.md"
FRAME = Path(__file__).parent / "reliability.md.in"
MODULES = ("test_bad_settings", "test_changed_meanwhile", "test_interruptions", "test_machines", "test_disks", "test_two_runs", "test_quorum")
MISSING = "not run"


def groups() -> dict[str, list[Case]]:
    """All cases, by the heading that their module's first line is."""
    modules = [importlib.import_module(f"tests.faults.{name}") for name in MODULES]
    return {str(module.__doc__).strip().splitlines()[0]: list(module.ALL) for module in modules}


def read() -> dict[str, dict[str, Any]]:
    """Results so far, by the case's name; the newest counts."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(RESULTS.glob("*.json"), key=lambda file: file.stat().st_mtime):
        found.update(json.loads(file.read_text(encoding="utf-8")))
    return found


def add(bed: str, new: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep new results of a bed; those of cases that were not run again stay."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{bed}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**known, **new}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def table(cases: Iterable[Case], results: Mapping[str, Mapping[str, Any]]) -> str:
    """One group as Markdown."""
    rows = [
        f"| `{case.name}`{' *' if case.quick else ''} | {case.fault} | {OUTCOMES[case.outcome]} | {results.get(case.name, {}).get('result', MISSING)} |"
        for case in cases
    ]
    return "\n".join(("| case | what happens | the transaction is | result |", "| --- | --- | --- | --- |", *rows))


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    known = groups()
    cases = [case for group in known.values() for case in group]
    passed = [case for case in cases if results.get(case.name, {}).get("result") == "passed"]
    versions = sorted({str(results[case.name]["kubernetes"]) for case in passed})
    tables = "\n\n".join(f"### {heading}\n\n{len(group)} cases.\n\n{table(group, results)}" for heading, group in known.items())
    frame = FRAME.read_text(encoding="utf-8")
    return frame.format(total=len(cases), passed=len(passed), quick=sum(case.quick for case in cases), versions=", ".join(versions), tables=tables)


def main() -> int:
    """Write the page; 1 if a case failed or has not been run."""
    results = read()
    PAGE.write_text(page(results), encoding="utf-8")
    bad = [case.name for group in groups().values() for case in group if results.get(case.name, {}).get("result") != "passed"]
    print(f"{PAGE.relative_to(ROOT)}: {len(bad)} cases failed or were not run{': ' if bad else ''}{', '.join(bad[:20])}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
