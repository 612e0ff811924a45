# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work for many nodes at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

WORKERS = 16

Thing = TypeVar("Thing")


def in_parallel(work: Callable[[Any], Thing], items: Iterable[Any]) -> list[Thing]:
    """Do the same for many nodes at once, results in the items' order; an exception of a worker is raised here."""
    todo: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    done: dict[int, Thing] = {}
    failed: list[BaseException] = []
    for pair in enumerate(items):
        todo.put(pair)
    count = todo.qsize()

    def drain() -> None:
        while not failed:
            try:
                number, item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done[number] = work(item)
            except BaseException as error:  # handed to the caller below
                failed.append(error)

    threads: list[threading.Thread] = []
    for _number in range(min(WORKERS, count) - 1):
        thread = threading.Thread(target=drain)
        try:
            thread.start()
        except RuntimeError:  # the host has no process to spare; then fewer do it
            break
        threads.append(thread)
    drain()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [done[number] for number in range(count)]
