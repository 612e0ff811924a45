# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells is checked: anything else than a history is an error that names the host, never a crash and never a plan."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import way_back
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past, runs
from hypothesis import given, settings
from hypothesis import strategies as st

DIGEST = "ab" * 32
STATE = {"type": "file", "sha256": DIGEST, "target": None, "mode": "0600", "uid": 0, "gid": 0}
EFFECTS = [
    {"kind": "file", "op": "kubelet", "path": "/x", "action": "replace", "component": None, "argv": None, "before": STATE, "after": STATE,
     "backup": {"path": "/b", "sha256": DIGEST}, "controls": ["a"]},
    {"kind": "account", "name": "etcd", "home": "/", "made": ["user"], "controls": []},
    {"kind": "account", "name": "etcd", "removed": {"user": {"uid": 1, "gid": 1, "home": "/"}}, "controls": None},
    {"kind": "unit", "unit": "a.timer", "verb": "enable", "controls": []},
    {"kind": "sysctl", "key": "vm.x", "before": "1", "after": "2", "controls": []},
    {"kind": "object", "namespace": "n", "name": "m", "before": {"k": None}, "after": {"k": "v"}, "annotation": None, "controls": []},
]  # fmt: skip


def told(**fields: Any) -> dict[str, Any]:
    """A history with one transaction."""
    one = {"id": "t1", "run": "20270301T101500Z-abcdef", "wave": "files", "number": 1, "at": 1_800_000_000.0, "state": "committed", "takes_back": [],
           "problem": None, "effects": copy.deepcopy(EFFECTS), **fields}  # fmt: skip
    seen = {**STATE, "owner": "root", "group": "root", "entries": [], "problem": None}
    now = {"files": {"/x": seen}, "accounts": {"etcd": {}}, "units": {"a.timer": {"enabled": True, "active": True}}, "sysctls": {"vm.x": None}}
    return {"schema": 1, "transactions": [one], "removed": [{"id": "t0", "run": "r0"}], "now": now, "texts": {DIGEST: "text"}}


def test_a_history_is_read_whole() -> None:
    found = past.parse("w1", told())
    (one,) = found.transactions
    assert [type(effect).__name__ for effect in one.effects] == ["FileEffect", "AccountEffect", "AccountEffect", "UnitEffect", "SysctlEffect", "ObjectEffect"]
    assert one.counts and found.removed[0].run == "r0" and one.effects[2].controls == ()


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2), st.sampled_from([{}, "../../x", "a\0b"])
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [path, *(found for key, value in inner for found in places(value, (*path, key)))]


@settings(max_examples=400)
@given(place=st.sampled_from(places(told())[1:]), junk=JUNK)
def test_whatever_a_host_tells(place: tuple[Any, ...], junk: Any) -> None:
    data = told()
    inner: Any = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    try:
        found = past.parse("w1", data)
    except PlanError as error:
        assert error.host == "w1" and error.advice and "\n" not in str(error)
    else:
        assert all(run.when.endswith(" UTC") for run in runs.runs({"w1": found}))
        for effect in found.transactions[0].effects if found.transactions else ():
            assert isinstance(effect, (past.FileEffect, past.AccountEffect, past.UnitEffect, past.SysctlEffect, past.ObjectEffect))
            if isinstance(effect, past.FileEffect):
                assert effect.path.startswith("/") and "\0" not in effect.path


@given(st.recursive(JUNK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8))
def test_anything_at_all(data: Any) -> None:
    with pytest.raises(PlanError, match="w1"):
        past.parse("w1", data)


# --- which runs there are ---------------------------------------------------------------------------------------------------------


def history(host: str, *entries: tuple[str, str, int], removed: tuple[str, ...] = (), state: str = "committed") -> past.History:
    """Transactions as (run, wave, number)."""
    effect = past.SysctlEffect("vm.x", "1", "2", ())
    transactions = tuple(past.Transaction(f"{run}-{wave}", run, wave, number, float(number), state, effects=(effect,)) for run, wave, number in entries)
    return past.History(host, transactions, tuple(past.Removed(f"{run}-x", run, "files", 0.0, "committed") for run in removed))


A, B, C = "20270301T100000Z-aaaaaa", "20270301T110000Z-bbbbbb", "20270301T120000Z-cccccc"


def test_runs_are_told_with_their_hosts_waves_and_changes() -> None:
    found = runs.runs({"w1": history("w1", (A, "kubelets", 2), (A, "files", 1)), "cp1": history("cp1", (A, "control_planes", 1), (B, "late_files", 2))})
    assert [(run.id, run.hosts, run.waves, run.changes) for run in found] == [
        (B, ("cp1",), ("late_files",), 1),
        (A, ("cp1", "w1"), ("files", "kubelets", "control_planes"), 3),
    ]
    lines = [line.text for line in way_back.run_lines(found)]
    assert lines[1] == f"run      {A}   1970-01-01 00:00:01 UTC   cp1, w1   3 changes   files, kubelets, control planes"


def test_a_rollback_and_a_run_that_is_lost_say_so() -> None:
    one = history("w1", (A, "files", 1), removed=(A,))
    taken = past.Transaction("x", B, "late_files", 2, 2.0, "committed", takes_back=(A,), effects=one.transactions[0].effects)
    found = runs.runs({"w1": past.History("w1", (*one.transactions, taken), one.removed)})
    lines = [line.text for line in way_back.run_lines(found)]
    assert lines[1] == f"           a rollback of {A}" and "cannot be taken back: what run" in lines[3] and found[0].lost is None


def test_all_later_runs_come_along_on_every_host() -> None:
    histories = {"w1": history("w1", (A, "files", 1), (C, "files", 2)), "w2": history("w2", (B, "files", 1))}
    assert runs.chosen(histories, A) == (A, B, C) and runs.chosen(histories, B) == (B, C) and runs.chosen(histories, "last") == (C,)


def test_what_came_later_on_a_host_is_later_whatever_the_controllers_clock_said() -> None:
    """Run A was started by a controller whose clock is behind, after B."""
    histories = {"w1": history("w1", (B, "files", 1), (A, "files", 2)), "w2": history("w2", (A, "files", 1))}
    assert set(runs.chosen(histories, B)) == {A, B} and [one.run for one in runs.of_host(histories["w1"], {B})] == [B, A]


def test_a_later_run_of_which_nothing_is_left_is_missed() -> None:
    histories = {"cp1": history("cp1", (A, "files", 1)), "w1": history("w1", (C, "files", 9), removed=(B,))}
    taken = runs.chosen(histories, A)
    assert set(taken) == {A, B, C}
    (error,) = runs.missing(histories["w1"], taken)
    assert error.host == "w1" and f"what run {B} kept in its wave files was removed" in error.cause
    assert runs.missing(histories["w1"], runs.chosen(histories, C)) == []


def test_what_was_undone_is_no_run() -> None:
    assert runs.runs({"w1": history("w1", (A, "files", 1), state="undone")}) == []
    with pytest.raises(PlanError, match="has been undone"):
        runs.chosen({"w1": history("w1", (A, "files", 1), state="undone")}, A)


