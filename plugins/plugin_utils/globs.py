# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Path patterns of file controls, matched the way the target expands them: `*` and `[…]` stay inside a directory, `**` does not."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression for the whole path."""
    parts = pattern.strip("/").split("/")
    expression = ""
    for number, part in enumerate(parts):
        if part == "**":
            expression += "(?:/[^/]+)*" if number < len(parts) - 1 else "(?:/[^/]+)+"
        else:
            expression += "/" + _segment(part)
    return re.compile(expression)


@lru_cache(maxsize=4096)
def matching(patterns: tuple[str, ...], paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that match one of the patterns, in their order. Hosts of a kind have the same paths, so answers are remembered."""
    expressions = [compiled(pattern) for pattern in patterns]
    return tuple(path for path in paths if any(expression.fullmatch(path) for expression in expressions))


def is_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")


def _segment(part: str) -> str:
    """One directory level. A leading dot is matched by a leading dot only."""
    expression = fnmatch.translate(part)
    inner = re.sub(r"\\[zZ]$", "", expression).replace("(?s:", "(?:", 1)
    inner = inner.replace(".*", "[^/]*").replace("(?>", "(?:")
    hidden = "" if part.startswith(".") else r"(?!\.)"
    return hidden + inner


def any_matches(patterns: Iterable[str], path: str) -> bool:
    return any(compiled(pattern).fullmatch(path) for pattern in patterns)
