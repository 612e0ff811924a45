# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No program of the target is asked whose answer nobody checks."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers

PLUGINS = Path(answers.__file__).parents[2]


def test_every_program_that_an_action_asks_has_a_form_for_its_answer() -> None:
    sources = [file.read_text(encoding="utf-8") for folder in ("action", "plugin_utils") for file in (PLUGINS / folder).rglob("*.py")]
    calls = [call for source in sources for call in re.findall(r"self\.program\(([^,]+),", source)]
    asked = {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    assert {"observe", "visit", "launch", "follow", "recover", "history"} <= asked
    assert asked <= answers.ANSWERS.keys()
