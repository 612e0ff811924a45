# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run spool: where the workers of one ansible-playbook leave observations, the plan and results for each other.

It lies in Ansible's own temporary directory of the process, which all forked workers share and which Ansible removes at the end. So
a thousand observations never travel through results, variables or a fact cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = "ninepaths"


class SpoolError(Exception):
    """A document that is not there, or a spool directory that somebody else could have written."""


class Spool:
    """Documents of one run by kind and name, for instance `("observation", "cp1")`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def under(cls, local_tmp: str) -> Spool:
        """Open (or make) the spool below a temporary directory; raises SpoolError when it is not ours alone."""
        folder = Path(local_tmp) / NAME
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise SpoolError(f"{folder}: not a directory of this user alone; remove it and run again")
        return cls(folder)

    def put(self, kind: str, name: str, document: Mapping[str, Any]) -> str:
        """Store a document, replacing an earlier one in one step; returns the SHA-256 of its text."""
        text = json.dumps({"name": name, "document": document}, separators=(",", ":"), sort_keys=True).encode("utf-8")
        target = self._path(kind, name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        beside = target.with_name(f".{secrets.token_hex(8)}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(text)
        os.replace(beside, target)
        return hashlib.sha256(text).hexdigest()

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return a document; raises SpoolError when there is none."""
        document = self.find(kind, name)
        if document is None:
            raise SpoolError(f"this run has no {kind} of {name!r}: the play that makes it has not run")
        return document

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a document, or None when there is none."""
        try:
            return self._load(self._path(kind, name))[1]
        except FileNotFoundError:
            return None

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """All documents of a kind by name, in the names' order."""
        paths = (self.folder / kind).glob("[!.]*.json")
        return dict(sorted(self._load(path) for path in paths))

    def remove(self, kind: str, name: str) -> None:
        """Forget a document; no error when there is none."""
        self._path(kind, name).unlink(missing_ok=True)

    def clear(self, *kinds: str) -> None:
        """Forget all documents of some kinds."""
        for kind in kinds:
            for path in (self.folder / kind).glob("[!.]*.json"):
                path.unlink(missing_ok=True)

    def run_id(self) -> str:
        """Name of this run, the same for all workers: UTC time and six random digits."""
        with self.locked("run"):
            known = self.find("run", "run")
            if known is None:
                known = {"id": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(3), "started": time.time()}
                self.put("run", "run", known)
        return str(known["id"])

    def started(self) -> float:
        """When this run began, in unix seconds."""
        self.run_id()
        return float(self.get("run", "run")["started"])

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock among the workers of this run."""
        handle = os.open(self.folder / f".lock-{_safe(name)}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{_safe(name)}.json"

    @staticmethod
    def _load(path: Path) -> tuple[str, dict[str, Any]]:
        entry = json.loads(path.read_bytes())
        return entry["name"], entry["document"]


def _safe(name: str) -> str:
    """A file name for any host name, however it is spelled."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
