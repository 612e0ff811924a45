# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that a client lost goes unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracles import verdict
from tests.oracles.clients import Tally

CUT = {"at": 40.0, "away_s": 0.8, "cause": "unexpected EOF", "restart": "kube-apiserver of cp2"}


def test_what_was_kept_is_no_complaint(kept: dict[str, Any]) -> None:
    assert verdict.complaints(kept) == []


@pytest.mark.parametrize(
    ("where", "values", "words"),
    [
        (("requests",), {"lost": 1, "answered": 1999, "losses": [[3.0, "read", "refused"]]}, "1 of 2000 reads and writes were lost"),
        (("requests",), {"answered": 1999}, "not accounted for"),
        (("requests",), {"sent": 1000, "answered": 1000}, "only 1000 reads and writes"),
        (("watches", 0), {"missing": 2, "missing_first": [17]}, "2 revisions were not seen, first 17"),
        (("watches", 0), {"disordered": 1}, "out of order"),
        (("watches", 0), {"relists": [12.5]}, "list again at [12.5]"),
        (("watches", 0), {"revisions": 10}, "only 10 revisions"),
        (("streams", 0), {"cuts": [{**CUT, "restart": None}]}, "without a restart of its own"),
        (("streams", 0), {"cuts": [{**CUT, "away_s": None}]}, "not opened again"),
        (("streams", 0), {"lines": 0}, "no line was read"),
        (("streams", 1), {"missing": 3}, "3 lines are missing"),
        (("streams", 1), {"disordered": 1}, "out of order within a session"),
    ],
)
def test_every_loss_is_a_complaint(kept: dict[str, Any], where: tuple[Any, ...], values: dict[str, Any], words: str) -> None:
    part: Any = kept
    for key in where:
        part = part[key]
    part.update(values)
    found = verdict.complaints(kept)
    assert len(found) == 1 and words in found[0], found
    assert found[0] in verdict.lines(kept)


def test_the_table_names_what_a_cut_belongs_to(kept: dict[str, Any]) -> None:
    text = verdict.lines(kept)
    assert "2000 sent   0 lost" in text
    assert "+40 s   kube-apiserver of cp2   away 0.8 s" in text


@pytest.mark.parametrize(
    ("sent", "answered", "gap"),
    [([], [], 0.0), ([0.0, 1.0, 2.0], [0.1, 1.1, 2.1], 1.0), ([0.0, 1.0, 2.0, 3.0], [0.1, 3.1], 3.0), ([0.0, 5.0], [], 5.0), ([0.0, 9.0], [0.5], 8.5)],
)
def test_the_longest_time_without_an_answer(sent: list[float], answered: list[float], gap: float) -> None:
    assert Tally(sent=sent, answered=answered).longest_gap() == pytest.approx(gap)
