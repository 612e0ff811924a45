# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's lock: one transaction per machine. It is a flock, so it dies with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

BASE = "/var/lib/ninepaths"
TRANSACTIONS = BASE + "/transactions"
LOCK = BASE + "/lock"
MOMENT = 2.0  # seconds: whoever asks for the holder has the lock for an instant


def prepare(host: Machine) -> None:
    """Make the directories of all transactions, 0700. Raises OSError, PreconditionError for one that is not root's alone."""
    for path in (BASE, TRANSACTIONS):
        if not host.exists(path):
            with contextlib.suppress(FileExistsError):
                host.files.make_directory(host.at(path), 0o700)
        found = os.stat(host.at(path))
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PreconditionError(f"{path} is not a directory of root alone", f"look what lies there, then: chown root {path}; chmod 0700 {path}")


@contextlib.contextmanager
def hold(host: Machine, name: str, *, patience: float = MOMENT) -> Iterator[None]:
    """Hold the host's lock for transaction `name`; waits up to `patience` seconds, then raises HeldError that names who has it."""
    prepare(host)
    descriptor = os.open(host.at(LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _take(host, descriptor, patience)
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # the name is a courtesy to whoever waits; on a full disk it is left out
            os.pwrite(descriptor, name.encode("utf-8"), 0)
        yield
    finally:
        os.close(descriptor)


def _take(host: Machine, descriptor: int, patience: float) -> None:
    start = host.clock()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if host.clock() - start >= patience:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "another process"
                raise HeldError(
                    f"transaction {holder} is changing this host", "wait until it has ended; its journal is in " + TRANSACTIONS
                ) from error
        host.sleep(0.5)


def holder(host: Machine) -> str | None:
    """Name of the transaction that holds the lock now, or None. An unnamed holder is an empty string."""
    try:
        descriptor = os.open(host.at(LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
