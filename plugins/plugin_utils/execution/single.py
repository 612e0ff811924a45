# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules share that change one thing on one host: observe it, make a job, carry it out as a transaction. Private."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import FAILED, UNFINISHED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import stages
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.following import AFTER, FollowingAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import HostDraft
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.jobs import HostJobs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError, bind
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import KUBELET_PKI, Host, collected, hosts_of
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import clean
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.progress import Progress

REQUEST: Mapping[str, Any] = {"schema": 1, "stat": [f"{KUBELET_PKI}/*"], "sysctls": [], "accounts": [], "addresses": {}, "prove": []}


class Wish(NamedTuple):
    """What a task wants of its host, and what it returns whether or not that changes anything."""

    draft: HostDraft
    returned: Mapping[str, Any]


class SingleAction(FollowingAction):
    """One change of one host. A subclass says in `wish` what is to be."""

    @abstractmethod
    def wish(self, options: Mapping[str, Any], host: Host) -> Wish:
        """What the host is to become. Raises PlanError when it must not be touched."""

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Observe, and run the transaction if there is anything to change. Raises ActionError."""
        name = self.host(task_vars)
        self._messages: list[str] = []
        try:
            host = self._look(name, task_vars)
            wish = self.wish(options, host)
            made = HostJobs(host, wish.draft)
        except PlanError as error:
            raise _refused(name, error) from error
        except flags.FlagDataError as error:
            raise ActionError(name, str(error), "nothing was touched") from error
        result = {**wish.returned, "messages": self._messages, "duration_s": 0.0, "restarts": {}}
        if not made.jobs:
            return {**result, "changed": False, "state": "nothing-to-do"}
        (job,) = made.jobs.values()
        result["restarts"] = stages.restarts_of(job)
        if self.diff_mode:
            result["diff"] = [{"prepared": change.diff} for change in made.changes if change.diff]
        if self.check_mode:
            return {**result, "changed": True, "state": "predicted"}
        return {**result, **self._transaction(job, task_vars, float(options["reconnect_s"])), "changed": True}

    def _look(self, name: str, task_vars: dict[str, Any]) -> Host:
        """The host as it is now. Raises PlanError for what is in the way already."""
        knowledge = Knowledge(flags.load())
        seen = self.program("observe", REQUEST, task_vars)
        for entry in seen["journals"]:
            if entry["state"] == FAILED:
                raise PlanError(name, None, f"transaction {entry['id']} could not be undone: {entry.get('cause')}", str(entry.get("advice") or ""))
            if entry["state"] in UNFINISHED:
                advice = "wait until it has ended, or run ninepaths.kubernetes.observe with recover: true first"
                raise PlanError(name, None, f"transaction {entry['id']} has not ended", advice)
        host = hosts_of({name: seen}, knowledge)[name]
        errors = collected([host])
        if errors:
            raise errors[0]
        return host

    def _transaction(self, job: dict[str, Any], task_vars: dict[str, Any], patience: float) -> dict[str, Any]:
        """Carry it out and return what is to be told. Raises ActionError when it was not committed."""
        # A play may have several such tasks for one host, also the same one twice, so the run's name alone is not enough.
        bound = bind(job, f"{self.spool().run_id()}-{secrets.token_hex(3)}")
        if bound["lease"] is not None:  # the hosts of one task wait for each other
            bound["lease"]["holder"] = self.spool().run_id()
        name, started = self.host(task_vars), time.monotonic()
        try:
            end = self.carry_out(bound, task_vars, patience)
        except AnsibleConnectionFailure as error:
            advice = "the host finishes or undoes its transaction by itself; run again"
            raise ActionError(name, str(error).removeprefix(f"{name}: "), advice, transaction=bound["id"]) from error
        told = {"state": end["state"], "duration_s": round(time.monotonic() - started, 1), "transaction": bound["id"]}
        if end["state"] == "committed":
            return told
        cause, advice = clean(str(end.get("cause") or "unknown cause")), clean(str(end.get("advice") or ""))
        said = f"{cause}; {AFTER.get(str(end['state']), end['state'])}"
        failure = ActionError(name, said, advice, **told, messages=self._messages)
        failure.result.update(cause=cause, advice=advice)
        raise failure

    def _journal(self, transaction: str, task_vars: dict[str, Any], patience: float, progress: Progress) -> Iterator[Mapping[str, Any]]:
        """As everywhere, and what was said is kept for the result."""
        for line in super()._journal(transaction, task_vars, patience, progress):
            self._messages.append(clean(str(line["message"])))
            yield line


def _refused(name: str, error: PlanError) -> ActionError:
    cause = f"{error.file}: {error.cause}" if error.file else error.cause
    return ActionError(name, cause, error.advice)
