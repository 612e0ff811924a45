# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on the host itself: files, a system account, systemd units, kernel parameters."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
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

ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.(?:service|timer|socket|path)")
SYSCTL_VALUE = re.compile(r"[A-Za-z0-9 ._/:,-]{0,256}")
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


class Account(Plain):
    """A system account without login, with a group of its own."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.account, self.home = str(step["name"]), str(step.get("home") or "/nonexistent")
        if not ACCOUNT.fullmatch(self.account) or not self.home.startswith("/"):
            raise JobError(f"account {self.account!r} with home {self.home!r} is not valid")

    def apply(self) -> None:
        """Make group and account where they are missing."""
        missing = [kind for kind, known in (("group", grp.getgrnam), ("user", pwd.getpwnam)) if not _known(known, self.account)]
        if not missing:
            self.context.say(self.name, f"account {self.account} exists")
            return
        self.record(f"making the system account {self.account}", {"account": missing})
        if "group" in missing:
            self.command("groupadd", "--system", self.account)
        if "user" in missing:
            self.command(
                "useradd",
                "--system",
                "--gid",
                self.account,
                "--home-dir",
                self.home,
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                self.account,
            )
        self.context.say(self.name, f"system account {self.account} made")

    def revive(self) -> None:
        """Remove what was made."""
        made = {kind for kinds in self.recorded("account") if isinstance(kinds, list) for kind in kinds if isinstance(kind, str)}
        if "user" in made and _known(pwd.getpwnam, self.account):
            self.command("userdel", self.account)
        if "group" in made and _known(grp.getgrnam, self.account):
            self.command("groupdel", self.account)


def _known(lookup: Any, name: str) -> bool:
    try:
        lookup(name)
    except KeyError:
        return False
    return True


class Units(Plain):
    """systemd units: reload, enable, start."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.enable, self.start = [str(unit) for unit in step.get("enable", ())], [str(unit) for unit in step.get("start", ())]
        wrong = [unit for unit in (*self.enable, *self.start) if not UNIT.fullmatch(unit) or unit.startswith(("kubelet", "-"))]
        if wrong:
            raise JobError(f"units: {wrong[0]!r} is no unit that this step may touch")

    def apply(self) -> None:
        """Reload, enable, start; what was so already is not undone."""
        if self.step.get("daemon_reload"):
            self.record("systemd reads its units again", {"reload": True})
            self.command("systemctl", "daemon-reload")
        for verb, query, units in (("enable", "is-enabled", self.enable), ("start", "is-active", self.start)):
            for unit in units:
                if self.context.machine.command(["systemctl", "--quiet", query, unit]).rc == 0:
                    continue
                self.record(f"systemctl {verb} {unit}", {verb: unit})
                self.command("systemctl", verb, unit)

    def restore(self) -> None:
        """Disable what was enabled: removes links only, and needs the unit's file, which an earlier step may have brought."""
        for unit in self._own("enable", self.enable):
            self.context.machine.command(["systemctl", "--no-reload", "disable", unit])

    def _own(self, verb: str, units: Sequence[str]) -> list[str]:
        """What was recorded, as far as the job names it."""
        return [unit for unit in self.recorded(verb) if unit in units]

    def revive(self) -> None:
        """Stop what was started; units whose files are gone by now are forgotten by the reload."""
        for unit in self._own("start", self.start):
            self.context.machine.command(["systemctl", "stop", unit])
        if self.recorded("reload"):
            self.command("systemctl", "daemon-reload")


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
