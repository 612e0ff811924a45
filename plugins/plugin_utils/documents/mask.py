# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces what looks like a secret in a text that a person is shown. Every line is looked at once, however long it is."""

from __future__ import annotations

import re
from typing import NamedTuple

MASK = "********"
_SECRETIVE = re.compile(r"password|passwd|secret|token|private[-_]?key|access[-_]?key|client-key-data|credential", re.IGNORECASE)
# A key or flag with a value behind it on its line, as YAML, JSON, shell or command line write it. Each word is tried once.
_KEY = re.compile(r"""(?<![\w.-])(?P<name>[\w.-]+)["']?[ \t]*[:=][ \t]*(?=[^\s])""")
_KEY_ALONE = re.compile(r"""(?P<indent>[ \t]*)(?:-[ \t]+)*["']?(?P<name>[\w.-]+)["']?[ \t]*:[ \t]*(?:[|>][-+0-9]*[ \t]*)?(?:#.*)?\r?""")
_OTHER_KEY = re.compile(r"""[ \t]*(?:-[ \t]+)*["']?[\w./-]+["']?[ \t]*:(?:[ \t\r]|$)""")
# A path, number or boolean behind such a name is no secret: --token-auth-file=/etc/…, tokenTTL: 24h.
_HARMLESS = re.compile(r"""["']?(?:/[^\s"']*|[0-9][0-9a-z.]*|true|false|null)["']?,?\s*""", re.IGNORECASE)
_HALF = re.compile(r"""\b(name|value)["']?[ \t]*:[ \t]*""")
_WORD = re.compile(r"""["']?([\w.-]*)""")
_BETWEEN = re.compile(r"""["']?\s*[,\n]\s*["']?""")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_PEM_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")
_RUN = re.compile(r"[\w.-]{24,}")


def masked(text: str) -> str:
    """The text with what looks like a secret replaced."""
    lines: list[str] = []
    opened = _NOTHING
    for line in _without_variables(_RUN.sub(_without_token, _without_keys(text))).split("\n"):
        if not line.strip():
            lines.append(line)
        elif opened.holds(line):
            lines.append(line[: _indent(line)] + MASK)
            opened = opened._replace(first=False)
        else:
            lines.append(_masked_line(line))
            opened = _opened(line)
    return "\n".join(lines)


class _Opened(NamedTuple):
    """A secretive key whose value is on the lines below it."""

    indent: int
    first: bool

    def holds(self, line: str) -> bool:
        """Whether a line belongs to the value: what is further in, items of a list, and whatever comes first and is no key."""
        if self.indent < 0:
            return False
        indent = _indent(line)
        beside = indent == self.indent and line.lstrip().startswith("- ")
        return indent > self.indent or beside or (self.first and not _OTHER_KEY.match(line))


_NOTHING = _Opened(-1, False)


def _opened(line: str) -> _Opened:
    found = _KEY_ALONE.fullmatch(line)
    return _Opened(len(found["indent"]), True) if found and _SECRETIVE.search(found["name"]) else _NOTHING


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _masked_line(line: str) -> str:
    for found in _KEY.finditer(line):
        if _SECRETIVE.search(found["name"]):
            harmless = _HARMLESS.fullmatch(line, found.end()) or _KEY_ALONE.fullmatch(line)
            return line if harmless else line[: found.end()] + MASK
    return line


def _without_variables(text: str) -> str:
    """Mask the value of a pod's variable of such a name: `name` and `value` in either order, on lines of their own or in braces."""
    halves = list(_HALF.finditer(text))
    spans = []
    for one, other in zip(halves, halves[1:]):
        if one.group(1) == other.group(1):
            continue
        name, value = (one, other) if one.group(1) == "name" else (other, one)
        end = _end_of(text, value.end(), other.start() if value is one else len(text))
        word = _WORD.match(text, name.end())
        beside = _BETWEEN.fullmatch(text, word.end() if value is other and word else end, other.start())
        if beside and word and _SECRETIVE.search(word.group(1)) and end > value.end():
            spans.append((value.end(), end))
    parts, at = [], 0
    for start, end in sorted(spans):  # a value between two names is found twice
        if start >= at:
            parts += [text[at:start], MASK]
            at = end
    return "".join([*parts, text[at:]])


def _end_of(text: str, start: int, stop: int) -> int:
    """Where a value ends: with its line, its braces, or before the comma that another key follows."""
    line = text.find("\n", start, stop)
    if line >= 0:
        return line
    if stop < len(text):
        return max(start, text.rfind(",", start, stop))
    brace = text.find("}", start)
    return brace if brace >= 0 else len(text)


def _without_keys(text: str) -> str:
    parts, at = [], 0
    begin = _PEM.search(text)
    while begin:
        end = _PEM_END.search(text, begin.end())
        parts += [text[at : begin.start()], MASK]
        at = end.end() if end else len(text)
        begin = _PEM.search(text, at)
    return "".join([*parts, text[at:]])


def _without_token(found: re.Match[str]) -> str:
    """A run of three parts of which the first begins like the header of a JSON web token."""
    parts = found.group().split(".")
    for index, part in enumerate(parts[:-2]):
        at = part.find("eyJ")
        if at >= 0 and len(part) - at >= 11 and min(len(parts[index + 1]), len(parts[index + 2])) >= 8:
            return ".".join([*parts[:index], part[:at] + MASK])
    return found.group()
