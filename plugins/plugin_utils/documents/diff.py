# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change looks like to a person: a unified diff in which no secret stands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.mask import MASK, masked

__all__ = ["MASK", "attributes", "masked", "unified"]

_COARSE = 4_000_000  # lines of one text times lines of the other, between what both begin and end with


@lru_cache(maxsize=1024)
def unified(before: str | None, after: str | None, path: str) -> str:
    """A unified diff, secrets masked; "" where both are the same. None: there is no such file."""
    if before == after:
        return ""
    old = masked(before or "").splitlines(keepends=True)
    new = masked(after or "").splitlines(keepends=True)
    names = ("/dev/null" if before is None else path, "/dev/null" if after is None else path)
    lines = [f"--- {names[0]}\n", f"+++ {names[1]}\n"]
    for group in _Trimmed(old, new).get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        lines.append(f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n")
        for kind, low, high, new_low, new_high in group:
            if kind == "equal":
                lines += [" " + line for line in old[low:high]]
                continue
            lines += ["-" + line for line in old[low:high]]
            lines += ["+" + line for line in new[new_low:new_high]]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


class _Trimmed(difflib.SequenceMatcher[str]):
    """What both texts begin and end with is not searched; what is left and is too long to search is one replacement."""

    def __init__(self, old: list[str], new: list[str]) -> None:
        self._sizes = len(old), len(new)
        shorter = min(self._sizes)
        self._head = next((index for index in range(shorter) if old[index] != new[index]), shorter)
        left = shorter - self._head
        self._tail = next((index for index in range(left) if old[-1 - index] != new[-1 - index]), left)
        left_old, left_new = (text[self._head : len(text) - self._tail] for text in (old, new))
        self._coarse = len(left_old) * len(left_new) > _COARSE
        super().__init__(None, [] if self._coarse else left_old, [] if self._coarse else left_new)

    def get_opcodes(self) -> list[tuple[str, int, int, int, int]]:  # type: ignore[override]
        """Of the whole texts."""
        head, ends = self._head, [size - self._tail for size in self._sizes]
        codes = [(kind, low + head, high + head, new_low + head, new_high + head) for kind, low, high, new_low, new_high in super().get_opcodes()]
        found: list[tuple[str, int, int, int, int]] = [("equal", 0, head, 0, head)] if head else []
        found += [("replace", head, ends[0], head, ends[1])] if self._coarse else codes
        if self._tail:
            found.append(("equal", ends[0], self._sizes[0], ends[1], self._sizes[1]))
        return _joined(found)


def _joined(codes: list[tuple[str, int, int, int, int]]) -> list[tuple[str, int, int, int, int]]:
    """Equal parts beside each other are one."""
    found: list[tuple[str, int, int, int, int]] = []
    for code in codes:
        if found and code[0] == found[-1][0] == "equal":
            _kind, low, _high, new_low, _new_high = found.pop()
            found.append(("equal", low, code[2], new_low, code[4]))
        else:
            found.append(code)
    return found


def _range(start: int, stop: int) -> str:
    """Lines as a unified diff counts them."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def attributes(before: Mapping[str, object], after: Mapping[str, object], path: str) -> str:
    """A change of attributes in the same form: owner, group, mode, target of a link. before: empty where there is no such file."""
    lines = ""
    for name, value in sorted(after.items()):
        if before.get(name) != value:
            lines += (f"-{name}: {before[name]}\n" if name in before else "") + f"+{name}: {value}\n"
    return f"--- {path if before else '/dev/null'}\n+++ {path}\n{lines}" if lines else ""
