# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.plan: from the spooled observations to the waves of this run; touches no host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import second_look
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.publishing import PublishingAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import CONTROL_PLANES
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import differences, terminal
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report as reporting

LOOK = "no control plane was touched, and what somebody else has changed is left as it is; look at it, then run again"


class ActionModule(PublishingAction):
    """`ninepaths.kubernetes.plan`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mode": {"type": "str", "choices": ["audit", "harden"], "default": "harden"},
        "stage": {"type": "str", "choices": ["start", "control_planes"], "default": "start"},
        "digest": {"type": "str"},
    }

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Plan, print what will be done, and return the waves."""
        if options["stage"] == "control_planes":
            return self._again(task_vars)
        spool = self.spool()
        mode = "check" if self.check_mode and options["mode"] == "harden" else str(options["mode"])
        spool.clear("plan", "result", "error")  # of an earlier run in the same ansible-playbook
        spool.put("run", "mode", {"mode": mode})
        made = self.plan_now(task_vars)
        self.demand(options["digest"], made, task_vars)
        spool.put("plan", "first", made)
        spool.put("plan", "documents", self._documents(task_vars))
        self.tell(made, task_vars)
        self.show(terminal.waves_lines(made, mode))
        waves = _early_waves(made, self.reached(task_vars)["control_plane"]) if mode == "harden" else {}
        published = {**self.publish(made, waves), "changed": False}
        if mode != "check" or not self.diff_mode:
            return published
        diffs = differences.texts(made, self.controls())
        self.show(differences.lines(diffs))  # Ansible shows those of a changed task only, and planning changes nothing
        return {**published, "diff": [{"prepared": text} for text in diffs]}

    def _documents(self, task_vars: dict[str, Any]) -> dict[str, dict[str, str]]:
        """What the control planes' part of the plan is made from, as it is now."""
        return second_look.documents(self.spool().all("observation"), self.reached(task_vars)["control_plane"])

    def tell(self, made: Mapping[str, Any], task_vars: dict[str, Any]) -> None:
        """Print what will be done; what is not as it should be is counted as the report counts it."""
        partial = self.partial(task_vars)
        shown = {**made, "warnings": [partial, *made["warnings"]]} if partial else made
        self.show(terminal.plan_lines(shown, reporting.tally(self.built(task_vars, made))))

    def _again(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Before the control planes are touched: the same plan must come out again, less what a gate holds back."""
        spool = self.spool()
        predicted, fresh = spool.get("plan", "first"), self.plan_now(task_vars, CONTROL_PLANES)
        planes = self.reached(task_vars)["control_plane"]
        found = second_look.surprises(predicted, fresh, planes, spool.get("plan", "documents"), self._documents(task_vars))
        if found:
            raise self.failed(task_vars, [surprise.as_error(LOOK) for surprise in found])
        spool.put("plan", "second", fresh)
        self.show(
            terminal.Line(f"{'held':<{terminal.LABEL}}{terminal.clean(text)}", "notice") for text in second_look.given_up(predicted, fresh)
        )
        late = {name: fresh["waves"][name] for name in second_look.LATE_WAVES}
        return {**self.publish(fresh, {**spool.get("run", "waves"), **late}), "changed": False}


def _early_waves(made: Mapping[str, Any], control_planes: list[str]) -> dict[str, list[str]]:
    """The waves that need no second look, and who takes part in what comes between and after the waves."""
    waves = made["waves"]
    touched = {host for hosts in waves.values() for host in hosts}
    late = any(waves[name] for name in ("certificates", *second_look.LATE_WAVES))
    elected = [host for name in ("cluster", "certificates", "kube_proxy", "control_planes") for host in waves[name]] + control_planes
    return {
        **{name: hosts for name, hosts in waves.items() if name not in second_look.LATE_WAVES},
        "elected": elected[:1],
        "observe_again": control_planes if late else [],
        "plan_again": control_planes[:1] if late else [],
        "prove": sorted(touched | set(control_planes)) if touched else [],
    }
