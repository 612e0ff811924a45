# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections that a control plane tries: paths 1, 3, 4, 5, 7 and 8."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError, Endpoint, endpoint
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.etcd import Url
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, text, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import PORTS, number, one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.proofs import Context, Probe, Proof, Scene
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.tls import Outcome

ALLOWED, FORBIDDEN = proofs.ALLOWED, proofs.FORBIDDEN
PLAIN, NOBODY, STALE, OLD, FOREIGN = proofs.PLAIN, proofs.NOBODY, proofs.STALE, proofs.OLD, proofs.FOREIGN
APISERVER, ADMIN = "the apiserver's certificate", "the administrator's certificate"
ETCD_CLIENT, ETCD_PEER = "the apiserver's etcd certificate", "etcd's peer certificate"
FOREIGN_TO_ETCD, CLUSTER_CLIENT = proofs.FOREIGN_TO_ETCD, proofs.CLUSTER_CLIENT
TO_KUBELET, TO_ETCD, AT_REST = Proof("apiserver_to_kubelet", 1), Proof("apiserver_to_etcd", 4), Proof("secrets_at_rest", 4, "encryption")
TO_APISERVER, FROM_POD, FROM_CONTROL_PLANE = (
    Proof("user_to_apiserver", 3),
    Proof("pod_to_apiserver", 7),
    Proof("control_plane_to_apiserver", 8),
)
ETCD_TO_ETCD = Proof("etcd_to_etcd", 5)
# What cannot be proven while a component's process is not found.
NEEDED_FOR: Mapping[str, Sequence[Proof]] = {
    "kube-apiserver": (TO_KUBELET, TO_APISERVER, TO_ETCD, AT_REST, FROM_POD),
    "etcd": (TO_ETCD, ETCD_TO_ETCD),
    "kube-controller-manager": (FROM_CONTROL_PLANE,),
    "kube-scheduler": (FROM_CONTROL_PLANE,),
}
READ_ONLY_PORT = 10255
CLOSED_AFTER = 1.5  # seconds; where a firewall drops, every node takes as long
LOCAL_PORTS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
SAMPLE = 50
# A Service without an endpoint refuses. An apiserver that restarts is away from its own until kube-proxy has noticed, which asks again ever more
# rarely, up to 30 s apart (client-go's reflector).
SERVICE_TRIES = 15
LOOPBACK, LOOPBACK_OF = ("127.", "::1"), {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
ENCRYPTED = b"k8s:enc:"

Pass = Callable[[Outcome], bool]


def probes(scene: Scene, api: Api | None) -> list[Probe]:
    """All probes that this host can make."""
    scene.contexts.update(_contexts(scene))
    found = [*_etcd_to_etcd(scene)]
    argv = scene.argv("kube-apiserver")
    if argv:
        found += [*_apiserver_to_kubelet(scene, argv), *_user_to_apiserver(scene, argv), *_apiserver_to_etcd(scene, argv)]
        found += [*_pod_to_apiserver(argv, api), *_control_plane_to_apiserver(scene, argv)]
    tried = {(probe.who, probe.address, probe.port) for probe in found}
    return found + [probe for probe in _etcd_listeners(scene) if (probe.who, probe.address, probe.port) not in tried]


def without_process(scene: Scene) -> list[dict[str, Any]]:
    """A failed proof for all that a component with a manifest would prove, had its process been found."""
    found = []
    for name, component in scene.observation["components"].items():
        cause = {"refusal": f"{component['manifest']} is there, but no process of its pod was found"}
        for proof in NEEDED_FOR[name] if not component["argv"] else ():
            found.append(proofs.record(scene.node, proof._replace(aspect="process"), ALLOWED, f"{name} {scene.node}", False, cause, ()))
    return found


def _contexts(scene: Scene) -> dict[str, Context]:
    apiserver, member, host = scene.argv("kube-apiserver"), scene.argv("etcd"), scene.host
    ca = layout.flag(apiserver, "kubelet-certificate-authority") or layout.flag(apiserver, "client-ca-file")
    kubelet_client = (layout.flag(apiserver, "kubelet-client-certificate"), layout.flag(apiserver, "kubelet-client-key"))
    peer = (layout.flag(member, "peer-cert-file"), layout.flag(member, "peer-key-file"))
    foreign = proofs.foreign_pair(host)
    # kubeadm signs this pair with the cluster's CA, which etcd does not know.
    foreign_to_etcd = foreign if foreign == layout.KUBELET_SELF_SIGNED else kubelet_client
    admin = next((path for path in layout.ADMIN_KUBECONFIGS if scene.observation["certificates"].get(path)), layout.ADMIN_KUBECONFIGS[0])
    return {
        APISERVER: lambda: _pair(scene, tls.verified(_text(scene, ca)), kubelet_client),
        ADMIN: proofs.identity(host, admin),
        ETCD_CLIENT: lambda: etcd.client_context(host, apiserver) or tls.unverified(),
        ETCD_PEER: lambda: _pair(scene, tls.verified(_text(scene, layout.flag(member, "peer-trusted-ca-file"))), peer),
        CLUSTER_CLIENT: lambda: _pair(scene, tls.unverified(), kubelet_client if all(kubelet_client) else (layout.KUBELET_CLIENT,) * 2),
        FOREIGN_TO_ETCD: lambda: _pair(scene, tls.unverified(), foreign_to_etcd),
        **{name: proofs.identity(host, f"{layout.KUBERNETES}/{name[5:]}.conf") for name in LOCAL_PORTS},
    }


def _text(scene: Scene, path: str | None) -> str:
    if not path:
        raise tls.TlsError("the flags name no CA")
    return files.read_bytes(layout.real_target(scene.host, path)).decode("ascii")


def _pair(scene: Scene, context: ssl.SSLContext, pair: Sequence[str | None]) -> ssl.SSLContext:
    certificate, key = pair
    return tls.with_client(context, scene.host.real(certificate), scene.host.real(key)) if certificate and key else context


def _apiserver_to_kubelet(scene: Scene, argv: Sequence[str]) -> Iterator[Probe]:
    """Path 1: to every kubelet of the Node objects."""
    for kubelet in (scene.observation["cluster"] or {}).get("kubelets", ()):
        if kubelet["address"] is None:
            continue
        to, address = f"kubelet {kubelet['node']}", kubelet["address"]
        tries: list[tuple[str, str, Pass, str]] = [
            (ALLOWED, APISERVER, proofs.answered, "/healthz"),
            (FORBIDDEN, NOBODY, proofs.not_authenticated, "/pods"),
            (FORBIDDEN, FOREIGN, proofs.not_authenticated, "/pods"),
            (FORBIDDEN, PLAIN, proofs.ended, "/pods"),
            (FORBIDDEN, OLD, proofs.no_handshake, "/"),
        ]
        for kind, who, passes, path in tries:
            yield Probe(TO_KUBELET, kind, to, address, kubelet["port"], who, passes, path, bound=argv)
        yield Probe(TO_KUBELET, FORBIDDEN, to, address, READ_ONLY_PORT, PLAIN, proofs.closed, "/pods", bound=argv, timeout=CLOSED_AFTER)


def _user_to_apiserver(scene: Scene, argv: Sequence[str]) -> Iterator[Probe]:
    """Path 3: to this node's own apiserver."""
    tries: list[tuple[str, str, Pass, str, Mapping[str, str]]] = [
        (ALLOWED, ADMIN, proofs.answered, "/api", {}),
        (ALLOWED, ADMIN, proofs.answered, "/readyz", {}),
        (FORBIDDEN, NOBODY, proofs.refused, "/version", {}),
        (FORBIDDEN, STALE, proofs.not_authenticated, "/api", {"Authorization": "Bearer not-a-token"}),
        (FORBIDDEN, FOREIGN, proofs.not_authenticated, "/api", {}),
        (FORBIDDEN, PLAIN, proofs.ended, "/api", {}),
        (FORBIDDEN, OLD, proofs.no_handshake, "/", {}),
    ]
    for where in _endpoint(argv):
        for kind, who, passes, path, headers in tries:
            yield Probe(TO_APISERVER, kind, f"apiserver {scene.node}", where.address, where.port, who, passes, path, headers, argv)


def _endpoint(argv: Sequence[str]) -> list[Endpoint]:
    """One, or none, which the observation names as a problem already."""
    try:
        return [endpoint(argv)]
    except ApiError:
        return []


def _apiserver_to_etcd(scene: Scene, argv: Sequence[str]) -> Iterator[Probe]:
    """Path 4: to the etcd that the apiserver uses, and to all addresses of the one that runs here."""
    servers = [*etcd.urls(layout.flag(argv, "etcd-servers")), *etcd.urls(layout.flag(scene.argv("etcd"), "advertise-client-urls"))]
    for url in dict.fromkeys(servers):
        yield from _etcd(TO_ETCD, url, ETCD_CLIENT, "/health", [*argv, *scene.argv("etcd")])


def _etcd_to_etcd(scene: Scene) -> Iterator[Probe]:
    """Path 5: to the peer ports of all members."""
    argv = scene.argv("etcd")
    members = ((scene.observation["cluster"] or {}).get("etcd") or {}).get("members") or []
    known = [url for member in members for url in etcd.urls(",".join(member["peer_urls"]))]
    for url in dict.fromkeys([*etcd.urls(layout.flag(argv, "initial-advertise-peer-urls")), *known]) if argv else ():
        yield from _etcd(ETCD_TO_ETCD, url, ETCD_PEER, "/version", argv)


def _etcd(proof: Proof, url: Url, caller: str, path: str, bound: Sequence[str]) -> Iterator[Probe]:
    tries: list[tuple[str, str, Pass]] = [
        (ALLOWED, caller, proofs.answered),
        (FORBIDDEN, NOBODY, proofs.ended),
        (FORBIDDEN, FOREIGN_TO_ETCD, proofs.ended),
        (FORBIDDEN, PLAIN, proofs.ended),
        (FORBIDDEN, OLD, proofs.no_handshake),
    ]
    for kind, who, passes in tries:
        yield Probe(proof, kind, f"etcd {url.address}:{url.port}", url.address, url.port, who, passes, path, bound=bound)


def _etcd_listeners(scene: Scene) -> Iterator[Probe]:
    """Paths 4 and 5: every socket that etcd listens on, also those that it does not advertise.

    Its metrics on a loopback address are spoken in plain HTTP, as kubeadm's own probes need them, and hold no data.
    """
    argv = scene.argv("etcd")
    peers, metrics = ({url.port for url in etcd.urls(layout.flag(argv, f"listen-{kind}-urls"))} for kind in ("peer", "metrics"))
    for socket in scene.observation["listening"]:
        address, port = LOOPBACK_OF.get(socket["address"], socket["address"]), socket["port"]
        if socket["component"] != "etcd" or (port in metrics and socket["address"].startswith(LOOPBACK)):
            continue
        proof, path = (ETCD_TO_ETCD, "/version") if port in peers else (TO_ETCD, "/health")
        for who in (PLAIN, CLUSTER_CLIENT):
            yield Probe(proof, FORBIDDEN, f"etcd {address}:{port}", address, port, who, proofs.ended, path, bound=argv)


def _pod_to_apiserver(argv: Sequence[str], api: Api | None) -> Iterator[Probe]:
    """Path 7: to the address that pods use; what pods themselves can reach is left to the active proofs."""
    try:
        service = (api.find("/api/v1/namespaces/default/services/kubernetes") if api else None) or {}
    except ApiError:
        service = {}
    address = text(mapping(service, "spec").get("clusterIP")) or ""
    to, path = f"service kubernetes {address}", "/api/v1/namespaces"
    tries: list[tuple[str, Pass]] = [(PLAIN, proofs.ended), (NOBODY, proofs.refused)]
    for who, passes in tries if address else ():
        yield Probe(FROM_POD, FORBIDDEN, to, address, 443, who, passes, path, bound=argv, tries=SERVICE_TRIES)


def _control_plane_to_apiserver(scene: Scene, apiserver: Sequence[str]) -> Iterator[Probe]:
    """Path 8: the identities of controller manager and scheduler, and their own listeners."""
    for name, usual in LOCAL_PORTS.items():
        argv = scene.argv(name)
        port = number(layout.flag(argv, "secure-port") or str(usual), PORTS)
        if not argv or not port:
            continue
        for where in _endpoint(apiserver):
            yield Probe(FROM_CONTROL_PLANE, ALLOWED, f"apiserver {scene.node}", where.address, where.port, name, proofs.answered, "/api", bound=argv)
        bind = layout.flag(argv, "bind-address") or "0.0.0.0"  # noqa: S104 - the default of both programs
        tries: list[tuple[str, Pass, str]] = [
            (NOBODY, proofs.refused, "/metrics"),
            (PLAIN, proofs.ended, "/healthz"),
            (OLD, proofs.no_handshake, "/"),
        ]
        for who, passes, path in tries:
            local = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind  # noqa: S104
            proof = FROM_CONTROL_PLANE._replace(aspect=f"{name}-{proofs.ASPECTS[who]}")
            yield Probe(proof, FORBIDDEN, f"{name} {scene.node}", local, port, who, passes, path, bound=argv)
        for address in _node_addresses(scene):
            proof = FROM_CONTROL_PLANE._replace(aspect=f"{name}-{proofs.PORT}")
            outer = Probe(proof, FORBIDDEN, f"{name} {scene.node}", address, port, NOBODY, proofs.closed, "/healthz", bound=argv)
            yield outer._replace(timeout=CLOSED_AFTER)


def _node_addresses(scene: Scene) -> list[str]:
    """Addresses under which other machines know this node."""
    nodes = (scene.observation["cluster"] or {}).get("nodes", ())
    own = [entry["address"] for node in nodes if node["name"] == scene.node for entry in node["addresses"] if entry["type"] == "InternalIP"]
    return own or list(scene.observation["host"]["addresses"])


def secrets_at_rest(scene: Scene) -> list[dict[str, Any]]:
    """Path 4b: read some Secrets as etcd keeps them and look at their first bytes; no proof where etcd cannot be asked or holds none.

    Those that were written least recently: what nobody has written since encryption was switched on is still plain text.
    """
    argv = scene.argv("kube-apiserver")
    servers = etcd.urls(layout.flag(argv, "etcd-servers"))
    prefix = (layout.flag(argv, "etcd-prefix") or "/registry").rstrip("/") + "/secrets/"
    if not servers:
        return []
    document = {"key": _encoded(prefix), "range_end": _encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1)), "limit": SAMPLE}
    document.update(sort_target="MOD", sort_order="ASCEND")
    try:
        found = etcd.call(servers[0], etcd.client_context(scene.host, argv), "/v3/kv/range", document)
        values = [base64.b64decode(text(pair.get("value")) or "") for pair in mappings(found.get("kvs"))]
    except (etcd.EtcdError, ValueError):  # path 4's own probes show why
        return []
    if not values:
        return []
    encrypted = [value for value in values if value.startswith(ENCRYPTED)]
    # The prefix is k8s:enc:<provider>:<version>:<key name>:, none of it secret.
    providers = sorted({one_line(value[:64].split(b":", 4)[2].decode("ascii", "replace"))[:32] for value in encrypted})
    evidence = {
        "request": "read Secrets without the apiserver, those first that were written least recently",
        "total": whole(found.get("count")) or len(values),
        "expected": "all of them",
        "answer": f"{len(encrypted)} of {len(values)} are encrypted",
        "read": len(values),
        "encrypted": len(encrypted),
        "providers": providers,
    }
    to = f"etcd {servers[0].address}:{servers[0].port}"
    return [proofs.record(scene.node, AT_REST, FORBIDDEN, to, len(encrypted) == len(values), evidence, argv)]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
