# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge policies: what a control makes of the value that is there. Pure, and the same for flags and fields.

`merge` never weakens: a value that already serves the control is returned unchanged, and merging twice is merging once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Union

Value = Union[str, int, bool, tuple[str, ...]]
Scalar = Union[str, int, bool]

# The order in which the controls of one flag are applied. What takes away comes first, what adds next, what decides alone last.
RANK: Mapping[str, int] = {
    "each": 0,
    "absent": 0,
    "exact": 1,
    "loopback": 1,
    "at_least": 2,
    "at_most": 2,
    "subset": 3,
    "present": 4,
    "superset": 5,
    "append": 6,
}

_TLS: Mapping[str, int] = {
    **{f"VersionTLS{number}": number for number in (10, 11, 12, 13)},
    **{f"TLS{number / 10}": number for number in (10, 11, 12, 13)},
}
_UNITS: Mapping[str, Fraction] = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_DURATION = re.compile(r"([-+]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
# An address of a listener, with or without a port: [::1]:10249, 127.0.0.1:10249, 127.0.0.1, ::1.
_LISTENER = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::[0-9]+)?|(?P<plain>[^:]+)(?::[0-9]+)?|(?P<bare>.+)")
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class MergeError(ValueError):
    """A value cannot be compared with what a control wants; the text says why."""


@dataclass(frozen=True)
class Rule:
    """What one control wants of one value.

    wanted: None only with "absent", where the whole value must go.
    refuse: values that count as not set, and refuse_below: so do smaller numbers. unset_ok: nothing there is fine. allowed: what a
    subset may hold besides, but is never written. floor: less than this is never written, though less may do (the default that
    counts where nothing is set).
    """

    policy: str
    wanted: Value | None
    refuse: tuple[Scalar, ...] = ()
    unset_ok: bool = False
    refuse_below: int | None = None
    allowed: tuple[str, ...] = ()
    floor: Value | None = None


def satisfied(rule: Rule, current: Value | None) -> bool:
    """Whether the value (None: not set) already serves the rule. Raises MergeError."""
    if current is None and (rule.unset_ok or rule.policy == "absent"):
        return True
    return _CHECKS[rule.policy](rule, _counted(rule, current))


def merge(rule: Rule, current: Value | None) -> Value | None:
    """The value with the rule applied; None: it must not be set. Raises MergeError."""
    if satisfied(rule, current):
        return current
    return _MERGES[rule.policy](rule, _counted(rule, current))


def like(wanted: Value | None, raw: str) -> Value:
    """A raw command-line value, read as the kind of value that is wanted. Raises MergeError."""
    if isinstance(wanted, tuple):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(wanted, bool):
        return truth(raw)
    if isinstance(wanted, int):
        return integer(raw)
    return raw


def truth(raw: str) -> bool:
    """Go's strconv.ParseBool. Raises MergeError."""
    if raw in _TRUE or raw in _FALSE:
        return raw in _TRUE
    raise MergeError(f"{_quoted(raw)} is neither true nor false")


def integer(raw: str) -> int:
    """Raises MergeError."""
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", raw.strip(), re.ASCII):
        raise MergeError(f"{_quoted(raw)} is no whole number")
    return int(raw)


def seconds(raw: str) -> Fraction:
    """Go's time.ParseDuration, in seconds. Raises MergeError."""
    if raw in ("0", "+0", "-0"):
        return Fraction(0)
    if not _is_duration(raw):
        raise MergeError(f"{_quoted(raw)} is no duration like 5m0s")
    total = sum((Fraction(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(raw)), Fraction(0))
    return -total if raw.startswith("-") else total


def same(one: Value, other: Value) -> bool:
    """Whether two values mean the same: durations by length, everything else as it is written."""
    if type(one) is not type(other):
        return False
    if one != other and isinstance(one, str) and isinstance(other, str) and _is_duration(one) and _is_duration(other):
        return seconds(one) == seconds(other)
    return one == other


def _is_duration(text: str) -> bool:
    """Go takes some twenty digits and units; a longer text is none."""
    return text == "0" or (len(text) <= 128 and bool(_DURATION.fullmatch(text)) and not re.search("[0-9.]{40}", text))


def _quoted(raw: str) -> str:
    return repr(raw) if len(raw) <= 80 else f"{raw[:80]!r}…"


def _counted(rule: Rule, current: Value | None) -> Value | None:
    """The value, or None where it counts as not set."""
    if current is None or current in ("", ()) or any(same(current, refused) for refused in rule.refuse):
        return None
    if rule.refuse_below is not None and isinstance(current, int) and current < rule.refuse_below:
        return None
    return current


@lru_cache(maxsize=4096, typed=True)
def _order(value: Value, wanted: Value) -> Fraction:
    """What values are compared by, in the kind of the wanted one."""
    if isinstance(wanted, bool) or isinstance(value, bool) or isinstance(wanted, tuple) or isinstance(value, tuple):
        raise MergeError(f"{show(value)} and {show(wanted)} have no order")
    if isinstance(wanted, int):
        return Fraction(value if isinstance(value, int) else integer(value))
    if wanted in _TLS:
        if value not in _TLS:
            raise MergeError(f"{_quoted(str(value))} is no TLS version like {wanted}")
        return Fraction(_TLS[str(value)])
    return seconds(str(value))


def _items(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (str(value),)


def _is_exact(rule: Rule, current: Value | None) -> bool:
    return current is not None and rule.wanted is not None and same(current, rule.wanted)


def _is_present(rule: Rule, current: Value | None) -> bool:
    return current is not None


def _is_at_least(rule: Rule, current: Value | None) -> bool:
    return current is not None and rule.wanted is not None and _order(current, rule.wanted) >= _order(rule.wanted, rule.wanted)


def _is_at_most(rule: Rule, current: Value | None) -> bool:
    return current is not None and rule.wanted is not None and _order(current, rule.wanted) <= _order(rule.wanted, rule.wanted)


def _is_subset(rule: Rule, current: Value | None) -> bool:
    return current is not None and set(_items(current)) <= _fine(rule)


def _fine(rule: Rule) -> set[str]:
    return {*_items(rule.wanted), *rule.allowed}


def _is_loopback(rule: Rule, current: Value | None) -> bool:
    return current is not None and (_is_exact(rule, current) or _is_local(show(current)))


def _is_local(address: str) -> bool:
    found = _LISTENER.fullmatch(address)
    try:
        return found is not None and ipaddress.ip_address(next(text for text in found.groups() if text)).is_loopback
    except ValueError:
        return False


def _is_superset(rule: Rule, current: Value | None) -> bool:
    return set(_items(current)) >= set(_items(rule.wanted))


def _is_absent(rule: Rule, current: Value | None) -> bool:
    if rule.wanted is None:
        return current is None
    return not set(_items(current)) & set(_items(rule.wanted))


def _begin_as_wanted(rule: Rule, current: Value | None) -> bool:
    return current is not None and all(item.startswith(_items(rule.wanted)) for item in _items(current))


def _as_it_is(rule: Rule, current: Value | None) -> Value | None:
    return current


def _wanted(rule: Rule, current: Value | None) -> Value | None:
    return rule.wanted


def _raised(rule: Rule, current: Value | None) -> Value | None:
    if rule.wanted is None or rule.floor is None or _order(rule.floor, rule.wanted) <= _order(rule.wanted, rule.wanted):
        return rule.wanted
    return rule.floor


def _only_wanted(rule: Rule, current: Value | None) -> Value | None:
    kept = tuple(item for item in _items(current) if item in _fine(rule))
    return kept or rule.wanted


def _with_missing(rule: Rule, current: Value | None) -> Value | None:
    kept = _items(current)
    return kept + tuple(item for item in _items(rule.wanted) if item not in kept)


def _without(rule: Rule, current: Value | None) -> Value | None:
    if rule.wanted is None or not isinstance(current, tuple):
        return None
    return tuple(item for item in current if item not in _items(rule.wanted)) or None


_CHECKS: Mapping[str, Callable[[Rule, Value | None], bool]] = {
    "exact": _is_exact,
    "loopback": _is_loopback,
    "present": _is_present,
    "at_least": _is_at_least,
    "at_most": _is_at_most,
    "subset": _is_subset,
    "superset": _is_superset,
    "append": _is_superset,
    "absent": _is_absent,
    "each": _begin_as_wanted,
}
_MERGES: Mapping[str, Callable[[Rule, Value | None], Value | None]] = {
    "exact": _wanted,
    "loopback": _wanted,
    "present": _wanted,
    "at_least": _raised,
    "at_most": _wanted,
    "subset": _only_wanted,
    "superset": _with_missing,
    "append": _with_missing,
    "absent": _without,
    "each": _as_it_is,
}


def show(value: Value | None) -> str:
    """The value as a command line holds it; "" where it is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)
