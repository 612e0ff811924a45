# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job wants of one path (FileChange), what a path is now (Found), and whether the two fit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import posixpath
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

KINDS = ("file", "dir", "link", "absent")
AGAIN = "run the playbook again: it plans from what the host is now"


class Found(NamedTuple):
    """What lies at a path. Of an absent path only `type` is known; `sha256` is there for regular files, `target` for links."""

    type: str
    sha256: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    target: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return {**self._asdict(), "mode": None if self.mode is None else f"{self.mode:04o}"}

    @classmethod
    def from_dict(cls, data: Any) -> Found:
        """From the journal. Raises ValueError for what `as_dict` does not write."""
        if not isinstance(data, Mapping) or data.get("type") not in (*KINDS, "other"):
            raise ValueError("no kind of file")
        numbers, words = (data.get("uid"), data.get("gid")), (data.get("sha256"), data.get("mode"), data.get("target"))
        if not all(value is None or isinstance(value, int) for value in numbers) or not all(value is None or isinstance(value, str) for value in words):
            raise ValueError("an attribute of the wrong type")
        sha256, mode, target = words
        return cls(data["type"], sha256, None if mode is None else int(mode, 8), *numbers, target)


class FileChange(NamedTuple):
    """One path of a job, checked and decoded. `content` None on a file means: attributes only."""

    path: str
    type: str
    before: Mapping[str, Any]
    content: bytes | None
    target: str | None
    mode: int | None
    owner: str
    group: str


def parse(data: Mapping[str, Any]) -> FileChange:
    """Check one FileChange of a job. Raises JobError that names the path and the field."""
    if not isinstance(data, Mapping):
        raise JobError("a file change is no object")
    path, kind, before = data.get("path"), data.get("type"), data.get("before")
    if not isinstance(path, str) or not is_plain_path(path):
        raise JobError(f"a file change names {path!r}, which is no plain absolute path")
    if kind not in KINDS:
        raise JobError(f"{path}: type {kind!r} is none of {', '.join(KINDS)}")
    if not isinstance(before, Mapping) or before.get("type") not in (*KINDS, "other"):
        raise JobError(f"{path}: `before` is missing, so the change cannot be undone")
    for key, wanted in (("sha256", str), ("mode", str), ("uid", int), ("gid", int)):
        if not isinstance(before.get(key), (wanted, type(None))):
            raise JobError(f"{path}: `{key}` of what was before is not of the form that this version knows")
    _mode(path, before.get("mode"))
    content = _content(path, kind, data.get("content"))
    target = data.get("target")
    if kind == "link" and not (isinstance(target, str) and target and "\0" not in target):
        raise JobError(f"{path}: a link needs a target")
    if kind == "file" and content is None and before["type"] == "absent":
        raise JobError(f"{path}: a new file needs content")
    return FileChange(
        path, kind, before, content, target, _mode(path, data.get("mode")), str(data.get("owner", 0)), str(data.get("group", 0))
    )


def is_plain_path(path: str) -> bool:
    """Whether a path is absolute and says where it leads: no `..`, no `//`, not the root."""
    return posixpath.normpath(path) == path and path != "/" and path.startswith("/") and not path.startswith("//") and "\0" not in path


def _content(path: str, kind: str, text: Any) -> bytes | None:
    if text is None or kind != "file":
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise JobError(f"{path}: `content` is not base64") from error


def _mode(path: str, text: Any) -> int | None:
    if text is None:
        return None
    try:
        mode = int(text, 8)
    except (TypeError, ValueError) as error:
        raise JobError(f"{path}: mode {text!r} is not an octal string") from error
    if not 0 <= mode <= 0o7777:
        raise JobError(f"{path}: mode {text!r} is out of range")
    return mode


def look(host: Machine, path: str) -> Found:
    """What lies at a path now; links are not followed. Raises OSError for a path that cannot be looked at."""
    try:
        status = os.lstat(host.at(path))
    except FileNotFoundError:
        return Found("absent")
    mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    if stat.S_ISREG(status.st_mode):
        return Found("file", host.sha256(path), mode, uid, gid)
    if stat.S_ISDIR(status.st_mode):
        return Found("dir", None, mode, uid, gid)
    if stat.S_ISLNK(status.st_mode):
        return Found("link", None, None, uid, gid, os.readlink(host.at(path)))
    return Found("other", None, mode, uid, gid)


def digest(data: bytes) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _check_way(host: Machine, change: FileChange) -> None:
    """Nobody but root may lead a change astray with a link, or with a second name of a file. Raises PreconditionError, OSError.

    Where content is written, that goes for the directory itself, too; owner and mode are set on what lies there, never through a link.
    """
    parent = os.path.dirname(change.path)
    attributes = change.type in ("file", "dir") and change.content is None and change.type == change.before["type"]
    way = files.exposed(files.Host(host.root or "/"), os.path.dirname(parent) if attributes else parent)
    if way:
        raise PreconditionError(
            f"{change.path} lies below {way}, which others than root may change", f"let root own {way} and nobody else write to it, then run again"
        )
    if attributes and files.exposed(files.Host(host.root or "/"), parent) and _names(host, change.path) > 1:
        raise PreconditionError(f"{change.path} has a second name somewhere", "look at who made that hard link, and remove it")


def _names(host: Machine, path: str) -> int:
    """How many names a regular file has."""
    try:
        status = os.lstat(host.at(path))
    except FileNotFoundError:
        return 0
    return status.st_nlink if stat.S_ISREG(status.st_mode) else 1


def check(host: Machine, change: FileChange) -> Found:
    """Is the path what the plan saw? Returns what lies there; raises PreconditionError that names what differs."""
    _check_way(host, change)
    found, before = look(host, change.path), change.before
    if found.type != before["type"]:
        raise PreconditionError(f"{change.path} is {found.type}, the plan saw {before['type']}", AGAIN)
    differing = _differing(change, found)
    if differing:
        raise PreconditionError(f"{change.path} was changed since it was observed: {', '.join(differing)}", AGAIN)
    if change.type != "absent" and found.type not in ("absent", change.type):
        raise PreconditionError(
            f"{change.path} is a {found.type} where a {change.type} is expected", "look at who put it there; ninepaths does not replace it"
        )
    parent = os.path.dirname(change.path)
    if found.type == "absent" and change.type == "absent":
        raise PreconditionError(f"{change.path} is gone already", AGAIN)
    if not parent:
        raise PreconditionError(f"{change.path} has no parent directory", AGAIN)
    return found


def _differing(change: FileChange, found: Found) -> list[str]:
    """What of a path is not as the plan saw it, in words. Where attributes alone change, whoever owns the content may go on writing it."""
    before, words = change.before, []
    kept = change.type == "file" and change.content is None
    if not kept and None not in (before.get("sha256"), found.sha256) and before["sha256"] != found.sha256:
        words.append(f"its content (sha256 {str(before['sha256'])[:12]} → {str(found.sha256)[:12]})")
    if None not in (before.get("mode"), found.mode) and int(before["mode"], 8) != found.mode:
        words.append(f"its mode ({before['mode']} → {found.mode:04o})")
    for name, who in (("uid", "owner"), ("gid", "group")):
        if None not in (before.get(name), getattr(found, name)) and before[name] != getattr(found, name):
            words.append(f"its {who} ({before[name]} → {getattr(found, name)})")
    return words
