#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: plan
short_description: Plans what a Kubernetes cluster needs, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Compares the observations of this run with the controls of the chosen profile, prints the plan, and returns the hosts of each wave.
  - Runs on the controller, once, after M(ninepaths.kubernetes.observe) has run on every host of the groups C(kube_control_plane),
    C(etcd) and C(kube_node).
  - Uses the variables C(ninepaths_profile), C(ninepaths_paths), C(ninepaths_overrides), C(ninepaths_enable), C(ninepaths_waivers) and
    C(ninepaths_node_addresses) as the first control plane sees them. Tags C(path1) to C(path9) narrow the paths.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: Returns no waves. Planning changes nothing, so the task is never changed.
  diff_mode:
    support: full
    details: In check mode prints the difference of every file and object that would be written, headed by its controls and their reasons.
  idempotent:
    support: full
options:
  mode:
    description:
      - What the plan is for. With V(audit) it is only reported.
    type: str
    choices: [audit, harden]
    default: harden
  stage:
    description:
      - V(control_planes) plans again from newer observations, in the middle of a run, and fails when anything comes out
        that was not planned at V(start). Less may come out, when a control is held by now.
    type: str
    choices: [start, control_planes]
    default: start
  digest:
    description:
      - Digest of a plan that was seen before, at least 12 digits of it. The task fails when the plan is another one by now.
    type: str
notes:
  - A part of the playbooks C(harden) and C(audit), which call it in their order with the data of one run. It is no stable interface; options
    and return values can change with any release.
seealso:
  - module: ninepaths.kubernetes.observe
  - module: ninepaths.kubernetes.apply
"""

EXAMPLES = r"""
---
- name: Plan
  ninepaths.kubernetes.plan:
  delegate_to: localhost
  run_once: true
  register: planned

- name: Carry out the plan that was agreed on, or nothing
  ninepaths.kubernetes.plan:
    digest: 6a27f6d1c4e0e0f7
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
---
digest:
  description: Digest of the plan; the same cluster and settings give the same one.
  returned: success
  type: str
  sample: 6a27f6d1c4e0e0f7d4a3c1b8b5c6d9e2f30415263748596a7b8c9d0e1f203142
waves:
  description:
    - Hosts of each wave in the order in which they are to be changed; empty in check mode and with O(mode=audit).
    - The waves C(control_planes) and C(cluster) are there after O(stage=control_planes) only.
    - P(ninepaths.kubernetes.wave#lookup) returns the same for the C(hosts) of later plays.
  returned: success
  type: dict
  sample:
    files: [cp1, w1]
    kubelets: [w1]
    control_plane_kubelets: [cp1]
    certificates: [cp1]
    kube_proxy: []
    elected: [cp1]
    observe_again: [cp1]
    plan_again: [cp1]
    prove: [cp1, w1]
counts:
  description: How many files and objects change and how many controls are held.
  returned: success
  type: dict
  sample: {changes: 41, held: 1}
restarts:
  description: Restarts by component.
  returned: success
  type: dict
  sample: {etcd: 1, kubelet: 2}
"""
