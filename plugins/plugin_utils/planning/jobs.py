# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drafts cut into waves: jobs with their preconditions, changes for people, and the state that is predicted after each wave."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import diff
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import Edit, HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import (
    LEASE_SECONDS,
    NAMESPACE,
    SCHEMA,
    UNDO_AFTER_S,
    WAVES,
    Change,
    Job,
    sha256,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import ABSENT, Host
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.sources import Source

_TYPES = {"dir": 0, "file": 1, "link": 2}
# Waves in which a control plane may be out for a moment: only one host of a cluster at a time.
_LEASED = ("control_plane_kubelets", "kube_proxy", "control_planes", "cluster")
_ROOT = {"owner": "root", "group": "root", "uid": 0, "gid": 0}
_APPROVE_WAIT_S = 120

State = dict[str, Mapping[str, Any]]


class HostJobs:
    """The jobs of one host. Waves are cut in order: each sees the files as the waves before it leave them."""

    def __init__(self, host: Host, draft: HostDraft) -> None:
        self.host = host
        self.draft = draft
        self.state: State = {}
        self.jobs: dict[str, Job] = {}
        self.changes: list[Change] = []
        for wave in WAVES:
            steps = self._steps(wave)
            if steps:
                self.jobs[wave] = job(draft.host, draft.node, wave, steps)

    def predicted(self) -> dict[str, Any]:
        """The files that change as they will be, and the command lines of what restarts."""
        files = {path: {key: entry.get(key) for key in ("type", "mode", "owner", "group", "sha256", "target")} for path, entry in sorted(self.state.items())}
        argv: dict[str, list[str]] = {name: list(roll.argv) for name, roll in sorted(self.draft.pods.items())}
        if self.draft.kubelet_argv is not None:
            argv["kubelet"] = list(self.draft.kubelet_argv)
        return {"files": files, "argv": argv, "sysctls": dict(sorted(self.draft.sysctls.items()))}

    def _steps(self, wave: str) -> list[dict[str, Any]]:
        files = [change for edit in _joined(edit for edit in self.draft.edits if edit.wave == wave) if (change := self._file(edit)) is not None]
        if wave == "files":
            return self._file_steps(files)
        if wave in ("kubelets", "control_plane_kubelets"):
            argv = list(self.draft.kubelet_argv) if self.draft.kubelet_argv is not None else None
            return [{"op": "kubelet", "files": files, "expect": {"argv": argv}}] if files else []
        if wave == "control_planes" and self.draft.pods:
            return [self._static_pods({change["path"]: change for change in files})]
        return []

    def _file_steps(self, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = [
            {"op": "account", "name": name, "home": home, "controls": sorted(self.draft.account_controls.get(name, ()))}
            for name, home in sorted(self.draft.accounts.items())
        ]
        if files:
            steps.append({"op": "files", "files": files})
        if self.draft.units:
            controls, units = self._unit_controls(), list(self.draft.units)
            steps.append({"op": "units", "daemon_reload": True, "enable": units, "start": units, "controls": list(controls)})
            self._note("unit " + ", ".join(units), controls, "It approves the kubelets' requests for serving certificates.")
        if self.draft.sysctls:
            values = {name: str(value) for name, value in sorted(self.draft.sysctls.items())}
            steps.append({"op": "sysctls", "values": values, "controls": sorted(self.draft.sysctl_controls)})
            shown = ", ".join(f"{name}={value}" for name, value in sorted(self.draft.sysctls.items()))
            self._note(f"sysctl {shown}", tuple(sorted(self.draft.sysctl_controls)), "The kubelet expects these kernel settings.")
        return steps

    def _unit_controls(self) -> tuple[str, ...]:
        return tuple(sorted({name for edit in self.draft.edits if edit.path.endswith(self.draft.units) for name in edit.controls}))

    def _note(self, target: str, controls: tuple[str, ...], reason: str) -> None:
        self.changes.append(Change(self.draft.host, "files", controls, target, True, None, None, "", None, reason))

    def _static_pods(self, files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        changes = {}
        for name, roll in sorted(self.draft.pods.items()):
            changes[name] = {
                "file": files[self.host.components[name].path],
                "argv": list(roll.argv),
                "probes": {probe: dict(entry) for probe, entry in roll.probes.items()},
                "old_probes": {probe: dict(entry) for probe, entry in roll.old_probes.items()},
                "mounts": [dict(mount) for mount in roll.mounts],
                "old": dict(roll.old),
            }
        return {"op": "static_pods", "changes": changes}

    def _file(self, edit: Edit) -> dict[str, Any] | None:
        """The FileChange; None where the path is already as it should be."""
        before = self.state.get(edit.path) or self.host.file(edit.path)
        after = _after(before, edit)
        if not _different(before, after):
            return None
        self.changes.append(self._change(edit, before, after))
        self.state[edit.path] = after
        return {
            "path": edit.path,
            "type": edit.type,
            "before": {"type": before["type"], **{key: before.get(key) for key in ("sha256", "mode", "uid", "gid")}},
            "content": None if edit.content is None or before.get("sha256") == after["sha256"] else base64.b64encode(edit.content).decode(),
            "target": edit.target,
            "mode": after["mode"],
            "owner": after["owner"],
            "group": after["group"],
            "controls": list(edit.controls),
        }

    def _change(self, edit: Edit, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
        return Change(
            self.draft.host,
            edit.wave,
            edit.controls,
            edit.path,
            False,
            before.get("sha256"),
            after.get("sha256"),
            _diff(edit, before, after),
            edit.restarts,
            edit.reason,
        )


def job(host: str, node: str, wave: str, steps: list[dict[str, Any]], undo_after_s: int = UNDO_AFTER_S) -> Job:
    """One transaction. It names no run: `model.bind` does."""
    lease = {"namespace": NAMESPACE, "name": "ninepaths", "holder": "", "seconds": LEASE_SECONDS} if wave.removeprefix("late_") in _LEASED else None
    content = sha256(json.dumps([host, wave, steps], sort_keys=True, separators=(",", ":")).encode())
    return {
        "schema": SCHEMA,
        "id": f"{wave.replace('_', '-')}-{content[:12]}",
        "run": "",
        "host": host,
        "node": node,
        "wave": wave,
        "lease": lease,
        "undo_after_s": undo_after_s,
        "steps": steps,
    }


def approve_step(nodes: Mapping[str, Any], expect: Sequence[str]) -> dict[str, Any]:
    """Approve the serving certificate requests of nodes, and wait until some of them serve what was signed."""
    return {"op": "approve", "nodes": {name: nodes[name] for name in sorted(nodes)}, "wait_s": _APPROVE_WAIT_S, "expect": sorted(expect)}


def configmap_step(found: Source) -> dict[str, Any]:
    """Replace one key of a ConfigMap, if nobody has changed it meanwhile."""
    return {
        "op": "configmap",
        "namespace": NAMESPACE,
        "name": found.name,
        "resource_version": found.resource_version,
        "data": {found.key: found.after},
        "controls": sorted(found.served),
    }


def configmap_change(found: Source, host: str, restarts: str | None, reason: str) -> Change:
    sides = sha256(found.before.encode()), sha256(found.after.encode())
    return Change(
        host,
        found.wave,
        tuple(sorted(found.served)),
        found.object,
        True,
        *sides,
        diff.unified(found.before, found.after, found.object),
        restarts,
        reason,
    )


def _joined(edits: Iterable[Edit]) -> list[Edit]:
    """One edit per path: content of the one that has it, and the controls of all. Directories come before what lies in them."""
    by_path: dict[str, Edit] = {}
    for edit in edits:
        other = by_path.get(edit.path)
        if other is None:
            by_path[edit.path] = edit
            continue
        main, side = (other, edit) if edit.content is None else (edit, other)
        by_path[edit.path] = replace(
            main,
            mode=_lower(main.mode, side.mode),
            owner=main.owner or side.owner,
            group=main.group or side.group,
            controls=tuple(sorted({*main.controls, *side.controls})),
            reason=main.reason if main.reason == side.reason else " ".join(dict.fromkeys(part for part in (main.reason, side.reason) if part)),
        )
    return sorted(by_path.values(), key=lambda edit: (_TYPES[edit.type], edit.path))


def _lower(one: str | None, other: str | None) -> str | None:
    """The bits that both allow."""
    if one is None or other is None:
        return one or other
    return f"{int(one, 8) & int(other, 8):04o}"


def differs(before: Mapping[str, Any], edit: Edit) -> bool:
    """Whether an edit would change a path that is as `before`."""
    return _different(before, _after(before, edit))


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return any(before.get(key) != after.get(key) for key in ("type", "mode", "owner", "group", "sha256", "target"))


def _after(before: Mapping[str, Any], edit: Edit) -> dict[str, Any]:
    """A path as it will be."""
    now = {**_ROOT, "mode": None, **before} if before["type"] != "absent" else {**ABSENT, **_ROOT, "mode": "0600"}
    after = {**now, "type": edit.type, "target": edit.target, "sha256": now.get("sha256")}
    if edit.type == "link":
        return {**after, "mode": None, "sha256": None}
    after["mode"] = edit.mode or now["mode"]
    for key in ("owner", "group"):
        value = getattr(edit, key)
        if value is not None and value != now.get(key):
            after[key] = value
            after["uid" if key == "owner" else "gid"] = 0 if value == "root" else None
    if edit.content is not None:
        after["sha256"] = sha256(edit.content)
        after["text"] = edit.content.decode("utf-8", "replace")
    return after


def _diff(edit: Edit, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = ("owner", "group", "mode", "target")
    old = {name: before.get(name) for name in names if before["type"] != "absent" and before.get(name) is not None}
    new = {name: after.get(name) for name in names if after.get(name) is not None}
    attributes = diff.attributes(old, new, edit.path) if edit.content is None or before["type"] != "absent" else ""
    if edit.content is None or before.get("sha256") == after["sha256"]:
        return attributes
    if edit.summary:
        older = None if before["type"] == "absent" else f"program, sha256 {str(before.get('sha256'))[:16]}\n"
        return diff.unified(older, f"{edit.summary}\n", edit.path) + attributes
    old_text = None if before["type"] == "absent" else str(before.get("text") or "")
    return diff.unified(old_text, edit.content.decode("utf-8", "replace"), edit.path) + attributes
