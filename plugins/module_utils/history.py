# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ninepaths has done to this host, by its journals, and what is there of it now. Changes nothing. Entry: main.

docs/development/interfaces.md describes the result.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import backups, keeping
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts, changes, states, system_steps
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal, Line

TEXT_LIMIT = 64 << 10  # bytes; a program of ours is longer, a configuration is not
UNITS = ("enable", "disable", "start", "stop")
UNREADABLE = "its job or its journal is not of the form that this version knows"
OBJECT = re.compile(re.escape(lock.TRANSACTIONS) + r"/[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[0-9]+-configmap\.json")
Effect = dict[str, Any]


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """All transactions on this host, the oldest first."""
    return read(Machine(run))


def read(machine: Machine) -> dict[str, Any]:
    """As main, on a given machine."""
    past = sorted((_past(machine, name) for name in keeping.transactions(machine)), key=lambda one: (one["number"], one["at"], one["id"]))
    effects = [effect for one in past for effect in one["effects"]]
    texts: dict[str, str] = {}
    _backups(machine, effects, texts)
    return {"schema": 1, "transactions": past, "removed": keeping.removed(machine), "now": _now(machine, effects, texts), "texts": texts}


def _past(machine: Machine, name: str) -> dict[str, Any]:
    """One transaction; `effects` is empty unless it was committed, `problem` says why it cannot be told."""
    job = keeping.job_of(machine, name)
    journal = Journal(machine, f"{lock.TRANSACTIONS}/{name}/journal.jsonl")
    begun = journal.lines[0] if journal.lines else {}
    found: dict[str, Any] = {
        "id": name,
        "run": str(job.get("run") or begun.get("data", {}).get("run") or ""),
        "wave": str(job.get("wave") or ""),
        "number": keeping.number_of(job),
        "at": _time(begun.get("at")),
        "state": journal.state,
        "takes_back": [],
        "problem": None,
        "effects": [],
    }
    if journal.state != states.COMMITTED:
        return found
    try:
        found["takes_back"] = [str(run) for run in job.get("takes_back") or ()]
        found["effects"] = [effect for line in journal.lines if line["event"] == "step" for effect in _effects(machine, job, journal.lines, line)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        found["problem"] = f"{UNREADABLE} ({type(error).__name__})"
    return found


def _time(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _effects(machine: Machine, job: Mapping[str, Any], lines: Iterable[Line], line: Line) -> list[Effect]:
    """What a line announced, which a committed transaction has done. Raises what malformed data raises."""
    data, number = line["data"], int(line["step"].partition(":")[0])
    if set(data) <= {"begun"}:
        return []
    step = job["steps"][number - 1]
    controls = step.get("controls")
    if "file" in data:
        return [_file(step, lines, data["file"])]
    if "account" in data:
        return [{"kind": "account", "name": str(step["name"]), "home": str(step.get("home") or ""), "made": list(data["account"]), "controls": controls}]
    if "removed" in data:
        return [{"kind": "account", "name": str(step["name"]), "removed": dict(data["removed"]), "controls": controls}]
    if "sysctl" in data:
        key = _named(system_steps.SYSCTL, data["sysctl"]["key"])
        sides = {"before": str(data["sysctl"]["old"]), "after": str(step["values"][key])}
        return [{"kind": "sysctl", "key": key, **sides, "controls": controls}]
    if "configmap" in data:
        return [_object(machine, step, str(data["configmap"]))]
    return [{"kind": "unit", "unit": _named(system_steps.UNIT, data[verb]), "verb": verb, "controls": controls} for verb in UNITS if verb in data]


def _named(pattern: re.Pattern[str], name: Any) -> str:
    """A name that a question may be made of. Raises ValueError for any other."""
    if not pattern.fullmatch(str(name)):
        raise ValueError("a name with other characters than names have")
    return str(name)


def _file(step: Mapping[str, Any], lines: Iterable[Line], record: Mapping[str, Any]) -> Effect:
    path = str(record["path"])
    pods = {str(change["file"]["path"]): (name, change["file"]) for name, change in (step.get("changes") or {}).items()}
    items = {str(item["path"]): item for item in step.get("files") or ()}
    component, item = pods.get(path, (None, items.get(path, {})))
    argv = [line["data"]["old"]["argv"] for line in lines if component and line["data"].get("component") == component and "old" in line["data"]]
    return {
        "kind": "file",
        "op": str(step["op"]),
        "path": path,
        "action": str(record["action"]),
        "component": component,
        "argv": [str(word) for word in argv[0]] if argv else None,
        "before": changes.Found.from_dict(record["before"]).as_dict(),
        "after": changes.Found.from_dict(record["after"]).as_dict(),
        "backup": {"path": _named(backups.PLACE, record["backup"]), "sha256": None} if record.get("backup") else None,
        "controls": item.get("controls"),
    }


def _object(machine: Machine, step: Mapping[str, Any], backup: str) -> Effect:
    """A ConfigMap that was replaced: the keys that changed, as they were and as they were written."""
    _named(OBJECT, backup)
    saved = json.loads(machine.read(backup))
    sides = {"before": dict(saved["data"]), "after": dict(step["data"])}
    name = {"namespace": str(step["namespace"]), "name": str(step["name"])}
    return {"kind": "object", **name, **sides, "annotation": saved.get("annotation"), "controls": step.get("controls")}


def _backups(machine: Machine, effects: Iterable[Effect], texts: dict[str, str]) -> None:
    """The digest of each backup as it is, null where it is gone, and the text of those that may be shown."""
    for backup in (effect["backup"] for effect in effects if effect.get("backup")):
        try:
            data = machine.read(backup["path"])
        except OSError:  # told by the missing digest
            continue
        backup["sha256"] = changes.digest(data)
        _note(texts, data)


def _note(texts: dict[str, str], data: bytes) -> None:
    """Keep the text of a document by its digest, unless it holds a secret."""
    if len(data) > TEXT_LIMIT:
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return  # no text
    if secrets.found_in(text) is None:
        texts[changes.digest(data)] = text


def _now(machine: Machine, effects: list[Effect], texts: dict[str, str]) -> dict[str, Any]:
    names = files.Names()
    paths = sorted({effect["path"] for effect in effects if effect["kind"] == "file"})
    documents = {effect["path"] for effect in effects if effect["kind"] == "file" and effect["action"] != "attributes"}
    units = sorted({effect["unit"] for effect in effects if effect["kind"] == "unit"})
    return {
        "files": {path: _look(machine, path, names, texts if path in documents else None) for path in paths},
        "accounts": {effect["name"]: accounts.known(effect["name"]) for effect in effects if effect["kind"] == "account"},
        "units": {unit: _unit(machine, unit) for unit in units},
        "sysctls": {effect["key"]: _sysctl(machine, effect["key"]) for effect in effects if effect["kind"] == "sysctl"},
    }


def _look(machine: Machine, path: str, names: files.Names, texts: dict[str, str] | None) -> dict[str, Any]:
    """What lies at a path, with the names of its owner and group. `texts` None: of what is in it nobody has changed anything."""
    try:
        found = changes.look(machine, path)
        if found.type == "file" and texts is not None:
            _note(texts, machine.read(path))
        inside = sorted(os.listdir(machine.at(path))) if found.type == "dir" and texts is not None else []
    except OSError as error:
        return {**changes.Found("other").as_dict(), "problem": str(error.strerror), "entries": []}
    facts: dict[str, Any] = {**found.as_dict(), "problem": None, "entries": inside}
    if found.uid is not None and found.gid is not None:
        facts.update(owner=names.owner(found.uid), group=names.group(found.gid))
    return facts


def _unit(machine: Machine, unit: str) -> dict[str, bool]:
    return {word: machine.command(["systemctl", "--quiet", f"is-{word}", unit]).rc == 0 for word in ("enabled", "active")}


def _sysctl(machine: Machine, key: str) -> str | None:
    try:
        with open(machine.at("/proc/sys/" + key.replace(".", "/")), encoding="ascii") as file:
            return " ".join(file.read().split())
    except OSError:  # this kernel does not have it any more
        return None
