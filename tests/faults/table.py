# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault and what has to follow, as the tests and docs/reliability.md name it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from . import scenarios

REFUSED, UNDONE, COMMITTED, EITHER = "refused", "undone", "committed", "either"
# What becomes of the transaction that meets a fault, in words; and the states that its journal may end with.
OUTCOMES = {
    REFUSED: "refused before anything is changed", UNDONE: "undone", COMMITTED: "committed", EITHER: "committed or undone, never in between",
}  # fmt: skip
STATES = {REFUSED: {"undone"}, UNDONE: {"undone"}, COMMITTED: {"committed"}, EITHER: {"undone", "committed"}}


@dataclass(frozen=True)
class Case:
    """One fault. `name` is the test's id; `outcome` is what becomes of the transaction that it meets. Quick ones are part of `make test`."""

    name: str
    fault: str
    outcome: str
    quick: bool = False


Kind = TypeVar("Kind", bound=Case)


def load(kind: type[Kind], name: str) -> list[Kind]:
    """The cases of cases/<name>.yml. A key that the kind does not know is a TypeError."""
    entries: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "cases" / f"{name}.yml").read_text(encoding="utf-8"))
    return [kind(**{key: _value(key, value) for key, value in entry.items()}) for entry in entries]


def _value(key: str, value: Any) -> Any:
    if key == "scenario":
        return scenarios.named(value)
    return tuple(value) if isinstance(value, list) else value


def parameters(cases: Iterable[Case]) -> list[pytest.param]:  # type: ignore[valid-type]  # it is a function, and the type has no public name
    """Cases for pytest.mark.parametrize."""
    return [pytest.param(case, id=case.name, marks=[pytest.mark.quick] if case.quick else []) for case in cases]
