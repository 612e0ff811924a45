# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same program as bundle.py's as a file that stays on a host, where whoever is responsible for it reads what root runs.

Every module stands in it as it stands in the collection, with its comments, below its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle

ROOT = Path(__file__).resolve().parents[3]
QUOTES, BACKSLASH = "'''", "\\"

HEAD = """\
# Managed by ninepaths.kubernetes; changes are overwritten.
# Made from module_utils/{entry}.py of ninepaths.kubernetes {version}.
# First comes what starts the program, then each module of the collection that it imports, as text under the module's name.

"""
TAIL = """

if __name__ == "__main__":
    REQUEST = {request}
    sys.exit(execute(SOURCES, {entry!r}, REQUEST, {begin!r}, {end!r}))
"""


def build(entry: str, request: Mapping[str, object]) -> bytes:
    """Return the program as a plain Python file for Python 3.9 and newer; it runs with `-I -S`. Same input, same bytes.

    Raises BundleError as `bundle.build` does.
    """
    try:
        literal = json.loads(json.dumps(request, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise bundle.BundleError(f"the request for {entry!r} is not JSON: {error}") from error
    tail = TAIL.format(request=repr(literal), entry=f"{bundle.NAMESPACE}.{entry}", begin=bundle.BEGIN, end=bundle.END)
    return (HEAD.format(entry=entry, version=version()) + _modules(entry) + tail).encode("utf-8")


@lru_cache(maxsize=4)
def _modules(entry: str) -> str:
    sources = "".join(f"\n\nSOURCES[{bundle.NAMESPACE + '.' + name!r}] = {quoted(text)}" for name, text in sorted(bundle.collect(entry).items()))
    return f"{bundle.PRELUDE.read_text(encoding='utf-8')}\n\nSOURCES = {{}}{sources}"


def quoted(text: str) -> str:
    """A string literal in which the text stands as it is, line by line, wherever Python's quotes allow it."""
    if QUOTES in text or text.endswith(("'", "\\")):
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return f"{QUOTES}{escaped}{QUOTES}"
    return f"{'r' if BACKSLASH in text else ''}{QUOTES}{text}{QUOTES}"


def version() -> str:
    """The collection's own, from the file that a checkout has or the one that an installed collection has."""
    galaxy, manifest = ROOT / "galaxy.yml", ROOT / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    found = re.search(r"^version: *[\"']?([^\s\"']+)", galaxy.read_text(encoding="utf-8") if galaxy.is_file() else "", re.MULTILINE)
    return found[1] if found else "of an unknown version"
