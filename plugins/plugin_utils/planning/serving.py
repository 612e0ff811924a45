# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubelets' serving certificates: who serves a signed one, who will, which names each node may have, and who approves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import effective
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver, jobs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.claims import Claims
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import ROOT, Edit, HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.evaluate import BOOTSTRAP_FIELD, own_directory
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.inventory import control_planes, node_names
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory, sha256
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, Host

BOOTSTRAP = "kubelet-serving-bootstrap"
_KCM = "kube-controller-manager"
_EXTENSION = "service-account-extend-token-expiration"
_HOUR_S = 3600.0
_BACKDATED_S = 300.0
_SIGNING_KEYS = ("cluster-signing-kubelet-serving-key-file", "cluster-signing-key-file")

Hosts = Mapping[str, Host]


@dataclass(frozen=True)
class Serving:
    """`unverified`: nodes that some control plane could not verify. `coming`: those of them that will be, after the certificates wave.

    blocked: why the others will not, by node.
    """

    unverified: tuple[str, ...]
    coming: tuple[str, ...]
    blocked: Mapping[str, str]


def remembered_names(planes: Iterable[Host], nodes: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """What the approver on these control planes knows already, of nodes that are (still) in the cluster.

    A run that did not see a node (--limit, a host that is down) must not make the approver forget it: its next renewal would be refused.
    """
    found: dict[str, dict[str, list[str]]] = {}
    wanted = set(nodes)
    for host in planes:
        for node, names in approver.read(str(host.file(approver.CONFIG).get("text") or "")).items():
            if node in wanted:
                found.setdefault(node, names)
    return found


def conditions(inventory: Inventory, hosts: Hosts, assets: Mapping[str, bytes]) -> dict[str, str | None]:
    """The conditions of the whole cluster that do not depend on what is planned. Values: why one does not hold, None where it does."""
    planes = control_planes(inventory, hosts)
    missing = [name for name in inventory.control_plane if name not in hosts]
    unseen = None if planes else "no control plane was observed"
    if missing:
        unseen = f"{', '.join(missing)} could not be observed: {inventory.unreachable.get(missing[0], 'no reason is known')}"
    return {
        "cluster-ca-key": unseen or _ca_key(planes),
        "serving-csr-approver": _approver(planes, assets, unseen),
        "no-stale-tokens": _stale_tokens(planes, unseen),
    }


def _ca_key(planes: Iterable[Host]) -> str | None:
    for host in planes:
        manager = host.components.get(_KCM)
        key = next((value for flag in _SIGNING_KEYS if manager and (value := manager.argv.value(flag))), None)
        if key is None:
            return f"the controller manager of {host.name} has no key to sign certificates with (an external CA)"
        if not host.exists(key):
            return f"{key} is not on {host.name}: the controller manager there cannot sign certificates"
    return None


def _approver(planes: list[Host], assets: Mapping[str, bytes], unseen: str | None) -> str | None:
    if others(planes):
        return None
    if approver.PROGRAM not in assets:
        return "nothing approves the kubelets' certificate requests, and ours is not part of this run"
    return unseen


def others(planes: Iterable[Host]) -> tuple[str, ...]:
    """Approvers of somebody else that run in the cluster."""
    return tuple(sorted({name for host in planes for name in (host.cluster or {}).get("approvers") or () if name != approver.TIMER}))


def _stale_tokens(planes: Iterable[Host], unseen: str | None) -> str | None:
    """Each apiserver counts from its own start, so a count of zero says something after the hour that a token lasts."""
    counting = [host for host in planes if not _extension_is_off(host)]
    counts = [(host.cluster or {}).get("stale_tokens") for host in counting]
    used = sum(count for count in counts if count)
    if used:
        times = f"held while pods use tokens past their hour: {used} uses since the apiserver started"
        return f"{times}; restart those pods or update their client libraries, restart the apiserver, and run again an hour later"
    if unseen or None in counts:
        return unseen or "the apiserver's count of stale tokens could not be read"
    early = [host for host in counting if not _counted_an_hour(host) and not _young(host)]
    if early:
        names = ", ".join(host.name for host in early)
        return f"the apiserver of {names} has run for less than an hour; its count of tokens that are used past their hour means nothing before"
    return None


def _extension_is_off(host: Host) -> bool:
    apiserver = host.components.get(APISERVER)
    return apiserver is not None and apiserver.argv.value(_EXTENSION) == "false"


def _counted_an_hour(host: Host) -> bool:
    apiserver = host.components.get(APISERVER)
    started = apiserver.seen.get("started") if apiserver else None
    return started is not None and float(host.seen["at"]) - float(started) >= _HOUR_S


def _young(host: Host) -> bool:
    """Whether the cluster itself is younger than a token: nothing in it can rely on older ones. kubeadm dates its CA back five minutes."""
    apiserver = host.components.get(APISERVER)
    path = apiserver.argv.value("client-ca-file") if apiserver else None
    made = [float(certificate["not_before"]) for certificate in host.seen.get("certificates", {}).get(path or "") or ()]
    return bool(made) and float(host.seen["at"]) - min(made) < _HOUR_S + _BACKDATED_S


def state(inventory: Inventory, hosts: Hosts, drafts: Mapping[str, HostDraft], claimed: Claims) -> Serving:
    """Who serves what, given the drafts of the kubelets, and what their certificates may hold."""
    planes = control_planes(inventory, hosts)
    by_node = {host.node: host for host in hosts.values() if host.seen.get("kubelet")}
    unverified = without_verified(inventory, hosts)
    refusals = refused_requests(inventory, hosts)
    blocked = {
        node: reason
        for node in unverified
        if (reason := _blocked(node, by_node.get(node), drafts, refusals.get(node), inventory) or claimed.missing(node, planes))
    }
    return Serving(tuple(unverified), tuple(node for node in unverified if node not in blocked), blocked)


def without_verified(inventory: Inventory, hosts: Hosts) -> list[str]:
    """Nodes whose kubelet some control plane could not verify."""
    verified = [_verified(host) for host in control_planes(inventory, hosts)]
    return [node for node in sorted(node_names(inventory, hosts) or ()) if not all(node in found for found in verified)]


def as_observed(found: Serving, inventory: Inventory, hosts: Hosts) -> Serving:
    """The same without prediction: what is not verified now is in the way, since the certificates wave is over."""
    blocked = dict(found.blocked)
    for node in found.coming:
        causes = [f"{host.name} cannot verify it ({error})" for host in control_planes(inventory, hosts) if (error := _error(host, node))]
        blocked[node] = "; ".join(causes)
    return Serving(found.unverified, (), blocked)


def _error(host: Host, node: str) -> str | None:
    """Why a control plane cannot verify a node's kubelet."""
    if node in _verified(host):
        return None
    seen = [entry for entry in (host.cluster or {}).get("kubelets") or () if entry["node"] == node and not entry["verified"]]
    return str(seen[0].get("error") or "no reason is known") if seen else "it was not tried"


def condition(serving: Serving, inventory: Inventory, hosts: Hosts) -> str | None:
    """Why not every kubelet serves, or will serve, a certificate that every control plane can verify."""
    missing = [name for name in inventory.control_plane if name not in hosts]
    if missing:
        return f"{', '.join(missing)} could not be observed, so nobody knows what it can verify"
    if node_names(inventory, hosts) is None:
        return "no apiserver answered, so the nodes are not known"
    if not serving.blocked:
        return None
    named = "; ".join(f"{node}: {reason}" for node, reason in sorted(serving.blocked.items())[:5])
    more = f" (and {len(serving.blocked) - 5} more)" if len(serving.blocked) > 5 else ""
    return f"waits until every node serves a signed certificate: {named}{more}"


def _verified(host: Host) -> frozenset[str]:
    """Nodes whose kubelet a control plane has verified, at every address that it may use."""
    seen = (host.cluster or {}).get("kubelets") or ()
    failed = {entry["node"] for entry in seen if not entry["verified"]}
    return frozenset(entry["node"] for entry in seen) - failed


def _refusal(planes: Iterable[Host], node: str) -> str | None:
    """Why the approver refuses the newest request of a node."""
    requests = [request for host in planes for request in (host.cluster or {}).get("serving_csrs") or () if request["node"] == node]
    newest = max(requests, key=lambda request: (request["created"], request["name"]), default=None)
    if newest is None or newest["state"] != "pending" or newest["verdict"] == "ok":
        return None
    return f"its request {newest['name']} is refused: {newest['verdict']}"


def _blocked(node: str, host: Host | None, drafts: Mapping[str, HostDraft], refusal: str | None, inventory: Inventory) -> str | None:
    if host is None:
        unreachable = {name: reason for name, reason in inventory.unreachable.items() if name == node}
        return f"not observed ({unreachable[node]})" if unreachable else "not in the inventory, or not observed"
    if refusal:
        return refusal
    outcome = next((outcome for outcome in drafts[host.name].outcomes if outcome.id == BOOTSTRAP), None)
    if outcome is not None and outcome.status in ("ok", "change"):
        return None
    if effective(host.kubelet.layers if host.kubelet else (), BOOTSTRAP_FIELD) is True:
        return None
    return f"{BOOTSTRAP} is {outcome.status}: {outcome.reason}" if outcome else f"{BOOTSTRAP} is not chosen"


def refused_requests(inventory: Inventory, hosts: Hosts) -> dict[str, str]:
    """Nodes with a pending request that the approver refuses, with the reason."""
    planes = control_planes(inventory, hosts)
    nodes = {str(request["node"]) for host in planes for request in (host.cluster or {}).get("serving_csrs") or ()}
    return {node: reason for node in sorted(nodes) if (reason := _refusal(planes, node))}


def waiting_requests(inventory: Inventory, hosts: Hosts) -> tuple[str, ...]:
    """Nodes with a pending request that may be approved."""
    found = {
        str(request["node"])
        for host in control_planes(inventory, hosts)
        for request in (host.cluster or {}).get("serving_csrs") or ()
        if request["state"] == "pending" and request["verdict"] == "ok"
    }
    return tuple(sorted(found))


def install_approver(host: Host, draft: HostDraft, program: bytes, nodes: Mapping[str, Mapping[str, list[str]]]) -> str | None:
    """Our approver on a control plane: its program and units, and which names each node may have. Returns what is not right about it."""
    reason = "It approves the kubelets' requests for serving certificates, now and when they are renewed."
    edits = [own_directory((BOOTSTRAP,))]
    found = approver.assets(program, nodes)
    for directory in sorted({asset.path.rpartition("/")[0] for asset in found if asset.path.startswith("/usr/local/")}):
        edits.append(Edit("files", directory, "dir", None, None, "0700", ROOT, ROOT, (BOOTSTRAP,), None, reason))
    for asset in found:
        edits.append(Edit("files", asset.path, "file", asset.content, None, asset.mode, ROOT, ROOT, (BOOTSTRAP,), None, reason, asset.summary))
    running = approver.TIMER in ((host.cluster or {}).get("approvers") or ())
    if not running or any(host.file(asset.path).get("sha256") != sha256(asset.content) for asset in found):
        draft.units = (approver.TIMER,)
    draft.edits += edits
    wrong = [edit.path for edit in edits if jobs.differs(host.file(edit.path), edit)]
    if wrong:
        return f"of what approves requests here {wrong[0]} is not as it was written" + (f", and {len(wrong) - 1} more" if wrong[1:] else "")
    return None if running else f"{approver.TIMER}, which approves requests here, does not run"
