# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction's journal as it is printed while it grows: what is waited for only where it takes a while. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import Line, clean, labelled

PATIENCE_S = 2.0  # what takes no longer than this needs no announcement
BOOKKEEPING = frozenset({"begun", "ended"})


class Progress:
    """The journal of one transaction. Times are shown from its first line on."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.waiting: Mapping[str, Any] | None = None
        self._began: float | None = None

    def add(self, line: Mapping[str, Any]) -> list[Line]:
        """What is to be printed now that this line is there."""
        self._began = line["at"] if self._began is None else self._began
        shown = self._held_back() if self.waiting and line["at"] - self.waiting["at"] > PATIENCE_S else []
        self.waiting = line if line["event"] == "wait" else None
        return shown if self.waiting else [*shown, self._line(line)]

    def still(self) -> list[Line]:
        """Nothing has come for more than `PATIENCE_S`: what is waited for."""
        shown = self._held_back()
        self.waiting = None
        return shown

    def _held_back(self) -> list[Line]:
        return [self._line(self.waiting)] if self.waiting else []

    def _line(self, line: Mapping[str, Any]) -> Line:
        seconds = line["at"] - (line["at"] if self._began is None else self._began)
        return Line(labelled(self.host, f"{seconds:6.1f} s  {clean(str(line['message']))}"), "bad" if line["event"] == "undo" else "plain")


def is_bookkeeping(line: Mapping[str, Any]) -> bool:
    """Begin and end of a step, which say nothing to somebody who has not written the job."""
    data = line["data"]
    return line["event"] in ("step", "done") and bool(data) and set(data) <= BOOKKEEPING
