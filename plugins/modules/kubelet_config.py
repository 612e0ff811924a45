#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kubelet_config
short_description: Sets fields of the kubelet's configuration file
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Sets or removes fields in the file that the running kubelet was given as C(--config), restarts the kubelet and sees it to health.
    Only the characters of what changes are replaced, so comments and order stay.
  - A field that the running version does not know is refused, since the kubelet would ignore it without a word. So is one that a
    drop-in or a command-line flag overrides.
  - The change is a transaction with a journal on the host. It does not need the controller once it has started, and when the
    kubelet or its Node does not become healthy the old file is put back, also after a power cut.
  - Containers go on running while the kubelet restarts.
  - Kubelets of control planes are never restarted at the same time, since a Lease in the cluster is held. The second task fails
    without a change, so run the task with C(throttle=1) or C(serial=1) there.
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
options:
  fields:
    description:
      - Fields to set, by their dotted path, such as C(authentication.anonymous.enabled). Each value has the type of its field.
      - What follows a map is one key, as in C(evictionHard.imagefs.available). The map itself can be set as a whole instead.
      - C(serverTLSBootstrap) is switched on only where the kubelet has a signed certificate already. The playbook C(harden) does the
        rest.
    type: dict
    default: {}
  absent:
    description:
      - Dotted paths of fields to remove, so that the kubelet's default holds.
    type: list
    elements: str
    default: []
  reconnect_s:
    description:
      - How many seconds a lost connection may stay lost while the transaction is followed. The transaction goes on meanwhile.
    type: int
    default: 300
notes:
  - kubeadm writes the file anew from the ConfigMap C(kubelet-config) when it upgrades a node. Put the fields there as well if they
    are to stay.
seealso:
  - module: ninepaths.kubernetes.static_pod
"""

EXAMPLES = r"""
---
- name: Keep more logs of each container
  ninepaths.kubernetes.kubelet_config:
    fields:
      containerLogMaxFiles: 7
      containerLogMaxSize: 50Mi
  become: true
  throttle: 3

- name: Evict early, and go back to the default number of pods
  ninepaths.kubernetes.kubelet_config:
    fields:
      evictionHard.memory.available: 500Mi
    absent: [maxPods]
  become: true
  throttle: 1
"""

RETURN = r"""
---
file:
  description: The configuration file that the kubelet reads.
  returned: success
  type: str
  sample: /var/lib/kubelet/config.yaml
state:
  description:
    - V(committed) when the kubelet runs with what was asked for. V(undone) when it is as it was before, and V(failed) when that
      did not succeed; the task fails then. V(predicted) in check mode. V(nothing-to-do) when there is nothing to change.
  returned: when the transaction was followed to its end, and on success
  type: str
  sample: committed
messages:
  description: What the transaction wrote into its journal, one sentence per step.
  returned: when the transaction was followed to its end, and on success
  type: list
  elements: str
  sample: ["kubelet: new process 4711 after 1.2 s"]
restarts:
  description: Components that were restarted, or would be in check mode.
  returned: success
  type: dict
  sample: {kubelet: 1}
duration_s:
  description: Seconds from the start of the transaction to its end.
  returned: when the transaction was followed to its end, and on success
  type: float
  sample: 8.9
transaction:
  description: Name of the transaction; its journal lies below C(/var/lib/ninepaths/transactions) on the host.
  returned: when something was done
  type: str
  sample: 20270301T101500Z-1f0c2a-77b1e0-kubelets
cause:
  description: Why the transaction was undone.
  returned: when the transaction was not committed
  type: str
  sample: "kubelet: not active; it said: failed to load the configuration"
advice:
  description: What to do about it.
  returned: when the transaction was not committed
  type: str
  sample: look at what it said, correct the value, then run again
"""
