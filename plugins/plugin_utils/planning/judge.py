# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the controls of one target (a component of a host, or a configuration of the cluster) together.

Several controls may speak about one flag, and one may only be applied while another is. So all of them are merged first, and
those that something speaks against are taken out until nothing more does. The order of controls never matters: merging goes by
policy and id, and every round judges all controls against the same state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import RANK, Rule, Value, merge, same, satisfied, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, Status
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import OWN_DIRECTORY

Planned = Mapping[str, Optional[Value]]
CIPHERS_FIT = "ciphers-fit-serving-key"
TLS12_ALLOWED = "tls12-allowed"
NOT_OFFERED = "not-offered-yet"
_RELEASED = "TLS 1.3 becomes the floor, which has ciphers of its own; with a list as well the component would not start."


@dataclass(frozen=True)
class Obstacle:
    """Why a control is not applied: `status` as in the plan, and what it waits for.

    yields: 0 where it stands by itself; more where it is about what another control would set, which may not come to be.
    """

    status: Status
    reason: str
    held_by: str | None = None
    yields: int = 0


@dataclass(frozen=True)
class Item:
    """A selected control with what it wants of this target.

    missing: what its value could not be made of. unlike: what the value must not be. strict: as in Selected.
    drops: flags that go along with it here.
    """

    control: Control
    key: str
    rule: Rule
    missing: str | None = None
    unlike: Value | None = None
    strict: bool = False
    drops: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.control.id


@dataclass(frozen=True)
class Verdict:
    """What became of the controls of a target. `planned`: every flag or field that controls speak about, as it will be (None: not set)."""

    outcomes: tuple[Outcome, ...]
    now: Planned
    planned: Planned
    applied: tuple[Item, ...]
    kept: tuple[Item, ...]

    def changes(self, key: str) -> bool:
        """Whether the value of a key is to be another one."""
        return not equal(self.now[key], self.planned[key])


class Target(ABC):
    """What controls are judged against."""

    host: str | None

    @abstractmethod
    def resolve(self, control: Control, value: object) -> Value | None:
        """The literal value that a control wants here: references looked up, documents named. None: there is none."""

    def rule(self, control: Control, value: Value | None) -> Rule:
        """What a control wants here, given its literal value. Raises MergeError."""
        return Rule(str(control.merge), value, control.refuse, control.unset_ok, control.refuse_below, control.allowed)

    @abstractmethod
    def inapplicable(self, control: Control) -> str | None:
        """Why the control means nothing here."""

    @abstractmethod
    def current(self, key: str, like: Value | None) -> Value | None:
        """The value that counts now, read as the kind of `like`. Raises MergeError, ConfigError."""

    @abstractmethod
    def settled(self, item: Item) -> bool:
        """Whether everything else that belongs to the control (mounts, files, layers, dropped flags) is as it should be."""

    @abstractmethod
    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        """What speaks against applying the control, given what would be set: values, conditions, requirements."""

    @abstractmethod
    def conflict(self, item: Item, planned: Planned) -> Obstacle | None:
        """What else would be set that the control does not go together with, or that decides in its place."""

    def served(self, item: Item, planned: Planned) -> Obstacle | None:
        """What else would be set that makes the control unnecessary: it gives way (status ok)."""
        return None

    def drops(self, control: Control) -> tuple[str, ...]:
        """Flags that go when the control is applied."""
        return control.drops

    @abstractmethod
    def required(self, name: str) -> Obstacle | None:
        """What speaks against a control that needs another one, which does not belong to this target."""

    @abstractmethod
    def holds(self, condition: str, item: Item, planned: Planned) -> bool:
        """Whether a condition that a control needs holds, given what would be set."""

    @abstractmethod
    def is_list(self, key: str) -> bool:
        """Whether the key holds a list, whatever is wanted of it."""


def judge(target: Target, selected: Iterable[Selected]) -> Verdict:
    """Judge controls against a target. Raises MergeError, ConfigError where a value makes no sense."""
    items, outcomes = _items(target, selected)
    now = {key: target.current(key, like) for key, like in _kinds(items).items()}
    good = [item for item in items if not item.control.unjudged and satisfied(_on(item, now), now[item.key]) and target.settled(item)]
    met = {item.id for item in good}
    active = [item for item in items if item.id not in met]
    against = _from_the_start(active, now)
    while True:
        left = [item for item in active if item.id not in against]
        planned, released = _with_released(target, good, left, now)
        here = {item.id: item.id not in against for item in items}
        found = {item.id: obstacle for item in left if (obstacle := _obstacle(target, item, planned, now, here)) is not None}
        # What is met may be overruled; that is asked last, when nothing that would be set is going to be given up any more.
        found = found or {item.id: obstacle for item in good if (obstacle := _overruled(target, item, planned)) is not None}
        if not found:
            break
        # Of two controls that exclude each other one must be left, so the weaker obstacles wait until the others are settled.
        first = min(obstacle.yields for obstacle in found.values())
        against.update({name: obstacle for name, obstacle in found.items() if obstacle.yields == first})
        good = [item for item in good if item.id not in against]
    kept = [item for item in good if item.id not in released]
    gone = [item for item in good if item.id in released]
    outcomes += [_good(target, item, now) for item in kept]
    outcomes += [_bad(target, item, now, against[item.id]) for item in items if item.id in against]
    outcomes += [_changed(target, item, now, planned, item.control.why) for item in left]
    outcomes += [_changed(target, item, now, planned, _RELEASED) for item in gone]
    return Verdict(tuple(sorted(outcomes, key=lambda outcome: outcome.id)), now, planned, (*left, *gone), tuple(kept))


def _items(target: Target, selected: Iterable[Selected]) -> tuple[list[Item], list[Outcome]]:
    """What can be judged, by id; and the outcomes of what cannot."""
    items: list[Item] = []
    outcomes: list[Outcome] = []
    for entry in sorted(selected, key=lambda entry: entry.control.id):
        control = entry.control
        reason = target.inapplicable(control)
        if reason:
            # What the version does not know is not there either.
            status: Status = "ok" if control.merge == "absent" else "not-applicable"
            outcomes.append(Outcome(control.id, control.path, target.host, status, reason=reason))
            continue
        value = target.resolve(control, entry.value)
        missing = entry.value.name if value is None and isinstance(entry.value, Ref) else None
        unlike = target.resolve(control, control.differs_from) if control.differs_from else None
        items.append(Item(control, str(control.sets), target.rule(control, value), missing, unlike, entry.strict, target.drops(control)))
    lists = {item.key for item in items if isinstance(item.rule.wanted, tuple) or target.is_list(item.key)}
    return [_as_list(item) if item.key in lists else item for item in items], outcomes


def _from_the_start(items: Iterable[Item], now: Planned) -> dict[str, Obstacle]:
    """What cannot be applied whatever the others do."""
    against: dict[str, Obstacle] = {}
    for item in items:
        if item.control.held:
            unjudged = " What is set is not judged." if item.control.unjudged and now[item.key] is not None else ""
            against[item.id] = Obstacle("held", item.control.held + unjudged, NOT_OFFERED)
        elif item.missing:
            against[item.id] = Obstacle("held", f"there is no file here that could be {item.missing}", item.missing)
    return against


def _with_released(
    target: Target, good: Sequence[Item], left: Sequence[Item], now: Planned
) -> tuple[dict[str, Value | None], frozenset[str]]:
    """What is planned, and the ids of met controls that make room: etcd starts with a cipher list or with TLS 1.3 as floor, not both."""
    planned = _merged(target, [*good, *left], now)
    candidates = [item for item in good if TLS12_ALLOWED in item.control.needs and now[item.key] is not None]
    released = frozenset(item.id for item in candidates if not target.holds(TLS12_ALLOWED, item, planned))
    if released:
        planned = _merged(target, [*(item for item in good if item.id not in released), *left], now)
        planned.update({item.key: None for item in candidates if item.id in released})
    return planned, released


def _as_list(item: Item) -> Item:
    wanted = item.rule.wanted
    return item if wanted is None or isinstance(wanted, tuple) else replace(item, rule=replace(item.rule, wanted=(show(wanted),)))


def _on(item: Item, now: Planned) -> Rule:
    """The rule, given what is there: a document of ours that is out of date is replaced, whatever the policy."""
    value = now[item.key]
    ours = (
        item.control.document and item.rule.policy == "present" and value is not None and _own(value) and not equal(value, item.rule.wanted)
    )
    return replace(item.rule, policy="exact") if ours else item.rule


def _own(value: Value) -> bool:
    return show(value).startswith(f"{OWN_DIRECTORY}/")


def _merged(target: Target, items: Sequence[Item], now: Planned) -> dict[str, Value | None]:
    planned = dict(now)
    for item in sorted(items, key=lambda item: (RANK[item.rule.policy], item.id)):
        planned[item.key] = merge(_on(item, now), planned[item.key])
    for item in items:
        # What remains of a list may be too little to start with; the whole wanted list is not.
        shortened = item.rule.policy == "subset" and not equal(planned[item.key], now[item.key])
        if shortened and CIPHERS_FIT in item.control.needs and not target.holds(CIPHERS_FIT, item, planned):
            planned[item.key] = item.rule.wanted
    for item in items:
        for name in item.drops:
            if name in planned and not any(other.key == name for other in items):
                planned[name] = None
    return planned


def _kinds(items: Iterable[Item]) -> dict[str, Value | None]:
    """One wanted value of each key: it tells how to read what is there."""
    kinds: dict[str, Value | None] = {}
    for item in items:
        if kinds.get(item.key) is None:
            kinds[item.key] = item.rule.wanted
    return kinds


def _overruled(target: Target, item: Item, planned: Planned) -> Obstacle | None:
    """What becomes of a met control by what else would be set."""
    return target.conflict(item, planned) or target.served(item, planned)


def _obstacle(target: Target, item: Item, planned: Planned, now: Planned, here: Mapping[str, bool]) -> Obstacle | None:
    """`here`: the target's controls, and whether they are met or will be."""
    for name in item.control.requires:
        missing = None if here.get(name) else Obstacle("held", f"{name} is not applied here, and this control requires it", name)
        if name not in here:
            missing = target.required(name)
        if missing:
            return missing
    obstacle = target.obstacle(item, planned) or target.conflict(item, planned)
    unsatisfied = obstacle is None and not satisfied(_on(item, now), planned[item.key])
    if unsatisfied and item.control.unmet:
        return Obstacle(item.control.unmet.status, item.control.unmet.advice, NOT_OFFERED)
    if unsatisfied:
        return Obstacle("held", f"another control wants {item.key} to be {show(planned[item.key]) or 'unset'}", item.key)
    return obstacle


def equal(one: Value | None, other: Value | None) -> bool:
    """Whether two values mean the same; None is equal to None only."""
    return one is other or (one is not None and other is not None and same(one, other))


def _plain(value: Value | None) -> object:
    return list(value) if isinstance(value, tuple) else value


def _good(target: Target, item: Item, now: Planned) -> Outcome:
    value = _plain(now[item.key])
    return Outcome(item.id, item.control.path, target.host, "ok", value, value)


def _bad(target: Target, item: Item, now: Planned, obstacle: Obstacle) -> Outcome:
    value = _plain(now[item.key])
    return Outcome(item.id, item.control.path, target.host, obstacle.status, value, value, obstacle.reason, obstacle.held_by)


def _changed(target: Target, item: Item, now: Planned, planned: Planned, reason: str) -> Outcome:
    return Outcome(item.id, item.control.path, target.host, "change", _plain(now[item.key]), _plain(planned[item.key]), reason)
