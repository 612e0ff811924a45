# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence


class BedError(Exception):
    """Something failed; the message names what, and `advice` says what to do about it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class CommandError(BedError):
    """A program ended with an exit code other than 0."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-15:])
        super().__init__(f"{' '.join(argv[:6])} … ended with exit code {returncode}\n{tail}")
        self.returncode = returncode
        self.output = output


class ChecksumError(BedError):
    """A download is not what its publisher says it is."""
