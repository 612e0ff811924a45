# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays a job with its program on the disk and starts it detached. Entry: main."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import backups, keeping
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, JobError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

CLOSING = 60.0  # seconds that a transaction may take from its end line until it lets go of the host


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Start `request["job"]` with `request["program"]`; returns id, unit and directory. Raises TransactionError or OSError."""
    return launch(Machine(run), request)


def launch(machine: Machine, request: Mapping[str, Any]) -> dict[str, Any]:
    """As main, on a given machine."""
    job, program = request["job"], request["program"]
    name = str(job.get("id"))
    if not keeping.NAME.fullmatch(name):
        raise JobError(f"transaction id {name!r} is not made of letters, digits, _ and -")
    units.require_systemd(machine)
    lock.prepare(machine)
    _refuse_while_open(machine)
    directory = f"{lock.TRANSACTIONS}/{name}"
    if machine.exists(directory):
        raise JobError(f"transaction {name} was launched on this host before", "follow it, or plan again for a new id")
    job = {**backups.filled(machine, job), "number": keeping.next_number(machine)}
    machine.files.make_directory(machine.at(directory), 0o700)
    for file, data in (("program.py", program.encode("utf-8")), ("job.json", json.dumps(job).encode("utf-8"))):
        machine.files.write_new(machine.at(f"{directory}/{file}"), data, 0o600)
    machine.files.sync_directory(machine.at(directory))
    keeping.prune(machine, [str(run) for run in job.get("takes_back") or ()])
    units.start(machine, name, directory, job)
    return {"schema": 1, "id": name, "unit": f"{units.unit_name(name)}.service", "directory": directory}


def _refuse_while_open(machine: Machine) -> None:
    """Raises HeldError while anything else is at work here, or left this host unfinished."""
    deadline = machine.clock() + CLOSING
    holder = lock.holder(machine)
    while holder is not None:
        known = bool(keeping.NAME.fullmatch(holder))
        if not known or not _journal(machine, holder).end or machine.clock() >= deadline:
            raise HeldError(f"transaction {holder if known else 'of another process'} is changing this host", "wait until it has ended")
        machine.sleep(0.5)
        holder = lock.holder(machine)
    for name in keeping.transactions(machine):
        found = _journal(machine, name)
        if found.lines and found.state == states.OPEN:
            raise HeldError(f"transaction {name} on this host is open", "run the playbook again: it begins with undoing what was interrupted")
        if found.state == states.FAILED:
            cause, advice = found.end.get("cause") or "see its journal", str(found.end.get("advice") or "")
            raise HeldError(f"transaction {name} on this host could not be undone: {cause}", advice)


def _journal(machine: Machine, name: str) -> Journal:
    return Journal(machine, f"{lock.TRANSACTIONS}/{name}/journal.jsonl")
