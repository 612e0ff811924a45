# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a rollback: the runs to choose from, what will be taken back, and what was. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.details import hosts_text
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import Line, clean, count, labelled
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.terminal import cluster_line, restarts_text
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.runs import Run

STATES: Mapping[str, tuple[str, str]] = {
    "done": ("was taken back", "good"),
    "predicted": ("would be taken back", "notice"),
    "incomplete": ("is to be taken back, and not all of it was", "bad"),
}


def run_lines(runs: Sequence[Run]) -> list[Line]:
    """The runs that there are, the newest first."""
    found = []
    for run in runs:
        waves = ", ".join(wave.replace("_", " ") for wave in run.waves)
        found.append(Line(labelled("run", f"{clean(run.id)}   {run.when}   {hosts_text(run.hosts)}   {count(run.changes, 'change')}   {clean(waves)}")))
        if run.takes_back:
            found.append(Line(labelled("", f"  a rollback of {clean(', '.join(run.takes_back))}")))
        if run.lost:
            found.append(Line(labelled("", f"  cannot be taken back: {clean(run.lost)}"), "notice"))
    return found


def plan_lines(plan: Mapping[str, Any]) -> list[Line]:
    """What a rollback will do."""
    lines, changes = [cluster_line(plan["cluster"])], plan["changes"]
    if not changes:
        lines.append(Line(labelled("rollback", f"everything is as it was before run {clean(plan['rollback']['run'])}; nothing to take back"), "good"))
    else:
        hosts = len({change["host"] for change in changes})
        restarts = restarts_text(plan["restarts"])
        text = f"{_named(plan['rollback'])}: {count(len(changes), 'change')} on {count(hosts, 'host')}"
        lines.append(Line(labelled("rollback", text + (f"     restarts: {restarts}" if restarts else "     no restarts")), "notice"))
        lines.append(Line(labelled("", f"digest {plan['digest'][:16]}")))
    return lines + [Line(labelled("warning", clean(str(text))), "notice") for text in plan["warnings"]]


def report_lines(rollback: Mapping[str, Any]) -> list[Line]:
    """What became of it."""
    if not rollback["changes"]:
        return []
    said, tone = STATES[rollback["state"]]
    done = [change for change in rollback["changes"] if change["done"] or rollback["state"] == "predicted"]
    hosts = hosts_text(sorted({str(change["host"]) for change in done}))
    where = f" on {hosts}" if done else ""
    return [Line(labelled("rollback", f"{_named(rollback)} {said}: {len(done)} of {count(len(rollback['changes']), 'change')}{where}"), tone)]


def _named(rollback: Mapping[str, Any]) -> str:
    """`run X`, `run X and 2 later runs`."""
    later = len(rollback["runs"]) - 1
    return f"run {clean(str(rollback['run']))}" + (f" and {count(later, 'later run')}" if later else "")
