# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the inventory describe the cluster that was observed? And is the cluster well enough to be changed?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, OWN_DIRECTORY, STATIC_PODS, Host

Hosts = Mapping[str, Host]


def mismatches(inventory: Inventory, hosts: Hosts) -> list[PlanError]:
    """Hosts in a wrong group, and machines that are no node of the cluster."""
    errors: list[PlanError] = []
    if not inventory.control_plane:
        errors.append(PlanError(None, None, "the inventory has no host in the group kube_control_plane", "put every control plane into that group"))
    nodes = node_names(inventory, hosts)
    for name, host in hosts.items():
        if name not in inventory.hosts:
            continue
        running = [component for component in STATIC_PODS if component in (host.seen.get("components") or {})]
        if host.seen.get("kubelet") and not host.joined:
            advice = "run the prepare playbook and kubeadm join on it, or take it out of the inventory"
            errors.append(PlanError(name, None, "it has not joined a cluster", advice))
        elif name in inventory.control_plane and APISERVER not in running:
            errors.append(
                PlanError(
                    name,
                    None,
                    "it is in the group kube_control_plane, but runs no kube-apiserver",
                    "move it to kube_node, or mend its control plane",
                )
            )
        elif name not in inventory.control_plane and APISERVER in running:
            errors.append(
                PlanError(name, None, "it runs a kube-apiserver, but is not in the group kube_control_plane", "put it into that group")
            )
        elif not host.seen.get("kubelet") and (name in inventory.node or name in inventory.control_plane):
            errors.append(
                PlanError(
                    name, None, "it has no kubelet", "join it to the cluster first, or take it out of kube_node and kube_control_plane"
                )
            )
        elif name in inventory.etcd and ETCD not in running and name in inventory.control_plane:
            errors.append(PlanError(name, None, "it is in the group etcd, but runs no etcd as a static pod", "take it out of that group"))
        elif nodes is not None and host.seen.get("kubelet") and host.node not in nodes:
            errors.append(
                PlanError(name, None, f"the cluster has no node {host.node}", "join it to this cluster, or take it out of the inventory")
            )
    return errors + _twice(hosts)


def _twice(hosts: Hosts) -> list[PlanError]:
    """Two inventory names for one machine would be planned, and restarted, twice."""
    seen: dict[str, str] = {}
    errors = []
    for name, host in hosts.items():
        if not host.seen.get("kubelet"):
            continue
        if host.node in seen:
            errors.append(
                PlanError(name, None, f"it is the same node ({host.node}) as {seen[host.node]}", "keep one name for it in the inventory")
            )
        seen.setdefault(host.node, name)
    return errors


def strangers(inventory: Inventory, hosts: Hosts) -> tuple[str, ...]:
    """Nodes of the cluster that the inventory does not name."""
    nodes = node_names(inventory, hosts) or frozenset()
    ours = {host.node for host in hosts.values()} | set(inventory.unreachable)
    return tuple(sorted(nodes - ours))


def node_names(inventory: Inventory, hosts: Hosts) -> frozenset[str] | None:
    """Names of all Node objects; None where no apiserver answered."""
    found = [host.cluster for host in control_planes(inventory, hosts) if host.cluster]
    return frozenset(str(node["name"]) for cluster in found for node in cluster.get("nodes") or ()) if found else None


def control_planes(inventory: Inventory, hosts: Hosts) -> list[Host]:
    """The observed control planes, in the inventory's order."""
    return [hosts[name] for name in inventory.control_plane if name in hosts]


def elected(inventory: Inventory, hosts: Hosts) -> Host | None:
    """The control plane that changes cluster objects: the first whose apiserver answers and is ready."""
    return next((host for host in control_planes(inventory, hosts) if host.cluster and host.cluster.get("readyz")), None)


def unwell(inventory: Inventory, hosts: Hosts) -> list[PlanError]:
    """What was not healthy before we began, and so is not ours to mend."""
    errors: list[PlanError] = []
    members: dict[str, bool] = {}
    nodes: dict[str, bool] = {}
    for host in control_planes(inventory, hosts):
        cluster = host.cluster
        if not cluster or not cluster.get("readyz"):
            errors.append(_not_ready(host))
        if not cluster:
            continue
        for node in cluster.get("nodes") or ():
            nodes[str(node["name"])] = nodes.get(str(node["name"]), True) and bool(node["ready"])
        etcd = cluster.get("etcd") or {}
        if etcd.get("error"):
            errors.append(
                PlanError(
                    host.name,
                    None,
                    f"etcd cannot be asked about its members: {etcd['error']}",
                    "mend it, then run again; nothing was touched",
                )
            )
        for member in etcd.get("members") or ():
            members[str(member["name"] or member["id"])] = members.get(str(member["name"] or member["id"]), True) and bool(
                member["healthy"]
            )
    stopped = [host for host in hosts.values() if host.seen.get("kubelet") and not host.seen["kubelet"]["active"]]
    errors += [PlanError(host.name, None, "its kubelet does not run", "start it, then run again; nothing was touched") for host in stopped]
    by_node = {host.node: host.name for host in hosts.values()}
    errors += [
        PlanError(by_node.get(name, name), None, f"its node {name} is not ready", "mend it, then run again; nothing was touched")
        for name in _false(nodes)
    ]
    errors += [
        PlanError(by_node.get(name, name), None, f"the etcd member {name} is not healthy", "mend it, then run again; nothing was touched")
        for name in _false(members)
    ]
    return errors


def _not_ready(host: Host) -> PlanError:
    """An apiserver that is not well; where it cannot start since a document of ours is not there, that is the cause."""
    apiserver = host.components.get(APISERVER)
    named = [occurrence.value for _flag, occurrence in apiserver.argv.flags] if apiserver and not apiserver.runs else []
    missing = next((path for path in named if path.startswith(f"{OWN_DIRECTORY}/") and not host.exists(path)), None)
    if missing:
        cause = "the manifest of its kube-apiserver names this file, which is not there, so it does not start"
        advice = (
            "if the machine was joined without the prepare playbook, run kubeadm reset on it, then prepare, and join it again; "
            "otherwise copy the file from another control plane"
        )
        return PlanError(host.name, missing, cause, advice)
    detail = f": {host.cluster['detail']}" if host.cluster and host.cluster.get("detail") else ""
    return PlanError(host.name, None, f"its apiserver is not ready{detail}", "mend it, then run again; nothing was touched")


def safe_order(names: Iterable[str], inventory: Inventory, hosts: Hosts) -> tuple[str, ...]:
    """The inventory's order, with the host of etcd's leader last: leadership then moves at most once."""
    wanted = set(names)
    known = [name for name in inventory.hosts if name in wanted]
    leaders = {
        str(member["name"]) for host in control_planes(inventory, hosts) for member in _members(host.cluster) if member.get("leader")
    }
    return tuple(sorted(known, key=lambda name: hosts[name].node in leaders))


def _members(cluster: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    etcd = (cluster or {}).get("etcd") or {}
    return list(etcd.get("members") or ())


def _false(health: Mapping[str, bool]) -> list[str]:
    return sorted(name for name, healthy in health.items() if not healthy)
