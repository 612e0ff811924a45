# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.report: writes report.json, prints the paths, and fails when the run or the cluster is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report as reporting
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import terminal

SHOWN = 6


class ActionModule(ClusterAction):
    """`ninepaths.kubernetes.report`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fail_on": {"type": "str", "choices": ["deviation", "never"]}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Judge the newest observations, write the report, print it."""
        spool = self.spool()
        if any(result.get("changed") for result in spool.all("result").values()):
            spool.put("plan", "final", self.plan_now(task_vars))
        settings = self.settings(task_vars)
        for host, message in self.unobserved(task_vars).items():
            if not task_vars.get("ansible_limit"):
                spool.put("error", f"unobserved {host}", {"host": host, "file": None, "cause": message, "advice": None})
        built, path = self.conclude(task_vars)
        self.show(terminal.report_lines(built, str(path)))
        found = reporting.deviations(built)
        result = {"changed": False, "path": str(path), "deviations": found, "errors": built["errors"], "restarts": built["restarts"]}
        complaints = [_count(len(built["errors"]), "error")] if built["errors"] else []
        if found and (options["fail_on"] or settings.fail_on) == "deviation":
            shown = ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
            complaints.append(f"{_count(len(found), 'deviation')}: {shown}")
        if complaints:
            result.update(failed=True, msg=f"{built['cluster']['name']}: {'; '.join(complaints)}; report: {path}")
        return result


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
