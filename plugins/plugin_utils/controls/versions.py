# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Minor versions, and ranges of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\..*)?", re.ASCII)
_RANGE = re.compile(r">=(1\.\d+)(?:,<(1\.\d+))?|<(1\.\d+)", re.ASCII)


def minor_of(version: str) -> str:
    """The minor of a version: "1.36" of "v1.36.4". Raises ValueError."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise ValueError(f"{version!r} is no version like v1.36.4")
    return f"{int(found.group(1))}.{int(found.group(2))}"


def order(minor: str) -> tuple[int, int]:
    """What minors sort by: 1.9 comes before 1.10."""
    major, _dot, number = minor_of(minor).partition(".")
    return int(major), int(number)


@dataclass(frozen=True)
class VersionRange:
    """Kubernetes minors from `first` on (inclusive), below `end` (exclusive)."""

    first: str | None
    end: str | None

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Reads ">=1.32", "<1.34" or ">=1.32,<1.34". Raises ValueError."""
        found = _RANGE.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no range of versions like >=1.32,<1.34")
        return cls(first=found.group(1), end=found.group(2) or found.group(3))

    def __contains__(self, minor: str) -> bool:
        if self.first and order(minor) < order(self.first):
            return False
        return not (self.end and order(minor) >= order(self.end))

    def __str__(self) -> str:
        parts = [f">={self.first}" if self.first else "", f"<{self.end}" if self.end else ""]
        return ",".join(part for part in parts if part)
