# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was observed, what is wanted and what the operator chose to what will be done. Pure: no I/O, no clock, no chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import Flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected, select
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import (
    approver,
    claims,
    deviations,
    evaluate,
    file_modes,
    inventory,
    jobs,
    proxy,
    serving,
    sources,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.jobs import HostJobs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Verdict
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import (
    WAVES,
    Change,
    Inventory,
    Job,
    Observation,
    Outcome,
    Plan,
    PlanError,
    PlanErrors,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, collected, hosts_of
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.sources import Source
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.targets import Around

__all__ = ["Inventory", "PlanError", "PlanErrors", "plan", "restarts"]

START, CONTROL_PLANES = "start", "control_planes"
_SOURCE_REASON = "Upgrades and joins write what stands here."
_PROXY_REASON = "Every kube-proxy reads its configuration here."


def plan(
    observations: Mapping[str, Observation],
    controls: Sequence[Control],
    settings: Settings,
    inventory: Inventory,
    now: float,
    *,
    flags: Flags,
    assets: Mapping[str, bytes] | None = None,
    stage: str = START,
) -> Plan:
    """Plan a run.

    now: unix seconds; it decides about waivers only. flags: the generated data. assets: programs for the target by
    their path there; without approver.PROGRAM our approver is not installed. stage: START, or CONTROL_PLANES
    when the kubelets' waves are over and only certificates that were seen count, none that are to come.
    Raises PlanErrors when nothing may be touched, SettingsError.
    """
    return _Planner(observations, controls, settings, inventory, now, flags, assets or {}, stage).plan()


class _Planner:
    """The steps of one plan, in their order: hosts and kubelets, then what depends on them, then the cluster's own objects."""

    def __init__(
        self, observations: Mapping[str, Observation], controls: Sequence[Control], settings: Settings, inventory_: Inventory, now: float,
        flags: Flags, assets: Mapping[str, bytes], stage: str,
    ) -> None:  # fmt: skip
        self.knowledge = Knowledge(flags)
        self.hosts = hosts_of(observations, self.knowledge)
        self.settings = settings
        self.inventory = inventory_
        self.assets = assets
        self.stage = stage
        self.selected = select(settings, controls, now)
        self.chosen = [entry for entry in self.selected if entry.status == "selected"]
        self.errors: list[PlanError] = []
        self.outcomes: list[Outcome] = []
        self.changes: list[Change] = []
        self.warnings: list[str] = []
        self.drafts = {name: HostDraft(name, host.node) for name, host in self.hosts.items()}
        self.kubelet_verdicts: dict[str, Verdict] = {}
        self.component_verdicts: dict[str, dict[str, Verdict]] = {}
        self.elected = inventory.elected(inventory_, self.hosts)
        self.cluster_steps: dict[str, list[dict[str, Any]]] = {}

    def plan(self) -> Plan:
        self.errors += collected(self.hosts.values()) + inventory.mismatches(self.inventory, self.hosts)
        self._stop()
        self.conditions = serving.conditions(self.inventory, self.hosts, self.assets)
        for name in self.hosts:
            self._guarded(self._host, name)
        self._stop()
        self._certificates()
        for name in self.hosts:
            self._guarded(self._components, name)
        self._guarded(self._cluster)
        self._stop()
        self._deviations()
        return self._made()

    def _of(self, *components: str) -> list[Selected]:
        return [entry for entry in self.chosen if entry.control.component in components]

    def _host(self, name: str) -> None:
        host, draft = self.hosts[name], self.drafts[name]
        files = [entry for entry in self.chosen if entry.control.files]
        file_modes.evaluate(host, draft, files)
        evaluate.sysctls(host, draft, self._of("host"))
        if host.kubelet:
            wave = "control_plane_kubelets" if APISERVER in host.components or name in self.inventory.control_plane else "kubelets"
            around = Around(self.conditions, draft.statuses())
            self.kubelet_verdicts[name] = evaluate.kubelet(host, host.kubelet, draft, self._of("kubelet"), around, wave)

    def _certificates(self) -> None:
        """Who will serve a signed certificate, once the kubelets have been restarted and their requests approved."""
        claimed = claims.claims(self.hosts, self.inventory, self.settings)
        self.serving = serving.state(self.inventory, self.hosts, self.drafts, claimed)
        if self.stage == CONTROL_PLANES:
            self.serving = serving.as_observed(self.serving, self.inventory, self.hosts)
        self.conditions["kubelet-serving-certificates"] = serving.condition(self.serving, self.inventory, self.hosts)
        bootstrap = any(entry.control.id == serving.BOOTSTRAP for entry in self.chosen)
        if not bootstrap or self.elected is None:
            return
        names = claimed.names
        planes = inventory.control_planes(self.inventory, self.hosts)
        remembered = serving.remembered_names(planes, inventory.node_names(self.inventory, self.hosts) or ())
        known = claims.without_apiserver(remembered, self.hosts, self.inventory, self.settings)
        program = self.assets.get(approver.PROGRAM)
        if program is not None and not serving.others(planes) and self.conditions["cluster-ca-key"] is None:
            for host in planes:
                wrong = serving.install_approver(host, self.drafts[host.name], program, {**known, **names})
                if wrong:
                    self._certificate_change(host.node, wrong)
        waiting = set(serving.waiting_requests(self.inventory, self.hosts)) & set(names)
        for node in waiting:
            self._certificate_change(node, "a request of its kubelet for a serving certificate waits to be approved")
        expect = [node for node in self.serving.coming if node in names]
        for node in expect:
            self._certificate_change(node, "its kubelet does not serve a certificate that every control plane can verify")
        if expect or waiting:
            self.cluster_steps["certificates"] = [jobs.approve_step(names, expect)]
            target = "CertificateSigningRequests of " + ", ".join(sorted({*expect, *waiting}))
            reason = "Their kubelets ask the cluster's signer for a serving certificate."
            self.changes.append(Change(self.elected.name, "certificates", (serving.BOOTSTRAP,), target, True, None, None, "", None, reason))

    def _certificate_change(self, node: str, reason: str) -> None:
        """A control that is met by the kubelet's configuration alone is not met: what gives it a certificate has to change."""
        for draft in self.drafts.values():
            if draft.node == node:
                draft.outcomes = [
                    replace(outcome, status="change", reason=reason) if outcome.id == serving.BOOTSTRAP and outcome.status == "ok" else outcome
                    for outcome in draft.outcomes
                ]

    def _components(self, name: str) -> None:
        host, draft = self.hosts[name], self.drafts[name]
        for component in host.components.values():
            around = Around(self.conditions, draft.statuses())
            verdict = evaluate.component(
                host, component, draft, [entry for entry in self._of(component.name) if not entry.control.files], around
            )
            self.component_verdicts.setdefault(component.name, {})[name] = verdict

    def _cluster(self) -> None:
        """kube-proxy and the sources of truth."""
        cluster = self.elected.cluster if self.elected else None
        host = self.elected.name if self.elected else ""
        minors = self._minors()
        outcomes, found = proxy.evaluate(cluster, self._of(proxy.NAME), self.knowledge, minors.get("kubernetes", ""), host)
        self.outcomes += outcomes
        if cluster is None:
            return
        unseen = [name for name in self.inventory.hosts if name not in self.hosts]
        found_sources = [found]
        if all(name in self.hosts for name in self.inventory.control_plane):
            verdicts = {component: list(by_host.values()) for component, by_host in self.component_verdicts.items()}
            found_sources.append(sources.kubeadm(cluster, verdicts, minors, self.knowledge, host))
        else:
            self.warnings.append("kubeadm-config is left as it is: not every control plane could be observed")
        if not unseen and self.kubelet_verdicts:
            minor = min((kubelet.minor for one in self.hosts.values() if (kubelet := one.kubelet)), key=_minor_order)
            found_sources.append(sources.kubelet(cluster, list(self.kubelet_verdicts.values()), self.knowledge, minor, host))
        elif unseen:
            self.warnings.append(f"kubelet-config is left as it is: {', '.join(sorted(unseen))} could not be observed")
        for one in found_sources:
            self._source(one, host)

    def _source(self, found: Source | None, host: str) -> None:
        if found is None:
            return
        self.warnings += found.warnings
        if not found.changed:
            return
        self.outcomes += found.outcomes
        restarts, reason = (proxy.NAME, _PROXY_REASON) if found.name == proxy.NAME else (None, _SOURCE_REASON)
        self.changes.append(jobs.configmap_change(found, host, restarts, reason))
        self.cluster_steps.setdefault(found.wave, []).append(jobs.configmap_step(found))

    def _minors(self) -> dict[str, str]:
        """The minor of each component, the oldest where they differ; "kubernetes" is the apiserver's."""
        minors: dict[str, str] = {}
        for host in self.hosts.values():
            for component in host.components.values():
                minors[component.name] = min(minors.get(component.name, component.minor), component.minor, key=_minor_order)
        if APISERVER in minors:
            minors["kubernetes"] = minors[APISERVER]
        return minors

    def _deviations(self) -> None:
        self.outcomes += deviations.not_chosen(self.selected)
        self.outcomes += deviations.objects(self.chosen)
        self.outcomes += deviations.without_static_pod(self.chosen, self.component_verdicts, self.inventory, self.hosts)
        self.outcomes += deviations.unobserved(self.chosen, self.inventory, self.hosts)
        self.outcomes += deviations.refused_requests(self.chosen, serving.refused_requests(self.inventory, self.hosts), self.hosts)
        # Modes are right or wrong whatever runs.
        components = {entry.control.id: "" if entry.control.files else entry.control.component for entry in self.chosen}
        for name, host in self.hosts.items():
            draft = self.drafts[name]
            draft.outcomes = deviations.old_processes(host, draft, components)
        self.warnings += deviations.warnings(self.inventory, self.hosts)

    def _made(self) -> Plan:
        made = {name: HostJobs(self.hosts[name], draft) for name, draft in self.drafts.items()}
        all_jobs: dict[str, dict[str, Job]] = {name: dict(found.jobs) for name, found in made.items() if found.jobs}
        if self.elected:
            for wave, steps in self.cluster_steps.items():
                steps.sort(key=lambda step: str(step.get("name", "")))
                seconds = proxy.undo_after(steps, self._described()["nodes"])
                all_jobs.setdefault(self.elected.name, {})[wave] = jobs.job(self.elected.name, self.elected.node, wave, steps, seconds)
        waves = {
            wave: inventory.safe_order((name for name in all_jobs if wave in all_jobs[name]), self.inventory, self.hosts) for wave in WAVES
        }
        changes = [change for found in made.values() for change in found.changes] + self.changes
        changes.sort(key=lambda change: (WAVES.index(change.wave), change.host, change.target))
        if any(waves.values()):
            self.errors += deviations.open_transactions(self.hosts)
            self._stop()  # what it has stopped for a moment would look like an illness
            self.errors += inventory.unwell(self.inventory, self.hosts)
            self.errors += deviations.shadowing_manifests(self.hosts, {name: tuple(draft.pods) for name, draft in self.drafts.items()})
            self._stop()
        outcomes = [outcome for draft in self.drafts.values() for outcome in draft.outcomes] + self.outcomes
        outcomes.sort(key=lambda outcome: (outcome.path, outcome.id, outcome.host or ""))
        return Plan(
            cluster=self._described(),
            controls=tuple(outcomes),
            changes=tuple(changes),
            warnings=tuple(dict.fromkeys(self.warnings)),
            waves=waves,
            jobs={name: {wave: all_jobs[name][wave] for wave in WAVES if wave in all_jobs[name]} for name in sorted(all_jobs)},
            restarts=restarts(all_jobs),
            predicted={name: found.predicted() for name, found in made.items() if found.jobs},
        )

    def _described(self) -> dict[str, Any]:
        cluster = (self.elected.cluster if self.elected else None) or {}
        layouts = sorted({str(host.seen.get("layout")) for host in self.hosts.values()} - {"none"})
        return {
            "name": sources.cluster_name(cluster) or "kubernetes",
            "version": cluster.get("version"),
            "layout": layouts[0] if layouts else "none",
            "control_planes": len(self.inventory.control_plane),
            "nodes": len(cluster.get("nodes") or ()) or len(self.hosts),
        }

    def _guarded(self, work: Callable[..., None], *arguments: str) -> None:
        try:
            work(*arguments)
        except PlanError as error:
            self.errors.append(error)

    def _stop(self) -> None:
        if self.errors:
            raise PlanErrors(self.errors)


def _minor_order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def restarts(all_jobs: Mapping[str, Mapping[str, Job]]) -> dict[str, int]:
    """How many processes of each component restart."""
    found: dict[str, int] = {}
    for by_wave in all_jobs.values():
        for job in by_wave.values():
            for step in job["steps"]:
                names = ["kubelet"] if step["op"] == "kubelet" else list(step.get("changes", ()))
                names += [proxy.NAME] if step["op"] == "configmap" and step["name"] == proxy.NAME else []
                for name in names:
                    found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))
