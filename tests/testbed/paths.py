# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie: the checkout, the cache outside it, and what makes a cached thing whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = Path(__file__).parent / "files"


def cache() -> Path:
    """Survives checkouts; safe to delete when no bed runs."""
    path = Path(os.environ.get("NINEPATHS_CACHE") or "~/.cache/ninepaths").expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str) -> str:
    """A short content hash for names and tags."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


@contextlib.contextmanager
def locked(name: str, folder: Path | None = None) -> Iterator[None]:
    """Two beds that start at once share the cache: the second waits for what the first makes."""
    with ((folder or cache()) / f".{name}.lock").open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """Hand out an empty directory beside `target` that takes its place only when the work ended well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        work.chmod(0o755)
        yield work
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """The same for a file."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as work:
        yield Path(work) / target.name
        (Path(work) / target.name).rename(target)
