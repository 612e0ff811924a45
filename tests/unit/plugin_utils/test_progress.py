# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is printed while a transaction's journal grows."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.progress import Progress, is_bookkeeping
from hypothesis import given
from hypothesis import strategies as st


def line(at: float, event: str = "done", message: str = "m", **data: Any) -> dict[str, Any]:
    return {"seq": 1, "at": at, "event": event, "step": "1:x", "message": message, "data": data}


def shown(progress: Progress, *lines: dict[str, Any]) -> list[str]:
    return [found.text for one in lines for found in progress.add(one)]


def test_lines_are_aligned_and_timed_from_the_first_on():
    assert shown(Progress("cp1"), line(100.0, "begin", "begins"), line(112.34, message="etcd: healthy")) == [
        "cp1         0.0 s  begins",
        "cp1        12.3 s  etcd: healthy",
    ]
    assert shown(Progress("a-very-long-name"), line(5.0, message="x")) == ["a-very-long-name     0.0 s  x"]


@pytest.mark.parametrize(("took", "said"), [(1.9, 1), (2.1, 2)])
def test_waiting_is_announced_only_where_it_takes_a_while(took, said):
    assert len(shown(Progress("w1"), line(0.0, "wait", "waiting for it (at most 90 s)"), line(took, message="there it is"))) == said


def test_a_wait_that_goes_on_is_shown_at_once_and_once():
    progress = Progress("w1")
    assert progress.still() == [] and shown(progress, line(0.0, "wait", "waiting")) == [] and progress.waiting
    assert [found.text for found in progress.still()] == ["w1          0.0 s  waiting"]
    assert progress.still() == [] and shown(progress, line(9.0)) == ["w1          9.0 s  m"]


def test_a_wait_after_a_wait_loses_neither():
    found = shown(Progress("w1"), line(0.0, "wait", "one"), line(5.0, "wait", "two"), line(9.0))
    assert [text.split()[-1] for text in found] == ["one", "two", "m"]


def test_an_undo_is_bad():
    assert Progress("w1").add(line(0.0, "undo"))[0].tone == "bad"


@pytest.mark.parametrize(
    ("entry", "hidden"),
    [
        (line(0.0, "step", begun=True), True),
        (line(0.0, "done", ended=True), True),
        (line(0.0, "step", file={}), False),
        (line(0.0, "done"), False),
        (line(0.0, "end", state="committed"), False),
    ],
)
def test_begin_and_end_of_a_step_are_bookkeeping(entry, hidden):
    assert is_bookkeeping(entry) is hidden


@given(st.text(), st.text())
def test_a_line_is_one_line_whatever_the_host_says(host, message):
    (text,) = shown(Progress(host), line(1.0, message=message))
    assert len(text.splitlines()) <= 1 and "\x1b" not in text
