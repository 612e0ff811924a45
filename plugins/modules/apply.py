#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apply
short_description: Carries out one wave of the plan on a host as a transaction, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Lays this host's part of the plan down on the host, starts it there as a detached systemd unit, and follows its journal.
  - The transaction does not need the controller. Without a connection it goes on, and when something does not become healthy
    it puts everything back by itself, also after a power cut.
  - A host that has no part in the wave is left alone.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details: A second run plans nothing, since the plan is made from what the hosts are then.
options:
  wave:
    description:
      - The wave to carry out.
    type: str
    required: true
    choices:
      - files
      - kubelets
      - control_plane_kubelets
      - certificates
      - kube_proxy
      - control_planes
      - cluster
      - late_cluster
      - late_control_plane_kubelets
      - late_kubelets
      - late_files
  reconnect_s:
    description:
      - How many seconds a lost connection may stay lost while the transaction is followed. The transaction goes on meanwhile.
    type: int
    default: 300
notes:
  - A part of the playbooks C(harden) and C(rollback), which call it in their order with the data of one run. It is no stable interface; options
    and return values can change with any release.
seealso:
  - module: ninepaths.kubernetes.plan
"""

EXAMPLES = r"""
---
- name: Kubelets, three at a time
  ninepaths.kubernetes.apply:
    wave: kubelets
  become: true
  throttle: 3
"""

RETURN = r"""
---
state:
  description:
    - V(committed) when the host is as planned. V(undone) when it is as it was before, and V(failed) when that did not succeed;
      the task fails then. V(predicted) in check mode. V(nothing-to-do) when the host has no part in the wave.
  returned: always
  type: str
  sample: committed
restarts:
  description: Components that were restarted.
  returned: success
  type: dict
  sample: {kube-apiserver: 1, etcd: 1}
duration_s:
  description: Seconds from the start of the transaction to its end.
  returned: success
  type: float
  sample: 53.2
transaction:
  description: Name of the transaction; its journal lies below C(/var/lib/ninepaths/transactions) on the host.
  returned: when something was done
  type: str
  sample: 20270301T101500Z-1f0c2a-cp1-control_planes
"""
