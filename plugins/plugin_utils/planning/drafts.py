# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to become of one host, before it is cut into waves and jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome

ROOT = "root"


@dataclass(frozen=True)
class Edit:
    """One path of a host and what is to be there. mode, owner, group: None where they stay as they are.

    content: None where only attributes change (or for a directory or link). summary: what a diff shows in place of a long content.
    """

    wave: str
    path: str
    type: str = "file"
    content: bytes | None = None
    target: str | None = None
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    controls: tuple[str, ...] = ()
    restarts: str | None = None
    reason: str = ""
    summary: str | None = None


@dataclass(frozen=True)
class PodRoll:
    """A component whose static pod is replaced. An undo is judged by the old manifest's probes: they may ask another address."""

    argv: tuple[str, ...]
    probes: Mapping[str, Mapping[str, object]]
    old_probes: Mapping[str, Mapping[str, object]]
    mounts: tuple[Mapping[str, object], ...]
    old: Mapping[str, Any]


@dataclass
class HostDraft:
    """All that is planned for a host so far."""

    host: str
    node: str
    outcomes: list[Outcome] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    account_controls: dict[str, set[str]] = field(default_factory=dict)
    sysctls: dict[str, int] = field(default_factory=dict)
    sysctl_controls: list[str] = field(default_factory=list)
    units: tuple[str, ...] = ()
    pods: dict[str, PodRoll] = field(default_factory=dict)
    kubelet_argv: tuple[str, ...] | None = None

    def statuses(self) -> dict[str, str]:
        """What became of the controls on this host so far."""
        return {outcome.id: outcome.status for outcome in self.outcomes}

    def waves(self) -> frozenset[str]:
        found = {edit.wave for edit in self.edits}
        if self.accounts or self.sysctls or self.units:
            found.add("files")
        return frozenset(found)


def reasons(why: Mapping[str, str], ids: Iterable[str]) -> str:
    """The sentences of some controls, in the order of their ids."""
    return " ".join(dict.fromkeys(why[name] for name in sorted(ids) if name in why))
