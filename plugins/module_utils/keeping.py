# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which transactions stay on a host: numbered in their order, those of the last runs whole, and a line about each that was removed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
KEPT = 10  # runs
REMOVED = f"{lock.BASE}/removed.jsonl"
REMEMBERED = 1000  # lines


def transactions(machine: Machine) -> list[str]:
    """Names of all transactions on this host, the oldest first."""
    try:
        entries = list(os.scandir(machine.at(lock.TRANSACTIONS)))
    except FileNotFoundError:
        return []
    found = []
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):  # pruned since the listing
            if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):  # a link would lead elsewhere, and be emptied there
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    return [name for _mtime, name in sorted(found)]


def job_of(machine: Machine, name: str) -> dict[str, Any]:
    """A transaction's job; empty where it cannot be read or is none."""
    try:
        job = json.loads(machine.read(f"{lock.TRANSACTIONS}/{name}/job.json"))
    except (OSError, ValueError, RecursionError):  # it is not told apart: whoever needs the job says that there is none
        return {}
    return job if isinstance(job, dict) else {}


def number_of(job: Mapping[str, Any]) -> int:
    """Its place among all of this host, which no clock can change; 0 where an earlier version has made it."""
    number = job.get("number")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0


def next_number(machine: Machine) -> int:
    """For a transaction that is about to be laid down."""
    numbers = [number_of(job_of(machine, name)) for name in transactions(machine)]
    return max([*numbers, *(number_of(entry) for entry in removed(machine)), 0]) + 1


def prune(machine: Machine, needed: Iterable[str] = ()) -> None:
    """Remove the ended transactions of all but the last ten runs, each remembered by a line. Raises OSError.

    needed: runs that the next transaction takes back; its later waves read their backups.
    """
    names = transactions(machine)
    runs = {name: str(job_of(machine, name).get("run") or name) for name in names}
    last = {*list(dict.fromkeys(runs[name] for name in reversed(names)))[:KEPT], *needed}
    gone = [name for name in names if runs[name] not in last and _journal(machine, name).state not in states.UNFINISHED]
    if not gone:
        return
    _remember(machine, [_line(machine, name) for name in gone])
    for name in gone:
        _remove_tree(machine, machine.at(f"{lock.TRANSACTIONS}/{name}"))


def removed(machine: Machine) -> list[dict[str, Any]]:
    """What is remembered of transactions that were removed, the oldest first; lines that make no sense are passed over."""
    try:
        text = machine.read(REMOVED)
    except FileNotFoundError:
        return []
    return [entry for entry in map(_parsed, text.splitlines()) if entry is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("id"), str) and isinstance(entry.get("run"), str) else None


def _line(machine: Machine, name: str) -> dict[str, Any]:
    job, journal = job_of(machine, name), _journal(machine, name)
    at = journal.lines[0]["at"] if journal.lines else None
    run, wave = str(job.get("run") or ""), str(job.get("wave") or "")
    return {"id": name, "run": run, "wave": wave, "number": number_of(job), "at": at, "state": journal.state}


def _remember(machine: Machine, lines: Iterable[Mapping[str, Any]]) -> None:
    """Written beside and renamed: before the directories go, so that none goes unnoticed."""
    known = removed(machine)
    names = {line["id"] for line in lines}
    kept = [*(entry for entry in known if entry["id"] not in names), *lines][-REMEMBERED:]
    beside = machine.at(f"{REMOVED}.new")
    machine.files.remove(beside)
    machine.files.write_new(beside, "".join(json.dumps(entry) + "\n" for entry in kept).encode("utf-8"), 0o600)
    machine.files.rename(beside, machine.at(REMOVED))


def _journal(machine: Machine, name: str) -> Journal:
    return Journal(machine, f"{lock.TRANSACTIONS}/{name}/journal.jsonl")


def _remove_tree(machine: Machine, real: str) -> None:
    for entry in sorted(os.scandir(real), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(machine, entry.path)
        else:
            machine.files.remove(entry.path)
    machine.files.remove_directory(real)
