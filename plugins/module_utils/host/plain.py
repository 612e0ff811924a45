# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from elsewhere as it may reach a terminal: without anything that moves the cursor, changes colours or turns the direction of writing."""

from __future__ import annotations

import re
from typing import Any

PORTS = 1 << 16
# C0 and C1 controls, what breaks lines or turns their direction, and halves of a character that no encoding can write.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Such a half alone: JSON can spell it, and Ansible makes it of bytes that are no UTF-8.
HALF = re.compile("[\ud800-\udfff]")
_SPARED = frozenset("\n\t")


def visible(text: str) -> str:
    """The text with its control characters written out (`\\x1b`); line breaks and tabs stay."""
    return CONTROL.sub(_written, text)


def visible_in(value: Any) -> Any:
    """The same for all text in plain data, keys included; everything else stays as it is."""
    if isinstance(value, str):
        return visible(value) if CONTROL.search(value) else value
    if isinstance(value, dict):
        return {visible_in(key): visible_in(item) for key, item in value.items()}
    return [visible_in(item) for item in value] if isinstance(value, (list, tuple)) else value


def one_line(text: str) -> str:
    """The text on one line, control characters replaced by blanks."""
    return re.sub(" {2,}", " ", CONTROL.sub(" ", text)).strip()


def number(text: str | None, below: int = 1 << 63) -> int | None:
    """The number that ASCII digits spell, if it is smaller than `below`; None for anything else."""
    if not text or not (text.isascii() and text.isdigit()) or len(text) > len(str(below)):
        return None
    found = int(text)
    return found if found < below else None


def _written(found: re.Match[str]) -> str:
    sign = found.group()
    return sign if sign in _SPARED else sign.encode("unicode_escape").decode("ascii")
