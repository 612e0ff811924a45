# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that somebody else wrote, read within limits: what a small text can grow to in memory, and what no document of Kubernetes or ours holds."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_BYTES = 1 << 26
MAX_VALUES = 1 << 20  # a value takes up to some hundred bytes of memory, and may be written with two
MAX_DEPTH = 64
MAX_INTEGER = 1 << 63


class JsonError(ValueError):
    """A text that is no JSON, or JSON that is not read; the message never quotes it."""


def parse(data: bytes | str, limit: int = MAX_BYTES) -> Any:
    """The one value that `data` is. Of a key that comes twice the last one counts. Raises JsonError.

    Not read: more than `limit` bytes, more than 2^20 values, deeper than 64, numbers that are none or need more than 64 bits, text that
    is no UTF-8 or could not be written as such.
    """
    if len(data) > limit:
        raise JsonError(f"more than {limit} bytes")
    text = data if isinstance(data, str) else _decoded(data)
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise JsonError(f"more than {MAX_VALUES} values")
    try:
        found = json.loads(text, parse_constant=_constant, parse_float=_finite)
    except RecursionError:
        raise JsonError(f"nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"no JSON at character {error.pos}") from None
    except ValueError as error:
        raise error if isinstance(error, JsonError) else JsonError("a number of too many digits") from None
    _check(found)
    return found


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("text that is no UTF-8") from None


def _constant(name: str) -> None:
    raise JsonError(f"the number {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise JsonError("a number that is too large")
    return number


def _check(root: Any) -> None:
    """Level by level, so that no depth can exhaust the stack."""
    level = [[root]]
    for _depth in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for values in level:
            for value in values:
                if isinstance(value, str):
                    if not value.isascii():
                        _check_text(value)
                elif isinstance(value, dict):
                    below += (value.keys(), value.values())
                elif isinstance(value, list):
                    below.append(value)
                elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
                    raise JsonError("a number that is too large")
        if not below:
            return
        level = below
    raise JsonError(f"nested deeper than {MAX_DEPTH}")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise JsonError("half of a character") from None
