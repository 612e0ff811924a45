# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on a target: their attributes as lstat sees them, bounded reads, patterns. Reads only."""

from __future__ import annotations

import errno
import fnmatch
import grp
import hashlib
import os
import posixpath
import pwd
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

LIMIT = 1 << 20  # bytes; larger files are described, not read
MAX_MATCHES = 20000
MAX_LINKS = 40
MAX_DEPTH = 64  # directories that `**` goes down

TYPES = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "dir"), (stat.S_ISLNK, "link"))


class TooManyFilesError(Exception):
    """A pattern matches more files than an observation may hold."""


class Host(NamedTuple):
    """Where a target's file system begins; tests put a tree of their own there."""

    root: str = "/"

    def real(self, path: str) -> str:
        """The place of an absolute target path on this machine."""
        return os.path.join(self.root, path.lstrip("/"))


class Names:
    """Account names by number, each asked once."""

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def owner(self, uid: int) -> str:
        """A user's name, or its number where the host knows none."""
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]

    def group(self, gid: int) -> str:
        """A group's name, or its number where the host knows none."""
        if gid not in self._groups:
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._groups[gid] = str(gid)
        return self._groups[gid]


def kind(mode: int) -> str:
    """`file`, `dir`, `link` or `other`, from st_mode."""
    return next((name for test, name in TYPES if test(mode)), "other")


def describe(path: str, names: Names) -> dict[str, Any]:
    """Attributes of a path itself, links not followed; type `absent` when nothing is there. Raises OSError for anything else."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"type": "absent"}
    facts: dict[str, Any] = {
        "type": kind(found.st_mode),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "owner": names.owner(found.st_uid),
        "group": names.group(found.st_gid),
        "size": found.st_size,
        "mtime": found.st_mtime,
    }
    if facts["type"] == "link":
        facts["target"] = os.readlink(path)
    return facts


def read_bytes(path: str, limit: int = LIMIT) -> bytes:
    """Return a regular file's bytes.

    Never follows a link in the last place and never waits for a FIFO. Raises OSError: EINVAL for what is no regular file, EFBIG for
    more than `limit` bytes, else what the system says.
    """
    _regular(os.lstat(path), path)  # before open, which has side effects on some devices
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _regular(os.fstat(handle), path)
        return _read(handle, path, limit)
    finally:
        os.close(handle)


def _regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _read(handle: int, path: str, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit + 1  # files in /proc say size 0, so only reading tells
    while left > 0:
        part = os.read(handle, min(left, 1 << 16))
        if not part:
            return b"".join(parts)
        parts.append(part)
        left -= len(part)
    raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)


def sha256_of(path: str, limit: int = LIMIT) -> str:
    """SHA-256 of a regular file in hex; errors as `read_bytes`."""
    return hashlib.sha256(read_bytes(path, limit)).hexdigest()


def exposed(host: Host, folder: str) -> str | None:
    """The first directory on the way to a folder, itself included, in which others than root (or this process's user) may put links.

    None where there is none, or where the way ends before. Links that root made on the way are followed.
    """
    waiting = [part for part in reversed(folder.split("/")) if part]
    path, links = "", 0
    if _is_exposed(host, "/"):
        return "/"
    while waiting:
        part = waiting.pop()
        path = posixpath.normpath(f"{path}/{part}")
        try:
            found = os.lstat(host.real(path))
        except OSError:
            return None
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MAX_LINKS or not _is_trusted(found.st_uid):
                return path
            target = os.readlink(host.real(path))
            path = "" if target.startswith("/") else posixpath.dirname(path)
            waiting += [part for part in reversed(target.split("/")) if part]
        elif not stat.S_ISDIR(found.st_mode) or _is_exposed(host, path):
            return path
    return None


def _is_exposed(host: Host, path: str) -> bool:
    found = os.stat(host.real(path))
    return not _is_trusted(found.st_uid) or bool(found.st_mode & stat.S_IWOTH)


def _is_trusted(uid: int) -> bool:
    return uid in (0, os.geteuid())


def printable(name: str) -> bool:
    """False for names with control characters or bytes that are no UTF-8; those must not reach a terminal or a report."""
    return name.isprintable()


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards."""
    return any(sign in path for sign in "*?[")


def expand(pattern: str, host: Host, folder: str = "") -> Iterator[str]:
    """Target paths that match an absolute pattern, or one below a folder, sorted within a directory.

    `*`, `?` and `[…]` work within one name and also match names that begin with a dot; `**` stands for any number of directories. A
    directory that a wildcard found is not entered through a link, and none that lies too deep. Raises TooManyFilesError.
    """
    parts = [part for part in pattern.split("/") if part]
    for number, path in enumerate(_match(host, folder.rstrip("/"), parts)):
        if number >= MAX_MATCHES:
            raise TooManyFilesError(f"{pattern}: more than {MAX_MATCHES} files match")
        yield path


def _match(host: Host, base: str, parts: list[str]) -> Iterator[str]:
    if not parts:
        yield base
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(host, base, rest)
    elif not is_pattern(first):
        path = f"{base}/{first}"
        if os.path.lexists(host.real(path)):
            yield from _match(host, path, rest)
    else:
        for entry in _entries(host, base):
            if fnmatch.fnmatchcase(entry.name, first) and (not rest or entry.is_dir(follow_symlinks=False)):
                yield from _match(host, f"{base}/{entry.name}", rest)


def _below(host: Host, base: str, rest: list[str], depth: int = 0) -> Iterator[str]:
    """`**`: everything below the directory, or what matches the rest of the pattern in it and in every directory below."""
    if depth > MAX_DEPTH:
        raise TooManyFilesError(f"{base}: directories are nested deeper than {MAX_DEPTH}")
    if rest:
        yield from _match(host, base, rest)
    for entry in _entries(host, base):
        path = f"{base}/{entry.name}"
        if not rest:
            yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _below(host, path, rest, depth + 1)


def _entries(host: Host, path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(host.real(path or "/")) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone meanwhile, or no directory: nothing matches there
        return []
