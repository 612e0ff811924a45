# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generates docs/controls.md and docs/variables.md."""

from __future__ import annotations

from tools.docs.checkout import DOCS, ROOT

__all__ = ["DOCS", "ROOT"]
