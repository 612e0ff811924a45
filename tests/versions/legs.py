# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run, and what a playbook's recap says."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The oldest, the middle and the newest minor; and Debian 11, whose Python is the oldest that a target may have (3.9).
DEFAULT = "1.31 1.34 1.37 1.36/bullseye"
RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Leg:
    """One cluster: a minor, and the release of Debian that its nodes run ("": the machine's own)."""

    minor: str
    release: str = ""

    def __str__(self) -> str:
        return f"{self.minor}/{self.release}" if self.release else self.minor

    @property
    def bed(self) -> str:
        """The bed's name."""
        return "v" + str(self).replace(".", "-").replace("/", "-")


def parse(text: str) -> list[Leg]:
    """`1.31 1.36/bullseye`, in this order. Raises ValueError for what is no minor and for an empty list."""
    legs = []
    for word in text.split():
        if not re.fullmatch(r"\d+\.\d+(/[a-z]+)?", word):
            raise ValueError(f"VERSIONS: {word!r} is neither a minor (1.36) nor a minor and a release of Debian (1.36/bullseye)")
        legs.append(Leg(*word.split("/")))
    if not legs:
        raise ValueError("VERSIONS names no minor")
    return legs


def changed(output: str) -> dict[str, int]:
    """Host → number of changed tasks, from ansible-playbook's recap. Raises ValueError where a host failed or no recap was printed."""
    found = {}
    for host, _ok, changes, unreachable, failed in RECAP.findall(output):
        if int(unreachable) or int(failed):
            raise ValueError(f"{host}: unreachable={unreachable} failed={failed}")
        found[host] = int(changes)
    if not found:
        raise ValueError("the playbook printed no recap")
    return found
