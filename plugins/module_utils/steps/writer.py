# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes single paths so that each is old or new at every instant, and puts them back without needing space on the disk.

Before a file is replaced, its old inode gets a second name in a staging directory on the same file system; undo renames that one back:
old bytes, owner, mode and labels in one step. A copy lies in the transaction's `backup/` as well, which outlives the transaction.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError, TransactionError, UndoError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes, states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.changes import FileChange, Found
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

# The kubelet reads what lies here as pods; nothing but the manifests themselves may ever be in it.
MANIFESTS = "/etc/kubernetes/manifests"
# What tells whether a path is as we left it, by what we changed of it.
CONTENT, ATTRIBUTES = ("type", "sha256", "target"), ("type", "mode", "uid", "gid")


class Writer:
    """Writes the files of one transaction.

    `directory` is the transaction's own; `watched` are directories that a program reads as a whole (static pod manifests), whose
    staging directory is their sibling; so are those that the job removes, which could not go with one inside. Everywhere else it is
    a dot-directory beside the file.
    """

    def __init__(self, host: Machine, journal: Journal, directory: str, watched: Iterable[str] = (MANIFESTS,)) -> None:
        self.host, self.journal, self.directory = host, journal, directory
        self.watched = frozenset(watched)
        self.name = f".ninepaths-{os.path.basename(directory)}"

    # --- forward -----------------------------------------------------------------------------------------------------------

    def apply(self, change: FileChange, step: str) -> None:
        """Bring one path to its new state. Raises PreconditionError or OSError; what was begun is in the journal."""
        found = changes.check(self.host, change)
        uid, gid = owner_of(change)
        record: dict[str, Any] = {"path": change.path, "before": found.as_dict(), "number": self._number(), "action": "attributes"}
        if change.type == "dir" and found.type == "absent":
            record["action"] = "create"
            record["after"] = Found("dir", None, change.mode, uid, gid).as_dict()
            self._announce(record, step)
            self.host.files.make_directory(self.host.at(change.path), 0o700)
            self._set_attributes(change.path, uid, gid, change.mode)
        elif change.type == "absent" and found.type == "dir":
            self._remove_directory(change.path, record, step)
        elif change.type == "absent" or change.type == "link" or change.content is not None:
            record["action"] = "replace" if found.type != "absent" else "create"
            self._replace(change, found, record, step, (uid, gid))
        else:
            mode = found.mode if change.mode is None else change.mode
            record["after"] = found._replace(mode=mode, uid=uid, gid=gid).as_dict()
            self._announce(record, step)
            self._set_attributes(change.path, uid, gid, change.mode)

    def _remove_directory(self, path: str, record: dict[str, Any], step: str) -> None:
        """Only an empty one: what others have put into it is theirs."""
        record["action"], record["after"] = "remove", Found("absent").as_dict()
        self._announce(record, step)
        try:
            self.host.files.remove_directory(self.host.at(path))
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            raise PreconditionError(f"{path} is to be removed, and others have put files into it", changes.AGAIN) from error

    def _replace(self, change: FileChange, found: Found, record: dict[str, Any], step: str, owner: tuple[int, int]) -> None:
        stage = self._stage(change.path)
        record["stage"] = stage
        old, new = f"{stage}/{record['number']}.old", f"{stage}/{record['number']}.new"
        self._back_up(change.path, found, record)
        if found.type != "absent":
            self.host.files.link(self.host.at(change.path), self.host.at(old))
        if change.type == "link":
            self.host.files.symlink(str(change.target), self.host.at(new))
            self.host.files.set_owner(self.host.at(new), *owner)
        elif change.type == "file":
            self._stage_file(change, found, new, owner)
        record["after"] = changes.look(self.host, new).as_dict() if change.type != "absent" else Found("absent").as_dict()
        self._announce(record, step)
        if change.type == "absent":
            self.host.files.remove(self.host.at(change.path))
        else:
            self.host.files.rename(self.host.at(new), self.host.at(change.path))

    def _stage_file(self, change: FileChange, found: Found, new: str, owner: tuple[int, int]) -> None:
        """The new file beside, complete: bytes, labels, owner, mode (in that order: a change of owner clears bits of the mode)."""
        real = self.host.at(new)
        mode = change.mode if change.mode is not None else found.mode
        self.host.files.write_new(real, change.content or b"", 0o600)
        if found.type == "file":
            self.host.files.copy_xattrs(self.host.at(change.path), real)
        self.host.files.set_owner(real, *owner)
        self.host.files.set_mode(real, 0o600 if mode is None else mode)

    def _back_up(self, path: str, found: Found, record: dict[str, Any]) -> None:
        if found.type != "file":
            return
        backup = f"{self.directory}/backup"
        if not self.host.exists(backup):
            self.host.files.make_directory(self.host.at(backup), 0o700)
        record["backup"] = f"{backup}/{record['number']}"
        self.host.files.write_new(self.host.at(record["backup"]), self.host.read(path), 0o600)
        self.host.files.sync_directory(self.host.at(backup))

    def _stage(self, path: str) -> str:
        """The staging directory for a path: same file system, not in a watched directory. Made if it is not there."""
        parent = os.path.dirname(path)
        stage = stage_of(path, self.name, self.watched)
        if os.lstat(self.host.at(os.path.dirname(stage))).st_dev != os.stat(self.host.at(parent)).st_dev:
            raise PreconditionError(
                f"{parent} is a file system of its own, so {path} cannot be replaced atomically",
                f"mount the parent of {parent} instead, or change {path} by hand",
            )
        if not self.host.exists(stage):
            self.host.files.make_directory(self.host.at(stage), 0o700)
        return stage

    def _number(self) -> str:
        """A fresh number; what an interrupted start left in staging or backup is stepped over."""
        return f"{len(self.journal.lines):05d}"

    def _announce(self, record: Mapping[str, Any], step: str) -> None:
        verb = {"attributes": "owner and mode of", "create": "creating", "replace": "replacing", "remove": "removing"}[record["action"]]
        self.journal.add("step", step, f"{verb} {record['path']}", {"file": record})

    def _set_attributes(self, path: str, uid: int, gid: int, mode: int | None) -> None:
        real = self.host.at(path)
        self.host.files.set_owner(real, uid, gid)
        if mode is not None:
            self.host.files.set_mode(real, mode)

    # --- back --------------------------------------------------------------------------------------------------------------

    def records(self, step: str) -> list[dict[str, Any]]:
        """File records of a step, in the order in which they were begun. Those that this transaction cannot have written are `damaged`."""
        return [record for line, record in self._records() if line["step"] == step and self._is_record(record)]

    def damaged(self) -> list[TransactionError]:
        """One error for each record that cannot be undone as it stands."""
        where = f"{self.directory}/journal.jsonl"
        return [
            UndoError(f"{where}: line {line['seq']} is no record of this transaction", f"compare with the files in {self.directory}/backup")
            for line, record in self._records()
            if not self._is_record(record)
        ]

    def _records(self) -> list[tuple[Mapping[str, Any], Any]]:
        return [(line, line["data"]["file"]) for line in self.journal.lines if line["event"] == "step" and "file" in line["data"]]

    def _is_record(self, record: Any) -> bool:
        """Whether a record has the form that `apply` gives it, and names no place but its own."""
        if not isinstance(record, dict) or record.get("action") not in ("attributes", "create", "replace", "remove"):
            return False
        path, number = record.get("path"), record.get("number")
        if not isinstance(path, str) or not changes.is_plain_path(path) or not (isinstance(number, str) and number.isalnum()):
            return False
        places = {"stage": stage_of(path, self.name, self.watched), "backup": f"{self.directory}/backup/{number}"}
        try:
            for side in ("before", "after"):
                Found.from_dict(record.get(side))
        except ValueError:
            return False
        return all(record.get(key, place) == place for key, place in places.items())

    def restore(self, record: Mapping[str, Any]) -> bool:
        """Put one path back as it was; False if it is so already. Raises UndoError that says where the old bytes are.

        After an undo that has failed people mend things by hand: then only what is still ours is put back.
        """
        path, before = record["path"], Found.from_dict(record["before"])
        try:
            found = changes.look(self.host, path)
            if _is_as(found, before, record):
                return False
            if self.journal.state == states.FAILED and not _is_ours(found, record):
                raise UndoError(f"{path} was changed since its undo failed; decide by hand what is right", self._where(record))
            if record["action"] != "attributes":
                self._keep_foreign(record, found)
            self._put_back(record, before, found)
            found = changes.look(self.host, path)
        except OSError as error:
            raise UndoError(f"{path} cannot be put back: {error.strerror}", self._where(record)) from error
        if not _is_as(found, before, record):
            raise UndoError(f"{path} is {found.type} after it was put back, not as before", self._where(record))
        return True

    def _put_back(self, record: Mapping[str, Any], before: Found, found: Found) -> None:
        path, real = record["path"], self.host.at(record["path"])
        if record["action"] == "attributes" and found.type != before.type:
            raise UndoError(f"{path} was a {before.type} and is {found.type} now", "look at who did that; its owner and mode were changed only")
        if record["action"] == "remove" and found.type not in (before.type, "absent"):
            raise UndoError(f"{path} was a {before.type} and is {found.type} now", "look at who put that there")
        if before.type == "absent":
            self._remove_created(path, real)
            return
        old = f"{record.get('stage')}/{record['number']}.old"
        if record["action"] == "replace":
            if "stage" in record and self.host.exists(old):
                self.host.files.rename(self.host.at(old), real)
            elif found[:2] != before[:2] and before.type == "file":
                self._copy_back(record, old)
            elif before.type == "link" and found.target != before.target:
                self.host.files.remove(real)
                self.host.files.symlink(str(before.target), real)
        elif record["action"] == "remove" and found.type == "absent":
            self.host.files.make_directory(real, 0o700)
        self._set_attributes(path, before.uid or 0, before.gid or 0, before.mode)

    def _remove_created(self, path: str, real: str) -> None:
        if not os.path.isdir(real) or os.path.islink(real):
            self.host.files.remove(real)
            return
        self.clean([f"{path}/{self.name}"])
        try:
            self.host.files.remove_directory(real)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            raise UndoError(
                f"{path} was made by this transaction and others have put files into it", "move them, then remove the directory by hand"
            ) from error

    def _copy_back(self, record: Mapping[str, Any], stage_name: str) -> None:
        """The staged old file is gone (somebody cleaned up): write it again from the backup."""
        data = self.host.read(record["backup"])
        stage = os.path.dirname(stage_name)
        if not self.host.exists(stage):
            self.host.files.make_directory(self.host.at(stage), 0o700)
        self.host.files.write_new(self.host.at(stage_name), data, 0o600)
        self.host.files.rename(self.host.at(stage_name), self.host.at(record["path"]))

    def _keep_foreign(self, record: Mapping[str, Any], found: Found) -> None:
        """A file that is neither the old nor the new one is somebody else's edit: keep a copy, since undo overwrites it. If there is room."""
        kept = f"{self.directory}/backup/{record['number']}.foreign"
        if found.type != "file" or _is_ours(found, record) or self.host.exists(kept):
            return
        try:
            self.host.files.write_new(self.host.at(kept), self.host.read(record["path"]), 0o600)
        except OSError as error:
            with contextlib.suppress(OSError):  # the old file comes back all the same
                self.host.files.remove(self.host.at(kept))
                self.journal.add("done", "", f"{record['path']}: an edit of somebody else could not be kept ({error.strerror})")

    def _where(self, record: Mapping[str, Any]) -> str:
        return f"its old content is {record['backup']}" if "backup" in record else f"before, it was {record['before']['type']}"

    def clean(self, stages: Iterable[str]) -> None:
        """Remove staging directories with what they hold. Raises OSError."""
        for stage in stages:
            real = self.host.at(stage)
            if not os.path.isdir(real) or os.path.islink(real):
                continue
            for name in sorted(os.listdir(real)):
                self.host.files.remove(f"{real}/{name}")
            self.host.files.remove_directory(real)


def _is_as(found: Found, before: Found, record: Mapping[str, Any]) -> bool:
    """Is a path as before? Of one whose attributes were changed the content is its owner's."""
    names = ATTRIBUTES if record["action"] == "attributes" else Found._fields
    return all(getattr(found, name) == getattr(before, name) for name in names)


def _is_ours(found: Found, record: Mapping[str, Any]) -> bool:
    """Is what was changed old or new (an interrupted undo leaves a mixture), and nothing of it somebody else's?"""
    names = ATTRIBUTES if record["action"] == "attributes" else CONTENT
    sides = [Found.from_dict(record[side]) for side in ("before", "after") if side in record]
    return all(getattr(found, name) in [getattr(side, name) for side in sides] for name in names)


def stage_of(path: str, name: str, watched: Iterable[str]) -> str:
    """Place of the staging directory for a path."""
    parent = os.path.dirname(path)
    while parent in watched:
        parent = os.path.dirname(parent)
    return f"{parent.rstrip('/')}/{name}"


def owner_of(change: FileChange) -> tuple[int, int]:
    """Numbers of a change's owner and group. Raises TransactionError for a name that this host does not know."""
    try:
        uid = int(change.owner) if change.owner.isdigit() else pwd.getpwnam(change.owner).pw_uid
        gid = int(change.group) if change.group.isdigit() else grp.getgrnam(change.group).gr_gid
    except KeyError as error:
        raise TransactionError(
            f"{change.path}: owner {change.owner}:{change.group} does not exist on this host", "create the account first"
        ) from error
    return uid, gid


def parse_all(items: Iterable[Mapping[str, Any]]) -> list[FileChange]:
    """Decode file changes. Raises JobError, also for a path that is named twice: undo knows one state before, not two."""
    parsed = [changes.parse(item) for item in items]
    paths = [change.path for change in parsed]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise JobError(f"{twice[0]} is changed twice in one job")
    return parsed
