# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The append-only journal of a transaction: JSON lines, each on the disk before what it announces is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json

EVENTS = ("begin", "step", "wait", "done", "undo", "end")
PARTS = frozenset({"seq", "at", "event", "step", "message", "data"})
LIMIT, LINE_LIMIT = 1 << 24, 1 << 22  # bytes of a journal, and of one line
Line = dict[str, Any]


def parse(text: bytes) -> tuple[list[Line], int]:
    """Lines of a journal and the number of bytes they take; a torn or damaged tail is left out.

    A line counts once its newline is there, its parts have the types that `add` gives them, and its number follows the one before it.
    """
    lines: list[Line] = []
    size = 0
    for raw in text.split(b"\n")[:-1]:
        try:
            line = strict_json.parse(raw, LINE_LIMIT)
        except ValueError:
            break
        if not _is_line(line, len(lines) + 1):
            break
        lines.append(line)
        size += len(raw) + 1
    return lines, size


def _is_line(line: Any, number: int) -> bool:
    if not isinstance(line, dict) or line.keys() != PARTS or line["seq"] is True or line["seq"] != number or line["event"] not in EVENTS:
        return False
    timed = isinstance(line.get("at"), (int, float)) and not isinstance(line["at"], bool)
    return timed and all(isinstance(line.get(key), kind) for key, kind in (("step", str), ("message", str), ("data", dict)))


def state(lines: Iterable[Mapping[str, Any]]) -> str:
    """State of a transaction: open until an end line says otherwise; an open undo that was taken up again ends with the last end line."""
    found = states.OPEN
    for line in lines:
        if line["event"] == "end":
            found = str(line["data"].get("state", states.FAILED))
    return found


def end(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Data of the end line; empty before it is there, and while an undo that has failed is tried again."""
    last = next((line for line in reversed(lines) if line["event"] in ("end", "undo")), None)
    return last["data"] if last is not None and last["event"] == "end" else {}


class Journal:
    """The journal file of one transaction; reads what is there, repairs a torn tail before the first new line."""

    def __init__(self, host: Machine, path: str) -> None:
        self.host, self.path = host, path
        try:
            text = host.read(path, LIMIT)
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
        raw = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
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

    @property
    def end(self) -> Mapping[str, Any]:
        """Data of the end line; see `end`."""
        return end(self.lines)
