# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions that know the whole cluster share: planning from the spool, and a report at the end, also at a bad one. Private."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import flags, variables
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, ControlError, load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import SettingsError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError, NinepathsAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.catalogue import approver_assets
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NOT_PART, Inventory, PlanError, PlanErrors
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import START, plan
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import partial, terminal
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report as reporting

Made = TypeVar("Made")
GROUPS = {"control_plane": "kube_control_plane", "etcd": "etcd", "node": "kube_node"}
REPORT_DIRECTORY = "ninepaths-report"
NOBODY = {
    "host": None,
    "file": None,
    "cause": "the inventory has no host in kube_control_plane, etcd or kube_node",
    "advice": "put the cluster's machines into these groups",
}


class ClusterAction(NinepathsAction):
    """An action that plans or concludes."""

    def inventory(self, task_vars: Mapping[str, Any]) -> Inventory:
        """The cluster's hosts by group, and why some of them are not in the spool."""
        groups = {ours: [str(host) for host in task_vars["groups"].get(theirs, [])] for ours, theirs in GROUPS.items()}
        return Inventory(**{name: tuple(hosts) for name, hosts in groups.items()}, unreachable=self.unobserved(task_vars))

    def reached(self, task_vars: Mapping[str, Any]) -> dict[str, list[str]]:
        """The cluster's observed hosts by group."""
        known = set(self.spool().all("observation"))
        return {ours: [str(host) for host in task_vars["groups"].get(theirs, []) if host in known] for ours, theirs in GROUPS.items()}

    def unobserved(self, task_vars: Mapping[str, Any]) -> dict[str, str]:
        """Hosts of the inventory without an observation, with the reason."""
        hosts = {str(host) for name in GROUPS.values() for host in task_vars["groups"].get(name, [])}
        known = set(self.spool().all("observation"))
        failed = {host: str(entry["message"]) for host, entry in self.spool().all("unobserved").items()}
        reason = NOT_PART if task_vars.get("ansible_limit") else "was not observed in this run"
        return {host: failed.get(host, reason) for host in sorted(hosts - known)}

    def partial(self, task_vars: Mapping[str, Any]) -> str | None:
        """What the limit of this run means; None where it leaves nobody out."""
        inventory = self.inventory(task_vars)
        left_out = [host for host, reason in inventory.unreachable.items() if reason == NOT_PART]
        return partial.warning(_text(task_vars.get("ansible_limit")), left_out, inventory.hosts, inventory.control_plane)

    def plan_now(self, task_vars: Mapping[str, Any], stage: str = START) -> dict[str, Any]:
        """The plan of what the spool holds; `stage` as in plan.plan. Raises ActionError as `guarded` does."""
        self.check_input(task_vars)
        return self.guarded(
            task_vars,
            lambda: plan(
                self.spool().all("observation"),
                self.controls(),
                self.settings(task_vars),
                self.inventory(task_vars),
                time.time(),
                flags=flags.load(),
                assets=approver_assets(),
                stage=stage,
            ).as_dict(),
        )

    def check_input(self, task_vars: Mapping[str, Any]) -> None:
        """Raises ActionError for variables that mean nothing, and where no host was observed."""
        spool = self.spool()
        mistyped = variables.unknown(self._variable_names(task_vars))
        if mistyped:
            raise self.failed(task_vars, [{"host": None, "file": None, "cause": text, "advice": None} for text in mistyped])
        if not spool.all("observation"):
            missing = {host: text for host, text in self.unobserved(task_vars).items() if text != NOT_PART}
            found = [{"host": host, "file": None, "cause": text, "advice": None} for host, text in missing.items()]
            raise self.failed(task_vars, found or [NOBODY])

    def guarded(self, task_vars: Mapping[str, Any], work: Callable[[], Made]) -> Made:
        """What planning gives. Raises ActionError when nothing may be touched; the causes are then in the report as well."""
        try:
            return work()
        except PlanErrors as errors:
            raise self.failed(task_vars, told(errors.errors)) from errors
        except PlanError as error:
            raise self.failed(task_vars, told([error])) from error
        except flags.FlagDataError as error:
            raise self.failed(
                task_vars, [{"host": None, "file": None, "cause": str(error), "advice": "reinstall the collection"}]
            ) from error
        except ActionError as error:
            raise self.failed(task_vars, [{"host": None, "file": None, "cause": error.cause, "advice": error.advice}]) from error
        except SettingsError as error:
            raise self.failed(
                task_vars, [{"host": None, "file": None, "cause": text, "advice": None} for text in error.problems]
            ) from error

    def _variable_names(self, task_vars: Mapping[str, Any]) -> set[str]:
        """Of the hosts whose variables count: the first control plane, and the one that plans."""
        first = next(iter(task_vars["groups"].get("kube_control_plane", [])), None)
        return {str(name) for source in (task_vars, task_vars.get("hostvars", {}).get(first) or {}) for name in source}

    def controls(self) -> tuple[Control, ...]:
        """All controls. Raises ActionError naming the file that cannot be used."""
        try:
            return _controls()
        except ControlError as error:
            raise ActionError("localhost", str(error), "reinstall the collection, or correct the file") from error

    def failed(self, task_vars: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> ActionError:
        """Record errors, write the report as it stands, print both, and return the failure to raise, which names the first cause only."""
        spool = self.spool()
        for error in errors:
            spool.put("error", terminal.error_text(error), error)
        _report, path = self.conclude(task_vars)
        self.show(terminal.error_lines(errors, str(path)))
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        where = f"{errors[0]['file']}: " if errors[0].get("file") else ""
        return ActionError(str(errors[0].get("host") or ""), f"{where}{errors[0]['cause']}{more}")

    def conclude(self, task_vars: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
        """Write the report of everything that the spool holds; returns it and its path."""
        spool = self.spool()
        with spool.locked("report"):
            first = spool.find("plan", "first")
            now = spool.find("plan", "final") or (reporting.without_controls(first) if first and first.get("rollback") else first)
            built = self.built(task_vars, now, first)
            return built, reporting.write(built, self.report_directory(task_vars))

    def built(self, task_vars: Mapping[str, Any], plan: Mapping[str, Any] | None, first: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The report of what is known by now."""
        spool = self.spool()
        facts = reporting.RunFacts(
            run=spool.run_id(),
            mode=str((spool.find("run", "mode") or {}).get("mode", "audit")),
            started=spool.started(),
            finished=time.time(),
            observations=spool.all("observation"),
            unobserved=self.unobserved(task_vars),
            results=list(spool.all("result").values()),
            errors=list(spool.all("error").values()),
            limit=_text(task_vars.get("ansible_limit")),
            partial=self.partial(task_vars),
            check=bool((spool.find("run", "mode") or {}).get("check")),
        )
        return reporting.build(facts, self.controls(), plan, first)

    def report_directory(self, task_vars: Mapping[str, Any]) -> Path:
        """`ninepaths_report_dir`, relative to where ansible-playbook was started."""
        named = self.cluster_variables(task_vars, ["ninepaths_report_dir"]).get("ninepaths_report_dir") or REPORT_DIRECTORY
        return Path(str(named)).expanduser().absolute()


def told(errors: Iterable[PlanError]) -> list[dict[str, Any]]:
    """Errors of a plan as the report has them."""
    return [{"host": error.host, "file": error.file, "cause": error.cause, "advice": error.advice} for error in errors]


@lru_cache(maxsize=1)
def _controls() -> tuple[Control, ...]:
    return load()


def _text(value: Any) -> str | None:
    """Plain text, without Ansible's tags."""
    return str(value) if value else None
