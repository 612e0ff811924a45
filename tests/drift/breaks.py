# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a person breaks each control, made from controls/: a new control gets its cases by its kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control

from . import table
from .edits import (
    Add,
    Arguments,
    ClusterFields,
    Document,
    Drop,
    DropIn,
    Edit,
    Fields,
    Flags,
    KubeletFlags,
    Op,
    ProxyFields,
    Put,
    Rights,
    Sysctl,
    Take,
    slots,
)

WEAK_CIPHER = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
EVERYBODY = "0.0.0.0"
TOKENS = "/etc/kubernetes/pki/tokens.csv"
NOBODY = "nobody"
# A mode that is too wide, by the widest that a control allows: of a file, and of a directory.
WIDER = {"0600": "0644", "0644": "0755", "0700": "0755", "0755": "0777"}
STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


class UnknownBreakError(Exception):
    """A kind of control that nobody has said how to break; the text says what to add."""


@dataclass(frozen=True)
class Break:
    """One edit and the controls that it breaks.

    name: the control's id, with `:variant` behind it where it is not the first. by_hand: no run mends it. why: why several are broken.
    changes: how many edits a run makes.
    """

    name: str
    edit: Edit
    controls: frozenset[str]
    by_hand: bool = False
    why: str = ""
    changes: int = 1

    @property
    def control(self) -> str:
        """The control whose case it is."""
        return self.name.partition(":")[0]

    @property
    def slots(self) -> frozenset[str]:
        """What it touches and breaks: a second break with one of these is not another one."""
        return slots(self.edit) | self.controls


def first_breaks(controls: Iterable[Control]) -> list[Break]:
    """One break for each control that can be broken; those that must come early come first."""
    found = [made for control in controls if not _left_out(control.id) for made in [_first(control)]]
    return sorted(found, key=lambda made: made.control not in table.FIRST)


def all_breaks(controls: Iterable[Control], written: Mapping[str, frozenset[str]]) -> list[Break]:
    """Every way in which a control can be broken. written: flags that kubeadm writes by itself, by component."""
    known = list(controls)
    return first_breaks(known) + [made for control in known if not _left_out(control.id) for made in _more(control, written)]


def outages(controls: Iterable[Control]) -> list[Break]:
    """What takes the cluster down."""
    return [_first(control) for control in controls if control.id in table.OUTAGES]


def choices(controls: Iterable[Control], tried: str = "") -> dict[str, object]:
    """What an operator has chosen while a control is tried: variables without their prefix."""
    alone = [tried] if tried in table.ALONE else []
    waivers = [{"control": table.WAIVED[name], "reason": table.ALONE[name]} for name in alone if name in table.WAIVED]
    return {"enable": [*wanted(controls), *alone], **({"waivers": waivers} if waivers else {})}


def wanted(controls: Iterable[Control]) -> list[str]:
    """Controls beyond the profile `recommended` that are in force for all cases."""
    absent = {*table.NOT_HERE, *table.ALONE}
    return [control.id for control in controls if "recommended" not in control.profiles and not control.held and control.id not in absent]


def _left_out(name: str) -> bool:
    return name in table.NOT_HERE or name in table.ALONG or name in table.OUTAGES


def _first(control: Control) -> Break:
    several = table.SEVERAL.get(control.id)
    edit = several.edit if several and several.edit else _edit(control)
    also, why = (several.also, several.why) if several else ((), "")
    by_hand = control.unmet is not None and control.unmet.status == "deviation"
    return Break(control.id, edit, frozenset({control.id, *also}), by_hand, why, table.CHANGES.get(control.id) or _changes(edit))


def _changes(edit: Edit) -> int:
    """A document is put right, and then its reader is restarted by a mark in its manifest: it reads documents at start only."""
    return 2 if isinstance(edit, Document) else 1


def _edit(control: Control) -> Edit:
    if control.files:
        return Rights(control.id, mode=WIDER[str(control.files.mode)])
    if control.sysctl:
        return Sysctl(control.sysctl, _other_number(control))
    if control.document:
        return Document(control.component, control.document.flag, "edit")
    ops = {str(control.sets): operation(control)}
    if control.component == "kube-proxy":
        return ProxyFields(ops)
    if control.component == "kubelet":
        return Fields(ops)
    if control.id == "no-static-tokens":
        return Flags(control.component, ops, {TOKENS: "0123456789abcdef,debug,1001\n"})
    return Flags(control.component, ops)


def _other_number(control: Control) -> int:
    if not isinstance(control.value, int):
        raise UnknownBreakError(f"{control.id}: no whole number; say in breaks.py what a person sets")
    return 1 - control.value if control.value in (0, 1) else control.value + 1


def operation(control: Control) -> Op:
    """What a person does to the value of a flag or field. Raises UnknownBreakError for a kind that nobody has thought of."""
    if control.id in table.OPS:
        return table.OPS[control.id]
    made = _BY_MERGE[str(control.merge)](control) if control.merge in _BY_MERGE else None
    if made is None:
        raise UnknownBreakError(f"{control.id}: say in tests/drift/table.py (OPS) what a person sets in its place")
    return made


def _exact(control: Control) -> Op | None:
    if isinstance(control.value, bool):
        return Put(not control.value)
    if isinstance(control.value, int):
        return Put(control.value + 1)
    return None if control.unset_ok else Take()


def _present(control: Control) -> Op | None:
    if not control.unset_ok:
        return Take()
    return Put(control.refuse[0]) if control.refuse else None


def _at_least(control: Control) -> Op | None:
    if isinstance(control.value, int):
        return Put(1) if control.value > 1 else Take()
    if str(control.value).startswith("VersionTLS"):
        return Put("VersionTLS10")
    return Take()


def _loopback(control: Control) -> Op | None:
    return Put(str(control.value).replace("127.0.0.1", EVERYBODY))


def _subset(control: Control) -> Op | None:
    return Add(WEAK_CIPHER) if control.family == "ciphers" else None


def _superset(control: Control) -> Op | None:
    return Drop(control.value) if isinstance(control.value, tuple) else None


def _absent(control: Control) -> Op | None:
    if isinstance(control.value, tuple):
        return Add(control.value[0])
    return Put(TOKENS) if control.id == "no-static-tokens" else None


_BY_MERGE = {
    "exact": _exact,
    "present": _present,
    "at_least": _at_least,
    "loopback": _loopback,
    "subset": _subset,
    "superset": _superset,
    "append": _superset,
    "absent": _absent,
}


def _more(control: Control, written: Mapping[str, frozenset[str]]) -> Iterator[Break]:
    """Other ways to break it: another hand, another place."""
    first = _first(control)
    variants: dict[str, Edit] = {}
    if control.files and control.files.owner:
        variants["owner"] = Rights(control.id, owner=NOBODY)
    if control.document:
        variants["deleted"] = Document(control.component, control.document.flag, "delete")
        variants["flag"] = Flags(control.component, {control.document.flag: Take()})
    if control.field and isinstance(first.edit, Fields):
        variants.update(_above_the_file(control, first.edit.ops[control.field]))
    variants.update(_in_the_source(control, first, written.get(control.component, frozenset())))
    for variant, edit in variants.items():
        name = f"{control.id}:{variant}"
        ids = (first.controls | set(table.MORE_BY_VARIANT.get(name, ()))) - set(table.LESS_BY_VARIANT.get(name, ()))
        document = isinstance(edit, Document)
        changes = first.changes if document or isinstance(edit, (DropIn, KubeletFlags)) else 1
        yield replace(first, name=name, edit=edit, controls=frozenset({control.id}) if variant == "source" else ids, changes=changes)


def _above_the_file(control: Control, op: Op) -> Iterator[tuple[str, Edit]]:
    """What overrides the kubelet's configuration file."""
    if isinstance(op, (Put, Add)):
        yield "drop-in", DropIn({str(control.field): op})
        for flag in control.drops[:1]:
            yield "kubelet-flag", KubeletFlags({flag: _on_command_line(control, op)})


def _on_command_line(control: Control, op: Op) -> Op:
    if isinstance(op, Put) and control.drops[0] == "feature-gates":
        return Put(f"{str(control.field).rpartition('.')[2]}={str(op.value).lower()}")
    return Put(WEAK_CIPHER) if isinstance(op, Add) else op


def _in_the_source(control: Control, first: Break, written: frozenset[str]) -> Iterator[tuple[str, Edit]]:
    """Where upgrades and joins take it from."""
    if first.by_hand or control.merge == "absent":
        return
    if isinstance(first.edit, Document):
        yield "source", Arguments(control.component, {first.edit.flag: Take()})
    elif isinstance(first.edit, Flags):
        op = table.SOURCE_OPS.get(control.id) or operation(control)
        if not (isinstance(op, Take) and control.sets in written):
            yield "source", Arguments(control.component, {str(control.sets): op})
    elif isinstance(first.edit, Fields):
        yield "source", ClusterFields(first.edit.ops)
