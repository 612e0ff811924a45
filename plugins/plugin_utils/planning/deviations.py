# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no wave can mend, what was not judged, and what an operator should know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import FAILED, UNFINISHED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import is_yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import inventory as cluster_inventory
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import NOT_OFFERED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NOT_PART, Inventory, Outcome, PlanError, Status
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, STATIC_PODS, Component, Host
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.serving import BOOTSTRAP

# Flags whose file is read at start only: a newer file is not what runs.
_START_ONLY: Mapping[str, tuple[str, ...]] = {
    APISERVER: (
        "audit-policy-file", "admission-control-config-file", "authentication-config", "egress-selector-config-file",
        "service-account-key-file", "service-account-signing-key-file", "token-auth-file",
    ),
    "kube-controller-manager": ("service-account-private-key-file",),
    "kube-scheduler": ("config",),
}  # fmt: skip
_STATUS: Mapping[str, Status] = {"disabled": "disabled", "waived": "waived", "expired": "deviation"}


def not_chosen(selected: Iterable[Selected]) -> list[Outcome]:
    """Controls that the operator left out or waived."""
    return [
        Outcome(entry.control.id, entry.control.path, None, _STATUS[entry.status], reason=entry.reason)
        for entry in selected
        if entry.status in _STATUS
    ]


def objects(chosen: Iterable[Selected]) -> list[Outcome]:
    """Controls of objects of the cluster, which no version of ours judges yet."""
    return [
        Outcome(entry.control.id, entry.control.path, None, "held", reason=str(entry.control.held), held_by=NOT_OFFERED)
        for entry in chosen
        if entry.control.objects
    ]


def without_static_pod(
    chosen: Iterable[Selected], judged: Mapping[str, object], inventory: Inventory, hosts: Mapping[str, Host]
) -> list[Outcome]:
    """Controls of components that no observed host runs as a static pod: an etcd of its own, for example."""
    seen = any(name in hosts for name in inventory.control_plane)
    return [
        Outcome(
            entry.control.id, entry.control.path, None, "not-applicable", reason=f"no host runs {entry.control.component} as a static pod"
        )
        for entry in chosen
        if seen and entry.control.component in STATIC_PODS and entry.control.component not in judged and not entry.control.files
    ]


def unobserved(chosen: Iterable[Selected], inventory: Inventory, hosts: Mapping[str, Host]) -> list[Outcome]:
    """Chosen controls on hosts that could not be observed are held by name, not dropped."""
    missing = [name for name in inventory.hosts if name not in hosts]
    found = []
    for entry in chosen:
        component = entry.control.component
        for name in missing:
            on_plane = name in inventory.control_plane or (component == "etcd" and name in inventory.etcd)
            if component in ("kube-proxy", "cluster") or (component in STATIC_PODS and not on_plane):
                continue
            reason, held_by = f"could not be observed: {inventory.unreachable.get(name, 'no reason is known')}", "observation"
            if entry.control.held:  # whatever that host looks like
                reason, held_by = entry.control.held, NOT_OFFERED
            found.append(Outcome(entry.control.id, entry.control.path, name, "held", reason=reason, held_by=held_by))
    return found


def refused_requests(chosen: Sequence[Selected], refused: Mapping[str, str], hosts: Mapping[str, Host]) -> list[Outcome]:
    """Nodes that ask for a certificate they must not have."""
    control = next((entry.control for entry in chosen if entry.control.id == BOOTSTRAP), None)
    if control is None:
        return []
    names = {host.node: name for name, host in hosts.items()}
    return [
        Outcome(control.id, control.path, names.get(node), "deviation", reason=f"{node}: {reason}")
        for node, reason in sorted(refused.items())
    ]


def old_processes(host: Host, draft: HostDraft, components: Mapping[str, str]) -> list[Outcome]:
    """The host's outcomes; those of a component that runs with something else than its files say are deviations, unless it restarts anyway.

    components: the component of each control.
    """
    causes = {name: cause for name, component in host.components.items() if name not in draft.pods and (cause := _old(host, component))}
    kubelet_restarts = any(edit.restarts == "kubelet" for edit in draft.edits)
    kubelet = None if kubelet_restarts else _old_kubelet(host)
    if kubelet:
        causes["kubelet"] = kubelet
    if not causes:
        return draft.outcomes
    return [_degraded(outcome, causes.get(components[outcome.id])) for outcome in draft.outcomes]


def _degraded(outcome: Outcome, cause: str | None) -> Outcome:
    return replace(outcome, status="deviation", reason=cause) if cause and outcome.status == "ok" else outcome


def _old(host: Host, component: Component) -> str | None:
    if not component.runs:
        return f"no process of {component.name}'s static pod was found; its manifest alone proves nothing"
    if component.stale:
        return f"{component.name} runs with other arguments than its manifest says; the kubelet has not taken the manifest up"
    started = component.seen.get("started")
    for flag in _START_ONLY.get(component.name, ()):
        path = component.argv.value(flag)
        if path and host.newer(path, started):
            return f"{component.name} is older than {path}, which it reads at start only; restart it"
    return None


def _old_kubelet(host: Host) -> str | None:
    if host.kubelet is None:
        return None
    if not host.seen["kubelet"].get("active"):
        return "the kubelet does not run; its files alone prove nothing"
    started = host.seen["kubelet"].get("started")
    paths = [host.kubelet.path, *(path for path, _config in host.kubelet.dropins)]
    newer = next((path for path in paths if path and host.newer(path, started)), None)
    return f"the kubelet is older than {newer}, which it reads at start only; restart it" if newer else None


def shadowing_manifests(hosts: Mapping[str, Host], rolled: Mapping[str, Sequence[str]]) -> list[PlanError]:
    """Copies of a manifest in the kubelet's directory: it reads them as the same pod, and may run the old one. rolled: components by host."""
    errors = []
    for name, components in rolled.items():
        for path in hosts[name].seen.get("manifests_foreign") or ():
            file = path.rpartition("/")[2]
            component = next((one for one in components if file.startswith(one)), None)
            if component:
                cause = f"the kubelet reads this file as a pod too, next to the manifest of {component}, and may run either"
                errors.append(PlanError(name, path, cause, "move it out of the manifests directory"))
    return errors


def open_transactions(hosts: Mapping[str, Host]) -> list[PlanError]:
    """Transactions that have not ended: at work for another run, interrupted and not yet undone, or impossible to undo."""
    errors = []
    for name, entry in _unfinished(hosts):
        cause = "a transaction of another run is at work here, or was interrupted"
        advice = "wait until it has ended and run again; a harden run finishes or undoes an interrupted one first"
        if entry["state"] == FAILED:
            cause = f"this transaction could not be undone: {entry.get('cause') or 'see its journal'}"
            advice = str(entry.get("advice") or "put back by hand what its journal names, then run again")
        errors.append(PlanError(name, f"/var/lib/ninepaths/transactions/{entry['id']}", cause, advice))
    return errors


def _unfinished(hosts: Mapping[str, Host]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, entry) for name, host in hosts.items() for entry in host.seen.get("journals") or () if entry["state"] in UNFINISHED]


def warnings(inventory: Inventory, hosts: Mapping[str, Host]) -> list[str]:
    found = [f"node {node} is in the cluster, but not in the inventory" for node in cluster_inventory.strangers(inventory, hosts)]
    found += [f"{name} was not observed: {reason}" for name, reason in sorted(inventory.unreachable.items()) if reason != NOT_PART]
    for name, entry in _unfinished(hosts):
        what = "could not be undone" if entry["state"] == FAILED else "was interrupted and is still open"
        found.append(f"{name}: transaction {entry['id']} {what}")
    for name, host in hosts.items():
        found += [
            f"{name}: {path}: cannot be read as YAML; kubelet ignores it, too"
            for path, shape in (host.seen.get("manifest_shapes") or {}).items()
            if not is_yaml(shape)
        ]
        found += [
            f"{name}: the kubelet reads {path} as a pod"
            for path in host.seen.get("manifests_foreign") or ()
            if any(path.rpartition("/")[2].startswith(component) for component in STATIC_PODS)
        ]
    return found
