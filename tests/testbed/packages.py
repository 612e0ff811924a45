# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fresh Debian or Ubuntu machine needs; nothing else is installed on it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.testbed.command import as_root, run
from tests.testbed.errors import BedError, CommandError
from tests.testbed.progress import say, step

PACKAGES = (
    "git",
    "podman",
    "containernetworking-plugins",
    "runc",
    "mmdebstrap",
    "rsync",
    "shellcheck",
    "openssl",
    "gcc",
    "libc6-dev",
    "openssh-client",
    "iproute2",
    "iptables",
    "procps",
    "ca-certificates",
    "python3-venv",
)


def missing(listing: str, wanted: Sequence[str] = PACKAGES) -> list[str]:
    """Which packages are not in dpkg-query's list of `package status`."""
    installed = {line.split()[0].split(":")[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [package for package in wanted if package not in installed]


def _listing() -> str:
    # dpkg-query ends with 1 when it knows one of the packages not at all, and still lists the others.
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES], capture_output=True, text=True, check=False
    )
    return done.stdout


def install() -> None:
    try:
        wanted = missing(_listing())
    except FileNotFoundError as error:
        raise BedError("this machine has no dpkg", "the bed needs Debian or Ubuntu") from error
    if not wanted:
        return
    say("setup", f"needs {' '.join(wanted)}")
    with step("setup", "apt-get install"):
        apt = as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
        try:
            run([*apt, "update"], timeout=600)
            run([*apt, "install", "--yes", *wanted], timeout=1800)
        except CommandError as error:
            raise BedError(f"apt could not install {' '.join(wanted)}: {error}", "run it by hand and look at what it says") from error
