# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bound on the memory of a worker while it listens to a host: Ansible keeps whatever a host prints until it stops."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM = 1 << 29  # bytes; the largest answer that is read takes less than half of it on its way through Ansible
INTERVAL = 0.1  # seconds between two looks
PROC = Path("/proc")


@contextmanager
def watched(room: int = ROOM) -> Iterator[threading.Event]:
    """Watch this process, and end what it has started (ssh) when it has grown by more than `room` bytes; then the event is set.

    A limit of the system's would do, but everything that ssh starts would inherit it. Where there is no /proc, nobody watches.
    """
    over, exceeded = threading.Event(), threading.Event()
    begin = _resident()

    def look() -> None:
        # A signal that comes here does not wake the worker, which would then outlive an end by Ctrl-C.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not over.wait(INTERVAL):
            if _resident() - begin > room:
                exceeded.set()
                _end_children()

    thread = threading.Thread(target=look, daemon=True)
    if begin:
        thread.start()
    try:
        yield exceeded
    finally:
        over.set()
        if begin:
            thread.join()


def _resident() -> int:
    """Bytes of memory that this process takes; 0 where nobody says."""
    try:
        return int((PROC / "self" / "statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _end_children() -> None:
    """A worker is forked for one task of one host, so its children, and what these have started (a shell its pipeline), are that task's."""
    parents = _parents()
    ours: set[int] = set()
    found = {os.getpid()}
    while found:
        ours |= found
        found = {pid for pid, parent in parents.items() if parent in ours} - ours
    for pid in ours - {os.getpid()}:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for folder in PROC.iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            found[int(folder.name)] = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    return found
