# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bed that is checked while it is a default cluster, then hardened by exactly that plan; everything else starts from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls

from tests.integration.bed import ROOT, Bed

from .hand import PREPARE
from .live import Live, Run
from .snapshot import Snapshot


class Checked(NamedTuple):
    """A run with --check, and the bed before and after it."""

    before: Snapshot
    run: Run
    after: Snapshot


class Hardened(NamedTuple):
    """The first run that changed something, and the bed after it."""

    run: Run
    after: Snapshot


def pytest_configure(config: pytest.Config) -> None:
    """Our marker."""
    config.addinivalue_line("markers", "short: one of the cases that stand for the others where time is short")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The bed under test; a missing one is an error, not a skip: a suite that tests nothing must not be green.

    Kernel settings are those of the machine that the bed runs on, which gets back what it had.
    """
    folder = Path(os.environ.get("NINEPATHS_BED", ROOT / ".testbed"))
    if not (folder / "bed.json").exists():
        pytest.fail(f"{folder}: no test bed; start one with 'make testbed-up'")
    bed, known = Bed(folder), controls.load()
    before = {control.sysctl: bed.root(bed.nodes[0], f"sysctl -n {control.sysctl}").strip() for control in known if control.sysctl}
    yield Live(bed, known, tmp_path_factory.mktemp("runs"))
    bed.root(bed.nodes[0], "\n".join(f"sysctl -q -w {name}={value}" for name, value in before.items()))


@pytest.fixture(scope="session")
def checked(live: Live) -> Checked:
    """`--check --diff` on the default cluster, whose operator has given the worker's kubelet a directory for drop-ins."""
    live.bed.root(live.hand.worker, PREPARE)
    live.hand.restart_kubelet()
    before = live.snapshot()
    run = live.run("harden", "--check", "--diff")
    return Checked(before, run, live.snapshot())


@pytest.fixture(scope="session")
def hardened(live: Live, checked: Checked) -> Hardened:
    """The bed after exactly the plan that --check has shown."""
    run = live.run("harden", *pinned(checked.run))
    assert run.playbook.rc == 0, run.playbook.output
    return Hardened(run, live.snapshot())


def pinned(run: Run) -> list[str]:
    """That plan or nothing."""
    return ["-e", f"ninepaths_plan={run.report['plan_digest']}"]
