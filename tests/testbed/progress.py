# SPDX-License-Identifier: GPL-3.0-or-later
"""One line per step: what is done, and how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


def say(subject: str, text: str) -> None:
    # One write, since nodes are prepared in parallel.
    sys.stderr.write(f"{subject:<10} {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def step(subject: str, text: str) -> Iterator[None]:
    """Announce a step when it starts, since some take minutes, and say its time when it has ended."""
    started = time.monotonic()
    say(subject, f"{text} …")
    yield
    say(subject, f"{text}: {time.monotonic() - started:.1f} s")
