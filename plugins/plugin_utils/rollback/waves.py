# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken back, cut into waves: dependants before what they depend on, in whichever direction the rollback goes.

Taking back a harden run goes backward: the control planes stop verifying kubelets before kubelets stop serving what can be verified.
Taking back a rollback goes forward, as harden does. What a host gets back comes first and what it loses goes last, either way, so
that nothing names a file that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import diff
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Change
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.past import State
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.sides import BOOTSTRAP, DEFAULTS, Sides
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.squash import FileNet, SysctlNet

BACKWARD, FORWARD = "backward", "forward"
LATE = "late_"
_KINDS = {"dir": 0, "file": 1, "link": 2}

Steps = dict[str, list[dict[str, Any]]]


def direction(sides: Iterable[Sides]) -> str:
    """FORWARD where a control plane is to verify kubelets again, or a kubelet to ask for a certificate that can be verified."""
    for side in sides:
        serving = side.field(BOOTSTRAP)
        if (side.verifies.now is None and side.verifies.target is not None) or (serving.target is True and serving.now is not True):
            return FORWARD
    return BACKWARD


class HostWaves:
    """The steps of one host by wave, and the changes in words. `reason` stands at each change."""

    def __init__(self, side: Sides, way: str, reason: str, control_plane: bool) -> None:
        self.side, self.way, self.reason = side, way, reason
        self.steps: Steps = {}
        self.changes: list[Change] = []
        kubelet = "control_plane_kubelets" if control_plane else "kubelets"
        self._pods()
        self._kubelet(kubelet if way == FORWARD else LATE + kubelet)
        self._rest()

    def _pods(self) -> None:
        """Control-plane components, all in one step."""
        found = {}
        for net in self.side.net.files:
            if net.component not in self.side.pods or net.op != "static_pods" or not net.rewritten:
                continue
            found[str(net.component)] = self._pod(net, str(net.component))
            self._say("control_planes", net, net.component)
        if found:
            self.steps["control_planes"] = [{"op": "static_pods", "changes": found}]

    def _pod(self, net: FileNet, component: str) -> dict[str, Any]:
        now, pod = self.side.host.components[component], self.side.pods[component]
        argv = net.argv if net.argv is not None and pod.starts(net.argv) else pod.running()
        return {
            "file": file_change(net),
            "argv": list(argv),
            "probes": pod.probes(),
            "old_probes": now.pod.probes(),
            "mounts": list(pod.host_paths()),
            "old": {key: now.seen.get(key) for key in ("pid", "started", "uid")},
        }

    def _kubelet(self, wave: str) -> None:
        nets = [net for net in self.side.net.files if net.op == "kubelet" and net.rewritten]
        if not nets:
            return
        argv = self.side.kubelet_argv()
        files = [file_change(net) for net in _ordered(nets)]
        self.steps[wave] = [{"op": "kubelet", "files": files, "expect": {"argv": None if argv is None else list(argv)}}]
        for net in nets:
            self._say(wave, net, "kubelet")

    def _rest(self) -> None:
        """Files, accounts, units and kernel parameters: what comes first, what goes last, everything else with the kubelets."""
        taken = {net.path for net in self.side.net.files if net.rewritten and net.op != "files"}
        files = [net for net in self.side.net.files if net.path not in taken]
        between = "files" if self.way == FORWARD else LATE + "files"
        sysctls = "files" if self.side.field(DEFAULTS).target is True else between
        for wave in ("files", LATE + "files"):
            chosen = [net for net in files if ("files" if net.comes else LATE + "files" if net.goes else between) == wave]
            steps = {"files": self._coming, LATE + "files": self._going}[wave](chosen)
            if wave == sysctls and self.side.net.sysctls:
                steps.insert(_before_accounts(steps), self._sysctls(self.side.net.sysctls))
                for one in self.side.net.sysctls:
                    self._note(wave, f"sysctl {one.key}: {one.now} becomes {one.target}", one.controls)
            if steps:
                self.steps[wave] = steps
            for net in chosen:
                self._say(wave, net, None)

    def _coming(self, files: Sequence[FileNet]) -> list[dict[str, Any]]:
        """Accounts before the files that belong to them, units after theirs."""
        steps: list[dict[str, Any]] = []
        for account in self.side.net.accounts:
            if account.make:
                steps.append({"op": "account", "name": account.name, **_numbers(account.make), "controls": list(account.controls)})
                self._note("files", f"account {account.name} is made again", account.controls)
        steps += _files_step(files)
        units = {verb: [one.unit for one in self.side.net.units if one.wanted.get(aspect) is True] for verb, aspect in _STARTING.items()}
        if any(units.values()):
            steps.append({"op": "units", "daemon_reload": True, **units, "controls": self._unit_controls()})
            self._note("files", "unit " + ", ".join(sorted({*units["enable"], *units["start"]})), tuple(self._unit_controls()))
        return steps

    def _going(self, files: Sequence[FileNet]) -> list[dict[str, Any]]:
        """Units before their files, accounts after what belongs to them."""
        steps: list[dict[str, Any]] = []
        units = {verb: [one.unit for one in self.side.net.units if one.wanted.get(aspect) is False] for verb, aspect in _STOPPING.items()}
        if any(units.values()):
            steps.append({"op": "units", **units, "controls": self._unit_controls()})
            self._note(LATE + "files", "unit " + ", ".join(sorted({*units["disable"], *units["stop"]})), tuple(self._unit_controls()))
        steps += _files_step(files)
        ours = [net for net in files if net.path.startswith(f"{approver.UNITS}/")]
        if any(units.values()) or ours:
            gone = sorted(net.path.rpartition("/")[2] for net in ours if net.goes)
            steps.append({"op": "units", "daemon_reload": True, "gone": gone, "controls": self._unit_controls()})
        for account in self.side.net.accounts:
            if account.remove:
                steps.append({"op": "remove_account", "name": account.name, "kinds": list(account.remove), "controls": list(account.controls)})
                self._note(LATE + "files", f"account {account.name} is removed", account.controls)
        return steps

    def _unit_controls(self) -> list[str]:
        return sorted({name for one in self.side.net.units for name in one.controls})

    def _sysctls(self, found: Sequence[SysctlNet]) -> dict[str, Any]:
        controls = sorted({name for one in found for name in one.controls})
        return {"op": "sysctls", "values": {one.key: one.target for one in found}, "controls": controls}

    def _say(self, wave: str, net: FileNet, restarts: str | None) -> None:
        host = self.side.host.name
        sides = net.now.state.sha256, net.target.sha256
        self.changes.append(Change(host, wave, net.controls, net.path, False, *sides, _diff(self.side, net), restarts, self.reason))

    def _note(self, wave: str, target: str, controls: tuple[str, ...]) -> None:
        self.changes.append(Change(self.side.host.name, wave, controls, target, True, None, None, "", None, self.reason))

    def predicted(self) -> dict[str, Any]:
        """What the host will be, as the plan of a harden run says it; `fields`: of the kubelet's configuration."""
        argv = {component: change["argv"] for step in self.steps.get("control_planes", ()) for component, change in step["changes"].items()}
        files = {
            net.path: {"type": net.target.type, "mode": net.target.mode, "owner": _name(net.target.uid), "group": _name(net.target.gid),
                       "sha256": net.target.sha256, "target": net.target.target}
            for net in self.side.net.files
        }  # fmt: skip
        sysctls = {one.key: int(one.target) if one.target.isdecimal() else one.target for one in self.side.net.sysctls}
        return {"files": files, "argv": argv, "sysctls": sysctls}


def _name(number: int | None) -> str | None:
    """Owner or group by its number, as chown takes it, too."""
    return None if number is None else str(number)


_STARTING: Mapping[str, str] = {"enable": "enabled", "start": "active"}
_STOPPING: Mapping[str, str] = {"disable": "enabled", "stop": "active"}


def file_change(net: FileNet) -> dict[str, Any]:
    """The FileChange of a job. Content is named by its backup, and read on the host."""
    now, target = net.now.state, net.target
    backup = {"path": net.backup.path, "sha256": net.target.sha256} if net.backup else None
    return {
        "path": net.path,
        "type": target.type,
        "before": {"type": now.type, "sha256": now.sha256, "mode": now.mode, "uid": now.uid, "gid": now.gid},
        "content": None,
        **({"backup": backup} if backup else {}),
        "target": target.target,
        "mode": target.mode,
        "owner": str(target.uid or 0),
        "group": str(target.gid or 0),
        "controls": list(net.controls),
    }


def _files_step(nets: Sequence[FileNet]) -> list[dict[str, Any]]:
    return [{"op": "files", "files": [file_change(net) for net in _ordered(nets)]}] if nets else []


def _ordered(nets: Iterable[FileNet]) -> list[FileNet]:
    """Directories before what comes into them, and after what goes from them."""
    nets = list(nets)
    staying = sorted((net for net in nets if not net.goes), key=lambda net: (_KINDS.get(net.target.type, 1), net.path))
    going = sorted((net for net in nets if net.goes), key=lambda net: (net.now.state.type == "dir", -net.path.count("/"), net.path))
    return staying + going


def _before_accounts(steps: Sequence[Mapping[str, Any]]) -> int:
    """Where a step goes that must come before accounts are removed."""
    return next((number for number, step in enumerate(steps) if step["op"] == "remove_account"), len(steps))


def _numbers(make: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    user, group = make.get("user") or {}, make.get("group") or {}
    return {"home": user.get("home") or None, "uid": user.get("uid"), "gid": group.get("gid", user.get("gid"))}


def _diff(side: Sides, net: FileNet) -> str:
    """Lines that change, where both sides may be shown; else their digests; and owner and mode."""
    before, after = net.now.state, net.target
    shown = "" if "absent" in (before.type, after.type) else diff.attributes(side.shown(before), side.shown(after), net.path)
    if before.content == after.content:
        return shown
    if "file" not in (before.type, after.type):
        return shown or diff.unified(_named(before), _named(after), net.path)
    return diff.unified(_text(before, side.text_now(net), net.path), _text(after, side.text_target(net), net.path), net.path) + shown


def _text(state: State, text: str | None, path: str) -> str | None:
    if state.type == "absent":
        return None
    return f"content with sha256 {str(state.sha256)[:16]}\n" if text is None or path == approver.PROGRAM else text


def _named(state: State) -> str | None:
    """What is no file: a directory with its mode, a link with what it leads to."""
    return None if state.type == "absent" else f"{'link to' if state.type == 'link' else 'directory'} {state.target or state.mode}\n"
