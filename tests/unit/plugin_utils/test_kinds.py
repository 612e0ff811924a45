# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import kinds


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("int", "many", "x must be a whole number, not 'many'"),
        ("Level", "loud", "x must be a number like 2, not 'loud'"),
        ("bool", 1, "x must be true or false, not 1"),
        ("map[string]bool", [True], "x must be a mapping, each value true or false, not a list"),
        ("[]int", {}, "x must be a list, each of it a whole number, not a mapping"),
        ("LocalMode", "y", "x must be of the type LocalMode, not 'y'"),
        ("string", "/a\n/b", "x must be text, not several lines of text"),
        ("int", "9" * 50, "x must be a whole number, not text"),
    ],
)
def test_a_misfit_is_named_in_words(kind, value, said):
    assert kinds.misfit("x", kind, value) == said


@pytest.mark.parametrize("kind", ["[]string", "map[string]string"])
def test_what_may_be_a_secret_is_not_named(kind):
    assert "hunter2" not in kinds.misfit("x", kind, "hunter2")
