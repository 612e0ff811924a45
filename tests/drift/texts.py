# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents after an edit by hand, without any code of the collection. No I/O."""

from __future__ import annotations

from typing import Any

import yaml

from . import edits

SECTIONS = {
    "kube-apiserver": ("apiServer",),
    "kube-controller-manager": ("controllerManager",),
    "kube-scheduler": ("scheduler",),
    "etcd": ("etcd", "local"),
}


def with_flags(text: str, edit: edits.Flags) -> str:
    """A manifest after an edit of its flags."""
    lines = text.splitlines(keepends=True)
    for name, op in edit.ops.items():
        found = next((number for number, line in enumerate(lines) if line.startswith(f"    - --{name}=")), None)
        value = edits.on_text(op, None if found is None else lines[found].partition("=")[2].strip())
        if found is not None:
            lines[found : found + 1] = [] if value is None else [f"    - --{name}={value}\n"]
        elif value is not None:
            lines.insert(lines.index(f"    - {edit.component}\n") + 1, f"    - --{name}={value}\n")
    return "".join(lines)


def with_fields(text: str, ops: edits.Ops) -> str:
    """A configuration after an edit of its fields."""
    document = yaml.safe_load(text)
    for dotted, op in ops.items():
        *parents, name = dotted.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        value = edits.on_value(op, place.pop(name, None))
        if value is not None:
            place[name] = value
    return str(yaml.safe_dump(document, sort_keys=False))


def with_arguments(text: str, edit: edits.Arguments) -> str:
    """kubeadm's configuration after an edit of a component's extra arguments."""
    document = yaml.safe_load(text)
    place = document
    for key in SECTIONS[edit.component]:
        place = place.setdefault(key, {})
    given = {entry["name"]: entry["value"] for entry in place.get("extraArgs") or ()}
    for name, op in edit.ops.items():
        value = edits.on_text(op, given.pop(name, None))
        if value is not None:
            given[name] = value
    place["extraArgs"] = [{"name": name, "value": value} for name, value in given.items()]
    return str(yaml.safe_dump(document, sort_keys=False))


def dropin(base: str, dotted: str, op: edits.Op) -> str:
    """A drop-in of the kubelet that overrides one field; a list in it replaces that of the base."""
    value: Any = edits.on_value(op, field(yaml.safe_load(base), dotted))
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return str(yaml.safe_dump({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **value}))


def field(document: Any, dotted: str) -> Any:
    """Value at a dotted path; None where there is none."""
    for name in dotted.split("."):
        document = (document or {}).get(name)
    return document
