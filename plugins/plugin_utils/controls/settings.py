# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator asks for: the ninepaths_* variables, checked."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import HALF
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import PATHS, PROFILES, Literal

PREFIX = "ninepaths_"
FAIL_ON = ("deviation", "never")
DEFAULT_PROFILE = "recommended"
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII | re.IGNORECASE)
_WAIVER_KEYS = ("control", "reason", "until")


class SettingsError(Exception):
    """What is wrong with the operator's variables: `problems` holds one sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Waiver:
    """A control that is knowingly left alone. It holds to the end of the day `until` (UTC), or for good."""

    control: str
    reason: str
    until: datetime.date | None

    def expired(self, now: float) -> bool:
        """Whether it no longer holds at `now` (unix seconds)."""
        today = datetime.datetime.fromtimestamp(now, tz=datetime.timezone.utc).date()
        return self.until is not None and today > self.until


@dataclass(frozen=True)
class Settings:
    """The operator's variables. Whether the names in them exist is judged by `selection.select`."""

    profile: str = DEFAULT_PROFILE
    paths: tuple[int, ...] = tuple(PATHS)
    overrides: Mapping[str, Literal] = field(default_factory=dict)
    enable: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    node_addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fail_on: str = "deviation"

    @classmethod
    def parse(cls, variables: Mapping[str, object]) -> Settings:
        """Reads ninepaths_profile, _paths, _overrides, _enable, _waivers, _node_addresses and _fail_on.

        Other variables are not looked at. Raises SettingsError with every problem found.
        """
        broken = [PREFIX + one.name for one in fields(cls) if _is_broken(variables.get(PREFIX + one.name))]
        if broken:  # told alone: every other sentence could quote such a text, and nobody could print it
            raise SettingsError(tuple(f"{name}: holds a text that is not valid UTF-8; write it again, as UTF-8" for name in broken))
        return _Parser(variables).settings()


class _Parser:
    """Collects problems, so that an operator sees all of them at once."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self._variables = variables
        self._problems: list[str] = []

    def settings(self) -> Settings:
        settings = Settings(
            profile=self._choice("profile", PROFILES, DEFAULT_PROFILE),
            paths=self._paths(),
            overrides=self._overrides(),
            enable=self._texts("enable"),
            waivers=self._waivers(),
            node_addresses=self._node_addresses(),
            fail_on=self._choice("fail_on", FAIL_ON, "deviation"),
        )
        if self._problems:
            raise SettingsError(tuple(self._problems))
        return settings

    def _problem(self, name: str, what: str) -> None:
        self._problems.append(f"{PREFIX}{name}: {what}")

    def _choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self._variables.get(PREFIX + name, default)
        if isinstance(value, str) and value in choices:
            return str(value)
        self._problem(name, f"{value!r} is not one of {', '.join(choices)}")
        return default

    def _list(self, name: str) -> list[object]:
        value = self._variables.get(PREFIX + name)
        if value is None:
            return []
        if isinstance(value, (list, tuple)):
            return list(value)
        self._problem(name, f"must be a list, not {_kind(value)}")
        return []

    def _mapping(self, name: str, of: str) -> dict[str, object]:
        value = self._variables.get(PREFIX + name)
        if value is None:
            return {}
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {str(key): item for key, item in value.items()}
        self._problem(name, f"must be a mapping from {of}, not {_kind(value)}")
        return {}

    def _texts(self, name: str) -> tuple[str, ...]:
        found = []
        for item in self._list(name):
            if isinstance(item, str) and item:
                found.append(str(item))
            else:
                self._problem(name, f"{item!r} is no control id")
        return tuple(dict.fromkeys(found))

    def _paths(self) -> tuple[int, ...]:
        if self._variables.get(PREFIX + "paths") is None:
            return tuple(PATHS)
        found = set()
        items = self._list("paths")
        for item in items:
            if isinstance(item, int) and not isinstance(item, bool) and item in PATHS:
                found.add(int(item))
            else:
                self._problem("paths", f"{item!r} is no path; paths are the numbers 1 to 9")
        if not items and not self._problems:
            self._problem("paths", "is empty; leave it out to choose all nine")
        return tuple(sorted(found))

    def _overrides(self) -> dict[str, Literal]:
        found: dict[str, Literal] = {}
        for name, value in self._mapping("overrides", "control ids to values").items():
            literal = _literal(value)
            if literal is None:
                self._problem("overrides", f"{name}: {value!r} is no value; text, whole numbers, true, false and lists of texts are")
            else:
                found[name] = literal
        return found

    def _waivers(self) -> tuple[Waiver, ...]:
        found: list[Waiver] = []
        for number, item in enumerate(self._list("waivers"), start=1):
            waiver = self._waiver(number, item)
            if waiver is not None and any(waiver.control == other.control for other in found):
                self._problem("waivers", f"{waiver.control} is waived twice")
            elif waiver is not None:
                found.append(waiver)
        return tuple(found)

    def _waiver(self, number: int, item: object) -> Waiver | None:
        if not isinstance(item, Mapping):
            self._problem("waivers", f"waiver {number} must be a mapping with control and reason, not {_kind(item)}")
            return None
        control, reason, until = item.get("control"), item.get("reason"), item.get("until")
        if not isinstance(control, str) or not control:
            self._problem("waivers", f"waiver {number} names no control")
            return None
        unknown = sorted(str(key) for key in item if key not in _WAIVER_KEYS)
        if unknown:
            self._problem("waivers", f"{control}: unknown key {', '.join(unknown)}")
        if not isinstance(reason, str) or not reason.strip():
            self._problem("waivers", f"{control}: a waiver needs a reason")
            return None
        day = _date(until)
        if until is not None and day is None:
            self._problem("waivers", f"{control}: until is {until!r}, must be a date like 2027-03-01")
            return None
        return Waiver(control=str(control), reason=str(reason).strip(), until=day)

    def _node_addresses(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for node, value in self._mapping("node_addresses", "node names to lists of addresses").items():
            addresses = value if isinstance(value, (list, tuple)) else [value]
            wrong = [address for address in addresses if not _is_address(address)]
            if wrong or not addresses:
                self._problem("node_addresses", f"{node}: {wrong[0]!r} is no address" if wrong else f"{node}: has no address")
            else:
                found[node] = tuple(str(address) for address in addresses)
        return found


def _is_broken(value: object) -> bool:
    """Whether a text in it holds half a character, which no file can hold."""
    if isinstance(value, str):
        return HALF.search(value) is not None
    if isinstance(value, Mapping):
        return any(_is_broken(part) for item in value.items() for part in item)
    return isinstance(value, (list, tuple)) and any(_is_broken(item) for item in value)


def _kind(value: object) -> str:
    return {str: "text", int: "a number", bool: "true or false", list: "a list", dict: "a mapping"}.get(type(value), type(value).__name__)


def _literal(value: object) -> Literal | None:
    """Ansible hands over tagged subclasses; what leaves here is plain."""
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value) or None
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) and item for item in value):
        return tuple(str(item) for item in value)
    return None


def _date(value: object) -> datetime.date | None:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return datetime.date(value.year, value.month, value.day)
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_address(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        # Digits and dots only is an IP address with a mistake in it, no name.
        return bool(_DNS_NAME.fullmatch(value)) and not re.fullmatch(r"[0-9.]+", value)
    return True
