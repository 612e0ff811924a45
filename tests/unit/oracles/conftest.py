# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout's `tests.oracles` importable, and a result in which everything was kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


@pytest.fixture
def kept() -> dict[str, Any]:
    """What clients found that lost nothing."""
    cut = {"at": 40.0, "away_s": 0.8, "cause": "unexpected EOF", "restart": "kube-apiserver of cp2"}
    return {
        "schema": 1,
        "kubernetes": "1.36.4",
        "started": 0.0,
        "seconds": 100.0,
        "requests": {"sent": 2000, "answered": 2000, "lost": 0, "longest_gap_s": 0.3, "losses": []},
        "watches": [{"kind": "ConfigMap", "revisions": 190, "missing": 0, "missing_first": [], "disordered": 0, "relists": [], "cuts": []}],
        "streams": [
            {"kind": "exec", "node": "w1", "lines": 400, "disordered": 0, "refused": 0, "remarks": [], "cuts": [cut]},
            {"kind": "logs", "node": "w1", "lines": 410, "missing": 0, "disordered": 0, "refused": 0, "remarks": [], "cuts": []},
        ],
        "restarts": [],
    }
