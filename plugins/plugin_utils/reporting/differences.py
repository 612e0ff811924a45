# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planned differences as a person reads them: where, which controls and why, then the lines that change. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import Line, clean, count

TONES = {"+": "good", "-": "bad"}


def texts(plan: Mapping[str, Any], controls: Iterable[Any]) -> list[str]:
    """One text per file and object that changes, headed by its controls and their reasons."""
    outcomes = {(entry["id"], entry["host"]): str(entry["reason"]) for entry in plan["controls"] if entry["status"] == "change"}
    general = {control.id: str(control.why) for control in controls}
    found = []
    for change in plan["changes"]:
        if change["diff"]:
            reasons = {name: outcomes.get((name, change["host"])) or general.get(name, "") for name in change["controls"]}
            found.append(heading(change, reasons) + change["diff"])
    return found


def heading(change: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """`# cp1: /etc/x.yaml (14 controls)`, then a line per control; `reasons` by control."""
    target = f"# {change['host']}: {clean(str(change.get('file') or change.get('object')))}"
    if not reasons:
        return f"{target}: {clean(str(change['reason']))}\n"
    width = max(len(name) for name in reasons)
    rows = "".join(f"#   {name:<{width}}  {clean(why)}".rstrip() + "\n" for name, why in sorted(reasons.items()))
    return f"{target} ({count(len(reasons), 'control')})\n{rows}"


def lines(found: Iterable[str]) -> list[Line]:
    """For the terminal."""
    return [Line(line, TONES.get(line[:1], "plain")) for text in found for line in [*text.splitlines(), ""]]
