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

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.approval import approve_pending, parse_nodes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.csr import Allowed
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
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


def manifest_argv(host: Host) -> list[str]:
    """Flags of the apiserver's manifest on this node; raises ApproverError."""
    path = layout.manifest("kube-apiserver")
    try:
        return layout.manifest_flags(files.read_bytes(host.real(path)).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ApproverError(f"{path}: cannot be read; approvals are made on control planes only") from error
