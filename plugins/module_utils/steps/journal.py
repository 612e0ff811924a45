# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The append-only journal of a transaction: JSON lines, each on the disk before what it announces is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

OPEN, COMMITTED, UNDONE, FAILED = "open", "committed", "undone", "failed"
EVENTS = ("begin", "step", "wait", "done", "undo", "end")
Line = dict[str, Any]


def parse(text: bytes) -> tuple[list[Line], int]:
    """Lines of a journal and the number of bytes they take; a torn or damaged tail is left out.

    A line counts once its newline is there, it is an object with data, and its number follows the one before it.
    """
    lines: list[Line] = []
    size = 0
    for raw in text.split(b"\n")[:-1]:
        try:
            line = json.loads(raw)
        except ValueError:
            break
        if not isinstance(line, dict) or line.get("seq") != len(lines) + 1 or line.get("event") not in EVENTS:
            break
        if not isinstance(line.get("data"), dict):
            break
        lines.append(line)
        size += len(raw) + 1
    return lines, size


def state(lines: Iterable[Mapping[str, Any]]) -> str:
    """State of a transaction: open until an end line says otherwise; an open undo that was taken up again ends with the last end line."""
    found = OPEN
    for line in lines:
        if line["event"] == "end":
            found = str(line["data"].get("state", FAILED))
    return found


class Journal:
    """The journal file of one transaction; reads what is there, repairs a torn tail before the first new line."""

    def __init__(self, host: Machine, path: str) -> None:
        self.host, self.path = host, path
        try:
            text = host.read(path)
        except FileNotFoundError:
            text = None
        self.lines, self.size = parse(text or b"")
        self._torn = text is not None and len(text) > self.size
        self._new = text is None

    def add(self, event: str, step: str, message: str, data: Mapping[str, Any] | None = None) -> Line:
        """Append one line durably. Raises OSError (a full disk); the journal is then as before."""
        line = {
            "seq": len(self.lines) + 1,
            "at": round(self.host.now(), 3),
            "event": event,
            "step": step,
            "message": message,
            "data": dict(data or {}),
        }
        raw = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode("utf-8") + b"\n"
        real = self.host.at(self.path)
        if self._torn:
            self.host.files.truncate(real, self.size)
            self._torn = False
        try:
            self.host.files.append(real, raw)
        except OSError:
            self._torn = self.host.exists(self.path)
            raise
        if self._new:
            self.host.files.sync_directory(os.path.dirname(real))
            self._new = False
        self.lines.append(line)
        self.size += len(raw)
        return line

    @property
    def state(self) -> str:
        """open, committed, undone or failed."""
        return state(self.lines)
