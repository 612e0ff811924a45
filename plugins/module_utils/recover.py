# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undoes every unfinished transaction of this host (or one), and says how each ended. Entry: main."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import keeping, transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, as_error
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Recover transaction `id`, or all unfinished ones when it is null; newest first, since each builds on the one before."""
    return recover(Machine(run), request)


def recover(machine: Machine, request: Mapping[str, Any], **replaced: Any) -> dict[str, Any]:
    """As main, on a given machine."""
    wanted, known = request.get("id"), keeping.transactions(machine)
    if wanted is not None and wanted not in known:
        raise JobError(f"there is no transaction {wanted!r} on this host")
    names = [name for name in reversed(known) if wanted in (None, name)]
    found = [_one(machine, name, replaced) for name in names if wanted or _is_unfinished(machine, name)]
    return {"schema": 1, "transactions": found}


def _is_unfinished(machine: Machine, name: str) -> bool:
    return Journal(machine, f"{lock.TRANSACTIONS}/{name}/journal.jsonl").state in states.UNFINISHED


def _one(machine: Machine, name: str, replaced: Mapping[str, Any]) -> dict[str, Any]:
    directory = f"{lock.TRANSACTIONS}/{name}"
    if lock.holder(machine) == name or units.is_active(machine, name):
        return {"id": name, "run": None, "state": "running", "healthy": None, "cause": None, "advice": "follow it"}
    try:
        state = transaction.recover_job(machine, directory, **replaced)
    except Exception as error:  # whatever it is, the other transactions have their turn, and whoever asked gets an answer
        failure = as_error(error)
        return {"id": name, "run": None, "state": states.FAILED, "healthy": False, "cause": failure.cause, "advice": failure.advice}
    journal = Journal(machine, f"{directory}/journal.jsonl")
    data = journal.end
    run = next((line["data"].get("run") for line in journal.lines if line["event"] == "begin"), None)
    return {
        "id": name,
        "run": run if isinstance(run, str) else None,
        "state": state,
        "healthy": data.get("healthy"),
        "cause": data.get("cause"),
        "advice": data.get("advice"),
    }
