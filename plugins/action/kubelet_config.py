# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.kubelet_config: fields of the kubelet's configuration file, changed as a transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import Flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import edit
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.kinds import misfit
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import _plain
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.single import SingleAction, Wish
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import Edit, HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.evaluate import BOOTSTRAP_FIELD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import KUBELET_PKI, Host, Kubelet

KUBELET = "kubelet"
CORRECT = "correct the task, then run again"
MAP = "map[string]"
MISSING = object()
PYTHON_TYPES: Mapping[str, type] = {"bool": bool, "int": int, "string": str, "duration": str}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class ActionModule(SingleAction):
    """`ninepaths.kubernetes.kubelet_config`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fields": {"type": "dict", "default": {}},
        "absent": {"type": "list", "elements": "str", "default": []},
        "reconnect_s": {"type": "int", "default": 300},
    }

    def wish(self, options: Mapping[str, Any], host: Host) -> Wish:
        """The configuration file as it is to be. Raises PlanError."""
        found = host.kubelet
        if found is None or found.base is None or found.path is None:
            raise PlanError(host.name, None, "no kubelet runs here with --config", "run the task on the cluster's nodes")
        fields: dict[str, Any] = _plain(options["fields"])
        absent = [str(name) for name in options["absent"]]
        _check_names(host, [*fields, *absent])
        text, changed = found.base.text, False
        try:
            for name, value in fields.items():
                path = _checked(host, found, name, value)
                if not _same(_get(found.base.data, path), value):
                    text, changed = edit.set_value(text, path, value), True
                    _check_change(host, name, value)
            for name in absent:
                path = _path(host.knowledge.flags, found.minor, name)
                if _get(found.base.data, path) is not MISSING:
                    text, changed = edit.remove(text, path), True
                elif not _knows(host, found, name):
                    raise _unknown(host, found, name)
        except edit.EditError as error:
            raise PlanError(host.name, found.path, str(error), "make the change by hand") from error
        draft = HostDraft(host.name, host.node)
        if changed:
            # A kubelet that shares its host with a control plane takes part in the cluster's Lease: one at a time.
            wave = "control_plane_kubelets" if host.components else "kubelets"
            draft.edits.append(Edit(wave, found.path, content=text.encode(), restarts=KUBELET))
        return Wish(draft, {"file": found.path})


def _check_names(host: Host, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise PlanError(host.name, None, f"{name} is named twice", CORRECT)
        above = [other for other in names if name.startswith(other + ".")]
        if above:
            raise PlanError(host.name, None, f"{name} lies in {above[0]}, which is named as well", CORRECT)


def _checked(host: Host, found: Kubelet, name: str, value: Any) -> tuple[str, ...]:
    """The field's place, once it is sure that the kubelet knows it, that the value fits, and that the file decides. Raises PlanError."""
    flags = host.knowledge.flags
    known = flags.field(KUBELET, found.minor, name)
    if known is None:
        raise _unknown(host, found, name)
    if not _fits(value, known.type):
        if known.type.endswith("object"):
            raise PlanError(host.name, found.path, f"{name} holds objects, which this module does not write", "edit it by hand")
        raise PlanError(host.name, None, misfit(name, known.type, value), CORRECT)
    path = _path(flags, found.minor, name)
    for file, dropin in found.dropins:
        inside = _get(dropin.data, path)
        if inside is not MISSING and not _same(inside, value):
            raise PlanError(host.name, file, f"this drop-in sets {name} too, and wins", "change it there")
    stronger = sorted(flag for flag in _flags_of(name) if found.argv.of(flag))
    if stronger:
        raise PlanError(host.name, None, f"the kubelet was started with --{stronger[0]}, which beats {name}", "remove the flag first")
    return path


def _check_change(host: Host, name: str, value: Any) -> None:
    """Such a kubelet serves no certificate, and so neither logs nor exec, until its first request is approved."""
    if name == BOOTSTRAP_FIELD and value is True and not host.exists(f"{KUBELET_PKI}/kubelet-server-current.pem"):
        cause = f"{name}: the kubelet would serve nothing until its first request for a certificate is approved"
        raise PlanError(host.name, None, cause, "use the playbook harden, which bridges that time and approves the request")


def _knows(host: Host, found: Kubelet, name: str) -> bool:
    flags = host.knowledge.flags
    return flags.field(KUBELET, found.minor, name) is not None or bool(_inside(flags, found.minor, name))


def _unknown(host: Host, found: Kubelet, name: str) -> PlanError:
    inside = _inside(host.knowledge.flags, found.minor, name)
    if inside:
        return PlanError(host.name, None, f"{name} is a group of fields", f"name them one by one, as in {inside[0]}")
    return PlanError(host.name, None, f"the kubelet {found.minor} does not know the field {name!r} and would ignore it silently", CORRECT)


def _inside(flags: Flags, minor: str, name: str) -> list[str]:
    """Fields of a group."""
    return sorted(field for field in flags.kubernetes[minor]["fields"][KUBELET] if field.startswith(f"{name}."))


def _path(flags: Flags, minor: str, name: str) -> tuple[str, ...]:
    """The keys that lead to a field. What follows a map is one key, whatever dots are in it: evictionHard, imagefs.available."""
    keys = name.split(".")
    for length in range(1, len(keys)):
        known = flags.field(KUBELET, minor, ".".join(keys[:length]))
        if known is not None and known.type.startswith(MAP):
            return (*keys[:length], ".".join(keys[length:]))
    return tuple(keys)


def _get(data: Any, path: Iterable[str]) -> Any:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return MISSING
        data = data[key]
    return data


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: true is not 1. The order of a mapping says nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("[]"):
        return isinstance(value, list) and all(_fits(item, kind[2:]) for item in value)
    if kind.startswith(MAP):
        return isinstance(value, dict) and all(isinstance(key, str) and _fits(item, kind[len(MAP) :]) for key, item in value.items())
    if isinstance(value, bool):  # which Python takes for a number, too
        return kind == "bool"
    return kind in PYTHON_TYPES and isinstance(value, PYTHON_TYPES[kind])


def _flags_of(field: str) -> set[str]:
    """Command-line flags that set the same: those that a control drops for this field, and the one that is spelled alike."""
    named = {flag for control in load() if control.component == KUBELET and control.field == field for flag in control.drops}
    return named | {_HUMP.sub("-", field).lower()}
