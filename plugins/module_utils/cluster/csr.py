# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides whether a kubelet's request for a serving certificate may be approved, and approves it.

The request's own signature is not checked again: the apiserver refuses to store one that does not verify (ParseCSR in
pkg/apis/certificates and the validation of CertificateSigningRequestSpec call CheckSignature), so what the API returns was signed with
the key that it names. Everything else that an approver must know for itself is checked here: the signer checks the shape only.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, segment, short, text
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import x509

SIGNER = "kubernetes.io/kubelet-serving"
COLLECTION = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
REQUIRED_USAGES = {"digital signature", "server auth"}
ALLOWED_USAGES = REQUIRED_USAGES | {"key encipherment"}  # that one for RSA keys only
MAX_SECONDS = 366 * 86400
SAID = 1000  # characters of a reason; a request may hold thousands of names
OK = "ok"
NEWER = "a newer request of this node is pending"

# Names of the cluster's own services, the apiserver's first of all.
RESERVED = re.compile(r"localhost|kubernetes(\.default)?|.*\.svc(\..*)?", re.IGNORECASE)

PENDING, APPROVED, DENIED, FAILED = "pending", "approved", "denied", "failed"
DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?Z")


class Allowed(NamedTuple):
    """What may stand in one node's certificate: host names in lower case, and addresses in their packed form."""

    dns: frozenset[str]
    ip: frozenset[bytes]


class Review(NamedTuple):
    """A request, its state, and the verdict: `ok`, or why it must not be approved."""

    name: str
    node: str
    state: str
    created: float
    verdict: str
    document: dict[str, Any]


def allowed(names: Iterable[str]) -> Allowed:
    """Host names and addresses, told apart by their form."""
    wanted = list(names)
    packed = {name: pack(name) for name in wanted}
    names_only = frozenset(name.lower() for name in wanted if packed[name] is None)
    return Allowed(names_only, frozenset(address for address in packed.values() if address is not None))


def pack(address: str) -> bytes | None:
    """An address in its packed form, or None for what is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
    return None


def seconds(date: object) -> float:
    """Kubernetes' dates (RFC 3339, UTC) as unix seconds; 0 for anything else."""
    found = DATE.fullmatch(date) if isinstance(date, str) else None
    if found is None:
        return 0.0
    try:
        whole = datetime.datetime(*(int(part) for part in found.groups()[:6]), tzinfo=datetime.timezone.utc)  # type: ignore[arg-type, misc]
    except ValueError:
        return 0.0
    return whole.timestamp() + float(found.group(7) or 0)


def node_of(document: Mapping[str, Any]) -> str:
    """The node that sent a request, by who the apiserver says it was; empty for anybody else."""
    user = mapping(document, "spec").get("username")
    return short(user[len(NODE_PREFIX) :]) or "" if isinstance(user, str) and user.startswith(NODE_PREFIX) else ""


def state_of(document: Mapping[str, Any]) -> str:
    """pending, approved, denied or failed."""
    kinds = {text(condition.get("type")) for condition in mappings(mapping(document, "status").get("conditions"))}
    return next((state for state, kind in ((FAILED, "Failed"), (DENIED, "Denied"), (APPROVED, "Approved")) if kind in kinds), PENDING)


def verdict(document: Mapping[str, Any], permitted: Allowed | None) -> str:
    """`ok`, or the first reason why this request must not be approved; `permitted` is None for a node that nobody named."""
    spec = mapping(document, "spec")
    reason = _requester(spec) or _terms(spec) or _content(spec, node_of(document), permitted)
    return one_line(reason)[:SAID] or OK


def _requester(spec: Mapping[str, Any]) -> str:
    if spec.get("signerName") != SIGNER:
        return f"not for the signer {SIGNER}"
    user = spec.get("username")
    if not isinstance(user, str) or not user.startswith(NODE_PREFIX) or short(user[len(NODE_PREFIX) :]) is None:
        return "not requested by a node"
    if NODES_GROUP not in _only_texts(spec.get("groups")):
        return f"the requester is not in the group {NODES_GROUP}"
    return ""


def _only_texts(value: object) -> list[str]:
    """A list of nothing but text, empty for anything else."""
    return list(value) if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else []


def _terms(spec: Mapping[str, Any]) -> str:
    usages = _only_texts(spec.get("usages"))
    if len(set(usages)) != len(usages) or not REQUIRED_USAGES <= set(usages) <= ALLOWED_USAGES:
        asked, right = (", ".join(sorted(group)) for group in (usages, ALLOWED_USAGES))
        return f"usages are {asked or 'missing'}; a serving certificate has {right}"
    wanted = spec.get("expirationSeconds")
    if wanted is not None and (not isinstance(wanted, int) or isinstance(wanted, bool) or wanted > MAX_SECONDS):
        return f"asks for {wanted} seconds; at most {MAX_SECONDS} are approved"
    return ""


def _content(spec: Mapping[str, Any], node: str, permitted: Allowed | None) -> str:
    try:
        data = base64.b64decode(spec.get("request") or "", validate=True)
        blocks = x509.pem_blocks(data, "CERTIFICATE REQUEST")
        if len(blocks) != 1 or not x509.is_one_block(data):
            return "does not hold exactly one certificate request"
        asked = x509.request(blocks[0])
    except (binascii.Error, TypeError, ValueError) as error:  # DerError is a ValueError
        return f"cannot be read: {error}"
    return _subject(asked, node) or _shape(asked) or _names(asked, node, permitted)


def _subject(asked: x509.Request, node: str) -> str:
    expected = sorted([(x509.COMMON_NAME, NODE_PREFIX + node), (x509.ORGANIZATION, NODES_GROUP)])
    if sorted(asked.subject) != expected:
        shown = ", ".join(f"{x509.ATTRIBUTES.get(kind, kind)}={value!r}" for kind, value in asked.subject)
        return f"the subject is {shown or 'empty'}; it has to be CN={NODE_PREFIX}{node}, O={NODES_GROUP}"
    return ""


def _shape(asked: x509.Request) -> str:
    if asked.names.other:
        return f"asks for names of another kind: {', '.join(sorted(set(asked.names.other)))}"
    if asked.other_extensions or asked.other_attributes:
        return f"asks for more than names: {', '.join([*asked.other_extensions, *asked.other_attributes])}"
    if not asked.names.dns and not asked.names.ip:
        return "asks for no name and no address"
    return ""


def _names(asked: x509.Request, node: str, permitted: Allowed | None) -> str:
    if permitted is None:
        return f"no addresses are known for the node {node}; name them in the inventory or in ninepaths_node_addresses"
    # The node authenticated as this name, so it may carry it as a host name as well, unless a service of the cluster has it.
    foreign = [name for name in asked.names.dns if name.lower() not in permitted.dns and (name != node or RESERVED.fullmatch(name))]
    foreign += [address for address in asked.names.ip if pack(address) not in permitted.ip]
    return f"asks for {', '.join(foreign)!r}, not among the addresses of {node}" if foreign else ""


def review(documents: Sequence[dict[str, Any]], nodes: Mapping[str, Allowed]) -> list[Review]:
    """Judge all requests for serving certificates, oldest first; of a node's pending ones only the newest can be approved.

    A kubelet that waited in vain makes a new key and a new request, so older ones are for keys that it has thrown away.
    """
    found = []
    for document in documents:
        metadata, node = mapping(document, "metadata"), node_of(document)
        created = seconds(metadata.get("creationTimestamp"))
        found.append(Review(short(metadata.get("name")) or "", node, state_of(document), created, verdict(document, nodes.get(node)), document))
    found.sort(key=lambda entry: (entry.created, entry.name))
    newest = {entry.node: entry.name for entry in found if entry.state == PENDING}
    return [
        entry._replace(verdict=NEWER) if entry.state == PENDING and entry.verdict == OK and newest[entry.node] != entry.name else entry
        for entry in found
    ]


def fetch(api: Api) -> list[dict[str, Any]]:
    """All requests for serving certificates; raises ApiError."""
    return list(api.list(COLLECTION, fieldSelector=f"spec.signerName={SIGNER}"))


def approve(api: Api, entry: Review) -> None:
    """Approve a pending request as it was judged.

    The object that was read goes back with its resourceVersion, so nothing else can be approved by mistake. Raises ApiError, `Conflict`
    when somebody was faster, and ValueError for a request that was not judged `ok`.
    """
    if entry.verdict != OK or entry.state != PENDING:
        raise ValueError(f"{entry.name} is {entry.state}, {entry.verdict}")
    message = f"names and addresses belong to node {entry.node}"
    condition = {"type": "Approved", "status": "True", "reason": "NinepathsApproved", "message": message}
    status = {**mapping(entry.document, "status")}
    status["conditions"] = [*mappings(status.get("conditions")), condition]
    document = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", **entry.document, "status": status}
    api.put(f"{COLLECTION}/{segment(entry.name)}/approval", document)
