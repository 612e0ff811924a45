# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""These tests use the clusters of the planner's tests and the fake hosts of the engine's."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("module_utils", "plugin_utils"):
    sys.path.append(str(Path(__file__).resolve().parents[1] / room))
