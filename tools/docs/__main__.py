# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make docs`: writes the pages that are made from data. With --check nothing is written; the exit code is 1 when a page is out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.docs import DOCS
from tools.docs.pages import pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.docs", description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is out of date")
    check = parser.parse_args(arguments).check
    outdated = 0
    for name, text in pages().items():
        file = DOCS / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        outdated += 1
        if not check:
            file.write_text(text, encoding="utf-8")
        print(f"docs     {name} {'is out of date' if check else 'written'}")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
