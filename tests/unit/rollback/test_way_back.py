# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Harden with the real planner and the real engine, then go back: every byte, mode and owner is as before."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts
from way_bed import World


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a world whose accounts are its own."""

    def made(**how) -> World:
        world = World(tmp_path, **how)
        monkeypatch.setattr(accounts, "known", lambda name: copy.deepcopy(world.accounts[world.turn].get(name, {})))
        return world

    return made


def test_everything_is_as_before(make) -> None:
    world = make()
    before = world.snapshot()
    world.harden()
    assert world.snapshot() != before
    found = world.roll_back("last")
    after = world.snapshot()
    assert {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)} == {}
    assert found.plan.restarts
