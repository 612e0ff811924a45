# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on system accounts: making one, and removing one that an earlier transaction has made."""

from __future__ import annotations

import contextlib
import grp
import pwd
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.system_steps import Plain

ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
KINDS = ("user", "group")
NO_SHELL = "/usr/sbin/nologin"
NOWHERE = "/nonexistent"


def known(name: str) -> dict[str, dict[str, Any]]:
    """What this host knows under that name: "user" and "group", each with its numbers."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(KeyError):  # there is none
        user = pwd.getpwnam(name)
        found["user"] = {"uid": user.pw_uid, "gid": user.pw_gid, "home": user.pw_dir}
    with contextlib.suppress(KeyError):
        found["group"] = {"gid": grp.getgrnam(name).gr_gid}
    return found


class AccountStep(Plain):
    """What making and removing share."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.account = str(step["name"])
        if not ACCOUNT.fullmatch(self.account):
            raise JobError(f"account {self.account!r} is not valid")

    def _make(self, missing: Mapping[str, Mapping[str, Any]]) -> None:
        """Make group and user, with the numbers that are given for them."""
        if "group" in missing:
            self.command("groupadd", "--system", *_number("--gid", missing["group"].get("gid")), self.account)
        if "user" in missing:
            user = missing["user"]
            self.command(
                "useradd", "--system", *_number("--uid", user.get("uid")), "--gid", self.account, "--home-dir", str(user.get("home") or NOWHERE),
                "--no-create-home", "--shell", NO_SHELL, self.account,
            )  # fmt: skip

    def _remove(self, kinds: set[str]) -> None:
        """Remove what of it is there; with a user its group may go by itself."""
        if "user" in kinds and "user" in known(self.account):
            self.command("userdel", self.account)
        if "group" in kinds and "group" in known(self.account):
            self.command("groupdel", self.account)


class Account(AccountStep):
    """A system account without login, with a group of its own."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        home = str(step.get("home") or NOWHERE)
        if not home.startswith("/"):
            raise JobError(f"account {self.account!r} with home {home!r} is not valid")
        numbers = {key: int(step[key]) for key in ("uid", "gid") if step.get(key) is not None}
        self.wanted: dict[str, dict[str, Any]] = {"group": {"gid": numbers.get("gid")}, "user": {"uid": numbers.get("uid"), "home": home}}

    def apply(self) -> None:
        """Make group and account where they are missing."""
        there = known(self.account)
        missing = {kind: self.wanted[kind] for kind in ("group", "user") if kind not in there}
        if not missing:
            self.context.say(self.name, f"account {self.account} exists")
            return
        self.record(f"making the system account {self.account}", {"account": list(missing)})
        self._make(missing)
        self.context.say(self.name, f"system account {self.account} made")

    def revive(self) -> None:
        """Remove what was made."""
        self._remove({kind for kinds in self.recorded("account") if isinstance(kinds, list) for kind in kinds if isinstance(kind, str)})


class RemoveAccount(AccountStep):
    """Takes away an account, or only its group, that ninepaths has made; `kinds` says what of it."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.kinds = {str(kind) for kind in step["kinds"]}
        if not self.kinds or self.kinds - set(KINDS):
            raise JobError(f"account {self.account!r}: {sorted(self.kinds)} is not of {', '.join(KINDS)}")

    def check(self) -> None:
        """It is one that owns no process of this host; userdel refuses the others as well, after other steps."""
        user = known(self.account).get("user")
        if user and "user" in self.kinds and self.context.machine.command(["pgrep", "--uid", str(user["uid"])]).rc == 0:
            raise PreconditionError(f"account {self.account} is to be removed, and processes run as it", changes.AGAIN)

    def apply(self) -> None:
        """Remove it; undo makes it again with the same numbers."""
        gone = {kind: facts for kind, facts in known(self.account).items() if kind in self.kinds}
        if not gone:
            self.context.say(self.name, f"account {self.account} is gone already")
            return
        self.record(f"removing the system account {self.account}", {"removed": gone})
        self._remove(set(gone))
        self.context.say(self.name, f"system account {self.account} removed")

    def revive(self) -> None:
        """Make again what was removed."""
        there = known(self.account)
        for gone in self.recorded("removed"):
            self._make({kind: facts for kind, facts in gone.items() if kind not in there})


def _number(option: str, number: int | None) -> list[str]:
    return [] if number is None else [option, str(number)]
