# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches a host's transaction and follows its journal to the end, whatever becomes of the connection or of its process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import FAILED, UNDONE
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError, display
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.progress import PATIENCE_S, Progress, is_bookkeeping

FOLLOW_S = 20  # one call of `follow` waits this long for a new line
AFTER = {UNDONE: "everything is as it was before", FAILED: "it could not be undone"}
RECONNECT_S = 2.0
RUNNING_S = 2.0  # between two looks at an undo that another process is at


class FollowingAction(ClusterAction):
    """An action that carries out a transaction."""

    _requires_connection = True

    def carry_out(self, job: Mapping[str, Any], task_vars: dict[str, Any], patience: float) -> Mapping[str, Any]:
        """Launch the transaction, print its journal line by line, and return the data of its `end`."""
        program = bundle.build("transaction", {"schema": 1}).decode("utf-8")
        self.program("launch", {"schema": 1, "job": job, "program": program}, task_vars)
        progress = Progress(self.host(task_vars))
        for line in self._journal(str(job["id"]), task_vars, patience, progress):
            if not is_bookkeeping(line) or display.verbosity:
                self.show(progress.add(line))
            if line["event"] == "end":
                return dict(line["data"])
        raise ActionError(self.host(task_vars), "the journal ended without a result", "run again: it will be finished or undone first")

    def _journal(self, transaction: str, task_vars: dict[str, Any], patience: float, progress: Progress) -> Iterator[Mapping[str, Any]]:
        """Journal lines as they come. The transaction does not depend on us, so a lost connection is only taken up again."""
        offset, lost_since, recovered = 0, None, False
        while True:
            wait_s = PATIENCE_S if progress.waiting else FOLLOW_S
            try:
                answer = self.program("follow", {"schema": 1, "id": transaction, "offset": offset, "wait_s": wait_s}, task_vars)
                if not answer["alive"] and not answer["lines"]:  # killed, and no end line yet
                    recovered = self._recover(transaction, task_vars, recovered)
            except AnsibleConnectionFailure:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > patience:
                    raise
                self._reconnect()
                continue
            lost_since = None
            yield from answer["lines"]
            if not answer["lines"]:
                self.show(progress.still())
            offset, recovered = answer["offset"], recovered and not answer["lines"]
            if any(line["event"] == "end" for line in answer["lines"]):
                return

    def _recover(self, transaction: str, task_vars: dict[str, Any], before: bool) -> bool:
        """Have what a killed process had begun undone. True: its end line has to be there now; that counts once.

        Raises ActionError when there can be no end line: a full disk, for example.
        """
        (found,) = self.program("recover", {"schema": 1, "id": transaction}, task_vars)["transactions"]
        if found["state"] == "running":
            time.sleep(RUNNING_S)
            return before
        if found["state"] == FAILED:
            raise ActionError(self.host(task_vars), f"{found['cause']}; {AFTER[FAILED]}", found["advice"] or "")
        if before:
            cause = f"transaction {transaction} is {found['state']}, but its journal does not say so"
            raise ActionError(self.host(task_vars), cause, "look at the file system (df -h, df -i), then run again")
        return True

    def _reconnect(self) -> None:
        """Forget the connection, a stale multiplexing master included; the next program opens a new one."""
        # A plugin without a reset, or a master that is gone already: what counts is that it is closed below.
        with contextlib.suppress(AnsibleError, AttributeError, NotImplementedError):
            self._connection.reset()
        self._connection.close()
        time.sleep(RECONNECT_S)
