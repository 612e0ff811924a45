# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal counts what is surely on the disk and nothing else."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal as journals
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from hypothesis import given
from hypothesis import strategies as st

WHOLE = b"".join(
    json.dumps({"seq": number, "at": 1.0, "event": event, "step": "s", "message": "m", "data": data}).encode() + b"\n"
    for number, (event, data) in enumerate([("begin", {}), ("step", {}), ("undo", {}), ("end", {"state": "undone"})], 1)
)


def journal(tmp_path: Path, text: bytes | None = None, files: bed.FileSystem | None = None) -> Journal:
    if text is not None:
        (tmp_path / "journal.jsonl").write_bytes(text)
    return Journal(bed.FakeMachine(tmp_path, files), "/journal.jsonl")


@given(cut=st.integers(0, len(WHOLE)))
def test_a_cut_journal_keeps_its_whole_lines(cut: int) -> None:
    lines, size = journals.parse(WHOLE[:cut])
    assert len(lines) == WHOLE[:cut].count(b"\n")
    assert WHOLE[:size].endswith(b"\n") or size == 0
    assert journals.state(lines) == ("undone" if len(lines) == 4 else "open")


@given(at=st.integers(0, len(WHOLE) - 2), byte=st.integers(0, 255))
def test_a_damaged_line_ends_the_journal_there(at: int, byte: int) -> None:
    lines, size = journals.parse(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert size <= len(WHOLE)


@pytest.mark.parametrize("cut", [1, 30, len(WHOLE) - 1])
def test_a_torn_tail_is_cut_off_before_the_next_line(tmp_path: Path, cut: int) -> None:
    torn = journal(tmp_path, WHOLE[:cut])
    torn.add("undo", "", "again")
    again = journal(tmp_path)
    assert [line["message"] for line in again.lines][-1] == "again"
    assert again.size == len((tmp_path / "journal.jsonl").read_bytes())


def test_a_line_is_on_the_disk_when_add_returns_and_private(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.add("begin", "", "ünïcode", {"a": 1})
    assert json.loads((tmp_path / "journal.jsonl").read_text())["message"] == "ünïcode"
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    one = journal(tmp_path, WHOLE, bed.FaultyFiles(1, "full"))
    with pytest.raises(OSError, match="No space"):
        one.add("undo", "", "does not fit")
    one.add("undo", "", "fits")
    assert [line["message"] for line in journal(tmp_path).lines] == ["m"] * 4 + ["fits"]


def test_the_last_end_line_counts() -> None:
    end = [{"event": "end", "data": {"state": state}} for state in ("failed", "undone")]
    assert journals.state(end) == "undone"
    assert journals.state([*end, {"event": "undo", "data": {}}]) == "undone"


def test_an_append_that_does_not_reach_the_disk_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(WHOLE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # the real one, so this also shows that an append waits for the disk
    with pytest.raises(OSError, match="No space"):
        bed.FileSystem().append(str(path), b"half a line")
    assert path.read_bytes() == WHOLE
