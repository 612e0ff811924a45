# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way to start a process on a target: a callable that is handed in, so that the engine itself needs no subprocess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class RunResult(NamedTuple):
    """How a process ended; `rc` 127: it could not be started, 124: it did not end in time and was killed, 126: it printed too much and was killed."""

    rc: int
    stdout: str
    stderr: str


class Run(Protocol):
    """How the engine is handed the means to start processes."""

    def __call__(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> RunResult:
        """Start a process without a shell and wait for it. Secrets go to stdin, never into argv; `timeout` is in seconds."""
