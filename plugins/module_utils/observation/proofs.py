# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passive proofs: connections that must work and connections that must be refused, made for real and changing nothing.

A refusal counts only when the other side made it: an alert or a status. A time-out or a missing route proves nothing, except where a port
has to be closed: a firewall may close it as well, and the other proofs show that the host is up.
Which connection proves which path stands in DESIGN.md, "The nine paths"; what a control plane tries is in proofs_control_plane.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import etcd
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError, Credential
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import segment
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.parallel import in_parallel
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.tls import Outcome

ALLOWED, FORBIDDEN = "allowed", "forbidden"
PLAIN, NOBODY, OLD, FOREIGN = "plain HTTP", "no credentials", "TLS 1.1", "a certificate of a foreign CA"
STALE = "a token that nobody issued"
FOREIGN_TO_ETCD = "a certificate of a CA that is foreign to etcd"
CLUSTER_CLIENT = "a client certificate of the cluster's CA"
AGAIN_AFTER = 3.0  # seconds

# What about a proof a connection shows, by who tries it; a control may name one aspect of a proof.
ASPECTS: Mapping[str, str] = {
    PLAIN: "plain",
    NOBODY: "anonymous",
    OLD: "old-tls",
    STALE: "token",
    **dict.fromkeys((FOREIGN, FOREIGN_TO_ETCD, CLUSTER_CLIENT), "foreign"),
}
AUTHORIZATION, PORT = "authorization", "port"

Context = Callable[[], ssl.SSLContext]


class Proof(NamedTuple):
    """What one connection proves; `aspect` where it does not follow from the connection."""

    id: str
    path: int
    aspect: str = ""


class Probe(NamedTuple):
    """One connection to try. `who` names an entry of the scene's contexts, `bound` are the argv that the result depends on.

    `tries`: looks, a few seconds apart, at an address that refuses connections.
    """

    proof: Proof
    kind: str
    to: str
    address: str
    port: int
    who: str
    passes: Callable[[Outcome], bool]
    path: str = "/"
    headers: Mapping[str, str] = {}
    bound: Sequence[str] = ()
    timeout: float = tls.TIMEOUT
    tries: int = 1


class Scene(NamedTuple):
    """What all probes of a host share; a context is made when its first probe needs it."""

    host: Host
    node: str
    observation: Mapping[str, Any]
    contexts: dict[str, Context]

    def argv(self, component: str) -> list[str]:
        """Of a component that runs here, else empty."""
        return list((self.observation["components"].get(component) or {}).get("argv") or [])


# What an outcome has to be ------------------------------------------------------------------------------------------------------------


def answered(outcome: Outcome) -> bool:
    """The request was served."""
    return outcome.status == 200


def not_authenticated(outcome: Outcome) -> bool:
    """The peer does not know who asks: status 401, or it ended the connection."""
    return outcome.status == 401 or ended(outcome)


def refused(outcome: Outcome) -> bool:
    """The peer does not serve this caller: status 401 or 403, or it ended the connection."""
    return outcome.status in (401, 403) or ended(outcome)


def not_authorized(outcome: Outcome) -> bool:
    """The peer knows the caller and does not serve it."""
    return outcome.status == 403


def ended(outcome: Outcome) -> bool:
    """The peer ended the connection without serving the request."""
    return outcome.by_peer and outcome.status is None and outcome.stage != tls.CONNECT


def no_handshake(outcome: Outcome) -> bool:
    """The peer refused to speak TLS like that."""
    return outcome.by_peer and outcome.stage == tls.HANDSHAKE


def closed(outcome: Outcome) -> bool:
    """Nobody answers there."""
    return outcome.stage == tls.CONNECT and outcome.refusal != tls.NO_ADDRESS


EXPECTED: Mapping[Callable[[Outcome], bool], str] = {
    answered: "200",
    not_authenticated: "401",
    refused: "401 or 403",
    not_authorized: "403",
    ended: "an end of the connection",
    no_handshake: "a refused handshake",
    closed: "nobody there",
}

# ------------------------------------------------------------------------------------------------------------------------------------


def passive(seen: Collection, observation: Mapping[str, Any], api: Api | None) -> list[dict[str, Any]]:
    """Perform all passive proofs that this host can make; `api` is the local apiserver's client where it answers."""
    scene = Scene(seen.host, str(observation["host"]["node"]), observation, _common(seen.host))
    probes = list(_kubelet_to_apiserver(scene))
    others: list[dict[str, Any]] = []
    if observation["components"]:
        from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs_control_plane as control_plane

        probes += control_plane.probes(scene, api)
        others += [*control_plane.without_process(scene), *control_plane.secrets_at_rest(scene)]
    made, failures = _contexts(scene.contexts, {probe.who for probe in probes})
    return in_parallel(lambda probe: perform(scene.node, probe, made, failures), probes) + others


def _contexts(wanted: Mapping[str, Context], names: set[str]) -> tuple[dict[str, ssl.SSLContext], dict[str, str]]:
    """Make each context once; what cannot be made is a failed proof, not an exception."""
    made, failures = {}, {}
    for name in sorted(names - {PLAIN}):
        try:
            made[name] = wanted[name]()
        except (OSError, UnicodeDecodeError, tls.TlsError, ApiError, etcd.EtcdError) as error:
            failures[name] = tls.reason(error)
    return made, failures


def perform(node: str, probe: Probe, contexts: Mapping[str, ssl.SSLContext], failures: Mapping[str, str]) -> dict[str, Any]:
    """Try one connection and write down what happened."""
    if probe.who in failures:
        outcome, failure = Outcome(tls.CONNECT, failures[probe.who]), failures[probe.who]
    elif probe.kind == ALLOWED and probe.who != PLAIN:
        outcome, failure = tls.look(probe.address, probe.port, contexts[probe.who], probe.path, probe.headers)
    else:
        outcome, failure = _attempt(probe, contexts), ""
    passed = probe.passes(outcome) and not failure
    evidence = {
        "request": f"GET {probe.path}, {probe.who}",
        "expected": EXPECTED[probe.passes],
        "address": f"{probe.address}:{probe.port}",
        **outcome.evidence(),
    }
    served = outcome.certificate["sha256"] if outcome.certificate else ""
    return record(node, probe.proof._replace(aspect=aspect(probe)), probe.kind, probe.to, passed, evidence, [*probe.bound, served])


def aspect(probe: Probe) -> str:
    """What a connection shows: that a port is closed, that somebody is let in, or who is not."""
    if probe.proof.aspect:
        return probe.proof.aspect
    if probe.passes is closed:
        return PORT
    return ALLOWED if probe.kind == ALLOWED else ASPECTS.get(probe.who, AUTHORIZATION)


def _attempt(probe: Probe, contexts: Mapping[str, ssl.SSLContext]) -> Outcome:
    """The last outcome of at most `tries`, which end with the first that is not refused; what is dropped would be dropped again."""
    for left in reversed(range(probe.tries)):
        outcome = tls.attempt(probe.address, probe.port, contexts.get(probe.who), probe.path, probe.headers, probe.timeout)
        if outcome.stage != tls.CONNECT or not outcome.by_peer or not left:
            break
        time.sleep(AGAIN_AFTER)
    return outcome


def record(node: str, proof: Proof, kind: str, to: str, passed: bool, evidence: Mapping[str, Any], bound: Sequence[str]) -> dict[str, Any]:
    """A proof as docs/development/interfaces.md defines it."""
    return {
        "id": proof.id,
        "path": proof.path,
        "aspect": proof.aspect or kind,
        "kind": kind,
        "from": node,
        "to": to,
        "passed": passed,
        "at": round(time.time(), 3),
        "evidence": dict(evidence),
        "fingerprint": hashlib.sha256(json.dumps(list(bound)).encode("utf-8")).hexdigest(),
    }


def _common(host: Host) -> dict[str, Context]:
    """Callers that need nothing of this host but, for the foreign one, the pair that its kubelet once signed for itself."""
    return {
        NOBODY: tls.unverified,
        STALE: tls.unverified,
        OLD: tls.outdated,
        FOREIGN: lambda: tls.with_client(tls.unverified(), *(host.real(path) for path in foreign_pair(host))),
    }


def foreign_pair(host: Host) -> tuple[str, str]:
    """A certificate and key that no CA of the cluster signed, for one sort of server at least.

    Every kubelet starts with a pair that it signed itself. Where that is gone, etcd's CA is foreign to everybody but etcd, and
    proofs_control_plane.py takes another one for etcd.
    """
    if all(os.path.exists(host.real(path)) for path in layout.KUBELET_SELF_SIGNED):
        return layout.KUBELET_SELF_SIGNED
    return f"{layout.PKI}/apiserver-etcd-client.crt", f"{layout.PKI}/apiserver-etcd-client.key"


def identity(host: Host, path: str) -> Context:
    """The caller that a kubeconfig describes, which verifies the server."""

    def make() -> ssl.SSLContext:
        found: Credential = apis.credential(host, path)
        return tls.with_client_data(tls.verified(found.ca), found.certificate, found.key)

    return make


def _kubelet_to_apiserver(scene: Scene) -> Iterator[Probe]:
    """Path 2, from every node, to the server that its kubelet uses."""
    proof, kubelet = Proof("kubelet_to_apiserver", 2), scene.observation["kubelet"]
    if kubelet is None:
        return
    try:
        text = files.read_bytes(scene.host.real(kubelet["kubeconfig"])).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    server = etcd.parse_url(layout.top_level(text, "server") or "")
    if server is None:
        return
    who = f"the certificate of node {scene.node}"
    scene.contexts[who] = identity(scene.host, kubelet["kubeconfig"])
    node, bound = f"/api/v1/nodes/{segment(scene.node)}", kubelet["argv"]

    def probe(kind: str, caller: str, passes: Callable[[Outcome], bool], path: str = node) -> Probe:
        return Probe(proof, kind, "apiserver", server.address, server.port, caller, passes, path, bound=bound)

    yield probe(ALLOWED, who, answered)
    yield probe(FORBIDDEN, who, not_authorized, "/api/v1/secrets?limit=1")
    yield probe(FORBIDDEN, NOBODY, refused)
    yield probe(FORBIDDEN, PLAIN, ended)
    if os.path.exists(scene.host.real(foreign_pair(scene.host)[0])):
        yield probe(FORBIDDEN, FOREIGN, not_authenticated)
