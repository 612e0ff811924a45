# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run with --limit can and cannot judge. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.details import hosts_text
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import count


def warning(limit: str | None, left_out: Collection[str], hosts: Sequence[str], control_planes: Sequence[str]) -> str | None:
    """What a person should know about a partial run; None where the limit leaves nobody out. `hosts`: the whole inventory."""
    if not limit or not left_out:
        return None
    judged = [host for host in hosts if host not in left_out]
    if control_planes and set(control_planes) <= set(left_out):
        own = f"{judged[0]}'s own files and kubelet are" if len(judged) == 1 else "the files and kubelets of its hosts are"
        advice = f"use --limit '{limit},{control_planes[0]}'"
        return f"partial run (--limit {limit}): no control plane takes part, so only {own} judged; {advice}"
    what = "what depends on it is held" if len(left_out) == 1 else "what depends on them is held"
    return f"partial run (--limit {limit}): {count(len(left_out), 'host')} left out ({hosts_text(sorted(left_out))}); {what}"
