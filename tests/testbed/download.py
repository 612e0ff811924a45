# SPDX-License-Identifier: GPL-3.0-or-later
"""Official release downloads, verified against the checksum that the project publishes beside them."""

from __future__ import annotations

import http.client
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tests.testbed import paths, recipes
from tests.testbed.errors import BedError, ChecksumError
from tests.testbed.recipes import Download

CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0


def reachable() -> bool:
    """Whether the release hosts answer at all, asked once with a short time-out."""
    for host in (recipes.KUBERNETES_HOST, recipes.GITHUB_HOST):
        request = urllib.request.Request(f"{host}/", method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()
        except urllib.error.HTTPError as error:
            # Any answer of the host itself will do; a filtering proxy's refusal will not.
            if error.code in (403, 407, 502, 503):
                return False
        except OSError:
            return False
    return True


def published_checksum(text: str, name: str) -> str:
    """Read `<sha256>` or lines of `<sha256>  <name>`; a name may stand with a folder or the binary marker `*`."""
    for line in text.splitlines():
        fields = line.split()
        if not fields or not re.fullmatch(r"[0-9a-f]{64}", fields[0]):
            continue
        if len(fields) == 1 or PurePosixPath(fields[-1].lstrip("*")).name == name:
            return fields[0]
    raise ChecksumError(f"no SHA-256 of {name} is published where it is expected")


def fetch(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=READ_SECONDS) as answer, target.open("wb") as out:
            shutil.copyfileobj(answer, out, 1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise BedError(f"download of {url} failed: {error}", "try again, or build from source with --source build") from error


def unpack(archive: Path, members: Mapping[str, str], target: Path) -> None:
    """Take the named members only; a name that ends in / takes the folder."""
    missing = set(members)
    with tarfile.open(archive) as tar:
        for member in tar:
            for name, ours in members.items():
                inside = (
                    PurePosixPath(member.name).relative_to(PurePosixPath(name))
                    if name.endswith("/") and member.name.startswith(name)
                    else None
                )
                if not member.isfile() or (inside is None and member.name != name) or ".." in member.name:
                    continue
                destination = target / ours / inside if inside else target / ours
                destination.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                if stream is not None:
                    destination.write_bytes(stream.read())
                    destination.chmod(0o755 if member.mode & 0o100 else 0o644)
                    missing.discard(name)
    if missing:
        raise BedError(
            f"{archive.name} does not hold {', '.join(sorted(missing))}", "the project may have changed its archive: see recipes.py"
        )


def obtain(download: Download, target: Path) -> None:
    """Download, verify, and put the binaries into `target`."""
    name = download.url.rsplit("/", 1)[1]
    with tempfile.TemporaryDirectory(dir=target) as work:
        archive, checksum = Path(work) / name, Path(work) / "checksum"
        fetch(download.checksum_url, checksum)
        fetch(download.url, archive)
        expected, found = published_checksum(checksum.read_text(encoding="utf-8"), name), paths.file_digest(archive)
        if found != expected:
            raise ChecksumError(
                f"{download.url} has SHA-256 {found}, published is {expected}", "try again; do not use the file if it stays so"
            )
        if download.members:
            unpack(archive, download.members, target)
        else:
            archive.chmod(0o755)
            archive.rename(target / name)
