# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that stays on a host: it can be read, and it runs as the packed one does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle, readable
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
REQUEST = {"schema": 1, "config": "/nowhere/ninepaths/approver.json"}


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-S", str(path)], capture_output=True, text=True, check=False, timeout=120, cwd="/")


def test_it_runs_with_nothing_but_an_interpreter(tmp_path: Path) -> None:
    program = tmp_path / "approver.py"
    program.write_bytes(readable.build(approver.ENTRY, REQUEST))
    done = run(program)
    with pytest.raises(bundle.ProgramError, match=r"/nowhere/ninepaths/approver\.json: No such file") as failure:
        bundle.parse(done.stdout)
    assert failure.value.kind == "ApproverError" and done.stderr == "" and done.returncode == 1
    assert failure.value.where.startswith("approver.py:"), "a place in an error is a place in the module"


def test_every_module_stands_in_it_as_it_is() -> None:
    program = readable.build(approver.ENTRY, approver.REQUEST).decode("utf-8")
    assigned = {
        ast.literal_eval(node.targets[0].slice): ast.literal_eval(node.value)
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
    }
    assert assigned == {f"{bundle.NAMESPACE}.{name}": text for name, text in bundle.collect(approver.ENTRY).items()}
    assert "def approve_pending(" in program and "base64.b64decode({" not in program
    assert not re.search(r"[A-Za-z0-9+/]{200}", program), "nothing is packed"
    assert max(len(line) for line in program.splitlines()) <= 200


def test_the_same_input_gives_the_same_bytes() -> None:
    first = readable.build(approver.ENTRY, {"a": 1, "b": 2})
    readable._modules.cache_clear()
    assert readable.build(approver.ENTRY, {"b": 2, "a": 1}) == first


def test_it_says_where_it_comes_from_and_is_one_line_in_a_diff() -> None:
    program = readable.build(approver.ENTRY, approver.REQUEST)
    said = approver.summary(program)
    assert re.fullmatch(
        r"program, [0-9,]+ lines, sha256 [0-9a-f]{16}, made from module_utils/approver.py of ninepaths.kubernetes [0-9.]+", said
    ), said
    assert f"version: {readable.version()}\n" in (ROOT / "galaxy.yml").read_text(encoding="utf-8")


@given(st.text(alphabet="ab'\"\\\n{}é", max_size=30))
def test_a_literal_holds_the_text(text: str) -> None:
    assert ast.literal_eval(readable.quoted(text)) == text


def test_a_request_that_is_not_json_is_refused() -> None:
    with pytest.raises(bundle.BundleError, match="not JSON"):
        readable.build(approver.ENTRY, {"a": object()})
