# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rooms of module_utils and plugin_utils import each other one way only, and stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
NAMESPACE = "ansible_collections.ninepaths.kubernetes.plugins."
# A room may import from itself and from rooms to its left. "" is the folder itself: on the target the programs that run there.
ORDER = {
    "module_utils": ("run", "host", "wire", "cluster", "observation", "steps", ""),
    "plugin_utils": ("_yaml", "controls", "documents", "planning", "rollback", "reporting", "execution", ""),
}
LONGEST = 400  # lines


def room_of(area: str, parts: list[str]) -> str:
    """Room of a dotted name below module_utils or plugin_utils; a file of the folder itself is its own room where ORDER names it."""
    return parts[0] if parts and parts[0] in ORDER[area] else ""


def imported(path: Path) -> set[tuple[str, str]]:
    """(area, room) of everything that a file imports from the collection's two libraries."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAMESPACE)):
            continue
        area, *below = str(node.module)[len(NAMESPACE) :].split(".")
        if area in ORDER:
            found |= {(area, room_of(area, below or [alias.name])) for alias in node.names}
    return found


def sources(area: str) -> list[Path]:
    return sorted((PLUGINS / area).rglob("*.py"))


@pytest.mark.parametrize("area", sorted(ORDER))
def test_rooms_import_one_way(area: str) -> None:
    order, wrong = ORDER[area], []
    for path in sources(area):
        room = room_of(area, list(path.relative_to(PLUGINS / area).with_suffix("").parts))
        wrong += [
            f"{path.relative_to(PLUGINS)} ({room or 'the folder itself'}) imports from {there}"
            for other, there in imported(path)
            if other == area and order.index(there) > order.index(room)
        ]
    assert wrong == []


def test_the_target_imports_nothing_of_the_controller() -> None:
    assert [str(path) for path in sources("module_utils") for area, _ in imported(path) if area == "plugin_utils"] == []


@pytest.mark.parametrize("area", sorted(ORDER))
def test_no_file_is_too_long_to_read(area: str) -> None:
    assert [path.name for path in sources(area) if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST] == []
