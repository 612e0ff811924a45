# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mistyped variable is an error, and everything that the collection itself uses is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import variables

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ninepaths_path", "ninepaths_path is no variable of this collection; did you mean ninepaths_paths? All variables: docs/variables.md"),
        ("ninepaths_xyzzy_q", "ninepaths_xyzzy_q is no variable of this collection. All variables: docs/variables.md"),
    ],
)
def test_a_mistyped_variable(name, said):
    assert variables.unknown([name, "other", "ninepaths_paths"]) == [said]


def test_all_that_playbooks_and_roles_use_is_known():
    files = [path for folder in ("playbooks", "roles", "inventories") for path in sorted((ROOT / folder).rglob("*.yml"))]
    used = {name for path in files for name in re.findall(r"\bninepaths_[a-z_]+", path.read_text(encoding="utf-8"))}
    assert "ninepaths_observed" in used and variables.unknown(used) == []


def test_all_documented_variables_are_known():
    documented = re.findall(r"^#+ (ninepaths_\w+)", (ROOT / "docs" / "variables.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) > 5 and variables.unknown(documented) == []
