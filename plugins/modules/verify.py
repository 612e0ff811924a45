#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Checks that kubelets run with what the plan wrote, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Asks the kubelets of some hosts through the apiserver for the configuration that they run with, and compares it with the plan.
  - Runs on a control plane; delegate it there.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: Verifies nothing, since nothing was written.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  hosts:
    description:
      - Inventory names of the hosts whose kubelets are asked.
    type: list
    elements: str
    required: true
notes:
  - A part of the playbooks C(harden) and C(audit), which call it in their order with the data of one run. It is no stable interface; options
    and return values can change with any release.
seealso:
  - module: ninepaths.kubernetes.apply
"""

EXAMPLES = r"""
---
- name: The kubelets of this batch run with what was planned
  ninepaths.kubernetes.verify:
    hosts: "{{ ansible_play_batch }}"
  delegate_to: "{{ groups.kube_control_plane | first }}"
  run_once: true
  become: true
"""

RETURN = r"""
---
verified:
  description: Hosts whose kubelets run with what was planned.
  returned: success
  type: list
  elements: str
  sample: [w1, w2]
"""
