# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what hosts remember and what was observed to the way back. Pure, as the plan of a harden run is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import Flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import diff
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import claims, deviations, inventory, jobs, proxy, serving, sources
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import (
    ROLLBACK_WAVES,
    Change,
    Inventory,
    Job,
    Observation,
    Plan,
    PlanError,
    PlanErrors,
    sha256,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import Host, collected, hosts_of
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import restarts
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import limits, runs, squash, stays, waves
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.past import History, ObjectEffect
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.sides import BOOTSTRAP, Sides
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.squash import ObjectNet
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.waves import FORWARD, LATE

SERVING = "kubelet-serving-certificates"
# What kubeadm writes where nothing is set; the kubelet runs with its default then.
_UNSAID = (None, "", "0s")


@dataclass(frozen=True)
class WayBack:
    """A rollback: the runs that are taken back, the oldest first, its plan, and the conditions that are judged again on the way."""

    runs: tuple[str, ...]
    plan: Plan
    until: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as any other, with `rollback` besides."""
        told = {"run": self.runs[0], "runs": list(self.runs), "until": list(self.until), "needs": list(self.needs)}
        return {**self.plan.as_dict(), "rollback": told}


@dataclass(frozen=True)
class Given:
    """What a rollback is planned from. part: the hosts that take part, each with its history; others are observed only."""

    observations: Mapping[str, Observation]
    histories: Mapping[str, History]
    inventory: Inventory
    controls: Sequence[Control]
    settings: Settings
    flags: Flags
    assets: Mapping[str, bytes] = field(default_factory=dict)
    part: tuple[str, ...] = ()


def plan(given: Given, wanted: str) -> WayBack:
    """Plan the way to the state before a run (its name, or runs.LAST). Raises PlanErrors when nothing may be touched."""
    try:
        return _Planner(given).plan(wanted)
    except PlanError as error:
        raise PlanErrors([error]) from error


def gate(given: Given, until: Iterable[str], needs: Iterable[str]) -> list[PlanError]:
    """What is in the way now, on the way: conditions that hold and must not, those that must and do not, and whoever is not well."""
    hosts = hosts_of(given.observations, Knowledge(given.flags))
    scene = limits.Scene(given.inventory, hosts)
    errors = inventory.unwell(given.inventory, hosts)
    cluster = _cluster_conditions(given, hosts, ())
    found = [(name, limits.holds(name, scene)) for name in until] + [(name, cluster.get(name)) for name in needs]
    for name, reason in found:
        if reason:
            errors.append(PlanError(None, None, f"{name}: {reason}", "what was taken back so far stays; see to that, then run the rollback again"))
    return errors


def _cluster_conditions(given: Given, hosts: Mapping[str, Host], coming: Iterable[str]) -> dict[str, str | None]:
    """Conditions of the whole cluster; `coming`: nodes whose kubelets get back what makes them serve a signed certificate."""
    found = serving.conditions(given.inventory, hosts, given.assets)
    left = [node for node in serving.without_verified(given.inventory, hosts) if node not in set(coming)]
    unseen = serving.condition(serving.Serving((), (), {}), given.inventory, hosts)
    found[SERVING] = unseen or (f"the kubelet of {', '.join(left)} serves no certificate that every control plane can verify" if left else None)
    return found


class _Planner:
    """The steps of one rollback, in their order."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.hosts = hosts_of(given.observations, Knowledge(given.flags))
        self.errors: list[PlanError] = []
        self.warnings: list[str] = []
        self.changes: list[Change] = []
        part = {name: host for name, host in self.hosts.items() if name in given.histories}
        self.elected = inventory.elected(given.inventory, part)
        self.whole = all(name in given.part for name in given.inventory.hosts)

    def plan(self, wanted: str) -> WayBack:
        self.errors += collected(self.hosts.values()) + inventory.mismatches(self.given.inventory, self.hosts) + self._unobserved()
        self.errors += deviations.open_transactions(self.hosts)
        self._stop()
        taken = runs.chosen(self.given.histories, wanted)
        for history in self.given.histories.values():
            self.errors += runs.missing(history, taken)
        self._stop()
        nets = {name: squash.host(history, runs.of_host(history, taken)) for name, history in self.given.histories.items()}
        objects = self._objects(taken)
        for net in nets.values():
            self.errors += net.errors
            self.warnings += net.warnings
        self._stop()
        sides = {name: Sides(self.hosts[name], self.given.histories[name], net) for name, net in nets.items()}
        return self._made(taken, self._kept(sides, objects), objects)

    def _unobserved(self) -> list[PlanError]:
        """A host that should take part and cannot be seen: what it has of these runs would stay."""
        return [
            PlanError(
                name,
                None,
                f"could not be observed: {self.given.inventory.unreachable.get(name, 'what it remembers could not be read')}",
                "make it reachable, or leave it out knowingly with --limit",
            )
            for name in sorted(self.given.part)
            if name not in self.given.histories or name not in self.hosts
        ]

    def _objects(self, taken: Sequence[str]) -> list[ObjectNet]:
        """ConfigMaps, which belong to no host. They are taken back only where the whole cluster is."""
        effects = [
            (one.run, effect)
            for run in taken
            for history in self.given.histories.values()
            for one in runs.of_host(history, taken)
            if one.run == run
            for effect in one.effects
            if isinstance(effect, ObjectEffect)
        ]
        if not effects:
            return []
        names = ", ".join(sorted({effect.name for _run, effect in effects}))
        if not self.whole:
            self.warnings.append(f"{names}: left as they are, since --limit leaves out some of the cluster's hosts")
            return []
        if self.elected is None or not self.elected.cluster:
            self.errors.append(PlanError(None, None, f"no control plane can change {names}: no apiserver is ready", "mend it, then run again"))
            return []
        nets, errors = squash.objects(effects, self.elected.cluster.get("configmaps") or {}, self.elected.name)
        self.errors += errors
        return nets

    def _kept(self, sides: Mapping[str, Sides], objects: Sequence[ObjectNet]) -> dict[str, Sides]:
        """Without what has to stay."""
        texts = self._sources(objects)
        asked = stays.asking(sides.values(), [name for name in self.given.inventory.hosts if name not in self.given.part])
        found = {}
        for name, side in sides.items():
            found[name], told = stays.without(side, texts, asked)
            self.warnings += told
        return found

    def _sources(self, objects: Sequence[ObjectNet]) -> list[str]:
        """What kubeadm-config will say, from which joins and upgrades write manifests."""
        maps = next((host.cluster.get("configmaps") or {} for host in self.hosts.values() if host.cluster), {})
        data = dict((maps.get(sources.KUBEADM) or {}).get("data") or {})
        for net in objects:
            if net.name == sources.KUBEADM:
                data.update(net.target)
        return [str(text) for text in data.values() if text is not None]

    def _made(self, taken: tuple[str, ...], sides: Mapping[str, Sides], objects: Sequence[ObjectNet]) -> WayBack:
        way = waves.direction(sides.values())
        coming = [side.host.node for side in sides.values() if _comes(side)]
        judged = self._judged(sides, way, coming)
        reason = f"As it was before run {taken[0]}."
        planes = self.given.inventory.control_plane
        made = {name: waves.HostWaves(side, way, reason, name in planes) for name, side in sides.items()}
        steps: dict[str, waves.Steps] = {name: dict(one.steps) for name, one in made.items()}
        self.changes += [change for one in made.values() for change in one.changes]
        self._cluster_steps(steps, sides, objects, way, reason)
        if way == FORWARD and SERVING in judged.needs and coming and self.elected:
            self._certificates(steps, self.elected.name, coming, reason)
        all_jobs = self._jobs(taken, steps)
        predicted = {name: {**one.predicted(), "fields": self._fields(sides[name])} for name, one in made.items() if name in all_jobs}
        if all_jobs:
            self._unwell(sides)
        self.changes.sort(key=lambda change: (ROLLBACK_WAVES.index(change.wave), change.host, change.target))
        plan = Plan(
            cluster=self._described(),
            controls=tuple(sorted(judged.outcomes, key=lambda outcome: (outcome.path, outcome.id, outcome.host or ""))),
            changes=tuple(self.changes),
            warnings=tuple(dict.fromkeys(self.warnings)),
            waves={wave: self._order(wave, all_jobs) for wave in ROLLBACK_WAVES},
            jobs=all_jobs,
            restarts=restarts(all_jobs),
            predicted=predicted,
            order=ROLLBACK_WAVES,
        )
        until = judged.until if way != FORWARD else set()
        return WayBack(taken, plan, tuple(sorted(until)), tuple(sorted(judged.needs & {SERVING})))

    def _judged(self, sides: Mapping[str, Sides], way: str, coming: Sequence[str]) -> limits.Judged:
        """Points of no return. Raises PlanErrors."""
        lifted = [name for name, side in sides.items() if side.verifies.now is not None and side.verifies.target is None]
        scene = limits.Scene(self.given.inventory, self.hosts, lifted if way != FORWARD else ())
        found = limits.judge(sides.values(), self.given.controls, scene, _cluster_conditions(self.given, self.hosts, coming))
        self.errors += found.errors
        self._stop()
        return found

    def _cluster_steps(self, steps: dict[str, waves.Steps], sides: Mapping[str, Sides], objects: Sequence[ObjectNet], way: str, reason: str) -> None:
        """Sources of truth first backward and last forward, kube-proxy the other way round: while new pods need no registry."""
        if self.elected is None:
            return
        pulls = [side.pulls for side in sides.values()]
        early = way == FORWARD or any(setting.now is None and setting.target is not None for setting in pulls)
        for net in objects:
            wave = "cluster" if (net.name == proxy.NAME) is early else f"{LATE}cluster"
            revision = str((self.elected.cluster or {})["configmaps"][net.name]["resource_version"])
            step = {"op": "configmap", "namespace": net.namespace, "name": net.name, "resource_version": revision, "data": dict(net.target)}
            annotated = {"annotation": net.annotation} if net.name == proxy.NAME else {}
            steps.setdefault(self.elected.name, {}).setdefault(wave, []).append({**step, **annotated, "controls": list(net.controls)})
            self.changes.append(_object_change(net, self.elected.name, wave, reason))

    def _certificates(self, steps: dict[str, waves.Steps], host: str, coming: Sequence[str], reason: str) -> None:
        """Before the control planes verify kubelets again, every kubelet that changes has to serve a signed certificate."""
        names = claims.claims(self.hosts, self.given.inventory, self.given.settings).names
        expect = [node for node in coming if node in names]
        steps.setdefault(host, {})["certificates"] = [jobs.approve_step(names, expect)]
        target = "CertificateSigningRequests of " + ", ".join(sorted(expect))
        self.changes.append(Change(host, "certificates", (serving.BOOTSTRAP,), target, True, None, None, "", None, reason))

    def _jobs(self, taken: Sequence[str], steps: Mapping[str, waves.Steps]) -> dict[str, dict[str, Job]]:
        found: dict[str, dict[str, Job]] = {}
        for name, by_wave in sorted(steps.items()):
            node, nodes = self.hosts[name].node, self._described()["nodes"]
            made = {
                wave: {**jobs.job(name, node, wave, by_wave[wave], proxy.undo_after(by_wave[wave], nodes)), "takes_back": list(taken)}
                for wave in ROLLBACK_WAVES
                if wave in by_wave
            }
            if made:
                found[name] = made
        return found

    def _order(self, wave: str, all_jobs: Mapping[str, Mapping[str, Job]]) -> tuple[str, ...]:
        return inventory.safe_order((name for name in all_jobs if wave in all_jobs[name]), self.given.inventory, self.hosts)

    def _unwell(self, sides: Mapping[str, Sides]) -> None:
        """The same health as before a harden run; nothing is done to a cluster that is ill. Raises PlanErrors."""
        self.errors += inventory.unwell(self.given.inventory, self.hosts)
        self.errors += deviations.shadowing_manifests(self.hosts, {name: tuple(side.pods) for name, side in sides.items()})
        self._stop()

    def _fields(self, side: Sides) -> dict[str, object]:
        """Fields of the kubelet's configuration that change, as it has to run with them; the version's default where nothing is set."""
        found: dict[str, object] = {}
        for name in sorted({control.field for control in self.given.controls if control.component == "kubelet" and control.field}):
            setting = side.field(name)
            if not setting.changes or side.host.kubelet is None:
                continue
            known = self.given.flags.field("kubelet", side.host.kubelet.minor, name)
            wanted = known.default if known and setting.target in _UNSAID else setting.target
            if wanted not in _UNSAID:
                found[name] = list(wanted) if isinstance(wanted, tuple) else wanted
        return found

    def _stop(self) -> None:
        if self.errors:
            raise PlanErrors(self.errors)

    def _described(self) -> dict[str, Any]:
        cluster = next((host.cluster for host in self.hosts.values() if host.cluster), None) or {}
        layouts = sorted({str(host.seen.get("layout")) for host in self.hosts.values()} - {"none"})
        return {
            "name": sources.cluster_name(cluster) or "kubernetes",
            "version": cluster.get("version"),
            "layout": layouts[0] if layouts else "none",
            "control_planes": len(self.given.inventory.control_plane),
            "nodes": len(cluster.get("nodes") or ()) or len(self.hosts),
        }


def _comes(side: Sides) -> bool:
    """Whether a kubelet gets back what makes it ask for a certificate that can be verified."""
    serving_ = side.field(BOOTSTRAP)
    return serving_.target is True and serving_.now is not True


def _object_change(net: ObjectNet, host: str, wave: str, reason: str) -> Change:
    texts = ["".join(f"{text or ''}" for _key, text in sorted(side.items())) for side in (net.now, net.target)]
    shown = diff.unified(texts[0], texts[1], net.shown)
    sides = [sha256(text.encode()) for text in texts]
    return Change(host, wave, net.controls, net.shown, True, sides[0], sides[1], shown, proxy.NAME if net.name == proxy.NAME else None, reason)
