# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the lines that a transaction's journal has gained, waiting a while for more. Entry: main."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.keeping import NAME
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal as journals
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import states


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Lines of transaction `id` from byte `offset` on; waits up to `wait_s` seconds for the first. Raises JobError for an unknown id."""
    return follow(Machine(run), request)


def follow(machine: Machine, request: Mapping[str, Any]) -> dict[str, Any]:
    """As main, on a given machine."""
    name, offset = str(request["id"]), int(request.get("offset") or 0)
    directory = f"{lock.TRANSACTIONS}/{name}"
    if not NAME.fullmatch(name) or not machine.exists(f"{directory}/job.json"):
        raise JobError(f"there is no transaction {name!r} on this host")
    deadline = machine.clock() + float(request.get("wait_s") or 0)
    while True:
        alive = units.is_active(machine, name)  # asked first: what it still wrote before it ended is then read
        lines, size, state = _read(machine, f"{directory}/journal.jsonl", offset)
        if lines or not alive or machine.clock() >= deadline:
            return {"schema": 1, "id": name, "lines": lines, "offset": size, "alive": alive, "state": state}
        machine.sleep(0.3)


def _read(machine: Machine, path: str, offset: int) -> tuple[list[journals.Line], int, str]:
    try:
        text = machine.read(path)
    except FileNotFoundError:
        return [], 0, states.OPEN
    lines, size = journals.parse(text)
    before, _rest = journals.parse(text[: min(offset, size)])
    return lines[len(before) :], size, journals.state(lines)
