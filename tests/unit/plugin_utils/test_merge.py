# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge policies: each for itself, and their algebra for any value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import (
    MergeError,
    Rule,
    Value,
    integer,
    like,
    merge,
    same,
    satisfied,
    seconds,
    show,
    truth,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from(["Node", "RBAC", "Webhook", "AlwaysAllow", "ABAC"])
LISTS = st.lists(NAMES, min_size=1, max_size=5, unique=True).map(tuple)
VERSIONS = st.sampled_from(["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13", "TLS1.2", "TLS1.3"])
DURATIONS = st.tuples(st.integers(0, 9000), st.sampled_from(["ns", "us", "ms", "s", "m", "h"])).map(lambda pair: f"{pair[0]}{pair[1]}")
NUMBERS = st.integers(-5, 20000)
SCALARS = st.one_of(st.booleans(), NUMBERS, DURATIONS, VERSIONS, st.text("ab/.", min_size=1, max_size=5))


def rules() -> st.SearchStrategy[tuple[Rule, Value | None]]:
    """A rule, and a value of a kind that it can be compared with."""

    def pair(policies: list[str], values: st.SearchStrategy[Value]) -> st.SearchStrategy[tuple[Rule, Value | None]]:
        made = st.builds(Rule, st.sampled_from(policies), values, st.just(()), st.booleans())
        return st.tuples(made, st.one_of(st.none(), values))

    ordered = ["exact", "present", "at_least", "at_most"]
    return st.one_of(
        pair(["subset", "superset", "append", "absent", "exact", "present"], LISTS),
        pair(ordered, NUMBERS),
        pair(ordered, DURATIONS),
        pair(ordered, VERSIONS),
        pair(["exact", "present"], SCALARS),
    )


@given(rules())
def test_what_is_merged_is_satisfied(case: tuple[Rule, Value | None]) -> None:
    rule, current = case
    assert satisfied(rule, merge(rule, current))


@given(rules())
def test_merging_twice_is_merging_once(case: tuple[Rule, Value | None]) -> None:
    rule, current = case
    once = merge(rule, current)
    assert merge(rule, once) == once


@given(rules())
def test_a_value_that_serves_is_never_touched(case: tuple[Rule, Value | None]) -> None:
    rule, current = case
    if satisfied(rule, current):
        assert merge(rule, current) is current


@given(LISTS, LISTS)
def test_adding_keeps_what_is_there_in_its_order(wanted: tuple[str, ...], current: tuple[str, ...]) -> None:
    for policy in ("superset", "append"):
        merged = merge(Rule(policy, wanted), current)
        assert isinstance(merged, tuple)
        assert merged[: len(current)] == current
        assert set(merged) == set(current) | set(wanted)


@given(LISTS, LISTS)
def test_a_subset_never_holds_more_than_before(wanted: tuple[str, ...], current: tuple[str, ...]) -> None:
    merged = merge(Rule("subset", wanted), current)
    assert isinstance(merged, tuple)
    assert set(merged) <= set(wanted)
    assert set(merged) == set(current) & set(wanted) or (not set(current) & set(wanted) and merged == wanted)


@given(st.integers(0, 500), st.integers(0, 500))
def test_at_least_and_at_most_never_weaken(wanted: int, current: int) -> None:
    assert merge(Rule("at_least", wanted), current) == max(wanted, current)
    assert merge(Rule("at_most", wanted), current) == min(wanted, current)


@pytest.mark.parametrize(
    ("rule", "current", "merged"),
    [
        (Rule("at_least", "VersionTLS12"), "VersionTLS10", "VersionTLS12"),
        (Rule("at_least", "VersionTLS12"), "VersionTLS13", "VersionTLS13"),
        (Rule("at_least", "VersionTLS12"), "", "VersionTLS12"),
        (Rule("at_least", "TLS1.2"), "TLS1.3", "TLS1.3"),
        (Rule("at_least", "5m0s"), "0s", "5m0s"),
        (Rule("at_least", "5m0s"), "300s", "300s"),
        (Rule("at_least", "5m0s"), "4h", "4h"),
        (Rule("at_least", 30), 7, 30),
        (Rule("exact", "1m0s"), "60s", "60s"),
        (Rule("exact", False), None, False),
        (Rule("exact", 0), False, 0),
        (Rule("present", 6443, refuse=(0,)), 0, 6443),
        (Rule("present", 6443, refuse=(0,)), 8443, 8443),
        (Rule("present", "1m0s", refuse=("0s",)), "0", "1m0s"),
        (Rule("present", "/ours"), "", "/ours"),
        (Rule("absent", None), "/tokens.csv", None),
        (Rule("absent", ("AlwaysAllow",)), ("AlwaysAllow",), None),
        (Rule("absent", ("AlwaysAllow",)), ("AlwaysAllow", "RBAC"), ("RBAC",)),
        (Rule("exact", True, unset_ok=True), None, None),
        (Rule("exact", True, unset_ok=True), False, True),
    ],
)
def test_examples(rule: Rule, current: Value | None, merged: Value | None) -> None:
    assert merge(rule, current) == merged
    assert type(merge(rule, current)) is type(merged)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0),
        ("5m0s", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("300ms", Fraction(3, 10)),
        ("-1s", -1),
        (".5s", Fraction(1, 2)),
        ("2µs", Fraction(1, 500000)),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, length: Fraction) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "1d", "five", "1s1", "--1s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(MergeError, match="duration"):
        seconds(text)


@pytest.mark.parametrize(("wanted", "raw"), [(True, "yes"), (1, "1e3"), (1, "")])
def test_what_cannot_be_read_is_refused(wanted: Value, raw: str) -> None:
    with pytest.raises(MergeError):
        like(wanted, raw)


@pytest.mark.parametrize(
    ("one", "other"), [("VersionTLS12", "tomorrow"), (30, "many"), ("5m", "VersionTLS12"), (("a",), ("b",)), (True, 1)]
)
def test_what_has_no_order_is_refused(one: Value, other: Value) -> None:
    with pytest.raises(MergeError):
        satisfied(Rule("at_least", one), other)


@given(st.one_of(st.booleans(), NUMBERS, st.lists(NAMES, min_size=1).map(tuple)))
def test_a_value_survives_the_command_line(value: Value) -> None:
    assert like(value, show(value)) == value


def test_kinds_are_not_mixed_up() -> None:
    assert not same(True, 1)
    assert not same(0, False)
    assert truth("T") and not truth("0")
    assert integer(" 7") == 7
    # A number first, so that an answer remembered for 1 is not given for True.
    assert satisfied(Rule("at_least", 1), 1)
    with pytest.raises(MergeError):
        satisfied(Rule("at_least", 1), True)
