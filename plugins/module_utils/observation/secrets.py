# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks like a secret in a document or a command line: such a document stays on its host, such a value is masked.

Every pattern is tried once per word or line, so that no text can make a search slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MASK = "********"

# What says of itself that it is one, wherever it stands.
_PLAIN = ("PRIVATE KEY-----", "client-key-data", "staticPodURLHeader:", '"staticPodURLHeader"')
_KIND = re.compile(r"""\bkind["']?:[ \t]*["']?EncryptionConfiguration""")
_LOGIN = re.compile(r"""(://[^\s/:@"']*:)[^\s/@"']+@""")  # a password in a URL
_TOKEN = re.compile(r"(?<![\w-])(?:eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+|[Bb]earer[ \t]+[\w.~+/=-]{8,})")

# A name that says that its value is one. Of a variable any part says so, of another key its end.
_PART = re.compile(r"secret|password|passwd|token|private[-_]?key|access[-_]?key|api[-_]?key|credential", re.IGNORECASE)
_END = re.compile(r"(?:secret|password|passwd|token|private[-_]?key|access[-_]?key|api[-_]?key)$", re.IGNORECASE)
_HEADER = "authorization"
_PLACE = ("file", "path", "dir", "version", "name")  # the name of a place or kind, as in --token-auth-file
_KNOWN = frozenset({"auth-token"})  # etcd's: a kind of token, and places of keys

_VARIABLE = re.compile(r"""(?<![\w.-])([A-Z][A-Z0-9_]*)=["']?([^\s"']+)""")
_FLAG = re.compile(r"""(?<![\w.-])--([A-Za-z][\w.-]*)(?:=|[ \t]+)["']?([^\s"'-][^\s"']*)""")
_KEY = re.compile(
    r"""(?:^[ \t]*(?:-[ \t]+)?|[{,][ \t]*)["']?([A-Za-z][\w.-]*)["']?[ \t]*:(?:[ \t]*\r?\n)?[ \t]*["']?([^\s"'{\[&*#][^\s"',}]*)""", re.MULTILINE
)
# An entry of a list of variables or headers, whose name and value are lines or items beside each other, in either order.
_HALF = re.compile(r"""\b(name|value)["']?[ \t]*:[ \t]*["']?([^\s"',}]*)""")
_BETWEEN = {"name": re.compile(r"""["']?[ \t]*[,\r\n]\s*["']?"""), "value": re.compile(r"""[^\n,]*[,\n]\s*["']?""")}

_HARMLESS = re.compile(r"/.*|\$\(.*|[0-9][0-9a-z.]{0,11}|true|false|null|~", re.IGNORECASE)


def found_in(text: str) -> str | None:
    """What in a document looks like a secret, without the secret; None where nothing does."""
    for sign in _PLAIN:
        if sign in text:
            return sign.strip('":-')
    if _KIND.search(text):
        return "EncryptionConfiguration"
    if _LOGIN.search(text):
        return "a password in a URL"
    if _TOKEN.search(text):
        return "a token"
    return next(_named(text), None)


def masked(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line with the values of secretive flags and passwords in URLs masked, and what these are."""
    shown, why = [], []
    secretive = None
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.lstrip("-") if flag.startswith("-") else None
        if secretive and name is None and not _harmless(word):
            shown.append(MASK)
            why.append(f"--{secretive}")
        elif name and equals and is_secretive(name) and not _harmless(value):
            shown.append(f"{flag}={MASK}")
            why.append(f"--{name}")
        else:
            shown.append(without_login(word))
            why += [(name and f"--{name}") or "an argument"] if shown[-1] != word else []
        secretive = name if name and not equals and is_secretive(name) else None
    return shown, why


def blanked(text: str) -> str:
    """A line for a person, with the values of secretive flags and variables, passwords in URLs and tokens masked."""
    for pattern in (_VARIABLE, _FLAG):
        text = pattern.sub(lambda found: found.group() if not is_secretive(found.group(1)) or _harmless(found.group(2)) else _without_value(found), text)
    return without_login(text)


def _without_value(found: re.Match[str]) -> str:
    return found.group()[: found.start(2) - found.start()] + MASK


def without_login(text: str) -> str:
    """The text with passwords in URLs and tokens masked."""
    return _TOKEN.sub(MASK, _LOGIN.sub(rf"\1{MASK}@", text))


def is_secretive(name: str) -> bool:
    """Whether the name of a flag or variable says that its value is a secret."""
    low = name.lower().replace("_", "-")
    return low == _HEADER or (bool(_PART.search(low)) and not low.endswith(_PLACE) and low not in _KNOWN)


def _named(text: str) -> Iterator[str]:
    for pattern, prefix in ((_VARIABLE, ""), (_FLAG, "--")):
        for name, value in pattern.findall(text):
            if is_secretive(name) and not _harmless(value):
                yield prefix + name
    for name, value in _KEY.findall(text):
        if (_END.search(name) or name.lower() == _HEADER) and not value.endswith(":") and not _harmless(value):
            yield name
    yield from (name for name, value in _pairs(text) if is_secretive(name) and not _harmless(value))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Names with the values that stand right beside them."""
    halves = list(_HALF.finditer(text))
    for one, other in zip(halves, halves[1:]):
        kind = one.group(1)
        if kind != other.group(1) and _BETWEEN[kind].fullmatch(text, one.end(), other.start()):
            yield (one.group(2), other.group(2)) if kind == "name" else (other.group(2), one.group(2))


def _harmless(value: str) -> bool:
    """A path, a variable's name, a number, a duration or a boolean is no secret."""
    return bool(_HARMLESS.fullmatch(value.strip("\"',"))) or not value.strip("\"',")
