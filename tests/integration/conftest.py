# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that need a running bed (`NINEPATHS_BED` names its folder, `.testbed` is the default)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .bed import ROOT, Bed
from .live import Hardened, harden, start_pods


def pytest_configure(config: pytest.Config) -> None:
    """Our marker."""
    config.addinivalue_line("markers", "changes_cluster: the test hardens the bed; it comes after those that want a default cluster")
    config.addinivalue_line("markers", "joins: the test adds nodes to a cluster with a load balancer")
    config.addinivalue_line("markers", "upgrades: the test upgrades the bed to the next minor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that change the cluster come last, so that one bed does for all; of these first the ones that take everything back."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    marker = item.get_closest_marker("changes_cluster")
    return 0 if marker is None else 1 if marker.kwargs.get("takes_back") else 2


@pytest.fixture(scope="session")
def bed() -> Bed:
    """The bed under test; a missing one is an error, not a skip: a suite that tests nothing must not be green."""
    folder = Path(os.environ.get("NINEPATHS_BED", ROOT / ".testbed"))
    if not (folder / "bed.json").exists():
        pytest.fail(f"{folder}: no test bed; start one with 'make testbed-up'")
    return Bed(folder)


@pytest.fixture(scope="session")
def hardened(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Hardened:
    """The bed, hardened once by the letter of cis-level-2, under requests for logs."""
    start_pods(bed)
    return harden(bed, tmp_path_factory.mktemp("literal"))
