# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ninepaths has done to a host, as the entry `history` of its target side tells it, checked and typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import COMMITTED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError

_MODE = re.compile(r"[0-7]{4}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_PATH = re.compile(r"/[^\0]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,253}")
_LATEST = 253402300800.0  # the year 10000
TYPES = ("file", "dir", "link", "absent", "other")
OPS = ("files", "kubelet", "static_pods")
ACTIONS = ("attributes", "create", "replace", "remove")
# What was done to a unit, and what of it that is about: (aspect, whether it is so afterwards).
VERBS = {"enable": ("enabled", True), "disable": ("enabled", False), "start": ("active", True), "stop": ("active", False)}


@dataclass(frozen=True)
class State:
    """What lies at a path; of an absent one only `type` is known."""

    type: str
    sha256: str | None = None
    target: str | None = None
    mode: str | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def content(self) -> tuple[str, str | None, str | None]:
        return self.type, self.sha256, self.target

    @property
    def rights(self) -> tuple[str | None, int | None, int | None]:
        return self.mode, self.uid, self.gid


ABSENT = State("absent")


@dataclass(frozen=True)
class Seen:
    """A path as it is now: its state, names of owner and group, what is in a directory, and why it could not be looked at."""

    state: State = ABSENT
    owner: str | None = None
    group: str | None = None
    entries: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Backup:
    """Where the content from before lies; sha256: of what lies there now, None where nothing does."""

    path: str
    sha256: str | None


@dataclass(frozen=True)
class FileEffect:
    """One path that a transaction changed. argv: of the component that ran with the manifest of before."""

    op: str
    path: str
    action: str
    component: str | None
    argv: tuple[str, ...] | None
    before: State
    after: State
    backup: Backup | None
    controls: tuple[str, ...]


@dataclass(frozen=True)
class AccountEffect:
    """Kinds (user, group) of an account that were made, or removed with what they had been."""

    name: str
    home: str
    made: tuple[str, ...]
    removed: Mapping[str, Mapping[str, Any]]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class UnitEffect:
    """One aspect of a unit, `enabled` or `active`, and whether it was so afterwards."""

    unit: str
    aspect: str
    after: bool
    controls: tuple[str, ...]


@dataclass(frozen=True)
class SysctlEffect:
    """A kernel parameter."""

    key: str
    before: str
    after: str
    controls: tuple[str, ...]


@dataclass(frozen=True)
class ObjectEffect:
    """Keys of a ConfigMap; None: the key was not there. annotation: what kube-proxy's pods were annotated with before."""

    namespace: str
    name: str
    before: Mapping[str, str | None]
    after: Mapping[str, str | None]
    annotation: str | None
    controls: tuple[str, ...]


Effect = Union[FileEffect, AccountEffect, UnitEffect, SysctlEffect, ObjectEffect]


@dataclass(frozen=True)
class Transaction:
    """One transaction of a host; only a committed one has effects. number: its place on the host, 0 where nobody has counted yet."""

    id: str
    run: str
    wave: str
    number: int
    at: float
    state: str
    takes_back: tuple[str, ...] = ()
    problem: str | None = None
    effects: tuple[Effect, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it has changed anything that is still so: what was undone has not."""
        return self.state == COMMITTED and bool(self.effects or self.problem)


@dataclass(frozen=True)
class Removed:
    """A transaction of which only this is remembered."""

    id: str
    run: str
    wave: str
    at: float
    state: str


@dataclass(frozen=True)
class History:
    """All transactions of a host, the oldest first, and what their paths, accounts, units and parameters are now."""

    host: str
    transactions: tuple[Transaction, ...] = ()
    removed: tuple[Removed, ...] = ()
    files: Mapping[str, Seen] = field(default_factory=dict)
    accounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    units: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    sysctls: Mapping[str, str | None] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def parse(host: str, data: Mapping[str, Any]) -> History:
    """Read what a host has told. Raises PlanError that names the host."""
    try:
        now = data["now"]
        return History(
            host,
            tuple(_transaction(entry) for entry in data["transactions"]),
            tuple(_removed(entry) for entry in data["removed"]),
            {str(path): _seen(entry) for path, entry in now["files"].items()},
            {str(name): _account(entry) for name, entry in now["accounts"].items()},
            {str(name): {aspect: bool(entry[aspect]) for aspect in ("enabled", "active")} for name, entry in now["units"].items()},
            {str(key): None if value is None else str(value) for key, value in now["sysctls"].items()},
            {str(digest): str(text) for digest, text in data["texts"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        cause = f"what it tells of its transactions is not of the form that this version knows ({type(error).__name__}: {error})"
        raise PlanError(host, "/var/lib/ninepaths/transactions", cause, "use the version of the collection that made them") from error


def _transaction(data: Mapping[str, Any]) -> Transaction:
    return Transaction(
        _matching(_ID, data["id"]),
        str(data["run"]),
        str(data["wave"]),
        int(data["number"]),
        _time(data["at"]),
        str(data["state"]),
        tuple(str(run) for run in data["takes_back"]),
        None if data["problem"] is None else str(data["problem"]),
        tuple(_effect(entry) for entry in data["effects"]),
    )


def _removed(data: Mapping[str, Any]) -> Removed:
    return Removed(str(data["id"]), str(data["run"]), str(data.get("wave") or ""), _time(data.get("at") or 0.0), str(data.get("state") or ""))


def _effect(data: Mapping[str, Any]) -> Effect:
    """Raises KeyError for a kind that there is not."""
    return _READING[data["kind"]](data)


def _file(data: Mapping[str, Any]) -> FileEffect:
    backup = data["backup"]
    return FileEffect(
        _one_of(OPS, data["op"]),
        _matching(_PATH, data["path"]),
        _one_of(ACTIONS, data["action"]),
        None if data["component"] is None else str(data["component"]),
        None if data["argv"] is None else tuple(str(word) for word in data["argv"]),
        _state(data["before"]),
        _state(data["after"]),
        None if backup is None else Backup(_matching(_PATH, backup["path"]), _digest(backup["sha256"])),
        _controls(data),
    )


def _account_effect(data: Mapping[str, Any]) -> AccountEffect:
    made = tuple(_one_of(("user", "group"), kind) for kind in data.get("made") or ())
    return AccountEffect(_matching(_WORD, data["name"]), str(data.get("home") or ""), made, _account(data.get("removed") or {}), _controls(data))


def _account(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    numbers = {"user": ("uid", "gid"), "group": ("gid",)}
    found = {kind: {key: int(facts[key]) for key in numbers[kind]} for kind, facts in data.items()}
    return {kind: {**facts, "home": str(data[kind].get("home") or "")} if kind == "user" else facts for kind, facts in found.items()}


def _unit(data: Mapping[str, Any]) -> UnitEffect:
    aspect, after = VERBS[data["verb"]]
    return UnitEffect(_matching(_WORD, data["unit"]), aspect, after, _controls(data))


def _sysctl(data: Mapping[str, Any]) -> SysctlEffect:
    return SysctlEffect(_matching(_WORD, data["key"]), _flat(data["before"]), _flat(data["after"]), _controls(data))


def _object(data: Mapping[str, Any]) -> ObjectEffect:
    sides = [{str(key): None if text is None else str(text) for key, text in data[side].items()} for side in ("before", "after")]
    if set(sides[0]) != set(sides[1]):
        raise ValueError("before and after have other keys")
    annotation = data["annotation"]
    names = (_matching(_WORD, data["namespace"]), _matching(_WORD, data["name"]))
    return ObjectEffect(*names, sides[0], sides[1], None if annotation is None else str(annotation), _controls(data))


def _seen(data: Mapping[str, Any]) -> Seen:
    owner, group, problem = (None if data.get(key) is None else str(data[key]) for key in ("owner", "group", "problem"))
    return Seen(_state(data), owner, group, tuple(str(name) for name in data["entries"]), problem)


def _state(data: Mapping[str, Any]) -> State:
    mode, uid, gid = data["mode"], data["uid"], data["gid"]
    return State(
        _one_of(TYPES, data["type"]),
        _digest(data["sha256"]),
        None if data["target"] is None else str(data["target"]),
        None if mode is None else _matching(_MODE, mode),
        None if uid is None else int(uid),
        None if gid is None else int(gid),
    )


def _controls(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Jobs of earlier versions do not say it; then what is affected follows from the settings themselves."""
    return tuple(str(name) for name in data.get("controls") or ())


def _time(value: Any) -> float:
    found = float(value)
    if not 0.0 <= found < _LATEST:
        raise ValueError("a time that no clock shows")
    return found


def _digest(value: Any) -> str | None:
    return None if value is None else _matching(_DIGEST, value)


def _flat(value: Any) -> str:
    return " ".join(str(value).split())


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{str(value)[:60]!r} is not what is expected there")
    return value


def _one_of(known: tuple[str, ...], value: Any) -> str:
    if value not in known:
        raise ValueError(f"{str(value)[:60]!r} is none of {', '.join(known)}")
    return str(value)


_READING: Mapping[str, Callable[[Mapping[str, Any]], Effect]] = {
    "file": _file,
    "account": _account_effect,
    "unit": _unit,
    "sysctl": _sysctl,
    "object": _object,
}
