# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes generated data: sorted, one entry per line, so that a diff between versions can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

_Section = Mapping[str, Mapping[str, list[object]]]


def write(file: Path, version: str, sections: Mapping[str, _Section]) -> int:
    """Returns the number of entries."""
    lines = ["{", ' "schema": 1,', f' "version": {json.dumps(version)},']
    for section, components in sorted(sections.items()):
        lines.append(f' "{section}": {{')
        for component, entries in sorted(components.items()):
            lines.append(f'  "{component}": {{')
            lines += [f"   {json.dumps(name)}: {json.dumps(entry, sort_keys=True)}," for name, entry in sorted(entries.items())]
            _close(lines, "  }")
        _close(lines, " }")
    _close(lines, "}")
    lines[-1] = "}"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sum(len(entries) for components in sections.values() for entries in components.values())


def _close(lines: list[str], bracket: str) -> None:
    lines[-1] = lines[-1].removesuffix(",")
    lines.append(bracket + ",")
