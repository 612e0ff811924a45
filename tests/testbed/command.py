# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts programs. Output is captured; a failure carries the end of it, where the program says why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.testbed.errors import BedError, CommandError


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600.0,
) -> str:
    """Run a program to its end and return its standard output; `env` is added to ours."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise BedError(f"{argv[0]} is not installed", "run: make testbed-setup") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(argv, -1, f"no end after {timeout:.0f} s\n{(error.stderr or b'').decode(errors='replace')}") from error
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, (done.stdout + b"\n" + done.stderr).decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def as_root(argv: Sequence[str]) -> list[str]:
    """Rootful podman and mmdebstrap are needed: nodes have fixed addresses that the machine reaches."""
    return list(argv) if os.geteuid() == 0 else ["sudo", *argv]
