# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Path patterns of file controls, matched the way the target expands them: wildcards stay inside a directory, `**` does not."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression for the whole path."""
    parts = [part for part in pattern.split("/") if part]
    expression = ""
    for number, part in enumerate(parts):
        if part == "**":
            expression += "(?:/[^/]+)*" if number < len(parts) - 1 else "(?:/[^/]+)+"
        else:
            expression += "/" + _name(part)
    return re.compile(expression, re.DOTALL)


@lru_cache(maxsize=4096)
def matching(patterns: tuple[str, ...], paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that match one of the patterns, in their order. Hosts of a kind have the same paths, so answers are remembered."""
    expressions = [compiled(pattern) for pattern in patterns]
    return tuple(path for path in paths if any(expression.fullmatch(path) for expression in expressions))


@lru_cache(maxsize=4096)
def matching_below(folder: str, pattern: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths below a directory that match a pattern there. What a host calls its directory is no pattern."""
    top, expression = folder.rstrip("/"), compiled(pattern)
    return tuple(path for path in paths if path.startswith(top + "/") and expression.fullmatch(path[len(top) :]))


def _name(part: str) -> str:
    """One name of a path: `*`, `?`, `[…]` and `[!…]`."""
    expression = ""
    index = 0
    while index < len(part):
        character = part[index]
        closing = part.find("]", index + 2) if character == "[" else -1
        if closing > 0:
            inside = part[index + 1 : closing].replace("\\", r"\\").replace("^", r"\^")
            expression += "[" + ("^/" + inside[1:] if inside.startswith("!") else inside) + "]"
            index = closing
        else:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character))
        index += 1
    return expression
