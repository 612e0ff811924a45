# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.verify: after a batch of kubelets, asks each through the apiserver whether it runs with what the plan wrote."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import stages
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.catalogue import observation_request
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction

# Seconds between attempts. A kubelet that has just restarted on a busy machine may take longer to answer than one request lasts.
PAUSES = (2.0, 5.0, 10.0, 20.0)


class ActionModule(ClusterAction):
    """`ninepaths.kubernetes.verify`; runs on a control plane, for the hosts it is given."""

    _requires_connection = True
    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hosts": {"type": "list", "elements": "str", "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Compare the running configuration of the hosts' kubelets with the plan."""
        spool, hosts = self.spool(), [str(host) for host in options["hosts"]]
        if self.check_mode:
            return {"changed": False, "verified": []}
        plan, before = spool.get("plan", "first"), spool.all("observation")
        nodes = {host: str(before[host]["host"]["node"]) for host in hosts}
        running = self._running(observation_request(spool, dict(self.settings(task_vars).node_addresses), ()), nodes.values(), task_vars)
        found = [
            surprise
            for host, node in nodes.items()
            for surprise in stages.kubelet_differences(plan, self.controls(), host, running.get(node))
        ]
        if found:
            advice = "no further kubelet is touched; look at the kubelet's journal on this host"
            raise self.failed(task_vars, [surprise.as_error(advice) for surprise in found])
        return {"changed": False, "verified": hosts}

    def _running(self, request: Mapping[str, Any], nodes: Iterable[str], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Node -> its kubelet as observed; asked again for a while if one of them does not say what it runs with."""
        wanted = set(nodes)
        for pause in (*PAUSES, None):
            observed = self.program("observe", request, task_vars)
            kubelets = (observed.get("cluster") or {}).get("kubelets", [])
            running = {str(kubelet["node"]): kubelet for kubelet in kubelets}
            if pause is None or wanted <= {node for node, kubelet in running.items() if kubelet["configz"] is not None}:
                break
            time.sleep(pause)
        return running
