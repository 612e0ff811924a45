# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that a transaction works on: its files (under a root prefix), its clock and its processes.

The engine changes a file system only through `FileSystem`, so that a test can stop it, or fill the disk, at every single call.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HealthError

LIMIT = 1 << 26  # bytes of a file that is read as a whole


class FileSystem:
    """The system calls that change a file system, durable where the name says so. Every one raises OSError."""

    def write_new(self, path: str, data: bytes, mode: int) -> None:
        """Create a file that must not exist, with its final mode, and put it on the disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            self.write_all(descriptor, data)
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def append(self, path: str, data: bytes) -> None:
        """Append to a file and put it on the disk; a failed append is cut off again."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            try:
                self.write_all(descriptor, data)
                self.sync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Write all bytes; a short write is continued."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(descriptor)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file to a size, durably."""
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Replace `target` atomically, durably."""
        os.rename(source, target)
        self.sync_directory(os.path.dirname(target))

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, durably; a symbolic link is linked itself, not what it points to."""
        os.link(source, target, follow_symlinks=False)
        self.sync_directory(os.path.dirname(target))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link, durably."""
        os.symlink(target, path)
        self.sync_directory(os.path.dirname(path))

    def make_directory(self, path: str, mode: int) -> None:
        """Make one directory with its final mode, durably."""
        os.mkdir(path, mode)
        os.chmod(path, mode)
        self.sync_directory(os.path.dirname(path))

    def remove(self, path: str) -> None:
        """Remove a file or link, durably; one that is gone already is fine."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        self.sync_directory(os.path.dirname(path))

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory, durably; one that is gone already is fine."""
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        self.sync_directory(os.path.dirname(path))

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        """Change owner and group of a file, directory or link itself."""
        os.chown(path, uid, gid, follow_symlinks=False)

    def set_mode(self, path: str, mode: int) -> None:
        """Change the mode of a file or directory, never through a link."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def copy_xattrs(self, source: str, target: str) -> None:
        """Copy extended attributes (a security label, ACLs) from one file to another."""
        try:
            names = os.listxattr(source, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENOSYS):
                return
            raise
        for name in names:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)

    def sync_directory(self, path: str) -> None:
        """Put a directory's entries on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)


class Machine:
    """One machine: where its files are, what time it is, and how a process is started on it."""

    def __init__(self, run: Callable[..., Any], *, root: str = "", files: FileSystem | None = None) -> None:
        self.run, self.root, self.files = run, root, files or FileSystem()

    def at(self, path: str) -> str:
        """The real place of a path of the host (a test's host lives under a prefix)."""
        return self.root + path

    def now(self) -> float:
        """Wall clock, unix seconds."""
        return time.time()

    def clock(self) -> float:
        """Monotonic clock, seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def read(self, path: str, limit: int = LIMIT) -> bytes:
        """The bytes of a regular file, never through a link. Raises OSError, EFBIG for more than `limit` bytes."""
        with self._open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return data

    def sha256(self, path: str) -> str:
        """Digest of a regular file of any size, never through a link. Raises OSError."""
        found = hashlib.sha256()
        with self._open(path) as file:
            for block in iter(lambda: file.read(1 << 16), b""):
                found.update(block)
        return found.hexdigest()

    def _open(self, path: str) -> BinaryIO:
        descriptor = os.open(self.at(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")

    def exists(self, path: str) -> bool:
        """Is there anything under that name, a dangling link included?"""
        return os.path.lexists(self.at(path))

    def command(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Any:
        """Start a process; see module_utils/run.py."""
        return self.run(list(argv), stdin=stdin, timeout=timeout)

    def wait(self, what: str, condition: Callable[[], Any], seconds: float, *, every: float = 0.25) -> tuple[Any, float]:
        """Ask until `condition` gives something true; returns that and the seconds it took. Raises HealthError after `seconds`.

        A condition that is not met may raise Waiting, which says why; the last reason is in the final error. HealthError ends the wait.
        """
        start, reason = self.clock(), ""
        while True:
            try:
                found = condition()
                if found:
                    return found, self.clock() - start
            except Waiting as waiting:
                reason = f" ({waiting})"
            if self.clock() - start >= seconds:
                raise HealthError(
                    f"{what}: not within {seconds:g} s{reason}", "the old state is put back; look at the component's log on this host"
                )
            self.sleep(every)


class Waiting(Exception):  # noqa: N818 - a condition that is not met yet is no error
    """Raised by a condition that is not met yet; its text says what is missing."""
