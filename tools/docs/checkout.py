# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout importable under the collection's name; the package imports this before anything else."""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_NAME = "ansible_collections.ninepaths.kubernetes"


def _expose() -> None:
    """Nothing is done where the unit tests, or Ansible, have done it already."""
    if _NAME in sys.modules:
        return
    parts = _NAME.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        module = types.ModuleType(name)
        module.__path__ = [str(ROOT)] if name == _NAME else []
        sys.modules.setdefault(name, module)


_expose()
