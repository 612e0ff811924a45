# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change looks like to a person: a unified diff in which no secret stands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache

MASK = "********"
_NAME = r"[\w.-]*(?:password|passwd|secret|token|private[-_]?key|access[-_]?key|client-key-data|credential)[\w.-]*"
# A key or flag whose name says that its value is a secret, as YAML, JSON, shell or command line write it.
_NAMED = re.compile(rf"""(?P<key>["']?{_NAME}["']?\s*[:=]\s*)(?P<value>\S.*)""", re.IGNORECASE)
# An environment variable of such a name in a pod: `name` and `value` in either order, on lines of their own or in braces.
_VARIABLE = re.compile(
    rf"""(?P<key>\bname["']?:\s*["']?{_NAME}["']?\s*[,\n]\s*["']?value["']?:[ \t]*)(?P<value>[^\s}}][^\n}}]*)""", re.IGNORECASE
)
_VARIABLE_REVERSED = re.compile(
    rf"""(?P<key>\bvalue["']?:[ \t]*)(?P<value>[^\n]+?)(?P<rest>[ \t]*[,\n]\s*["']?name["']?:\s*["']?{_NAME}["']?\s*(?:$|\}}))""",
    re.IGNORECASE | re.MULTILINE,
)
# A path, number or boolean behind such a name is no secret: --token-auth-file=/etc/…, tokenTTL: 24h.
_HARMLESS = re.compile(r"""["']?(?:/[^\s"']*|[0-9][0-9a-z.]*|true|false|null)["']?,?\s*""", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")


@lru_cache(maxsize=1024)
def unified(before: str | None, after: str | None, path: str) -> str:
    """A unified diff, secrets masked; "" where both are the same. None: there is no such file."""
    if before == after:
        return ""
    old = masked(before or "").splitlines(keepends=True)
    new = masked(after or "").splitlines(keepends=True)
    names = ("/dev/null" if before is None else path, "/dev/null" if after is None else path)
    return "".join(line if line.endswith("\n") else line + "\n" for line in difflib.unified_diff(old, new, *names))


def attributes(before: Mapping[str, object], after: Mapping[str, object], path: str) -> str:
    """A change of attributes in the same form: owner, group, mode, target of a link. before: empty where there is no such file."""
    lines = ""
    for name, value in sorted(after.items()):
        if before.get(name) != value:
            lines += (f"-{name}: {before[name]}\n" if name in before else "") + f"+{name}: {value}\n"
    return f"--- {path if before else '/dev/null'}\n+++ {path}\n{lines}" if lines else ""


def masked(text: str) -> str:
    """The text with what looks like a secret replaced."""
    text = _PEM.sub(MASK, text)
    text = _JWT.sub(MASK, text)
    text = _VARIABLE.sub(rf"\g<key>{MASK}", text)
    text = _VARIABLE_REVERSED.sub(rf"\g<key>{MASK}\g<rest>", text)
    return _NAMED.sub(lambda found: found.group(0) if _HARMLESS.fullmatch(found.group("value")) else found.group("key") + MASK, text)
