# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that need a running bed (`NINEPATHS_BED` names its folder, `.testbed` is the default)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .bed import ROOT, Bed


@pytest.fixture(scope="session")
def bed() -> Bed:
    """The bed under test; a missing one is an error, not a skip: a suite that tests nothing must not be green."""
    folder = Path(os.environ.get("NINEPATHS_BED", ROOT / ".testbed"))
    if not (folder / "bed.json").exists():
        pytest.fail(f"{folder}: no test bed; start one with 'make testbed-up'")
    return Bed(folder)
