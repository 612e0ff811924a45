# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.verify: after a batch of kubelets, asks each through the apiserver whether it runs with what the plan wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import stages
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.catalogue import observation_request
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction


class ActionModule(ClusterAction):
    """`ninepaths.kubernetes.verify`; runs on a control plane, for the hosts it is given."""

    _requires_connection = True
    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hosts": {"type": "list", "elements": "str", "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Compare the running configuration of the hosts' kubelets with the plan."""
        spool, hosts = self.spool(), [str(host) for host in options["hosts"]]
        if self.check_mode:
            return {"changed": False, "verified": []}
        observed = self.program("observe", observation_request(spool, dict(self.settings(task_vars).node_addresses), ()), task_vars)
        running = {str(kubelet["node"]): kubelet.get("configz") for kubelet in (observed.get("cluster") or {}).get("kubelets", [])}
        plan, before = spool.get("plan", "first"), spool.all("observation")
        found = [
            surprise
            for host in hosts
            for surprise in stages.kubelet_differences(plan, self.controls(), host, running.get(str(before[host]["host"]["node"])))
        ]
        if found:
            advice = "no further kubelet is touched; look at the kubelet's journal on this host"
            raise self.failed(task_vars, [surprise.as_error(advice) for surprise in found])
        return {"changed": False, "verified": hosts}
