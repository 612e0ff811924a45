# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run spool: private, complete under concurrent workers, and indifferent to strange names."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.spool import Spool, SpoolError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_what_is_put_is_found_by_every_worker_of_the_run(tmp_path):
    Spool.under(str(tmp_path)).put("observation", "cp1", {"a": [1]})
    other = Spool.under(str(tmp_path))
    assert other.get("observation", "cp1") == {"a": [1]}
    assert other.all("observation") == {"cp1": {"a": [1]}}
    assert other.all("result") == {} and other.find("result", "cp1") is None
    with pytest.raises(SpoolError, match="result of 'cp1'"):
        other.get("result", "cp1")


def test_nobody_else_can_read_it(tmp_path):
    before = os.umask(0)
    try:
        spool = Spool.under(str(tmp_path))
        spool.put("observation", "cp1", {})
        spool.run_id()
    finally:
        os.umask(before)
    for path in (spool.folder, *spool.folder.rglob("*")):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_a_directory_that_others_can_enter_is_refused(tmp_path):
    (tmp_path / "ninepaths").mkdir(mode=0o755)
    with pytest.raises(SpoolError, match="not a directory of this user alone"):
        Spool.under(str(tmp_path))


def test_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "ninepaths").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError):
        Spool.under(str(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.integers(), max_size=5))
def test_any_host_name_is_kept_apart(tmp_path, entries):
    spool = Spool.under(str(tmp_path))
    kind = f"kind{len(list(spool.folder.iterdir()))}-{os.urandom(4).hex()}"
    for name, value in entries.items():
        spool.put(kind, name, {"value": value})
    assert {name: document["value"] for name, document in spool.all(kind).items()} == entries
    assert {path.parent for path in (spool.folder / kind).glob("*")} <= {spool.folder / kind}


def test_names_cannot_leave_the_spool(tmp_path):
    spool = Spool.under(str(tmp_path))
    spool.put("observation", "../../../escape", {"a": 1})
    assert spool.get("observation", "../../../escape") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["ninepaths"]


def test_put_replaces_and_remove_forgets(tmp_path):
    spool = Spool.under(str(tmp_path))
    first = spool.put("plan", "plan", {"a": 1})
    assert spool.put("plan", "plan", {"a": 2}) != first
    assert spool.get("plan", "plan") == {"a": 2}
    spool.remove("plan", "plan")
    spool.remove("plan", "plan")
    assert spool.find("plan", "plan") is None


def test_clear_forgets_whole_kinds_and_no_others(tmp_path):
    spool = Spool.under(str(tmp_path))
    for kind in ("plan", "error", "observation"):
        spool.put(kind, "a", {})
    spool.clear("plan", "error", "nothing")
    assert [spool.all(kind) for kind in ("plan", "error", "observation")] == [{}, {}, {"a": {}}]


def _run_id(folder: str) -> str:
    return Spool.under(folder).run_id()


def test_all_workers_agree_on_the_run(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(_run_id, [str(tmp_path)] * 16))) == 1
    assert Spool.under(str(tmp_path)).started() > 0


def _writes(arguments: tuple[str, int]) -> None:
    spool = Spool.under(arguments[0])
    for _attempt in range(20):
        spool.put("observation", "cp1", {"pad": "x" * 10000, "n": arguments[1]})
        spool.get("observation", "cp1")


def test_a_reader_never_sees_half_a_document(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_writes, [(str(tmp_path), number) for number in range(4)]))
    assert len(list(Path(tmp_path).rglob(".*"))) == 0
