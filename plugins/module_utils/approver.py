# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Approves serving certificates of kubelets, one pass per call: the entry `approver`, which a timer on every control plane starts.

Kubernetes signs such requests but approves none by itself. What each node's certificate may hold comes from a file that the inventory made:
a node can write what it likes into its own Node object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import csr, files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.api import Api, ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.csr import Allowed, Review
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run


class ApproverError(Exception):
    """A configuration or a manifest that cannot be used; the message names the file."""


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Approve what may be approved now. Raises ApproverError, or ApiError when the apiserver of this node does not answer."""
    host = Host()
    nodes = configuration(host, str(request["config"]))
    return approve_pending(apis.local(host, manifest_argv(host)), nodes)


def configuration(host: Host, path: str) -> dict[str, Allowed]:
    """Read what each node's certificate may hold; raises ApproverError."""
    try:
        document = json.loads(files.read_bytes(host.real(path)))
        return parse_nodes(document["nodes"])
    except OSError as error:
        raise ApproverError(f"{path}: {error.strerror}; run the playbook `harden` again") from error
    except (ValueError, KeyError, TypeError) as error:
        form = '{"nodes": {name: {"dns": [], "ip": []}}}'
        raise ApproverError(f"{path}: not of the form {form}; run the playbook `harden` again") from error


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


def manifest_argv(host: Host) -> list[str]:
    """Flags of the apiserver's manifest on this node; raises ApproverError."""
    path = layout.manifest("kube-apiserver")
    try:
        return layout.manifest_flags(files.read_bytes(host.real(path)).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ApproverError(f"{path}: cannot be read; approvals are made on control planes only") from error


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
        if api.find(f"/api/v1/nodes/{entry.node}") is None:
            return f"there is no Node {entry.node}"
        csr.approve(api, entry)
    except ApiError as error:
        return "changed meanwhile, probably by another approver" if error.status == 409 else str(error)
    return ""
