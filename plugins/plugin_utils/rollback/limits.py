# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Points of no return: which controls a rollback takes away, and whether each may still be taken away. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import UNDO_LIMITS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.conditions import ClusterConditions
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.inventory import control_planes
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory, Outcome, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, Host
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.sides import VERIFY, Setting, Sides

AT_REST, ENCRYPTION = "secrets_at_rest", "encryption-provider-config"


@dataclass(frozen=True)
class Scene:
    """What conditions are judged by: every observed host, and the control planes that stop verifying kubelets before any kubelet changes."""

    inventory: Inventory
    hosts: Mapping[str, Host]
    lifted: Collection[str] = ()


@dataclass
class Judged:
    """What is taken back of controls, what is in the way, and the conditions that have to be judged again while the rollback runs."""

    outcomes: list[Outcome] = field(default_factory=list)
    errors: list[PlanError] = field(default_factory=list)
    until: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)


def judge(sides: Iterable[Sides], controls: Collection[Control], scene: Scene, cluster: ClusterConditions) -> Judged:
    """Every control that a host loses, or gets back: those that a transaction says it served, and those whose setting changes."""
    known = {control.id: control for control in controls}
    found = Judged()
    for side in sides:
        recorded = side.net.controls()
        for name in sorted(recorded - set(known)):
            cause = f"what is to be taken back served the control {name}, which this version does not know"
            found.errors.append(PlanError(side.host.name, None, cause, "use the version of the collection that made the run"))
        for control in sorted(controls, key=lambda control: control.id):
            setting = side.of(control)
            if setting.changes if setting else control.id in recorded:
                _one(found, side, control, setting, scene, cluster)
    return found


def _one(found: Judged, side: Sides, control: Control, setting: Setting | None, scene: Scene, cluster: ClusterConditions) -> None:
    if control.id in side.net.controls():
        before, after = (_plain(setting.now), _plain(setting.target)) if setting else (None, None)
        found.outcomes.append(Outcome(control.id, control.path, side.host.name, "change", before, after, _said(setting)))
    if setting and setting.target is not None and _wanted(control, setting.target) and not _wanted(control, setting.now):
        _comes_back(found, side, control, cluster)
    elif setting is None or setting.now is not None:
        _goes(found, side, control, scene)


def _said(setting: Setting | None) -> str:
    if setting is None:
        return "as it was before"
    now, target = ("unset" if side is None else show(side) for side in setting)
    return f"{now} becomes {target}"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _wanted(control: Control, value: object) -> bool:
    """Whether a setting is as the control's own value says; where that depends on the cluster, whether it is there."""
    if value is None or control.value is None or isinstance(control.value, Ref):
        return value is not None
    return str(_plain(value)).lower() == str(_plain(control.value)).lower()


def _goes(found: Judged, side: Sides, control: Control, scene: Scene) -> None:
    undo = control.undo
    if undo.always:
        return
    if undo.until is None:
        cause = f"{control.id} cannot be taken back: {control.why}"
        found.errors.append(PlanError(side.host.name, None, cause, str(undo.instead)))
        return
    found.until.add(undo.until)
    reason = holds(undo.until, scene)
    if reason:
        cause = f"{control.id} cannot be taken back any more ({undo.until}): {reason}"
        found.errors.append(PlanError(side.host.name, None, cause, UNDO_LIMITS[undo.until]))


def _comes_back(found: Judged, side: Sides, control: Control, cluster: ClusterConditions) -> None:
    """A setting that a rollback had taken away needs what it needed at first."""
    for name in control.needs:
        if name not in cluster:
            continue
        found.needs.add(name)
        reason = cluster[name]
        if reason:
            cause = f"{control.id} cannot come back ({name}): {reason}"
            found.errors.append(PlanError(side.host.name, None, cause, "see to that first, or leave the rollback in place and run harden"))


def holds(condition: str, scene: Scene) -> str | None:
    """Why a condition that limits an undo holds, or cannot be judged; None where it does not hold."""
    return LIMITS[condition](scene)


def _unseen(scene: Scene) -> str | None:
    missing = [name for name in scene.inventory.control_plane if name not in scene.hosts]
    if not missing:
        return None
    return f"{', '.join(missing)} could not be observed: {scene.inventory.unreachable.get(missing[0], 'no reason is known')}"


def _kubelet_verification(scene: Scene) -> str | None:
    planes = control_planes(scene.inventory, scene.hosts)
    verifying = [host.name for host in planes if host.name not in scene.lifted and _verifies(host)]
    if verifying:
        return f"the apiserver of {', '.join(verifying)} verifies kubelets (--{VERIFY}), and would refuse logs and exec of this one"
    return _unseen(scene)


def _verifies(host: Host) -> bool:
    """By its manifest, or by what still runs."""
    component = host.components.get(APISERVER)
    if component is None:
        return False
    return component.argv.value(VERIFY) is not None or any(str(word).startswith(f"--{VERIFY}") for word in component.seen.get("argv") or ())


def _encrypted_data(scene: Scene) -> str | None:
    planes = control_planes(scene.inventory, scene.hosts)
    proofs = [proof["evidence"] for host in planes for proof in host.seen.get("proofs") or () if proof["id"] == AT_REST]
    encrypted = max((int(evidence.get("encrypted") or 0) for evidence in proofs), default=0)
    if encrypted:
        return f"{encrypted} of the Secrets that were read in etcd are encrypted, and nobody could read them any more"
    using = [host.name for host in planes if APISERVER in host.components and host.components[APISERVER].argv.value(ENCRYPTION) is not None]
    if not using:
        return _unseen(scene)
    whole = [evidence for evidence in proofs if int(evidence.get("read") or 0) >= int(evidence.get("total") or 0) > 0]
    if whole:
        return _unseen(scene)
    return f"the apiserver of {', '.join(using)} has --{ENCRYPTION}, and not every Secret in etcd could be looked at"


LIMITS: Mapping[str, Callable[[Scene], str | None]] = {"encrypted-data": _encrypted_data, "kubelet-verification": _kubelet_verification}
