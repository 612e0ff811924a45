# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that watches a worker's memory takes no signal: one that came to it would not wake the worker, which then outlives Ctrl-C."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import memory

TASKS = Path("/proc/self/task")


def blocked(task: Path) -> int:
    """The signals that a thread blocks, as a bit mask."""
    found = re.search(r"^SigBlk:\s*([0-9a-f]+)", (task / "status").read_text(encoding="ascii"), re.MULTILINE)
    assert found
    return int(found[1], 16)


def test_signals_go_to_the_worker() -> None:
    wanted = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM))
    before = set(TASKS.iterdir())
    with memory.watched():
        (watching,) = set(TASKS.iterdir()) - before
        for _attempt in range(1000):
            if blocked(watching) & wanted == wanted:
                break
            time.sleep(0.01)
        else:
            raise AssertionError("it takes signals")
    assert not watching.exists()
