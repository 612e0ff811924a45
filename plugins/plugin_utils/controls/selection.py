# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which controls the operator's settings choose, and with which values. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal as TypingLiteral

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Literal, Ref, Value
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Rule, same, satisfied
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import YIELDING
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import PREFIX, Settings, SettingsError, Waiver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.variables import meant

# Merges that decide the whole value of a flag: two of them on one flag contradict each other.
_DECISIVE = ("exact", "loopback", "present", "at_least", "at_most", "subset")


Choice = TypingLiteral["selected", "disabled", "waived", "expired"]


@dataclass(frozen=True)
class Selected:
    """A control under the operator's settings.

    status: "selected"; "disabled" (not chosen); "waived"; "expired" (waived, but no longer: a deviation).
    value: the control's value with overrides and the component's spelling in it.
    strict: flags that the control drops may not be there even where they agree with it.
    """

    control: Control
    status: Choice
    value: Value
    reason: str
    strict: bool = False


def select(settings: Settings, controls: Sequence[Control], now: float) -> tuple[Selected, ...]:
    """One entry per control, in the controls' order. `now` in unix seconds. Raises SettingsError."""
    problems = _unknown_names(settings, controls)
    values, wrong = _values(settings, controls)
    problems += wrong
    if problems:
        raise SettingsError(tuple(problems))
    controls = [_decided(control, settings) for control in controls]
    chosen = _chosen(settings, controls)
    found = tuple(_selected(control, chosen.get(control.id), values[control.id], settings, now) for control in controls)
    problems = _missing_requirements(found) + _contradictions(found)
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _decided(control: Control, settings: Settings) -> Control:
    """An operator who names a value for a control that accepts any means that value, and has decided what the control would ask."""
    if not any(name in settings.overrides for name in _names(control)):
        return control
    needs = tuple(name for name in control.needs if name not in YIELDING)
    merge = "exact" if control.merge == "present" and not control.document else control.merge
    return replace(control, needs=needs, unset_default=False, allowed=(), merge=merge)


def _names(control: Control) -> tuple[str, ...]:
    return (control.id, control.family) if control.family else (control.id,)


def _unknown_names(settings: Settings, controls: Sequence[Control]) -> list[str]:
    known = {name for control in controls for name in _names(control)}
    used = [("overrides", name) for name in settings.overrides]
    used += [("enable", name) for name in settings.enable]
    used += [("waivers", waiver.control) for waiver in settings.waivers]
    return [f"{PREFIX}{variable}: {name} is no control{meant(name, known)} All ids: docs/controls.md" for variable, name in used if name not in known]


def _values(settings: Settings, controls: Sequence[Control]) -> tuple[dict[str, Value], list[str]]:
    overrides = settings.overrides
    values: dict[str, Value] = {}
    problems: list[str] = []
    for control in controls:
        # The control's own id is more specific than its family.
        name = next((name for name in _names(control) if name in overrides), None)
        values[control.id] = control.value
        if name is None:
            continue
        cause = _misfit(control, overrides[name]) or _taken_away(control, overrides[name], controls)
        if cause:
            problems.append(f"{PREFIX}overrides: {name}: {cause}")
        else:
            values[control.id] = control.spell(overrides[name])
    return values, list(dict.fromkeys(problems))


def _misfit(control: Control, value: Literal) -> str | None:
    """Why this control cannot have this value."""
    if control.value is None or control.merge == "absent":
        return f"{control.id} has no value that could be changed"
    if isinstance(control.value, Ref):
        return None if isinstance(value, str) and value.startswith("/") else f"{value!r} must be an absolute path"
    if type(value) is not type(control.value):
        return f"{_shown(value)} must be {_KINDS[type(control.value)]}, like {_shown(control.value)}"
    if control.overrides and value not in (control.value, *control.overrides, *map(control.spell, control.overrides)):
        known = dict.fromkeys((control.value, *control.overrides) if not control.spelling else control.overrides)
        return f"{_shown(value)} is not one of {', '.join(_shown(one) for one in known)}; {_BY_WAIVER}"
    return _weakening(control, control.value, control.spell(value))


def _weakening(control: Control, own: Literal, value: Literal) -> str | None:
    """Why this value serves the control less than its own does."""
    if control.merge == "exact":
        serves = same(value, own) or value in control.overrides
    else:
        try:
            policy = "subset" if control.merge == "each" else str(control.merge)
            serves = satisfied(Rule(policy, own, control.refuse, refuse_below=control.refuse_below), value)
        except MergeError as error:
            return str(error)
    if serves:
        return None
    if control.merge == "present":
        return f"{_shown(value)} switches {control.id} off; {_BY_WAIVER}"
    return f"{_shown(value)} is not enough for {control.id}, which wants {_WANTS[str(control.merge)]} {_shown(own)}; {_BY_WAIVER}"


def _taken_away(control: Control, value: Literal, controls: Iterable[Control]) -> str | None:
    """Why another control would have to be broken for this value: it keeps an element out of the same list."""
    for other in controls:
        if other.merge == "absent" and isinstance(other.value, tuple) and (other.component, other.sets) == (control.component, control.sets):
            shared = [item for item in other.value if isinstance(value, tuple) and item in value]
            if shared:
                return f"{', '.join(shared)} is what {other.id} keeps out of {control.sets}; {_BY_WAIVER}"
    return None


_BY_WAIVER = f"a weaker value takes a waiver with a reason ({PREFIX}waivers)"
_WANTS = {
    "exact": "exactly",
    "loopback": "a loopback address like",
    "at_least": "at least",
    "at_most": "at most",
    "subset": "nothing but",
    "superset": "all of",
    "append": "all of",
    "each": "nothing but",
}
_KINDS: dict[type, str] = {str: "text", int: "a whole number", bool: "true or false", tuple: "a list of texts"}


def _shown(value: Literal) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else repr(value)


def _chosen(settings: Settings, controls: Sequence[Control]) -> dict[str, str]:
    """Ids of the chosen controls, each with the reason."""
    chosen: dict[str, str] = {}
    for control in controls:
        if control.path in settings.paths and settings.profile in control.profiles:
            chosen[control.id] = f"profile {settings.profile}"
        if any(name in settings.enable for name in _names(control)):
            chosen[control.id] = f"{PREFIX}enable"
    by_id = {control.id: control for control in controls}
    waiting = [name for name in chosen if not _waiver(by_id[name], settings)]
    while waiting:
        asker = waiting.pop()
        for other in by_id[asker].requires:
            if other not in chosen:
                chosen[other] = f"{asker} requires it"
                waiting.append(other)
    return chosen


def _waiver(control: Control, settings: Settings) -> Waiver | None:
    return next((waiver for waiver in settings.waivers if waiver.control in _names(control)), None)


def _selected(control: Control, reason: str | None, value: Value, settings: Settings, now: float) -> Selected:
    waiver = _waiver(control, settings)
    if reason is None:
        return Selected(control, "disabled", value, _why_not(control, settings))
    if waiver is None:
        return Selected(control, "selected", value, reason, settings.profile in control.drops_agreeing)
    if waiver.expired(now):
        return Selected(control, "expired", value, f"the waiver ended on {waiver.until}: {waiver.reason}")
    until = f" (until {waiver.until})" if waiver.until else ""
    return Selected(control, "waived", value, f"{waiver.reason}{until}")


def _why_not(control: Control, settings: Settings) -> str:
    if control.path not in settings.paths and settings.profile in control.profiles:
        return f"path {control.path} is not chosen"
    if control.disruptive:
        return f"disruptive, and not in profile {settings.profile}: {control.disruptive}"
    return f"not in profile {settings.profile}"


def _missing_requirements(found: Iterable[Selected]) -> list[str]:
    found = list(found)
    out = {item.control.id: item for item in found if item.status != "selected"}
    return [
        f"{PREFIX}waivers: {item.control.id} requires {name}, which is {out[name].status}; waive {item.control.id} too"
        for item in found
        if item.status == "selected"
        for name in item.control.requires
        if name in out
    ]


def _contradictions(found: Iterable[Selected]) -> list[str]:
    """Two chosen controls that cannot both be: they decide the same flag, or one takes away what the other sets."""
    active = [item.control for item in found if item.status == "selected" and not item.control.held and item.control.sets]
    problems = []
    for number, one in enumerate(active):
        for other in active[number + 1:]:
            if one.component != other.component or any(_gives_way(*pair) for pair in ((one, other), (other, one))):
                continue
            if _same_target(one, other) or _exclude_each_other(one, other):
                problems.append(
                    f"{one.id} and {other.id} contradict each other over {other.component} {other.sets}; "
                    f"waive one of them or leave it out of {PREFIX}enable"
                )
    return problems


def _gives_way(one: Control, other: Control) -> bool:
    """Whether one is content with what the other sets, and so stands in for it only where that is held."""
    return any(name == other.sets for name, _value in one.unless)


def _same_target(one: Control, other: Control) -> bool:
    return one.sets == other.sets and one.merge in _DECISIVE and other.merge in _DECISIVE


def _exclude_each_other(one: Control, other: Control) -> bool:
    return any(setting.merge != "absent" and setting.sets in (*taking.drops, *taking.conflicts) for taking, setting in ((one, other), (other, one)))
