# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout importable as `ansible_collections.ninepaths.kubernetes`, wherever it lies."""

from __future__ import annotations

import sys
import types
from pathlib import Path

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[2]


def _package(name: str, path: list[str]) -> None:
    """Register a package that is only a search path (the collection has no `__init__.py` files)."""
    module = types.ModuleType(name)
    module.__path__ = path
    sys.modules[name] = module


def _expose_checkout() -> None:
    try:
        import ansible_collections
    except ImportError:
        _package("ansible_collections", [])
    else:
        del ansible_collections
    _package("ansible_collections.ninepaths", [])
    _package("ansible_collections.ninepaths.kubernetes", [str(ROOT)])
    for room in ("plugins", "plugins.module_utils", "plugins.plugin_utils", "plugins.action", "plugins.modules"):
        _package(f"ansible_collections.ninepaths.kubernetes.{room}", [str(ROOT / room.replace(".", "/"))])


_expose_checkout()
