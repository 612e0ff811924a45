# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/controls.md: every control as controls/*.yml has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import PROFILES, Control, Files, Literal, Ref, Value
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import KNOWN_CONDITIONS, KNOWN_PLACES, KNOWN_REFS, UNDO_LIMITS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.report import PATHS

from tools.docs.markdown import GENERATED, code, codes, prose, table

_INTRODUCTION = """\
One entry per control, by path, from `controls/path1.yml` to `controls/path9.yml`; nothing here is written by hand. The id is what
`ninepaths_overrides`, `ninepaths_enable` and `ninepaths_waivers` name ([variables](variables.md)). A family stands for all controls that carry it.

* **Disruptive** controls can disturb workloads. A literal benchmark profile has them, or they are switched on by id; `recommended` never has them.
* **Held** controls are never applied by this version. Where the cluster has the setting already, the control counts as set, unless what is set would
  have to be judged first (an encryption configuration, for example): then it stays held.
* **Needs** are conditions: the control is held while one of them is not met, and the run says which.
* **Undo** says how far the control can be taken back.

A setting of your own is kept unless it weakens the control. What each merge does:"""

_MERGES: Mapping[str, str] = {
    "exact": "exactly this value",
    "loopback": "any loopback address is kept; this one where there is another or none",
    "present": "any value is kept; this one where none is set",
    "at_least": "this value or a higher one",
    "at_most": "this value or a lower one",
    "subset": "elements that are neither among these nor allowed besides are taken away; where none is left, these",
    "superset": "these elements at least, yours are kept",
    "append": "these elements are added, yours are kept",
    "absent": "the setting, or the element, is taken away",
    "each": "every element begins with one of these; nothing is edited, what to do is said",
}
_PROFILE_MARKS: Mapping[str, str] = {"recommended": "R", "cis-level-1": "C1", "cis-level-2": "C2", "stig": "S"}
_CATALOGUES: Mapping[str, str] = {"cis": "CIS", "stig": "STIG", "nsa": "NSA/CISA", "upstream": "upstream"}


def page(controls: Sequence[Control]) -> str:
    """The whole page."""
    lines = [GENERATED, "", "# Controls", "", *_contents(controls), "", _INTRODUCTION, ""]
    lines += table(["merge", "meaning"], [[code(name), meaning] for name, meaning in _MERGES.items()])
    lines += ["", *_numbers(controls), ""]
    for number in PATHS:
        lines += _path(_heading(number), [control for control in controls if control.path == number])
    lines += _conditions()
    return "\n".join(lines).rstrip() + "\n"


def _contents(controls: Sequence[Control]) -> list[str]:
    lines = [f"* [{_heading(number)}](#{_anchor(_heading(number))}): {_count(number, controls)}" for number in PATHS]
    return [*lines, "* [Conditions](#conditions) under which a control is held"]


def _heading(number: int) -> str:
    return f"Path {number}: {PATHS[number]}"


def _anchor(heading: str) -> str:
    """What a forge makes of a heading: letters, digits, hyphens and underscores, in lower case."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _count(number: int, controls: Sequence[Control]) -> str:
    found = sum(control.path == number for control in controls)
    return f"{found} control{'' if found == 1 else 's'}"


def _numbers(controls: Sequence[Control]) -> list[str]:
    rows = []
    for profile, mark in _PROFILE_MARKS.items():
        chosen = [control for control in controls if profile in control.profiles]
        counts = (len(chosen), sum(bool(control.held) for control in chosen), sum(bool(control.disruptive) for control in chosen))
        rows.append([code(profile), mark, *map(str, counts)])
    return [f"{len(controls)} controls; how many each profile has:", "", *table(["profile", "in the tables", "controls", "of them held", "disruptive"], rows)]


def _path(title: str, controls: Sequence[Control]) -> list[str]:
    rows = [[f"[{control.id}](#{control.id})", control.component, _setting(control), _marks(control)] for control in controls]
    lines = [f"## {title}", "", *table(["control", "component", "sets", "profiles"], rows), ""]
    for control in controls:
        lines += [f"### {control.id}", "", f"{prose(control.title)}. {prose(control.why)}", "", *_facts(control), ""]
    return lines


def _setting(control: Control) -> str:
    if control.files:
        return "files"
    if control.objects:
        return codes(control.objects)
    return code(_name(control))


def _name(control: Control) -> str:
    return f"--{control.sets}" if control.flag or control.document else str(control.sets)


def _marks(control: Control) -> str:
    marks = " ".join(_PROFILE_MARKS[profile] for profile in PROFILES if profile in control.profiles) or "by id"
    notes = [word for word, reason in (("disruptive", control.disruptive), ("held", control.held)) if reason]
    return marks + "".join(f", {note}" for note in notes)


def _facts(control: Control) -> list[str]:
    facts = {
        "Component": control.component,
        "Sets": _sets(control),
        "Merge": _merge(control),
        "Overrides": codes(text for value in control.overrides for text in _texts(value)),
        "Versions": f"Kubernetes {code(control.versions)}" if control.versions else "",
        "On older ones held": prose(control.older or ""),
        "Family": code(control.family) if control.family else "",
        "Profiles": ", ".join(control.profiles) or "none; by id, or because another control requires it",
        "Disruptive": prose(control.disruptive or ""),
        "Held": prose(control.held or ""),
        "Where not": f"{control.unmet.status}: {prose(control.unmet.advice)}" if control.unmet else "",
        "Must not be": f"{KNOWN_REFS[control.differs_from.name]}, nor share a certificate with it" if control.differs_from else "",
        "Needs": ", ".join(f"[{name}](#{name})" for name in control.needs),
        "Requires": ", ".join(f"[{name}](#{name})" for name in control.requires),
        "Held while set": codes(control.conflicts),
        "Removes": codes(f"--{name}" for name in control.drops),
        "Removes even where they agree": f"with profile {codes(control.drops_agreeing)}" if control.drops_agreeing else "",
        "Undo": _undo(control),
        "Proof": code(control.proof) if control.proof else "",
        "References": _references(control),
    }
    return [f"* {name}: {text}" for name, text in facts.items() if text]


def _sets(control: Control) -> str:
    if control.objects:
        return f"objects {codes(control.objects)}"
    if control.files:
        rights = [f"mode {code(control.files.mode)} or less" if control.files.mode else ""]
        rights += [f"owner {code(f'{control.files.owner}:{control.files.group}')}" if control.files.owner else ""]
        return f"{_files(control.files)}: {', '.join(text for text in rights if text)}"
    if control.document:
        return f"{code(_name(control))} to a file of ours, {code(f'/etc/kubernetes/ninepaths/{control.document.name}-<digest>.yaml')}"
    what = {"field": "field ", "sysctl": "kernel parameter "}.get(control.kind, "")
    return f"{what}{code(_name(control))}" + (f" = {_value(control.value)}" if control.value is not None else "")


def _files(files: Files) -> str:
    named = [f"{KNOWN_PLACES[place.name]}" + (f" ({code(place.below)} in it)" if place.below else "") for place in files.places]
    return ", ".join(filter(None, (codes(files.paths), *named)))


def _value(value: Value) -> str:
    if isinstance(value, Ref):
        return f"the path that was observed ({KNOWN_REFS[value.name]})"
    return codes(_texts(value))


def _texts(value: Literal | None) -> Iterable[object]:
    if isinstance(value, bool):
        return (str(value).lower(),)
    return value if isinstance(value, tuple) else (value,)


def _merge(control: Control) -> str:
    if control.merge is None:
        return ""
    details = ["not set is fine"] if control.unset_ok else []
    details += ["any value counts as set"] if control.set_ok else []
    if control.unset_default:
        details.append("never less than the running version's default is written")
    if control.allowed:
        details.append(f"allowed besides: {codes(control.allowed)}")
    if control.refuse:
        details.append(f"counts as not set: {codes(text for value in control.refuse for text in _texts(value))}")
    if control.refuse_below is not None:
        details.append(f"less than {code(control.refuse_below)} counts as not set")
    if control.on_host:
        details.append("a path of your own has to be on a writable hostPath volume")
    details += [f"fine where {code(f'--{flag}={next(iter(_texts(value)))}')}" for flag, value in control.unless]
    return "; ".join([code(control.merge), *details])


def _undo(control: Control) -> str:
    if control.undo.until:
        return f"until [{control.undo.until}](#{control.undo.until}) holds"
    return "always" if control.undo.always else f"never: {prose(control.undo.instead or '')}"


def _references(control: Control) -> str:
    return "; ".join(f"{_CATALOGUES[catalogue]} {', '.join(cited)}" for catalogue, cited in control.references)


def _conditions() -> list[str]:
    lines = ["## Conditions", "", "What `needs` and `undo` name."]
    for name, meaning in KNOWN_CONDITIONS.items():
        lines += ["", f"### {name}", "", f"{meaning[0].upper()}{prose(meaning[1:])}."]
        if name in UNDO_LIMITS:
            lines += ["", f"While it holds a rollback stops. What to do: {prose(UNDO_LIMITS[name])}."]
    return lines
