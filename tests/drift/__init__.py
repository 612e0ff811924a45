# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift by hand: every control is broken as a person would, found by audit, and repaired by harden with one change."""

import tools.docs.checkout  # noqa: F401  makes the checkout importable under the collection's name
