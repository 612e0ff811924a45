# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets these tests use the factories and fakes of the others; ends a test that hangs."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from effort import FACTOR

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("plugin_utils", "module_utils")]
# A search that takes hours is a defect, however fast the machine; no test here takes a tenth of this.
HANGS_AFTER_S = 900 * FACTOR


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Print where it hangs, and end it."""
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
