#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: static_pod
short_description: Sets flags of a control-plane component that runs as a static pod
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Sets, replaces or removes flags in the manifest that kubeadm made for a component, and sees the new static pod to health.
    Only the characters of what changes are replaced, so comments and order stay.
  - Before anything is replaced, flags that the running version does not know are refused, and the new command line is tried out on
    the host in an empty namespace. Then the component is restarted, and its probes have to pass.
  - The change is a transaction with a journal on the host. It does not need the controller once it has started, and when the
    component does not become healthy the old manifest is put back, also after a power cut.
  - Two control planes of a cluster are never changed at the same time, since a Lease in the cluster is held. The second task fails
    without a change, so run the task with C(throttle=1) or C(serial=1).
  - Flags that say where the cluster's data is are never changed, such as C(data-dir) of etcd and C(etcd-servers) of the apiserver.
    Healthy probes would not tell that the data is gone.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: The new command line is tried out on the host outside check mode only.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  component:
    description:
      - The component.
    type: str
    required: true
    choices: [kube-apiserver, kube-controller-manager, kube-scheduler, etcd]
  flags:
    description:
      - Flags to set, by name without dashes. A flag that is there more than once is there once afterwards.
      - A list is joined by commas where the flag takes several values.
    type: dict
    default: {}
  absent:
    description:
      - Names of flags to remove, without dashes.
    type: list
    elements: str
    default: []
  mounts:
    description:
      - What the flags need to see of the host. A mount that is there already is left alone; none is removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the volume.
        type: str
        required: true
      host_path:
        description: Path on the host.
        type: path
        required: true
      path:
        description: Path in the container.
        type: path
        required: true
      read_only:
        description: Whether the component must not write there.
        type: bool
        default: true
      type:
        description: What has to be at O(mounts[].host_path), as in the type of a hostPath volume.
        type: str
        required: true
        choices: [Directory, DirectoryOrCreate, File, FileOrCreate]
  reconnect_s:
    description:
      - How many seconds a lost connection may stay lost while the transaction is followed. The transaction goes on meanwhile.
    type: int
    default: 300
notes:
  - kubeadm writes the manifests anew when it upgrades a cluster. Put the flags into the ConfigMap C(kubeadm-config) as well if they
    are to stay.
seealso:
  - module: ninepaths.kubernetes.kubelet_config
"""

EXAMPLES = r"""
---
- name: Let the scheduler say more
  ninepaths.kubernetes.static_pod:
    component: kube-scheduler
    flags:
      v: 2
  become: true
  throttle: 1

- name: Give the apiserver an admission configuration
  ninepaths.kubernetes.static_pod:
    component: kube-apiserver
    flags:
      admission-control-config-file: /etc/kubernetes/admission/config.yaml
      enable-admission-plugins: [NodeRestriction, PodSecurity]
    absent: [profiling]
    mounts:
      - name: admission
        host_path: /etc/kubernetes/admission
        path: /etc/kubernetes/admission
        type: Directory
  become: true
  throttle: 1
"""

RETURN = r"""
---
argv:
  description: The component's command line as it is after the task. What looks like a secret is masked.
  returned: success
  type: list
  elements: str
  sample: [kube-scheduler, --kubeconfig=/etc/kubernetes/scheduler.conf, --leader-elect=true, --v=2]
state:
  description:
    - V(committed) when the component runs with what was asked for. V(undone) when it is as it was before, and V(failed) when that
      did not succeed; the task fails then. V(predicted) in check mode. V(nothing-to-do) when there is nothing to change.
  returned: when the transaction was followed to its end, and on success
  type: str
  sample: committed
messages:
  description: What the transaction wrote into its journal, one sentence per step.
  returned: when the transaction was followed to its end, and on success
  type: list
  elements: str
  sample: ["kube-scheduler: old process gone after 2.1 s"]
restarts:
  description: Components that were restarted, or would be in check mode.
  returned: success
  type: dict
  sample: {kube-scheduler: 1}
duration_s:
  description: Seconds from the start of the transaction to its end.
  returned: when the transaction was followed to its end, and on success
  type: float
  sample: 21.4
transaction:
  description: Name of the transaction; its journal lies below C(/var/lib/ninepaths/transactions) on the host.
  returned: when something was done
  type: str
  sample: 20270301T101500Z-1f0c2a-77b1e0-control-planes
cause:
  description: Why the transaction was undone.
  returned: when the transaction was not committed
  type: str
  sample: "kube-scheduler did not become ready in 120 s"
advice:
  description: What to do about it.
  returned: when the transaction was not committed
  type: str
  sample: look at what it said, correct the value, then run again
"""
