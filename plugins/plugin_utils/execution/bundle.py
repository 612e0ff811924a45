# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the self-contained program that a target's interpreter reads on stdin, and reads its answer.

The program carries the entry module of `module_utils` with everything that it imports, found by reading import statements. Comments and
docstrings are blanked, line numbers stay, so a place in an error is a place in this checkout.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import tokenize
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json

NAMESPACE = "ansible_collections.ninepaths.kubernetes.plugins.module_utils"
MODULE_UTILS = Path(__file__).resolve().parents[2] / "module_utils"
PRELUDE = Path(__file__).resolve().with_name("prelude.py")
ALWAYS = ("run",)  # the prelude's `run` returns its type

BEGIN = "-----BEGIN NINEPATHS RESULT-----"
END = "-----END NINEPATHS RESULT-----"
RESULT = re.compile(rf"^{BEGIN}\r?\n([^\r\n]*)\r?\n{END}\r?$", re.MULTILINE)
ANSWER_LIMIT = 1 << 26  # characters
SAID = 2000

# Read by whatever Python the host has, so it must parse on an old one.
FRAME = """\
# ninepaths: this program observes or changes a Kubernetes node; it was sent by the collection ninepaths.kubernetes.
# SOURCES holds module_utils of the same version, without comments.
import sys
if sys.version_info < (3, 9):
    sys.stdout.write({begin!r} + "\\n" + {too_old!r} % tuple(sys.version_info[:3]) + "\\n" + {end!r} + "\\n")
    sys.exit(1)
import base64, json, zlib
SOURCES = json.loads(zlib.decompress(base64.b64decode({sources!r})).decode("utf-8"))
PRELUDE = {{"__name__": "ninepaths_prelude"}}
exec(compile(SOURCES.pop(""), "prelude.py", "exec"), PRELUDE)
"""
TAIL = "sys.exit(PRELUDE['execute'](SOURCES, {entry!r}, json.loads({request!r}), {begin!r}, {end!r}))\n"
TOO_OLD = json.dumps({"schema": 1, "error": {"type": "PythonTooOld", "message": "Python %d.%d.%d is older than 3.9", "where": ""}})


class BundleError(Exception):
    """An entry that does not exist, an import that cannot be sent, or a request that is not JSON."""


class ProgramError(Exception):
    """The program's own error, or an answer that is none.

    `kind` is the exception's name on the target, or `NoResult`; `where` is file:line in function, empty where there is none.
    """

    def __init__(self, kind: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.where = kind, message, where


def build(entry: str, request: Mapping[str, object]) -> bytes:
    """Return the program that calls `module_utils/<entry>.py`'s `main(request, run)` on the target.

    Raises BundleError for an unknown entry, an import outside the standard library and the collection's module_utils, or a
    request that is not JSON. The same sources and request give the same bytes.
    """
    return assemble(frame(entry), entry, request)


def assemble(framed: str, entry: str, request: Mapping[str, object]) -> bytes:
    """Join a frame (see `frame`) with a request; cheap. Raises BundleError for a request that is not JSON."""
    try:
        literal = json.dumps(request, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"the request for {entry!r} is not JSON: {error}") from error
    return (framed + TAIL.format(entry=f"{NAMESPACE}.{entry}", request=literal, begin=BEGIN, end=END)).encode("utf-8")


@lru_cache(maxsize=16)
def frame(entry: str) -> str:
    """Everything of the program but the request; the costly part, made once per entry and process."""
    sources = {f"{NAMESPACE}.{name}": blank(text) for name, text in collect(entry).items()}
    sources[""] = blank(_read(PRELUDE))
    packed = zlib.compress(json.dumps(sources, sort_keys=True, separators=(",", ":")).encode("utf-8"), 9)
    return FRAME.format(begin=BEGIN, end=END, too_old=TOO_OLD, sources=base64.b64encode(packed).decode("ascii"))


def collect(entry: str) -> dict[str, str]:
    """Sources of an entry and of all module_utils that it imports, at module level or inside functions, by their short name."""
    found: dict[str, str] = {}
    waiting = [entry, *ALWAYS]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = _file_of(name)
        if path is None:
            raise BundleError(f"module_utils/{name.replace('.', '/')}.py does not exist")
        found[name] = _read(path)
        waiting += imports(found[name], path)
        if "." in name:  # importing a.b runs a/__init__.py as well
            waiting += [parent for parent in [name.rsplit(".", 1)[0]] if _file_of(parent)]
    return found


def imports(source: str, path: Path) -> list[str]:
    """Short names of the module_utils that a source imports; raises BundleError for an import that cannot be sent."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            names += [short for alias in node.names for short in [_short(alias.name)] if short]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise BundleError(f"{path}:{node.lineno}: a relative import; name the module in full")
            names += _from_names(node)
    return names


def _from_names(node: ast.ImportFrom) -> list[str]:
    """`from module_utils import a` names modules, `from module_utils.a import b` a module or one below it."""
    if node.module == NAMESPACE:
        return [alias.name for alias in node.names]
    short = _short(node.module or "")
    if not short:
        return []
    below = [f"{short}.{alias.name}" for alias in node.names if _file_of(f"{short}.{alias.name}")]
    return below if below and _file_of(short) is None else [short, *below]


def _short(name: str) -> str:
    """Name relative to module_utils, or nothing for the standard library; Ansible's own code cannot be sent."""
    if name == "ansible" or name.startswith("ansible."):
        raise BundleError(f"{name}: a program on stdin cannot import Ansible")
    return name[len(NAMESPACE) + 1 :] if name.startswith(NAMESPACE + ".") else ""


def _file_of(name: str) -> Path | None:
    base = MODULE_UTILS.joinpath(*name.split("."))
    for candidate in (base.with_name(base.name + ".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blank(source: str) -> str:
    """Take comments and docstrings out of a source; no line moves and no statement disappears."""
    lines = source.encode("utf-8").splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _blank_docstring(node, lines)
    text = b"\n".join(lines).decode("utf-8") + "\n"
    kept = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            kept[row - 1] = kept[row - 1][:column].rstrip()
    return "\n".join(kept)


def _blank_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[bytes]) -> None:
    first = node.body[0] if node.body else None
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)):
        return
    start, end = first.lineno - 1, (first.end_lineno or first.lineno) - 1
    tail = lines[end][first.end_col_offset :]
    lines[start] = lines[start][: first.col_offset] + b'""' + (tail if start == end else b"")
    for row in range(start + 1, end + 1):
        lines[row] = b""
    if start != end and tail.strip():  # something follows the docstring on its last line
        lines[start] += tail


def parse(stdout: str) -> dict[str, Any]:
    """Return what `main` returned; raises ProgramError for the program's error or an answer that is none.

    Lines before and after the markers (a login banner, a sudo lecture) are ignored.
    """
    if len(stdout) > ANSWER_LIMIT:
        raise ProgramError("TooLarge", f"its answer is larger than {ANSWER_LIMIT >> 20} MiB")
    found = RESULT.search(stdout, max(0, _last_line(stdout, BEGIN)))
    if found is None:
        raise ProgramError("NoResult", "the program printed no complete result")
    try:
        result = strict_json.parse(found.group(1), ANSWER_LIMIT)
    except strict_json.JsonError as error:
        raise ProgramError("BadResult", f"its answer cannot be read: {error}") from error
    if not isinstance(result, dict):
        raise ProgramError("NoResult", f"the program returned a {type(result).__name__}, not an object")
    failure = result.get("error")
    if isinstance(failure, dict) and set(failure) == {"type", "message", "where"}:
        kind, message, where = (one_line(str(failure[key]))[:SAID] for key in ("type", "message", "where"))
        raise ProgramError(kind, message, where)
    return result


def _last_line(text: str, line: str) -> int:
    """Where the last line begins that is this one; -1 where there is none."""
    at = len(text)
    while (at := text.rfind(line, 0, at)) >= 0:
        if at == 0 or text[at - 1] == "\n":
            return at
    return -1
