# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a wave, for the `hosts` of a play. Read from the run spool: under --limit localhost plays no part and has no variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wave
short_description: Hosts of a wave of this run's plan, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Returns the hosts that M(ninepaths.kubernetes.plan) has put into a wave, in the order in which they are to be changed.
  - Returns nothing before there is a plan, in check mode, and for the late waves before the plan has been confirmed.
options:
  _terms:
    description:
      - Names of waves. Besides the waves of RV(ninepaths.kubernetes.plan#module:waves), V(observe_again), V(plan_again) and V(prove) are
        the hosts to observe in between, to plan again from, and to observe at the end, and V(elected) is the control plane that speaks
        for the cluster.
    type: list
    elements: str
    required: true
notes:
  - A part of the playbook C(harden). It is no stable interface; the names of waves can change with any release.
"""

EXAMPLES = r"""
- name: Kubelets
  hosts: "{{ query('ninepaths.kubernetes.wave', 'kubelets') }}"
  become: true
  tasks:
    - name: Kubelet
      ninepaths.kubernetes.apply:
        wave: kubelets
"""

RETURN = r"""
_raw:
  description: Inventory names of hosts.
  type: list
  elements: str
"""

from ansible import constants  # noqa: E402
from ansible.plugins.lookup import LookupBase  # noqa: E402
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.spool import Spool  # noqa: E402


class LookupModule(LookupBase):
    """`query('ninepaths.kubernetes.wave', 'kubelets')`."""

    def run(self, terms, variables=None, **kwargs):
        """Hosts of the named waves, one after the other."""
        waves = Spool.under(constants.DEFAULT_LOCAL_TMP).find("run", "waves") or {}
        return [str(host) for term in terms for host in waves.get(str(term), [])]
