# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs that hosts remember: which there are, which one is meant, and which come along when it is taken back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import COMMITTED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import ROLLBACK_WAVES, WAVES, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.past import FileEffect, History, Transaction

LAST = "last"
NOTHING = "no run of ninepaths has left anything on these hosts that could be taken back"
_ORDER = {wave: number for number, wave in enumerate(dict.fromkeys((*WAVES, *ROLLBACK_WAVES)))}

Histories = Mapping[str, History]


@dataclass(frozen=True)
class Run:
    """A run that has changed something. at: when its first transaction began; lost: why it cannot be taken back any more."""

    id: str
    at: float
    hosts: tuple[str, ...]
    waves: tuple[str, ...]
    changes: int
    takes_back: tuple[str, ...]
    lost: str | None

    @property
    def when(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.at)) + " UTC"


def runs(histories: Histories) -> list[Run]:
    """All runs with a committed transaction, the newest first."""
    found = [_run(name, histories) for name in _names(histories)]
    return sorted(found, key=lambda run: (_position(run.id), run.at), reverse=True)


def _names(histories: Histories) -> set[str]:
    return {one.run for history in histories.values() for one in history.transactions if one.counts}


def _run(name: str, histories: Histories) -> Run:
    mine = [(host, one) for host, history in histories.items() for one in history.transactions if one.run == name and one.counts]
    waves = sorted({one.wave for _host, one in mine}, key=lambda wave: (_ORDER.get(wave, len(_ORDER)), wave))
    taken = dict.fromkeys(run for _host, one in mine for run in one.takes_back)
    lost = next((error.cause for host in histories for error in missing(histories[host], {name})), None)
    hosts = tuple(sorted({host for host, _one in mine}))
    return Run(name, min(one.at for _host, one in mine), hosts, tuple(waves), sum(size(one) for _host, one in mine), tuple(taken), lost)


def size(one: Transaction) -> int:
    """How many things it has changed: a file counts once."""
    paths = {effect.path for effect in one.effects if isinstance(effect, FileEffect)}
    return len(paths) + sum(1 for effect in one.effects if not isinstance(effect, FileEffect))


def _position(name: str) -> str:
    """Runs are named by the time at which they began, by the clock of who ran the playbook."""
    return name[:16]


def chosen(histories: Histories, wanted: str) -> tuple[str, ...]:
    """The run that is meant and all later ones, the oldest first. Raises PlanError where there is no such run."""
    known = runs(histories)
    name = known[0].id if wanted == LAST and known else wanted
    if name not in {run.id for run in known}:
        cause = NOTHING if name == LAST else _unknown(histories, name)
        advice = f"name one of these, or {LAST}: {', '.join(run.id for run in known[:5])}" if known else "there is nothing to do"
        raise PlanError(None, None, cause, advice)
    remembered = {one.run for history in histories.values() for one in history.removed if one.state == COMMITTED}
    taken = {name, *(run for run in {*(run.id for run in known), *remembered} if _position(run) > _position(name))}
    while True:
        later = {one.run for history in histories.values() for one in of_host(history, taken)}
        if later <= taken:
            order = [run.id for run in reversed(known)]
            return tuple(sorted(taken, key=lambda run: (run in order, order.index(run) if run in order else 0, run)))
        taken |= later


def _unknown(histories: Histories, name: str) -> str:
    named = {host: {one.run for one in history.transactions} | {one.run for one in history.removed} for host, history in histories.items()}
    places = sorted(host for host, there in named.items() if name in there)
    if not places:
        return f"no run {name} is known on these hosts"
    if any(one.run == name for history in histories.values() for one in history.removed if one.state == COMMITTED):
        return f"run {name} cannot be taken back: what it kept on {', '.join(places)} was removed, since only the last ten runs of a host are kept"
    return f"run {name} changed nothing, or has been undone"


def of_host(history: History, taken: Iterable[str]) -> list[Transaction]:
    """What is to be taken back on a host, the oldest first: everything from the first of these runs on."""
    names = set(taken)
    counting = [one for one in history.transactions if one.counts]
    first = next((number for number, one in enumerate(counting) if one.run in names), len(counting))
    return counting[first:]


def missing(history: History, taken: Iterable[str]) -> list[PlanError]:
    """Transactions of these runs that are needed and are not there any more, or make no sense."""
    names = set(taken)
    errors = [
        PlanError(
            history.host,
            f"/var/lib/ninepaths/transactions/{one.id}",
            f"what run {one.run} kept in its wave {one.wave} was removed, since only the last ten runs of a host are kept",
            "take back a later run, or put back by hand what you need",
        )
        for one in history.removed
        if one.run in names and one.state == COMMITTED
    ]
    broken = [one for one in history.transactions if one.run in names and one.state == COMMITTED and one.problem]
    return errors + [
        PlanError(history.host, f"/var/lib/ninepaths/transactions/{one.id}", str(one.problem), "use the version of the collection that made it")
        for one in broken
    ]
