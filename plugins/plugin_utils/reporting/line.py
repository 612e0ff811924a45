# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for a terminal, and the small words in them. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import CONTROL

LABEL = 9
_CONTROLS = re.compile(f"(?:{CONTROL.pattern})+")


class Line(NamedTuple):
    """One line; `tone` is plain, good, notice or bad."""

    text: str
    tone: str = "plain"


def clean(text: str) -> str:
    """Text from a host, without line breaks and control characters that could forge output."""
    return _CONTROLS.sub(" ", text).strip()


def labelled(label: str, text: str) -> str:
    """A short label in front, in a column of its own."""
    shown = clean(label)
    return (f"{shown:<{LABEL}}" if len(shown) < LABEL else f"{shown}  ") + text


def count(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
