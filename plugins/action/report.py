# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.report: writes report.json, prints the paths, and fails when the run or the cluster is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report as reporting
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import terminal, way_back
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import count


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
        self.show(way_back.report_lines(built["rollback"]) if built["rollback"] else ())
        self.show(terminal.report_lines(built, str(path)))
        failures = self._failures(built, str(options["fail_on"] or settings.fail_on))
        result = {"changed": False, "path": str(path)}
        if failures:
            return {**result, "failed": True, "msg": "; ".join(failures)}
        return {**result, "deviations": reporting.deviations(built), "errors": built["errors"], "restarts": built["restarts"]}

    def _failures(self, built: Mapping[str, Any], fail_on: str) -> list[str]:
        """Why the run fails, in short: what is printed above and stands in the report is not said again."""
        found = [count(len(built["errors"]), "error")] if built["errors"] else []
        if built["mode"] == "rollback":  # what deviates now is what was asked for
            unfinished = built["rollback"] and built["rollback"]["state"] == "incomplete"
            return found or (["not everything was taken back"] if unfinished else [])
        tally = reporting.tally(built)
        if fail_on == "never" or not tally.controls + tally.proofs:
            return found
        if built["mode"] == "harden":
            return [*found, f"still not as wanted: {terminal.tally_text(tally)}"]
        return [*found, f"not yet as wanted: {terminal.tally_text(tally)}", "nothing was changed"]
