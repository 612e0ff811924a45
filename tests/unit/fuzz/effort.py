# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many examples a property gets: few in `make unit`, NINEPATHS_FUZZ times as many in `make fuzz`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("NINEPATHS_FUZZ") or 1)


def examples(number: int) -> Any:
    """Settings of a property, by its number of examples in a fast run, which tries the same ones every time: what fails there was broken by a change."""
    return settings(max_examples=number * FACTOR, derandomize=FACTOR == 1, deadline=None, suppress_health_check=list(HealthCheck))
