# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Old content for a job: a file change may name a backup of an earlier transaction and its digest, and gets the bytes on this host.

So what was in a file never travels; the new transaction has it in its own job.json and does not need the backup any more.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes

PLACE = re.compile(re.escape(lock.TRANSACTIONS) + r"/[A-Za-z0-9][A-Za-z0-9_-]{0,63}/backup/[0-9]{5,}")
LOST = "put the file back by hand, then run the rollback again"


def filled(machine: Machine, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with the bytes of its backups. Raises JobError for a name that is none, PreconditionError for a backup that is not as named."""
    steps = job.get("steps")
    if not isinstance(steps, list):
        raise JobError("the job has no list of steps", "use one version of the collection")
    return {**job, "steps": [_step(machine, step) for step in steps]}


def _step(machine: Machine, step: Any) -> Any:
    """Whatever is malformed is left to the transaction, which says so in its journal."""
    if not isinstance(step, dict):
        return step
    found = dict(step)
    if isinstance(step.get("files"), list):
        found["files"] = [_file(machine, item) for item in step["files"]]
    if isinstance(step.get("changes"), dict):
        found["changes"] = {name: _pod(machine, change) for name, change in step["changes"].items()}
    return found


def _pod(machine: Machine, change: Any) -> Any:
    return {**change, "file": _file(machine, change["file"])} if isinstance(change, dict) and "file" in change else change


def _file(machine: Machine, item: Any) -> Any:
    backup = item.get("backup") if isinstance(item, dict) else None
    if backup is None:
        return item
    data = _read(machine, backup)
    return {**{key: value for key, value in item.items() if key != "backup"}, "content": base64.b64encode(data).decode("ascii")}


def _read(machine: Machine, backup: Any) -> bytes:
    path, wanted = (backup.get("path"), backup.get("sha256")) if isinstance(backup, dict) else (None, None)
    if not isinstance(path, str) or not PLACE.fullmatch(path) or not isinstance(wanted, str):
        raise JobError(f"{path!r} is no backup of a transaction", "use one version of the collection")
    try:
        data = machine.read(path)
    except OSError as error:
        raise PreconditionError(f"the backup {path} cannot be read: {error.strerror}", LOST) from error
    if changes.digest(data) != wanted:
        raise PreconditionError(f"the backup {path} is not what was saved there", LOST)
    return data
