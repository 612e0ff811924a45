#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Approves kubelets' requests for serving certificates, each after a look at what it asks for."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: csr_approve
short_description: Approves kubelets' requests for serving certificates
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Kubernetes signs requests of the signer C(kubernetes.io/kubelet-serving) but approves none by itself. This module approves those that
    ask for nothing but what the inventory says about their node, and says of each other one why not.
  - A request has to come from the node that it names, for its own key, with the usages of a serving certificate, and with no name or
    address besides those in O(nodes). What a node writes into its own Node object does not count.
  - Runs on a control plane, over its own apiserver; the controller needs no kubeconfig.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  nodes:
    description:
      - What the certificate of each node may hold, by the node's name; lists of names under C(dns) and of addresses under C(ip).
      - Requests of other nodes are left alone.
    type: dict
    required: true
seealso:
  - name: Certificate signing requests
    description: What the signer asks of a request.
    link: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

EXAMPLES = r"""
---
- name: Approve what the workers ask for
  ninepaths.kubernetes.csr_approve:
    nodes:
      w1: {dns: [w1], ip: [192.0.2.21]}
      w2: {dns: [w2], ip: [192.0.2.22]}
  become: true
  delegate_to: "{{ groups.kube_control_plane | first }}"
  run_once: true
"""

RETURN = r"""
---
approved:
  description: Requests that were approved, or would be in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{name: csr-8xk2p, node: w1}]
refused:
  description: Pending requests that were left alone, each with the reason.
  returned: success
  type: list
  elements: dict
  sample: [{name: csr-q5n7d, node: w2, reason: "asks for the address 192.0.2.99, which node w2 does not have"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import approver
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import approval, csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host


def main() -> None:
    """Review, and approve outside check mode."""
    module = AnsibleModule(argument_spec={"nodes": {"type": "dict", "required": True}}, supports_check_mode=True)
    try:
        nodes = approval.parse_nodes(module.params["nodes"])
    except (ValueError, KeyError, TypeError):
        module.fail_json(msg="nodes: must be of the form {name: {dns: [name], ip: [address]}}")
    try:
        host = Host()
        api = apis.local(host, approver.manifest_argv(host))
        result = _review(api, nodes) if module.check_mode else approval.approve_pending(api, nodes)
    except (approver.ApproverError, apis.ApiError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(result["approved"]), approved=result["approved"], refused=result["refused"])


def _review(api: apis.Api, nodes: dict[str, csr.Allowed]) -> dict[str, list[dict[str, str]]]:
    pending = [entry for entry in csr.review(csr.fetch(api), nodes) if entry.state == csr.PENDING]
    return {
        "approved": [{"name": entry.name, "node": entry.node} for entry in pending if entry.verdict == csr.OK],
        "refused": [{"name": entry.name, "node": entry.node, "reason": entry.verdict} for entry in pending if entry.verdict != csr.OK],
    }


if __name__ == "__main__":
    main()
