# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over the pending requests for kubelets' serving certificates: the good ones are approved, the others left alone with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.csr import Allowed, Review
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import segment


def parse_nodes(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Allowed]:
    """Names and addresses by node; raises ValueError, KeyError or TypeError for another form."""
    if not isinstance(nodes, Mapping):
        raise TypeError("nodes are an object")
    found = {}
    for node, names in nodes.items():
        dns, ip = names["dns"], names["ip"]
        if not all(isinstance(name, str) for name in [*dns, *ip]) or isinstance(dns, str) or isinstance(ip, str):
            raise TypeError("names are lists of text")
        if any(csr.pack(address) is None for address in ip):
            raise ValueError("an address that is none")
        found[node] = csr.allowed([*dns, *ip])
    return found


def approve_pending(api: Api, nodes: Mapping[str, Allowed]) -> dict[str, Any]:
    """Judge all pending requests and approve the good ones; the others are left alone, with the reason in the result.

    Raises ApiError only when the requests cannot be read.
    """
    approved, refused = [], []
    for entry in csr.review(csr.fetch(api), nodes):
        if entry.state != csr.PENDING:
            continue
        reason = _approve(api, entry) if entry.verdict == csr.OK else entry.verdict
        if reason:
            refused.append({"name": entry.name, "node": entry.node, "reason": reason})
        else:
            approved.append({"name": entry.name, "node": entry.node})
    return {"schema": 1, "approved": approved, "refused": refused}


def _approve(api: Api, entry: Review) -> str:
    """Empty when it is approved, else why not."""
    try:
        if api.find(f"/api/v1/nodes/{segment(entry.node)}") is None:
            return f"there is no Node {entry.node}"
        csr.approve(api, entry)
    except ApiError as error:
        return "changed meanwhile, probably by another approver" if error.status == 409 else str(error)
    return ""
