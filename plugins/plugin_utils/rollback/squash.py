# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many transactions as one: for each path, account, unit, parameter and object what it is now and what it was before the first of them.

What somebody else has changed meanwhile is theirs: it is named, and nothing is taken back.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.past import (
    ABSENT,
    AccountEffect,
    Backup,
    Effect,
    FileEffect,
    History,
    ObjectEffect,
    Seen,
    State,
    SysctlEffect,
    Transaction,
    UnitEffect,
)

UNDO_FIRST = "undo that first and make it again afterwards, or take this back by hand"
Kind = TypeVar("Kind", FileEffect, AccountEffect, UnitEffect, SysctlEffect, ObjectEffect)


@dataclass(frozen=True)
class FileNet:
    """A path that changes. op: the step that it belongs to; backup: where its content is, None where that stays or there is none."""

    host: str
    op: str
    path: str
    component: str | None
    argv: tuple[str, ...] | None
    now: Seen
    target: State
    backup: Backup | None
    controls: tuple[str, ...]

    @property
    def comes(self) -> bool:
        return self.now.state.type == "absent"

    @property
    def goes(self) -> bool:
        return self.target.type == "absent"

    @property
    def rewritten(self) -> bool:
        """Whether more than owner and mode changes."""
        return self.now.state.content != self.target.content


@dataclass(frozen=True)
class AccountNet:
    """An account of which kinds are to be made (with their numbers) or removed."""

    name: str
    make: Mapping[str, Mapping[str, Any]]
    remove: tuple[str, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class UnitNet:
    """A unit with the aspects that change, and what each is to be."""

    unit: str
    wanted: Mapping[str, bool]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class SysctlNet:
    """A kernel parameter."""

    key: str
    now: str
    target: str
    controls: tuple[str, ...]


@dataclass(frozen=True)
class ObjectNet:
    """Keys of a ConfigMap that change."""

    namespace: str
    name: str
    now: Mapping[str, str | None]
    target: Mapping[str, str | None]
    annotation: str | None
    controls: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"ConfigMap {self.namespace}/{self.name}"


@dataclass
class HostNet:
    """All that changes on a host, and what is in the way of it."""

    host: str
    files: list[FileNet] = field(default_factory=list)
    accounts: list[AccountNet] = field(default_factory=list)
    units: list[UnitNet] = field(default_factory=list)
    sysctls: list[SysctlNet] = field(default_factory=list)
    errors: list[PlanError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def controls(self) -> frozenset[str]:
        """Every control that what changes here had served."""
        nets: list[FileNet | AccountNet | UnitNet | SysctlNet] = [*self.files, *self.accounts, *self.units, *self.sysctls]
        return frozenset(name for net in nets for name in net.controls)


@dataclass(frozen=True)
class _Done:
    """An effect and the run that it is of."""

    run: str
    effect: Effect


def host(history: History, transactions: Sequence[Transaction]) -> HostNet:
    """Squash a host's transactions, the oldest first. Objects of the cluster are not the host's, see `objects`."""
    net = HostNet(history.host)
    done = [_Done(one.run, effect) for one in transactions for effect in one.effects]
    for path, files in _grouped(done, FileEffect, "path").items():
        _file(net, history, path, files)
    for name, accounts in _grouped(done, AccountEffect, "name").items():
        _account(net, history, name, [effect for _run, effect in accounts])
    for unit, units in _grouped(done, UnitEffect, "unit").items():
        _unit(net, history, unit, [effect for _run, effect in units])
    for key, sysctls in _grouped(done, SysctlEffect, "key").items():
        _sysctl(net, history, key, sysctls)
    net.files.sort(key=lambda one: one.path)
    return net


def _grouped(done: Iterable[_Done], kind: type[Kind], name: str) -> dict[str, list[tuple[str, Kind]]]:
    """Effects of a kind by what they are about, with their runs."""
    found: dict[str, list[tuple[str, Kind]]] = {}
    for one in done:
        if isinstance(one.effect, kind):
            found.setdefault(str(getattr(one.effect, name)), []).append((one.run, one.effect))
    return found


def _served(effects: Iterable[Effect]) -> tuple[str, ...]:
    return tuple(sorted({name for effect in effects for name in effect.controls}))


# --- files ---------------------------------------------------------------------------------------------------------------------


def _file(net: HostNet, history: History, path: str, chain: Sequence[tuple[str, FileEffect]]) -> None:
    now = history.files.get(path) or Seen(problem="it was not looked at")
    first, last = chain[0][1], chain[-1][1]
    rewriting = [(run, effect) for run, effect in chain if effect.action != "attributes"]
    origin = rewriting[0][1] if rewriting else None
    target = _target(first, origin, now.state)
    if now.problem is None and now.state == target:
        return
    if origin is None and now.state.type == "absent":
        net.warnings.append(f"{net.host}: {path} is not there any more, so its owner and mode are not put back")
        return
    problem = _in_the_way(now, target, chain, rewriting, last)
    if problem:
        net.errors.append(PlanError(net.host, path, *problem))
        return
    backup = None
    if target.type == "file" and target.content != now.state.content and origin is not None:
        backup = origin.backup
        lost = _lost(rewriting[0][0], origin)
        if lost:
            net.errors.append(PlanError(net.host, path, *lost))
            return
    op, component, argv = _step_of([effect for _run, effect in rewriting])
    served = _served(effect for _run, effect in chain)
    net.files.append(FileNet(net.host, op, path, component, argv, now, target, backup, served))


def _target(first: FileEffect, origin: FileEffect | None, now: State) -> State:
    """Content from before it was first rewritten, owner and mode from before the first change at all."""
    if origin is None:
        return State(now.type, now.sha256, now.target, *first.before.rights)
    if origin.before.type == "absent":
        return ABSENT
    return State(*origin.before.content, *first.before.rights)


def _step_of(rewriting: Sequence[FileEffect]) -> tuple[str, str | None, tuple[str, ...] | None]:
    """The step that a path belongs to: that of the process which reads it."""
    for op in ("static_pods", "kubelet"):
        found = next((effect for effect in rewriting if effect.op == op), None)
        if found:
            return op, found.component, found.argv
    return "files", None, None


def _in_the_way(
    now: Seen, target: State, chain: Sequence[tuple[str, FileEffect]], rewriting: Sequence[tuple[str, FileEffect]], last: FileEffect
) -> tuple[str, str] | None:
    """Cause and advice where somebody else has changed a path since, or in between."""
    if now.problem is not None:
        return f"cannot be looked at: {now.problem}", "look at it on the host"
    hint = _hint(rewriting)
    between = _broken([(run, effect.before.content, effect.after.content) for run, effect in rewriting])
    between = between or _broken([(run, effect.before.rights, effect.after.rights) for run, effect in chain])
    if between:
        one, other = between
        cause = f"somebody else has changed it between run {one} and run {other}, and that would be lost"
        return cause, f"take back run {other} only, or {hint}"
    run = chain[-1][0]
    if rewriting and now.state.content not in (rewriting[-1][1].after.content, target.content):
        return f"somebody else has changed it since run {run}", f"{UNDO_FIRST}: {hint}"
    if now.state.type != last.after.type and now.state.type != target.type:
        return f"it is a {now.state.type} by now, and was a {last.after.type} after run {run}", "look at who did that"
    if now.state.type != "absent" and now.state.rights not in (last.after.rights, target.rights):
        return f"somebody else has changed its owner or mode since run {run}", f"{UNDO_FIRST}: it was {_rights(target)} before"
    return None


def _hint(rewriting: Sequence[tuple[str, FileEffect]]) -> str:
    """Where what was there before is."""
    if not rewriting:
        return "take its owner and mode back by hand"
    before, backup = rewriting[0][1].before, rewriting[0][1].backup
    if before.type == "absent":
        return "remove it by hand; it was not there before"
    return f"its content from before is in {backup.path} on that host" if backup else "put it back by hand"


def _broken(sides: Sequence[tuple[str, object, object]]) -> tuple[str, str] | None:
    """Two runs between which something came about that neither we nor the time before have made, and that is still in it.

    What came about in between and was brought back by the later run to what it had been is nobody's loss.
    """
    known: list[object] = [sides[0][1]] if sides else []
    earlier = sides[0][0] if sides else ""
    for run, before, after in sides:
        if before not in known and after not in known:
            return earlier, run
        known.append(after)
        earlier = run
    return None


def _lost(run: str, effect: FileEffect) -> tuple[str, str] | None:
    """Cause and advice where the content from before is not there any more."""
    backup = effect.backup
    if backup is None:
        return f"run {run} has kept no copy of what was there before", "put it back by hand"
    if backup.sha256 is None:
        return f"its content from before run {run} is lost: there is no {backup.path}", "put it back by hand"
    if backup.sha256 != effect.before.sha256:
        return f"its content from before run {run} is lost: {backup.path} is not what was saved there", "put it back by hand"
    return None


def _rights(state: State) -> str:
    return f"{state.mode or ''} {state.uid}:{state.gid}".strip()


def kept_directories(net: HostNet, kept: Iterable[str]) -> list[str]:
    """Directories that would go, but for what others have put into them; `kept`: paths that stay although they would go."""
    going = {one.path for one in net.files if one.goes} - set(kept)
    staying = {posixpath.dirname(one.path) for one in net.files if not one.goes}
    found = []
    for one in sorted((one for one in net.files if one.goes and one.now.state.type == "dir"), key=lambda one: -one.path.count("/")):
        if one.path in staying or {posixpath.join(one.path, name) for name in one.now.entries} - going:
            found.append(one.path)
            going.discard(one.path)
    return found


# --- accounts, units, kernel parameters ------------------------------------------------------------------------------------------


def _account(net: HostNet, history: History, name: str, effects: Sequence[AccountEffect]) -> None:
    there = history.accounts.get(name) or {}
    make: dict[str, Mapping[str, Any]] = {}
    remove: list[str] = []
    for kind in ("user", "group"):
        first = next((effect for effect in effects if kind in effect.made or kind in effect.removed), None)
        if first is None:
            continue
        if kind in first.made and kind in there:
            remove.append(kind)
        elif kind in first.removed and kind not in there:
            make[kind] = first.removed[kind]
    if make or remove:
        net.accounts.append(AccountNet(name, make, tuple(remove), _served(effects)))


def _unit(net: HostNet, history: History, unit: str, effects: Sequence[UnitEffect]) -> None:
    there = history.units.get(unit) or {}
    before = {effect.aspect: not effect.after for effect in reversed(effects)}  # the first of each aspect has the last word
    wanted = {aspect: value for aspect, value in before.items() if there.get(aspect, False) is not value}
    if wanted:
        net.units.append(UnitNet(unit, wanted, _served(effects)))


def _sysctl(net: HostNet, history: History, key: str, chain: Sequence[tuple[str, SysctlEffect]]) -> None:
    run, last = chain[-1]
    target, now = chain[0][1].before, history.sysctls.get(key)
    if now == target:
        return
    if now is None:
        net.warnings.append(f"{net.host}: this kernel does not have {key} any more, so it is not put back")
    elif now != last.after:
        cause = f"kernel parameter {key} is {now}, and was {last.after} after run {run}: somebody else has changed it"
        net.errors.append(PlanError(net.host, None, cause, f"set it to {last.after}, or to {target} as it was before, then run again"))
    else:
        net.sysctls.append(SysctlNet(key, now, target, _served(effect for _run, effect in chain)))


# --- objects ---------------------------------------------------------------------------------------------------------------------


def objects(
    effects: Sequence[tuple[str, ObjectEffect]], there: Mapping[str, Mapping[str, Any] | None], where: str
) -> tuple[list[ObjectNet], list[PlanError]]:
    """Squash what was done to ConfigMaps, from whatever host, the oldest run first. `there`: the ConfigMaps as they are; `where`: who saw them."""
    nets, errors = [], []
    chains: dict[tuple[str, str], list[tuple[str, ObjectEffect]]] = {}
    for run, effect in effects:
        chains.setdefault((effect.namespace, effect.name), []).append((run, effect))
    for (namespace, name), chain in sorted(chains.items()):
        data = (there.get(name) or {}).get("data")
        if data is None:
            advice = "make it again, or leave it as it is and take back a later run"
            errors.append(PlanError(where, f"ConfigMap {namespace}/{name}", "it is not there any more", advice))
            continue
        net, problem = _object(chain, data)
        if problem:
            errors.append(PlanError(where, net.shown, *problem))
        elif net.target:
            nets.append(net)
    return nets, errors


def _object(chain: Sequence[tuple[str, ObjectEffect]], data: Mapping[str, str]) -> tuple[ObjectNet, tuple[str, str] | None]:
    now: dict[str, str | None] = {}
    target: dict[str, str | None] = {}
    problem = None
    for key in sorted({key for _run, effect in chain for key in effect.before}):
        sides = [(run, effect.before[key], effect.after[key]) for run, effect in chain if key in effect.before]
        between, there = _broken(sides), data.get(key)
        if there == sides[0][1]:
            continue
        if between:
            problem = f"somebody else has changed its {key} between run {between[0]} and run {between[1]}, and that would be lost", UNDO_FIRST
        elif there != sides[-1][2]:
            problem = f"somebody else has changed its {key} since run {sides[-1][0]}", f"{UNDO_FIRST} (kubectl edit)"
        now[key], target[key] = there, sides[0][1]
    first = chain[0][1]
    served = _served(effect for _run, effect in chain)
    return ObjectNet(first.namespace, first.name, now, target, first.annotation, served), problem
