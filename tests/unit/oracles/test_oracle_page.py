# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison says of both legs what was measured, and fails for what ninepaths lost only."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.oracles import page

RESTARTS = [{"node": "cp1", "what": "kube-apiserver"}, {"node": "w1", "what": "kubelet"}]


@pytest.fixture
def results(kept: dict[str, Any]) -> dict[str, Any]:
    """Both legs."""
    good = {**copy.deepcopy(kept), "healthy_s": 360.0, "restarts": RESTARTS}
    bad = {**copy.deepcopy(kept), "healthy_s": None, "restarts": RESTARTS}
    bad["requests"].update(lost=1234, answered=766, longest_gap_s=61.0, losses=[[1.0, "read", "refused"]])
    bad["watches"][0].update(missing=3, missing_first=[4], relists=[30.0])
    bad["streams"][0]["cuts"] = [{**kept["streams"][0]["cuts"][0], "away_s": None, "restart": None}]
    bad["streams"][1]["missing"] = 7
    return {"ninepaths": good, "at_once": bad}


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if name in line)
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_both_legs_stand_side_by_side(results: dict[str, Any]) -> None:
    text = page.table(results)
    assert row(text, "reads and writes lost") == ["**0**", "**1,234**"]
    assert row(text, "longest time without an answer") == ["0.3 s", "61.0 s"]
    assert row(text, "revisions not seen") == ["**0**", "**3**"]
    assert row(text, "410") == ["0", "1"]
    assert row(text, "`exec`: cuts") == ["w1: 1", "w1: 1"]
    assert row(text, "lines missing") == ["**0**", "**7**"]
    assert row(text, "belong to no restart") == ["0", "1"]
    assert row(text, "stream was open again") == ["0.8 s", "not opened again"]
    assert row(text, "healthy") == ["360.0 s", "never"]
    assert row(text, "restarts") == ["1, 1", "1, 1"]


def test_the_page_names_versions_and_the_command(results: dict[str, Any]) -> None:
    text = page.page(results, ["Kubernetes 1.36.4", "etcd 3.6.14"], "2026-11-21")
    assert page.table(results) in text
    assert "`make bench-requests`: Kubernetes 1.36.4, etcd 3.6.14" in text
    assert "{" not in text


def test_only_what_ninepaths_lost_is_a_failure(results: dict[str, Any]) -> None:
    assert page.broken(results) == []
    results["ninepaths"]["requests"].update(lost=1, answered=1999, losses=[[1.0, "read", "refused"]])
    assert len(page.broken(results)) == 1
