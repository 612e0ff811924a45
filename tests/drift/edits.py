# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does by hand, as data: which value of which document, file or kernel setting becomes what. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Union

Scalar = Union[str, int, bool]


@dataclass(frozen=True)
class Put:
    """The value becomes this one."""

    value: Scalar


@dataclass(frozen=True)
class Take:
    """The value is deleted."""


@dataclass(frozen=True)
class Add:
    """A list gets one more element."""

    item: str


@dataclass(frozen=True)
class Drop:
    """A list loses elements; one that is empty then is deleted."""

    items: tuple[str, ...]


Op = Union[Put, Take, Add, Drop]
Ops = Mapping[str, Op]


@dataclass(frozen=True)
class Flags:
    """Flags in the manifest of a component. `files` are written before, for what the flags name."""

    component: str
    ops: Ops
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fields:
    """Fields of a kubelet's configuration file, and a restart of the kubelet."""

    ops: Ops


@dataclass(frozen=True)
class DropIn:
    """A drop-in that overrides the kubelet's configuration, and a restart."""

    ops: Ops


@dataclass(frozen=True)
class KubeletFlags:
    """Flags in kubeadm's environment file, which override the kubelet's configuration, and a restart."""

    ops: Ops


@dataclass(frozen=True)
class Rights:
    """Mode or owner of the first file that a control speaks about."""

    control: str
    mode: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Document:
    """A document that a flag names: a line is added to it, or it is deleted."""

    component: str
    flag: str
    act: Literal["edit", "delete"]


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting."""

    name: str
    value: int


@dataclass(frozen=True)
class ProxyFields:
    """Fields in kube-proxy's ConfigMap."""

    ops: Ops


@dataclass(frozen=True)
class Arguments:
    """Extra arguments of a component in kubeadm-config."""

    component: str
    ops: Ops


@dataclass(frozen=True)
class ClusterFields:
    """Fields in kubelet-config."""

    ops: Ops


Edit = Union[Flags, Fields, DropIn, KubeletFlags, Rights, Document, Sysctl, ProxyFields, Arguments, ClusterFields]


def on_text(op: Op, raw: str | None) -> str | None:
    """The value of a flag after the edit; None: the flag is gone."""
    if isinstance(op, Put):
        return shown(op.value)
    if isinstance(op, Take):
        return None
    items = [item for item in (raw or "").split(",") if item]
    left = [*items, op.item] if isinstance(op, Add) else [item for item in items if item not in op.items]
    return ",".join(left) or None


def on_value(op: Op, value: object) -> object:
    """The value of a field after the edit; None: the field is gone."""
    if isinstance(op, Put):
        return op.value
    if isinstance(op, Take):
        return None
    items = list(value) if isinstance(value, list) else []
    return [*items, op.item] if isinstance(op, Add) else [item for item in items if item not in op.items] or None


def shown(value: Scalar) -> str:
    """As a command line holds it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def slots(edit: Edit) -> frozenset[str]:
    """What an edit touches; two edits with a slot in common are no two edits."""
    if isinstance(edit, Flags):
        return frozenset(f"{edit.component} --{name}" for name in edit.ops)
    if isinstance(edit, (Fields, DropIn, KubeletFlags)):
        return frozenset(f"kubelet {name}" for name in edit.ops)
    if isinstance(edit, Rights):
        return frozenset({f"files of {edit.control}"})
    if isinstance(edit, Document):
        return frozenset({f"{edit.component} --{edit.flag}"})
    if isinstance(edit, Sysctl):
        return frozenset({f"sysctl {edit.name}"})
    if isinstance(edit, ProxyFields):
        return frozenset(f"kube-proxy {name}" for name in edit.ops)
    if isinstance(edit, Arguments):
        return frozenset(f"kubeadm-config {edit.component} {name}" for name in edit.ops)
    return frozenset(f"kubelet-config {name}" for name in edit.ops)
