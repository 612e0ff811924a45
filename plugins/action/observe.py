# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ninepaths.kubernetes.observe: one round trip per host; the observation goes to the run spool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError, NinepathsAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.catalogue import observation_request


class ActionModule(NinepathsAction):
    """`ninepaths.kubernetes.observe`."""

    _requires_connection = True
    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prove": {"type": "list", "elements": "str", "choices": ["passive"], "default": ["passive"]},
        "recover": {"type": "bool", "default": False},
        "return_observation": {"type": "bool", "default": False},
        "history": {"type": "bool", "default": False},
    }

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Observe this host, or note in the spool why it could not be observed."""
        host, spool = self.host(task_vars), self.spool()
        spool.remove("observation", host)
        mending = options["recover"] and not self.check_mode
        try:
            request = observation_request(spool, self._node_addresses(task_vars), options["prove"])
            found = self.program("visit" if mending else "observe", request, task_vars)
            past = self.program("history", {"schema": 1}, task_vars) if options["history"] else None
        except (ActionError, AnsibleConnectionFailure) as failure:
            spool.put("unobserved", host, {"message": str(failure).removeprefix(f"{host}: ")})
            raise
        spool.remove("unobserved", host)
        if past is not None:
            spool.put("history", host, past)  # that of an earlier look in the same run stays
        recovered = found.pop("recovered", [])
        return {
            "changed": bool(recovered),
            "digest": spool.put("observation", host, found),
            "counts": {"files": len(found["files"]), "problems": len(found["problems"]), "proofs": len(found["proofs"])},
            "recovered": recovered,
            **({"observation": found} if options["return_observation"] else {}),
        }

    def _node_addresses(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Addresses that the operator gives to nodes. Settings with a mistake in them are told once, by the plan, not by each host."""
        try:
            return dict(self.settings(task_vars).node_addresses)
        except ActionError:
            return {}
