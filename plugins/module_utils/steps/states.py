# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a transaction, as both sides name them."""

from __future__ import annotations

OPEN, COMMITTED, UNDONE, FAILED = "open", "committed", "undone", "failed"
# The host is neither as before nor as planned: it is recovered first, and nothing else may change it.
UNFINISHED = (OPEN, FAILED)
