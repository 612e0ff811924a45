# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connections may misbehave: those that no control which is chosen and applied would make behave; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# A control that is so on a host vouches for its proof.
VOUCHING = frozenset({"ok", "change", "deviation"})
Row = Mapping[str, Any]


def failed(path: Row) -> list[Row]:
    """A path's connections that did not behave, without those that may."""
    return [proof for proof in path["proofs"] if not proof["passed"] and not excused(proof, path["controls"])]


def excused(proof: Row, controls: Sequence[Row]) -> bool:
    """Whether every control that the connection would prove is held, waived, not chosen or not applicable."""
    backing = backers(proof, controls)
    return bool(backing) and not any(control["status"] in VOUCHING for control in backing)


def backers(proof: Row, controls: Sequence[Row]) -> list[Row]:
    """The controls that a connection proves: those that name its aspect (`user_to_apiserver/anonymous`), without any those of the whole proof."""
    precise = [control for control in controls if control["proof"] == f"{proof['id']}/{proof['aspect']}"]
    return precise or [control for control in controls if control["proof"] == proof["id"]]
