# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of flags and fields in words a person uses."""

from __future__ import annotations

SECRETIVE = ("string", "stringArray", "strings", "[]string", "map[string]string")  # what stands there may be a secret
_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "int32": "a whole number",
    "float": "a number",
    "float32": "a number",
    "duration": "a duration like 30s",
    "string": "text",
    "Level": "a number like 2",
    "ip": "an IP address",
    "ipport": "an address with a port, like 127.0.0.1:10249",
    "quantity": "a quantity like 10Mi",
}
SHORT = 40
_KINDS = ((str, "text"), (list, "a list"), (dict, "a mapping"))
_MAP = "map[string]"


def words(kind: str) -> str:
    """What a value of a type is: `a whole number`, `a list, each of it text`."""
    if kind.startswith("[]"):
        return f"a list, each of it {words(kind[2:])}"
    if kind.startswith(_MAP):
        return f"a mapping, each value {words(kind[len(_MAP) :])}"
    return _WORDS.get(kind, f"of the type {kind}")


def misfit(name: str, kind: str, value: object) -> str:
    """Why a flag or field cannot have a value, which is named where it cannot be a secret and is short."""
    return f"{name} must be {words(kind)}, not {_shown(value, kind)}"


def _shown(value: object, kind: str) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (str, int, float)) and kind not in SECRETIVE and len(str(value)) <= SHORT:
        return repr(value)
    if isinstance(value, str) and "\n" in value:
        return "several lines of text"
    return next((said for python, said in _KINDS if isinstance(value, python)), "a number")
