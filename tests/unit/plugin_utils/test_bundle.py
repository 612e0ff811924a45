# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stdin program: what is sent, that it runs with nothing but an interpreter, and what comes back."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle
from hypothesis import given
from hypothesis import strategies as st

PACKAGE = bundle.NAMESPACE
RUN = """
from __future__ import annotations
from typing import NamedTuple
class RunResult(NamedTuple):
    rc: int
    stdout: str
    stderr: str
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """An empty module_utils; returns a function that writes a module into it."""

    def write(name: str, source: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")

    monkeypatch.setattr(bundle, "MODULE_UTILS", tmp_path)
    bundle.frame.cache_clear()
    write("run", RUN)
    yield write
    bundle.frame.cache_clear()


def execute(program: bytes) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=program, capture_output=True, check=False, timeout=60, cwd="/")
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def answer(entry: str, request: dict[str, object]) -> dict[str, object]:
    return bundle.parse(execute(bundle.build(entry, request)).stdout)


def test_runs_an_entry_with_what_it_imports_directly_and_through_others(room):
    room("low", "ANSWER = 42\n")
    room("middle", f"from {PACKAGE}.low import ANSWER\n")
    room("pack.part", "NAME = 'part'\n")
    room(
        "entry",
        f"""
import {PACKAGE}.pack.part as part
from {PACKAGE} import middle
def main(request, run):
    from {PACKAGE}.lazy import late
    return {{'v': middle.ANSWER, 'p': part.NAME, 'r': request, 'late': late()}}
""",
    )
    room("lazy", "def late(): return __name__\n")
    room("unused", "raise SystemExit('must not be sent')\n")
    assert set(bundle.collect("entry")) == {"entry", "middle", "low", "lazy", "pack.part", "run"}
    request = {"schema": 1, "odd": "'\"\\\n{}\u2028%s\x7f"}
    assert answer("entry", request) == {"v": 42, "p": "part", "r": request, "late": f"{PACKAGE}.lazy"}


def test_same_input_gives_the_same_bytes_and_order_of_keys_does_not_matter(room):
    room("entry", "def main(request, run): return {}\n")
    first = bundle.build("entry", {"a": 1, "b": 2})
    bundle.frame.cache_clear()
    assert first == bundle.build("entry", {"b": 2, "a": 1})


def test_run_starts_processes_without_a_shell_and_reports_what_went_wrong(room):
    room(
        "entry",
        """
import sys
def main(request, run):
    ok = run([sys.executable, '-c', 'import sys; print(sys.stdin.read() + "$HOME"); sys.exit(3)'], stdin=b'in ')
    return {'ok': list(ok), 'none': list(run(['/no/such/program'])), 'slow': list(run(['sleep', '60'], timeout=0.2))}
""",
    )
    result = answer("entry", {})
    assert result["ok"] == [3, "in $HOME\n", ""]
    assert result["none"] == [127, "", "/no/such/program: No such file or directory"]
    assert result["slow"][0] == 124 and "killed" in result["slow"][2]


def test_an_unexpected_error_names_its_place_and_shows_no_data(room):
    room("entry", "def main(request, run):\n    '''Doc.'''\n\n    # comment\n    raise ValueError('secret ' + request['key'])\n")
    done = execute(bundle.build("entry", {"key": "hunter2"}))
    assert done.returncode == 1 and "hunter2" not in done.stdout + done.stderr
    with pytest.raises(bundle.ProgramError) as caught:
        bundle.parse(done.stdout)
    assert (caught.value.kind, caught.value.where) == ("ValueError", "entry.py:5 in main")


def test_an_error_of_ours_keeps_its_message(room):
    room("entry", "class Broken(Exception): pass\ndef main(request, run): raise Broken('cp1: /etc/x is a socket')\n")
    with pytest.raises(bundle.ProgramError, match="cp1: /etc/x is a socket"):
        answer("entry", {})


def test_an_os_error_names_the_file(room):
    room("entry", "def main(request, run): open('/no/such/file')\n")
    with pytest.raises(bundle.ProgramError, match="/no/such/file: No such file"):
        answer("entry", {})


def test_an_old_python_is_named_and_the_frame_is_readable_for_it(room):
    room("entry", "def main(request, run): return {}\n")
    program = (
        bundle.build("entry", {}).decode().replace("sys.version_info <", "(3, 6, 8) <").replace("tuple(sys.version_info[:3])", "(3, 6, 8)")
    )
    with pytest.raises(bundle.ProgramError, match=r"Python 3\.6\.8 is older than 3\.9") as caught:
        bundle.parse(execute(program.encode()).stdout)
    assert caught.value.kind == "PythonTooOld"
    ast.parse(program, feature_version=(3, 4))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"from {PACKAGE}.missing import x\n", "missing"),
        ("from . import run\n", "relative"),
        ("import ansible.module_utils.basic\n", "Ansible"),
        ("from ansible.module_utils.common import text\n", "Ansible"),
    ],
)
def test_what_cannot_be_sent_is_refused(room, source, message):
    room("entry", source)
    with pytest.raises(bundle.BundleError, match=message):
        bundle.build("entry", {})


def test_an_unknown_entry_and_a_request_that_is_not_json_are_refused(room):
    with pytest.raises(bundle.BundleError, match=r"nothing\.py"):
        bundle.build("nothing", {})
    room("entry", "def main(request, run): return {}\n")
    for request in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises(bundle.BundleError, match="not JSON"):
            bundle.build("entry", request)


def test_noise_around_the_result_is_ignored_and_a_cut_one_is_an_error():
    good = f'Warning: lecture\r\n{bundle.BEGIN}\r\n{{"a":1}}\r\n{bundle.END}\r\nbye'
    assert bundle.parse(good) == {"a": 1}
    lines = good.split("\r\n")
    for bad in (
        "",
        "\n".join(lines[:3]),
        "\n".join([*lines[:2], lines[3]]),
        good.replace('{"a":1}', "[1]"),
        good.replace('{"a":1}', '{"a":'),
    ):
        with pytest.raises(bundle.ProgramError) as caught:
            bundle.parse(bad)
        assert caught.value.kind in ("NoResult", "BadResult")


DOCSTRING = st.text(
    st.characters(codec="utf-8", exclude_characters="\\\r\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"])
)


@given(DOCSTRING.filter(lambda text: '"' not in text), st.text("ab#' \u00e4\u4e2d", max_size=20))
def test_blanking_changes_neither_lines_nor_meaning(docstring, literal):
    source = (
        f'"""{docstring}"""\nX = {literal!r}  # note: ä\n# alone\nclass A:\n    """{docstring}"""\n\n'
        f'    def f(self):\n        """{docstring}"""; return "# {len(literal)}"  # tail\n'
    )
    blanked = bundle.blank(source)
    assert blanked.count("\n") == source.count("\n")
    assert "note" not in blanked and "alone" not in blanked
    space: dict[str, object] = {}
    exec(compile(blanked, "x", "exec"), space)
    assert space["X"] == literal and space["A"]().f() == f"# {len(literal)}"
    line = {node.name: node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert line == {node.name: node.lineno for node in ast.walk(ast.parse(blanked)) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


@pytest.mark.parametrize(
    "entry", sorted(p.stem for p in Path(bundle.MODULE_UTILS).glob("*.py") if "\ndef main(" in p.read_text(encoding="utf-8"))
)
def test_every_real_entry_can_be_sent_and_compiles_without_its_comments(entry):
    for name, source in bundle.collect(entry).items():
        compile(bundle.blank(source), name, "exec")
    size = len(bundle.build(entry, {"schema": 1}))
    assert size < 120_000, f"{entry}: {size} bytes go to every host in every run"
