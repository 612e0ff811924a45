# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on the host itself: files, systemd units, kernel parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import (
    HealthError,
    JobError,
    PreconditionError,
    TransactionError,
    as_error,
    joined,
)
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import parse_all

UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.(?:service|timer|socket|path)")
SYSCTL_VALUE = re.compile(r"[A-Za-z0-9 ._/:,-]{0,256}")
# What is done to a unit: the question whether it is so, and the answer where there is something to do.
VERBS = {"stop": ("is-active", True), "disable": ("is-enabled", True), "enable": ("is-enabled", False), "start": ("is-active", False)}
SYSCTL = re.compile(r"[a-z0-9_]+(?:[./][A-Za-z0-9_-]+)+")


class Plain:
    """What most steps share: a name, the context, and records in the journal that an undo reads."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        self.step, self.context, self.name = step, context, name

    def check(self) -> None:
        """Nothing to check before."""

    def restore(self) -> None:
        """No files to put back."""

    def revive(self) -> None:
        """Nothing to tell the running system."""

    def settle(self) -> None:
        """Nothing to wait for."""

    def record(self, message: str, data: Mapping[str, Any]) -> None:
        """Journal what is about to be done, with what undo needs."""
        self.context.journal.add("step", self.name, message, data)

    def recorded(self, key: str) -> list[Any]:
        """What was recorded under a key, newest first."""
        lines = [
            line["data"][key]
            for line in self.context.journal.lines
            if line["step"] == self.name and line["event"] == "step" and key in line["data"]
        ]
        return lines[::-1]

    def command(self, *argv: str) -> str:
        """Run a command that has to succeed. Raises TransactionError with its last line of stderr."""
        found = self.context.machine.command(argv)
        if found.rc != 0:
            raise TransactionError(f"{' '.join(argv[:3])}: {found.stderr.strip().rpartition(chr(10))[2][:300] or f'ended with {found.rc}'}")
        return str(found.stdout)


class Files(Plain):
    """Files, directories and links, in the order of the job."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.changes = parse_all(step["files"])

    def check(self) -> None:
        """Every path is as the plan saw it; what lies below a directory that is still to be made is looked at when its turn comes."""
        for change in self.changes:
            changes.check(self.context.machine, change)

    def apply(self) -> None:
        """Write them."""
        for change in self.changes:
            self.context.writer.apply(change, self.name)
        self.context.say(self.name, "1 file written" if len(self.changes) == 1 else f"{len(self.changes)} files written")

    def restore(self) -> None:
        """Put them back, the last one first."""
        put_back(self.context, self.name)


def put_back(context: Context, name: str) -> int:
    """Restore all files of a step, the last one first; returns how many were not as before. Raises UndoError after having tried all."""
    return restore(context, name, ((record, f"{record['path']} is as before") for record in reversed(context.writer.records(name))))


def restore(context: Context, name: str, wanted: Iterable[tuple[Mapping[str, Any], str]]) -> int:
    """Restore these records, and journal for each the sentence that stands with it; otherwise as `put_back`."""
    failed, count = [], 0
    for record, done in wanted:
        try:
            if context.writer.restore(record):
                context.say(name, done)
                count += 1
        except Exception as error:  # one path that cannot be put back, for whatever reason, keeps none of the others new
            failed.append(as_error(error))
    if failed:
        raise joined(failed)
    return count


class Units(Plain):
    """systemd units: stop, disable, reload, enable, start; and forget those whose files are gone."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.units = {verb: [str(unit) for unit in step.get(verb, ())] for verb in VERBS}
        self.gone = [str(unit) for unit in step.get("gone", ())]
        named = [*self.gone, *(unit for units in self.units.values() for unit in units)]
        wrong = [unit for unit in named if not UNIT.fullmatch(unit) or unit.startswith(("kubelet", "-"))]
        if wrong:
            raise JobError(f"units: {wrong[0]!r} is no unit that this step may touch")

    def apply(self) -> None:
        """Stop, disable, reload, enable, start; what was so already is not undone."""
        self._each("stop")
        self._each("disable")
        if self.step.get("daemon_reload"):
            self.record("systemd reads its units again", {"reload": True})
            self.command("systemctl", "daemon-reload")
        self._each("enable")
        self._each("start")
        for unit in self.gone:  # one that still ran, or had failed, would stay in systemd's memory
            self.context.machine.command(["systemctl", "stop", unit])
            self.context.machine.command(["systemctl", "reset-failed", unit])

    def _each(self, verb: str) -> None:
        """Do it to those units that are not so already."""
        query, before = VERBS[verb]
        for unit in self.units[verb]:
            if (self.context.machine.command(["systemctl", "--quiet", query, unit]).rc == 0) is not before:
                continue
            self.record(f"systemctl {verb} {unit}", {verb: unit})
            self.command("systemctl", verb, unit)

    def restore(self) -> None:
        """Links of units as they were: that needs the unit's file, which is there while another step's undo has not yet taken it away."""
        for unit in self._own("enable"):
            self.context.machine.command(["systemctl", "--no-reload", "disable", unit])
        for unit in self._own("disable"):
            self.command("systemctl", "--no-reload", "enable", unit)

    def _own(self, verb: str) -> list[str]:
        """What was recorded, as far as the job names it."""
        return [unit for unit in self.recorded(verb) if unit in self.units[verb]]

    def revive(self) -> None:
        """Stop what was started, start what was stopped; units whose files are gone by now are forgotten by the reload."""
        for unit in self._own("start"):
            self.context.machine.command(["systemctl", "stop", unit])
        if self.recorded("reload"):
            self.command("systemctl", "daemon-reload")
        for unit in self._own("stop"):
            self.command("systemctl", "start", unit)


class Sysctls(Plain):
    """Kernel parameters of the running kernel; the file that keeps them is a `files` step."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.values = {str(key): str(value) for key, value in step["values"].items()}
        wrong = [key for key, value in self.values.items() if not SYSCTL.fullmatch(key) or not SYSCTL_VALUE.fullmatch(value)]
        if wrong:
            raise JobError(f"sysctls: {wrong[0]!r} is no kernel parameter")

    def _read(self, key: str) -> str:
        try:
            with open(self.context.machine.at("/proc/sys/" + key.replace(".", "/")), encoding="utf-8", errors="replace") as file:
                return " ".join(file.read(1 << 12).split())
        except OSError as error:
            raise PreconditionError(
                f"kernel parameter {key}: {error.strerror}", "this kernel does not have it; waive the control"
            ) from error

    def _write(self, key: str, value: str) -> None:
        self.command("sysctl", "--quiet", "--write", f"{key}={value}")
        if self._read(key) != " ".join(value.split()):
            raise HealthError(f"kernel parameter {key} does not keep {value}", "something else on this host sets it")

    def check(self) -> None:
        """They exist."""
        for key in self.values:
            self._read(key)

    def apply(self) -> None:
        """Set them."""
        for key, value in self.values.items():
            old = self._read(key)
            if old == " ".join(value.split()):
                continue
            self.record(f"{key}: {old} becomes {value}", {"sysctl": {"key": key, "old": old}})
            self._write(key, value)

    def revive(self) -> None:
        """Set the old values."""
        for saved in self.recorded("sysctl"):
            if isinstance(saved, dict) and saved.get("key") in self.values and SYSCTL_VALUE.fullmatch(str(saved.get("old"))):
                self._write(saved["key"], str(saved["old"]))
