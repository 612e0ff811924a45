# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks binaries about themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_SECONDS = 600
_UNKNOWN = ("unknown flag", "flag provided but not defined")


class GenerateError(Exception):
    """A binary or the Go toolchain did not do what was asked."""


def run(argv: Sequence[str | Path], *, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Standard output. Raises GenerateError with the last lines of standard error."""
    done = subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, cwd=folder, env=environment, timeout=_SECONDS, check=False
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise GenerateError(f"{' '.join(str(part) for part in argv[:3])} failed with {done.returncode}: {last}")
    return done.stdout


def help_of(binary: Path) -> str:
    done = subprocess.run([str(binary), "--help"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    text = done.stdout + done.stderr
    if "--" not in text:
        raise GenerateError(f"{binary} --help printed no flags")
    return text


def knows(binary: Path, flag: str) -> bool:
    """Whether it knows a flag that its help hides. A value that does not fit, or a missing one, still says yes."""
    done = subprocess.run([str(binary), f"--{flag}=", "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    return not any(phrase in done.stdout + done.stderr for phrase in _UNKNOWN)
