#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: observe
short_description: Observes a Kubernetes node in one round trip, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Sends one program that needs nothing but Python's standard library to the host and gets back what runs there,
    static pod manifests, kubelet configuration, owners and modes of files, public certificates, listening sockets,
    and on a control plane what the API says about nodes and certificate requests.
  - Never reads a private key, a token or a kubeconfig.
  - The observation is kept on the controller for the length of the run, where M(ninepaths.kubernetes.plan) finds it.
  - Uses the C(ninepaths_node_addresses) variable. The options come from no other variable.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: In check mode nothing is recovered.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  prove:
    description:
      - Which proofs to make with live connections. V(passive) ones open connections that must work and connections that
        must be refused, and change nothing.
    type: list
    elements: str
    choices: [passive]
    default: [passive]
  recover:
    description:
      - Before looking, undo what an interrupted run left open on this host, and go on with an undo that failed.
    type: bool
    default: false
  history:
    description:
      - Besides read what ninepaths remembers of its own changes to this host, for M(ninepaths.kubernetes.rollback).
    type: bool
    default: false
  return_observation:
    description:
      - Return the whole observation, for instance to look at it or to keep it. It can have some hundred kilobytes per host.
    type: bool
    default: false
notes:
  - The playbooks use it to hand what they saw to M(ninepaths.kubernetes.plan). It is no stable interface; options and the fields of
    RV(observation) can change with any release.
seealso:
  - module: ninepaths.kubernetes.plan
  - module: ninepaths.kubernetes.rollback
"""

EXAMPLES = r"""
---
- name: Observe a node and show its kubelet
  ninepaths.kubernetes.observe:
    return_observation: true
  become: true
  register: observed

- name: Version of the kubelet that runs
  ansible.builtin.debug:
    msg: "{{ observed.observation.kubelet.version }}"
"""

RETURN = r"""
---
digest:
  description: SHA-256 of the observation.
  returned: success
  type: str
  sample: 6a27f6d1c4e0e0f7d4a3c1b8b5c6d9e2f30415263748596a7b8c9d0e1f203142
counts:
  description: How many files were looked at, how many problems were met and how many proofs were made.
  returned: success
  type: dict
  sample: {files: 118, problems: 0, proofs: 24}
recovered:
  description: Transactions of an earlier run that were finished or undone first.
  returned: success
  type: list
  elements: dict
  sample: []
observation:
  description: What was observed. Its fields are described in docs/development/interfaces.md of the repository.
  returned: when O(return_observation=true)
  type: dict
"""
