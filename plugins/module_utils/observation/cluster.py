# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as the apiserver of this node tells it: the part of an observation that a control plane adds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import csr, etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, port, segment, short, text, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.parallel import in_parallel
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls

# ConfigMaps by name, and the one key of each that the plan reads; nothing else of them leaves the host.
CONFIGMAPS = {"kubeadm-config": "ClusterConfiguration", "kubelet-config": "kubelet", "kube-proxy": "config.conf"}
# Fields of a kubelet's configuration that may hold a token.
WITHHELD = ("staticPodURLHeader",)
CONTROL_PLANE_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
DEFAULT_ADDRESS_TYPES = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
KUBELET_PORT = 10250
LOOKS, LOOK_AGAIN_S = 5, 2.0  # a readiness that fails is looked at again before it counts
CONFIGZ = (10.0, 1 << 18)  # seconds and bytes
MOST_ADDRESSES = 100
DETAIL = 1 << 15  # characters of what the apiserver says about its readiness
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ninepaths"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
STALE_TOKENS = re.compile(r"^serviceaccount_stale_tokens_total(?:\{[^}\n]*\})? ([0-9.eE+]{1,32})$", re.MULTILINE)

# Programs that approve serving certificates, by the name of their Deployment.
APPROVERS = re.compile("csr-approver|kubelet-serving-cert-approver|kubelet-rubber-stamp|machine-approver|talos-cloud-controller-manager")

Thing = TypeVar("Thing")
NOTHING: list[dict[str, Any]] = []
NO_NAMES: list[str] = []


def add(seen: Collection, request: Mapping[str, Any], observation: dict[str, Any], timers: Sequence[str]) -> Api | None:
    """Add `cluster` and the versions that the API knows to an observation; an apiserver that does not answer becomes a problem.

    Returns the client, for the proofs.
    """
    apiserver = observation["components"]["kube-apiserver"]
    argv = apiserver["argv"] or layout.manifest_flags(seen.document(apiserver["manifest"]) or "")
    try:
        api = apis.local(seen.host, argv)
        version = short(api.get("/version").get("gitVersion"))
    except ApiError as error:
        advice = "mend it first; `crictl logs` of its container says why it does not run"
        seen.problem(None, f"the apiserver of this node does not answer: {error}", advice)
        return None
    apiserver["version"] = version
    found = Cluster(api, argv, seen, request).observe(timers)
    observation["cluster"] = {"version": version, **found}
    kubelet, node = observation["kubelet"], observation["host"]["node"]
    if kubelet is not None:
        kubelet["version"] = next((entry["version"] for entry in found["nodes"] if entry["name"] == node), None)
    return api


class Cluster:
    """Asks one apiserver; what it refuses becomes a problem and an empty part."""

    def __init__(self, api: Api, argv: Sequence[str], seen: Collection, request: Mapping[str, Any]) -> None:
        self._api, self._argv, self._seen, self._request = api, argv, seen, request

    def observe(self, timers: Sequence[str]) -> dict[str, Any]:
        """Everything but the version."""
        ready, detail = self._part(self._readyz, (False, "no answer"))
        nodes = self._part(self._nodes, NOTHING)
        return {
            "readyz": ready,
            "detail": detail,
            "endpoint": self._api.where.url,
            "nodes": nodes,
            "serving_csrs": self._part(lambda: self._serving_csrs(nodes), NOTHING),
            "configmaps": {name: self._part(lambda name=name: self._configmap(name), None) for name in CONFIGMAPS},  # type: ignore[misc]
            "etcd": etcd.observe(self._seen.host, self._argv),
            "stale_tokens": self._part(self._stale_tokens, None),
            "approvers": [*timers, *self._part(self._approvers, NO_NAMES)],
            "kubelets": self._kubelets(nodes),
            "lease": self._part(self._lease, None),
        }

    def _part(self, ask: Callable[[], Thing], otherwise: Thing) -> Thing:
        try:
            return ask()
        except ApiError as error:
            cause = f"the apiserver refuses a part of the observation: {error}"
            self._seen.problem(None, cause, "look at its log; the rest of the observation is complete")
            return otherwise

    def _readyz(self) -> tuple[bool, str]:
        """Readiness and what fails. A busy apiserver fails single looks at etcd (its limit is 2 s), so only what stays counts."""
        ready, detail = self._look()
        for _again in range(LOOKS - 1):
            if ready:
                break
            time.sleep(LOOK_AGAIN_S)
            ready, detail = self._look()
        return ready, detail

    def _look(self) -> tuple[bool, str]:
        status, answer = self._api.raw("/readyz?verbose")
        failing = [one_line(line) for line in answer[:DETAIL].splitlines() if line.startswith("[-]")]
        return status == 200, "; ".join(failing) or ("ok" if status == 200 else f"status {status}")

    def _nodes(self) -> list[dict[str, Any]]:
        leases = self._leases()
        return [self._node(node, leases) for node in self._api.list("/api/v1/nodes") if short(mapping(node, "metadata").get("name"))]

    def _leases(self) -> dict[str, float]:
        found = self._api.list("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
        return {str(mapping(lease, "metadata").get("name")): csr.seconds(mapping(lease, "spec").get("renewTime")) for lease in found}

    def _node(self, node: Mapping[str, Any], leases: Mapping[str, float]) -> dict[str, Any]:
        metadata, status = mapping(node, "metadata"), mapping(node, "status")
        info, addresses = mapping(status, "nodeInfo"), mappings(status.get("addresses"))
        # A kubelet writes its own Node object: nothing in it may be so long that the rest is not read because of it.
        pairs = [(short(entry.get("type")), short(entry.get("address"))) for entry in addresses[:MOST_ADDRESSES]]
        return {
            "name": metadata["name"],
            "uid": short(metadata.get("uid")) or "",
            "addresses": [{"type": kind, "address": address} for kind, address in pairs if kind and address],
            "kubelet_port": port(mapping(status, "daemonEndpoints", "kubeletEndpoint").get("Port"), KUBELET_PORT),
            "ready": any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in mappings(status.get("conditions"))),
            "version": short(info.get("kubeletVersion")),
            "lease_renewed": leases.get(metadata["name"]),
            "control_plane": any(label in mapping(metadata, "labels") for label in CONTROL_PLANE_LABELS),
            "os": short(info.get("osImage")),
        }

    def _serving_csrs(self, nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The verdict is a forecast: a node's own word for its addresses counts here, for the approver only the inventory's."""
        named = {str(node): list(names) for node, names in (self._request.get("addresses") or {}).items()}
        own = {node["name"]: [entry["address"] for entry in node["addresses"]] for node in nodes}
        permitted = {node: csr.allowed([*named.get(node, ()), *own.get(node, ())]) for node in {*named, *own}}
        return [
            {"name": entry.name, "node": entry.node, "state": entry.state, "created": entry.created, "verdict": entry.verdict}
            for entry in csr.review(csr.fetch(self._api), permitted)
        ]

    def _configmap(self, name: str) -> dict[str, Any] | None:
        """The document that the plan reads, without it where a secret stands in it."""
        found = self._api.find(f"/api/v1/namespaces/kube-system/configmaps/{name}")
        version = short(mapping(found, "metadata").get("resourceVersion"))
        if found is None or version is None:
            return None
        key = CONFIGMAPS[name]
        document = text(mapping(found, "data").get(key))
        why = None if document is None else secrets.found_in(document)
        if why:
            cause = f"the key {key} holds what looks like a secret ({why}), so it is not read"
            self._seen.problem(f"ConfigMap kube-system/{name}", cause, "take it out with kubectl edit; every node can read this object")
        return {"resource_version": version, "data": {} if document is None or why else {key: document}}

    def _stale_tokens(self) -> int | None:
        """How often a token was used that only the extension keeps alive; none can be once that is off, and asking costs some megabytes."""
        if layout.flag(self._argv, "service-account-extend-token-expiration") == "false":
            return 0
        status, answer = self._api.raw("/metrics")
        found = STALE_TOKENS.findall(answer) if status == 200 else []
        try:
            return min(int(sum(float(value) for value in found)), 1 << 53) if found else None
        except (ValueError, OverflowError):
            return None

    def _approvers(self) -> list[str]:
        found = self._api.list("/apis/apps/v1/deployments", accept=METADATA_ONLY)
        names = {tuple(short(mapping(entry, "metadata").get(key)) or "" for key in ("namespace", "name")) for entry in found}
        return [f"{space}/{name}" for space, name in sorted(names) if APPROVERS.search(name) and self._runs(space, name)]

    def _runs(self, namespace: str, name: str) -> bool:
        deployment = self._api.find(f"/apis/apps/v1/namespaces/{segment(namespace)}/deployments/{segment(name)}")
        return whole(mapping(deployment, "status").get("availableReplicas")) > 0

    def _lease(self) -> dict[str, Any] | None:
        spec = mapping(self._api.find(LEASE), "spec")
        holder, seconds = short(spec.get("holderIdentity")), max(0, whole(spec.get("leaseDurationSeconds")))
        return {"holder": holder, "renewed": csr.seconds(spec.get("renewTime")), "seconds": seconds} if holder else None

    def _kubelets(self, nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Shake hands with every kubelet as the apiserver would, and ask each for the configuration it runs with."""
        types = (layout.flag(self._argv, "kubelet-preferred-address-types") or DEFAULT_ADDRESS_TYPES).split(",")
        try:
            trusted = kubelet_context(self._seen, self._argv)
        except (OSError, UnicodeDecodeError, tls.TlsError) as error:
            advice = "correct --client-ca-file or --kubelet-certificate-authority"
            self._seen.problem(None, f"the CA for kubelets cannot be read: {error}", advice)
            return []
        return in_parallel(lambda node: self._kubelet(node, types, trusted), nodes)

    def _kubelet(self, node: Mapping[str, Any], types: Sequence[str], trusted: Any) -> dict[str, Any]:
        address = preferred(node["addresses"], types)
        entry: dict[str, Any] = {"node": node["name"], "address": address, "port": node["kubelet_port"], "verified": False, "error": None}
        entry.update(certificate=None, configz=None, configz_error=None)
        if address is None:
            return {**entry, "error": f"the Node object has no address of the types {', '.join(types)}"}
        outcome, failure = tls.look(address, node["kubelet_port"], trusted, "/healthz")
        entry.update(verified=not failure, error=failure or None, certificate=outcome.certificate)
        if outcome.stage != tls.CONNECT:
            entry["configz"], entry["configz_error"] = self._configz(node["name"])
        return entry

    def _configz(self, node: str) -> tuple[dict[str, Any] | None, str | None]:
        """Through the apiserver, on a connection of this thread's own; what answers in the end is the kubelet. Or why there is none."""
        api = self._api.another(*CONFIGZ)
        try:
            found = api.get(f"/api/v1/nodes/{segment(node)}/proxy/configz").get("kubeletconfig")
        except ApiError as error:
            return None, str(error)
        finally:
            api.close()
        if not isinstance(found, dict):
            return None, "the answer has no kubeletconfig"
        return {key: value for key, value in found.items() if key not in WITHHELD}, None


def kubelet_context(seen: Collection, argv: Sequence[str]) -> Any:
    """What the apiserver verifies kubelets with, or will: its flag, else the cluster's CA. Raises OSError or TlsError."""
    path = layout.flag(argv, "kubelet-certificate-authority") or layout.flag(argv, "client-ca-file") or f"{layout.PKI}/ca.crt"
    return tls.verified(files.read_bytes(layout.real_target(seen.host, path)).decode("ascii"))


def preferred(addresses: Iterable[Mapping[str, str]], types: Sequence[str]) -> str | None:
    """The address of a node that the apiserver dials."""
    known = [(entry.get("type"), entry.get("address")) for entry in addresses]
    return next((address for wanted in types for kind, address in known if kind == wanted and isinstance(address, str) and address), None)
