# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the control planes are touched: does the same plan come out again, and if not, what has somebody else changed? No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.diff import masked
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.stages import Surprise
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NAMESPACE

LATE_WAVES = ("control_planes", "cluster")
# What has been done by then on the hosts that are looked at again. Files and modes are left out: others make files all the time.
DONE_WAVES = ("control_plane_kubelets", "kube_proxy")
SHOWN = 4  # lines of a difference
Key = tuple[str, str, str]
Plan = Mapping[str, Any]
Documents = Mapping[str, Mapping[str, str]]


def documents(observations: Mapping[str, Mapping[str, Any]], hosts: Collection[str]) -> dict[str, dict[str, str]]:
    """The texts of some hosts' documents and of the cluster's ConfigMaps, by host, and by path or name."""
    found: dict[str, dict[str, str]] = {}
    for host in hosts:
        seen = observations[host]
        texts = {path: str(entry["text"]) for path, entry in (seen.get("files") or {}).items() if entry.get("text") is not None}
        for name, entry in ((seen.get("cluster") or {}).get("configmaps") or {}).items():
            texts[f"ConfigMap {NAMESPACE}/{name}"] = "\n".join(str(text) for _key, text in sorted(((entry or {}).get("data") or {}).items()))
        found[host] = texts
    return found


def surprises(predicted: Plan, fresh: Plan, hosts: Collection[str], before: Documents, now: Documents) -> list[Surprise]:
    """Where a fresh plan is not the predicted one, less what is held by now. `hosts`: those that were looked at again.

    before, now: the documents that the two plans were made from; what differs between them is told.
    """
    found = [*_new_or_other(predicted, fresh), *_vanished(predicted, fresh), *_undone(fresh, hosts)]
    return [surprise._replace(cause=surprise.cause + _difference(surprise, before, now)) for surprise in found]


def given_up(predicted: Plan, fresh: Plan) -> list[str]:
    """Controls of the late waves that were to change and are held by now, each with its reason."""
    held = {(entry["control"], host): entry["reason"] for entry in fresh["held"] for host in entry["hosts"]}
    planned = {(control, host) for (host, _wave, _target), change in _changes(predicted).items() for control in change["controls"]}
    return sorted({f"{control}: {held[(control, host)]}" for control, host in planned if (control, host) in held})


def _new_or_other(predicted: Plan, fresh: Plan) -> Iterator[Surprise]:
    """Changes of the late waves that were not planned, or start from other bytes, or lead to others."""
    known = _changes(predicted)
    for (host, wave, target), change in _changes(fresh).items():
        before = known.get((host, wave, target))
        if before is None:
            yield Surprise(host, f"it is to change ({_names(change['controls'])}), which was not planned when this run began", target)
            continue
        new = sorted(set(change["controls"]) - set(before["controls"]))
        if new:
            yield Surprise(host, f"it is now to change for {_names(new)} as well, which was not planned", target)
        elif change["before_sha256"] != before["before_sha256"]:
            yield Surprise(host, "somebody else has changed it since this run began", target)
        elif change["after_sha256"] != before["after_sha256"] and set(change["controls"]) == set(before["controls"]):
            yield Surprise(host, "it is to become something else than was planned when this run began", target)


def _vanished(predicted: Plan, fresh: Plan) -> Iterator[Surprise]:
    """Planned changes that there is no need for any more. What waits for something is held, and no surprise."""
    now = _changes(fresh)
    for (host, wave, target), change in _changes(predicted).items():
        left = now.get((host, wave, target), {"controls": ()})
        if left.get("before_sha256", change["before_sha256"]) != change["before_sha256"]:
            continue  # told already
        # Of the cluster's objects a control that waits on any host is left out.
        waiting = {entry["id"] for entry in fresh["controls"] if entry["status"] not in ("ok", "change") and ("object" in change or entry["host"] == host)}
        done = [name for name in change["controls"] if name not in left["controls"] and name not in waiting]
        if done:
            yield Surprise(host, f"it was to change for {_names(done)}, and somebody else has done so since this run began", target)


def _undone(fresh: Plan, hosts: Collection[str]) -> Iterator[Surprise]:
    """What this run has seen to already, and is to change all the same."""
    for change in fresh["changes"]:
        if change["wave"] in DONE_WAVES and change["host"] in hosts:
            cause = f"it is to change ({_names(change['controls'])}) although this run has seen to it; somebody else has changed it since"
            yield Surprise(change["host"], cause, _target(change))


def _difference(surprise: Surprise, before: Documents, now: Documents) -> str:
    """` (gone: …; new: …)`: the lines that differ, without secrets; "" where the text is not known."""
    old, new = (found.get(surprise.host, {}).get(str(surprise.file)) for found in (before, now))
    if old is None or new is None or old == new:
        return ""
    lines = list(difflib.ndiff(masked(old).splitlines(), masked(new).splitlines()))
    parts = [_shown(word, [line[2:].strip() for line in lines if line.startswith(sign)]) for word, sign in (("gone", "- "), ("new", "+ "))]
    return f" ({'; '.join(part for part in parts if part)})" if any(parts) else ""


def _shown(word: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    more = f" and {len(lines) - SHOWN} more lines" if len(lines) > SHOWN else ""
    return f"{word}: {', '.join(line.removeprefix('- ') for line in lines[:SHOWN])}{more}"


def _changes(plan: Plan) -> dict[Key, Mapping[str, Any]]:
    return {(change["host"], change["wave"], _target(change)): change for change in plan["changes"] if change["wave"] in LATE_WAVES}


def _target(change: Mapping[str, Any]) -> str:
    return str(change.get("file") or change.get("object"))


def _names(controls: Sequence[str]) -> str:
    return ", ".join(controls)
