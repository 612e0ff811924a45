# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.rollback: from what the hosts remember to the waves of the way back; touches no host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.catalogue import approver_assets
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import told
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.publishing import PublishingAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import ROLLBACK_WAVES
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import differences, terminal, way_back
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past, runs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.plan import Given, gate, plan

# Before these waves the conditions are judged again, from what the control planes are by then.
GATES: Mapping[str, str] = {"gate_control_planes": "cluster", "gate_kubelets": "late_control_plane_kubelets"}


class ActionModule(PublishingAction):
    """`ninepaths.kubernetes.rollback`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "run": {"type": "str"},
        "stage": {"type": "str", "choices": ["start", "gate"], "default": "start"},
        "digest": {"type": "str"},
        "hosts": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Plan, print what will be taken back, and return the waves."""
        if options["stage"] == "gate":
            return self._gate(task_vars)
        spool = self.spool()
        spool.clear("plan", "result", "error")  # of an earlier run in the same ansible-playbook
        spool.put("run", "mode", {"mode": "rollback", "check": self.check_mode})
        self.check_input(task_vars)
        given = self.guarded(task_vars, lambda: self._given(task_vars, [str(host) for host in options["hosts"]]))
        wanted = self._wanted(options["run"], given, task_vars)
        made = self.guarded(task_vars, lambda: plan(given, wanted).as_dict())
        self.demand(options["digest"], made, task_vars)
        spool.put("plan", "first", made)
        spool.put("run", "part", {"hosts": sorted(given.part)})
        self.tell(made, task_vars)
        planes = given.inventory.control_plane
        seen = [host for host in planes if host in given.observations]
        waves = {} if self.check_mode else _waves(made, [host for host in planes if host in given.histories], seen)
        published = {**self.publish(made, waves), "changed": False}
        if not (self.check_mode and self.diff_mode):
            return published
        diffs = differences.texts(made, self.controls())
        self.show(differences.lines(diffs))
        return {**published, "diff": [{"prepared": text} for text in diffs]}

    def tell(self, made: Mapping[str, Any], task_vars: dict[str, Any]) -> None:
        """Print what will be taken back."""
        self.show(way_back.plan_lines(made))
        if self.check_mode and made["changes"]:
            self.show([terminal.Line(terminal.labelled("", "check mode carries nothing out, so the waves below are empty"))])

    def _given(self, task_vars: dict[str, Any], hosts: list[str]) -> Given:
        """All that is known by now; `hosts`: those that take part."""
        spool, inventory = self.spool(), self.inventory(task_vars)
        part = [host for host in inventory.hosts if host in hosts] if hosts else list(inventory.hosts)
        told_by = {host: past.parse(host, document) for host, document in spool.all("history").items() if host in part}
        return Given(
            spool.all("observation"), told_by, inventory, self.controls(), self.settings(task_vars), flags.load(), approver_assets(), tuple(part)
        )

    def _wanted(self, run: str | None, given: Given, task_vars: dict[str, Any]) -> str:
        """The run that is meant. Raises ActionError, after it has printed the runs there are, where none is named."""
        if run:
            return run
        known = runs.runs(given.histories)
        self.show(way_back.run_lines(known))
        cause = "no run is named" if known else runs.NOTHING
        advice = f"name the one to go back to before: -e ninepaths_run={known[0].id}" if known else "there is nothing to do"
        raise self.failed(task_vars, [{"host": None, "file": None, "cause": cause, "advice": advice}])

    def _gate(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Halfway: whether what limits the rest still holds, or does not. Then the later waves may begin."""
        spool = self.spool()
        first, part = spool.get("plan", "first"), spool.get("run", "part")["hosts"]
        given = self.guarded(task_vars, lambda: self._given(task_vars, part))
        errors = gate(given, first["rollback"]["until"], first["rollback"]["needs"])
        if errors:
            raise self.failed(task_vars, told(errors))
        return {**self.publish(first, {**spool.get("run", "waves"), **first["waves"]}), "changed": False}


def _waves(made: Mapping[str, Any], control_planes: list[str], seen: list[str]) -> dict[str, list[str]]:
    """The waves up to the gate, and who takes part in what comes between and after the waves. `seen`: also those that are observed only."""
    waves: dict[str, list[str]] = made["waves"]
    touched = {host for hosts in waves.values() for host in hosts}
    gates = {name: control_planes if _between(waves, first) else [] for name, first in GATES.items()}
    closed = next((GATES[name] for name in GATES if gates[name]), None)
    upto = ROLLBACK_WAVES.index(closed) if closed else len(ROLLBACK_WAVES)
    elected = [host for name in ("cluster", "late_cluster", "certificates", "control_planes") for host in waves[name]] + seen
    return {
        **{name: waves[name] for name in ROLLBACK_WAVES[:upto]},
        **gates,
        "elected": elected[:1],
        "prove": sorted(touched | set(control_planes)) if touched else [],
    }


def _between(waves: Mapping[str, list[str]], first: str) -> bool:
    """Whether there is something to do on both sides of a gate: kubelets on one, control planes on the other."""
    at = ROLLBACK_WAVES.index(first)
    kubelets = [name for name in ROLLBACK_WAVES if "kubelets" in name and (ROLLBACK_WAVES.index(name) < at) is (first == "cluster")]
    return bool(waves["control_planes"]) and any(waves[name] for name in kubelets)
