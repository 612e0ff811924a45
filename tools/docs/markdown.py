# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Made by `make docs`; do not edit. SPDX-License-Identifier: GPL-3.0-or-later -->"


def code(text: object) -> str:
    """Inline code. A text with a backtick in it gets a longer fence."""
    shown = str(text)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def codes(texts: Iterable[object]) -> str:
    return ", ".join(code(text) for text in texts)


def prose(text: str) -> str:
    """A sentence in which nothing is taken for markup."""
    return text.replace("\\", "\\\\").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
