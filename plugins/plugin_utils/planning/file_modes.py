# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes of files: which files a control speaks about on a host, and what becomes of each.

A file is found by its path, or because a running process names it. A link is judged by what it points to. What a component that
does not run as root owns is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Files
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import ROOT, Edit, HostDraft, reasons
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.globs import matching, matching_below
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import NOT_OFFERED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import Host

_ETCD_HOME = "/var/lib/etcd"
_JUDGED = ("file", "dir")
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class _Found:
    """What a control speaks about on a host. unseen: why something of it cannot be judged; gone: named by a process, but not there."""

    paths: tuple[str, ...]
    unseen: tuple[str, ...]
    gone: tuple[str, ...]


def evaluate(host: Host, draft: HostDraft, selected: Iterable[Selected]) -> None:
    """Owners and modes. Controls that speak about one file are joined: all of their bits are taken away."""
    wanted: dict[str, list[Control]] = {}
    for entry in selected:
        control = entry.control
        if control.files is None or (control.component == ETCD and ETCD not in host.components):
            continue
        found = _found(host, control)
        rights = _Rights(host, control, control.files)
        wrong = [path for path in found.paths if not rights.right(path)]
        spared = {path: reason for path in wrong if (reason := rights.spared(path))}
        mended = [path for path in wrong if path not in spared]
        draft.outcomes.append(_outcome(rights, found, mended, tuple(spared.values())))
        if not control.held:
            for path in mended:
                wanted.setdefault(path, []).append(control)
    for path in sorted(wanted):
        draft.edits.append(_attributes(host, path, wanted[path]))
    for control in (control for path in wanted for control in wanted[path]):
        owner = control.files.owner if control.files else None
        if owner and owner != ROOT and not host.seen.get("accounts", {}).get(owner):
            draft.accounts[owner] = _ETCD_HOME if owner == ETCD else "/nonexistent"
            draft.account_controls.setdefault(owner, set()).add(control.id)


def _found(host: Host, control: Control) -> _Found:
    files = control.files or Files((), None, None, None)
    named = host.seen.get("places") or {}
    paths = list(matching(files.paths, tuple(host.files)))
    unseen, gone = [], []
    for place in files.places:
        if place.name not in named:
            unseen.append(f"this host was not asked for {place.name}")
        elif not named[place.name] and control.component == ETCD:
            unseen.append(f"{ETCD} does not name it by a flag, or as no directory of the host")
        for path in named.get(place.name) or ():
            if host.file(path)["type"] == "absent":
                gone.append(path)
            elif not place.below:
                paths.append(path)
            else:
                paths += matching_below(_end(host, path), place.below, tuple(host.files))
    ends = dict.fromkeys(_end(host, path) for path in paths)
    unseen += [f"{path} is a link, and what it points to was not seen" for path in paths if path not in host.files or _end(host, path) not in host.files]
    return _Found(tuple(path for path in ends if host.file(path)["type"] in _JUDGED), tuple(dict.fromkeys(unseen)), tuple(dict.fromkeys(gone)))


def _end(host: Host, path: str) -> str:
    """Where a path leads; a link says so itself."""
    entry = host.file(path)
    return str(entry.get("resolved") or "") if entry["type"] == "link" else path


class _Rights:
    """What one control wants of the files of a host."""

    def __init__(self, host: Host, control: Control, files: Files) -> None:
        self.host = host
        self.control = control
        self.files = files
        self.accounts = {component.name: component.pod.account() for component in host.components.values()}

    def right(self, path: str) -> bool:
        entry = self.host.file(path)
        return bool(entry["mode"] == self.mode(entry)) and self._owned(entry)

    def mode(self, entry: Entry) -> str:
        return f"{int(str(entry['mode']), 8) & allowed(self.files.mode, entry):04o}"

    def _owned(self, entry: Entry) -> bool:
        if self.files.owner is None or (entry.get("owner"), entry.get("group")) == (self.files.owner, self.files.group):
            return True
        user, _groups = self.accounts.get(self.control.component, (None, frozenset()))
        return bool(user) and entry.get("uid") == user

    def spared(self, path: str) -> str | None:
        """Why a file that is not right must stay as it is: a component that does not run as root would lose it."""
        entry = self.host.file(path)
        if entry.get("exposed"):
            return f"{path} lies below {entry['exposed']}, which others than root may change: a link there would lead astray; let root own it"
        for name, (user, groups) in sorted(self.accounts.items()):
            if not user:
                continue
            owner = f"{name} runs as user {user}"
            if name == self.control.component:
                if entry.get("uid") != user and self.files.owner is not None:
                    return f"{owner}, {path} belongs to {entry.get('owner')}; give it to that user, or let {name} run as {self.files.owner}"
            elif entry.get("uid") == user and self.files.owner is not None:
                return f"{owner}, which {path} belongs to; for {self.files.owner} alone it would be lost to it"
            elif entry.get("gid") in groups - {0} and (int(entry["mode"], 8) & ~int(self.mode(entry), 8)) & 0o070:
                return f"{owner} and may need {path} as one of its group; take the bits away yourself"
        return None

    def said(self, path: str) -> tuple[str, str]:
        """What a file is, and what it is to be."""
        entry = self.host.file(path)
        owners = [(entry.get("owner"), entry.get("group")), (self.files.owner, self.files.group)] if self.files.owner else [None, None]
        if self._owned(entry):
            owners = [None, None]
        texts = [mode + (f" {owner[0]}:{owner[1]}" if owner else "") for mode, owner in zip((entry["mode"], self.mode(entry)), owners)]
        return texts[0], texts[1]


def _attributes(host: Host, path: str, controls: Sequence[Control]) -> Edit:
    entry = host.files[path]
    mode = int(entry["mode"], 8)
    owner, group = None, None
    for control in sorted(controls, key=lambda control: control.id):
        if control.files is not None:
            mode &= allowed(control.files.mode, entry)
            if not _Rights(host, control, control.files)._owned(entry):
                owner, group = control.files.owner or owner, control.files.group or group
    ids = tuple(sorted(control.id for control in controls))
    why = {control.id: control.why for control in controls}
    return Edit("files", path, entry["type"], None, None, f"{mode:04o}", owner, group, ids, None, reasons(why, ids))


def allowed(mode: str | None, entry: Entry) -> int:
    """The bits that may stay. Who may read a directory may enter it: 0600 for files means 0700 for a directory."""
    if mode is None:
        return 0o7777
    bits = int(mode, 8)
    return bits | ((bits & 0o444) >> 2) if entry["type"] == "dir" else bits


def _outcome(rights: _Rights, found: _Found, mended: Sequence[str], spared: Sequence[str]) -> Outcome:
    """What no run can mend comes first, then what this run does, then what it must leave."""
    control, name = rights.control, rights.host.name
    before, after = _summary(rights, mended)
    if found.gone:
        reason = f"{', '.join(found.gone)} is named by a running process, but is not there"
        return Outcome(control.id, control.path, name, "deviation", before, after, reason)
    if mended and control.held:
        return Outcome(control.id, control.path, name, "held", before, after, control.held, NOT_OFFERED)
    left = [*found.unseen, *spared]
    if mended:
        return Outcome(control.id, control.path, name, "change", before, after, "; ".join([control.why, *left]))
    if left:
        return Outcome(control.id, control.path, name, "held", reason="; ".join(left), held_by="account" if spared else "observation")
    if not found.paths:
        return Outcome(control.id, control.path, name, "not-applicable", reason="there is no such file")
    return Outcome(control.id, control.path, name, "ok")


def _summary(rights: _Rights, wrong: Sequence[str]) -> tuple[str | None, str | None]:
    """before and after say what is wrong with how many files, without a list of hundreds."""
    if not wrong:
        return None, None
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    before, after = rights.said(wrong[0])
    return f"{wrong[0]}{more}: {before}", f"{wrong[0]}{more}: {after}"
