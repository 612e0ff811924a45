# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the fault tests: a hardened bed whose nodes can be broken, and a record of every case for docs/reliability.md."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.integration.bed import ROOT, Bed

from . import reliability, state
from .nodes import Nodes
from .table import Case


def pytest_configure(config: pytest.Config) -> None:
    """Our markers."""
    config.addinivalue_line("markers", "quick: the case is part of make test")
    config.addinivalue_line("markers", "three: the case needs three control planes behind a load balancer")


@pytest.fixture(scope="session")
def nodes() -> Nodes:
    """The bed's nodes, hardened; a missing bed is an error, not a skip."""
    folder = Path(os.environ.get("NINEPATHS_BED", ROOT / ".testbed"))
    if not (folder / "bed.json").exists():
        pytest.fail(f"{folder}: no test bed; start one with 'make testbed-up'")
    found = Nodes(Bed(folder))
    found.prepare()
    state.wait_until_quiet(found)
    run = state.harden(found)
    assert run.rc == 0, run.output
    return found


@pytest.fixture(autouse=True)
def forgotten(nodes: Nodes) -> Iterator[None]:
    """No order outlives its test."""
    yield
    for node in nodes.bed.nodes:
        nodes.forget(node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep how every case ended, for docs/reliability.md."""
    report = yield
    case = item.callspec.params.get("case") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    nodes = getattr(item, "funcargs", {}).get("nodes")
    if isinstance(case, Case) and isinstance(nodes, Nodes) and (call.when == "call" or report.failed):
        facts = {"seconds": round(call.duration, 1), "kubernetes": nodes.bed.facts["kubernetes"], "said": report.longreprtext[-4000:]}
        reliability.add(nodes.bed.facts["name"], {case.name: {"result": report.outcome, **facts}})
    return report
