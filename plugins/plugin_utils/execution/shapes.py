# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what plain data has to look like, part by part, and where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Check = Callable[[Any], None]
# Types by the words that a person reads.
_KINDS = ((bool, "true or false"), (str, "text"), (int, "a number"), (float, "a number"), (list, "a list"), (dict, "an object"))
_SHOWN = 64


class ShapeError(ValueError):
    """Data that is not as it has to be; the message names the place, never the value."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what, self.place = what, ""

    def __str__(self) -> str:
        return f"{self.place.lstrip('.') or 'it'} {self.what}"

    def within(self, part: str) -> ShapeError:
        """The same error, seen from one level above."""
        self.place = part + self.place
        return self


def anything(value: Any) -> None:
    """Whatever JSON can say."""


def text(pattern: str = "", most: int = 1 << 20) -> Check:
    """Text of at most so many characters, which matches as a whole."""
    expression = re.compile(pattern, re.DOTALL) if pattern else None

    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise _wrong(value, "text")
        if len(value) > most:
            raise ShapeError(f"is longer than {most} characters")
        if expression is not None and not expression.fullmatch(value):
            raise ShapeError("is not of the form that it has to have")

    return check


def whole(low: int = 0, high: int = (1 << 63) - 1) -> Check:
    """A whole number."""

    def check(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(value, "a whole number")
        if not low <= value <= high:
            raise ShapeError("is out of range")

    return check


def number(value: Any) -> None:
    """Any number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(value, "a number")


def flag(value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")


def one_of(*choices: Any) -> Check:
    """One of some values of plain types."""

    def check(value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ShapeError(f"is none of {', '.join(map(str, choices))}")

    return check


def optional(inner: Check) -> Check:
    """Null, or what it has to be otherwise."""

    def check(value: Any) -> None:
        if value is not None:
            inner(value)

    return check


def list_of(inner: Check, most: int = 100_000) -> Check:
    """A list of at most so many."""

    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise _wrong(value, "a list")
        if len(value) > most:
            raise ShapeError(f"has more than {most} entries")
        for index, item in enumerate(value):
            try:
                inner(item)
            except ShapeError as error:
                raise error.within(f"[{index}]") from None

    return check


def map_of(inner: Check, keys: Check | None = None, most: int = 100_000) -> Check:
    """An object with any keys."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, "an object")
        if len(value) > most:
            raise ShapeError(f"has more than {most} entries")
        for key, item in value.items():
            try:
                if keys is not None:
                    keys(key)
                inner(item)
            except ShapeError as error:
                raise error.within(f"[{key[:_SHOWN]!r}]") from None

    return check


def record(required: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys, and perhaps some more, but no others."""
    every = {**required, **(more or {})}
    needed = frozenset(required)

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, "an object")
        missing = needed - value.keys()
        if missing:
            raise ShapeError("is missing").within(f".{_first(missing)}")
        for key, item in value.items():
            inner = every.get(key)
            if inner is None:
                raise ShapeError(f"has the unknown part {key[:_SHOWN]!r}")
            try:
                inner(item)
            except ShapeError as error:
                raise error.within(f".{key}") from None

    return check


def by(key: str, choices: Mapping[str, Check]) -> Check:
    """An object whose form one of its keys decides."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, "an object")
        kind = value.get(key)
        if not isinstance(kind, str) or kind not in choices:
            raise ShapeError(f"is none of {', '.join(choices)}").within(f".{key}")
        choices[kind](value)

    return check


def _first(names: Collection[str]) -> str:
    return sorted(names)[0]


def _wrong(value: Any, wanted: str) -> ShapeError:
    found = "null" if value is None else next((words for kind, words in _KINDS if isinstance(value, kind)), "something else")
    return ShapeError(f"is {found}, where {wanted} belongs")
