#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback
short_description: Plans the way back to the state before a run, for the playbook rollback
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Finds out from what the hosts remember of their transactions what a run and all later ones have changed, and plans how to
    put it back, each host in as few transactions as possible.
  - Refuses before anything is touched when somebody else has changed a file or an object since, when a backup is missing, when
    a control is past its point of no return, and when the cluster is not well.
  - Runs on the controller, once, after M(ninepaths.kubernetes.observe) has run with O(ninepaths.kubernetes.observe#module:history=true) on
    every host that takes part.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: Returns no waves. Planning changes nothing, so the task is never changed.
  diff_mode:
    support: full
    details: In check mode prints the difference of every file and object that would be put back.
  idempotent:
    support: full
options:
  run:
    description:
      - The run to go back to before, or V(last) for the newest one. Without it the runs that there are are printed, and the task fails.
    type: str
  stage:
    description:
      - V(gate) judges again, from newer observations in the middle of a rollback, what limits the rest of it.
    type: str
    choices: [start, gate]
    default: start
  digest:
    description:
      - Digest of a plan that was seen before, at least 12 digits of it. The task fails when the plan is another one by now.
    type: str
  hosts:
    description:
      - The hosts that take part. Others of the inventory are only looked at. All of them without it.
    type: list
    elements: str
    default: []
notes:
  - A part of the playbook C(rollback), with the data of one run. It is no stable interface; options and return values can change with
    any release.
seealso:
  - module: ninepaths.kubernetes.observe
  - module: ninepaths.kubernetes.apply
"""

EXAMPLES = r"""
---
- name: Plan the way back
  ninepaths.kubernetes.rollback:
    run: 20270301T101500Z-1f0c2a
    hosts: "{{ ansible_play_hosts_all }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
---
digest:
  description: Digest of the plan.
  returned: success
  type: str
  sample: 6a27f6d1c4e0e0f7d4a3c1b8b5c6d9e2f30415263748596a7b8c9d0e1f203142
waves:
  description:
    - Hosts of each wave in the order in which they are to be changed; empty in check mode. Waves behind the gate are there
      after O(stage=gate) only.
  returned: success
  type: dict
  sample:
    cluster: [cp1]
    control_planes: [cp1]
    gate_kubelets: [cp1]
counts:
  description: How many files and objects change.
  returned: success
  type: dict
  sample: {changes: 41, held: 0}
restarts:
  description: Restarts by component.
  returned: success
  type: dict
  sample: {etcd: 1, kubelet: 2}
"""
