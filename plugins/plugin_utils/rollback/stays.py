# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollback would take away and leaves where it is, since something that is not taken back still needs it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import squash
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.sides import BOOTSTRAP, Sides
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.squash import FileNet

OTHERS = "there is something else in it"
_APPROVER = frozenset({approver.PROGRAM, approver.CONFIG, f"{approver.UNITS}/{approver.SERVICE}", f"{approver.UNITS}/{approver.TIMER}"})


def asking(sides: Iterable[Sides], left_out: Collection[str]) -> str | None:
    """Whose kubelets will go on to ask our approver for serving certificates. left_out: by --limit, so of these nobody knows."""
    nodes = sorted(side.host.node for side in sides if side.field(BOOTSTRAP).target is True)
    if nodes:
        return f"the kubelet of {', '.join(nodes)} goes on to ask it for certificates"
    return f"kubelets that --limit leaves out ({', '.join(sorted(left_out))}) may ask it for certificates" if left_out else None


def without(side: Sides, sources: Iterable[str], asked: str | None) -> tuple[Sides, list[str]]:
    """The host's changes without what has to stay, and a warning for each thing that does."""
    sources = list(sources)
    why = {net.path: reason for net in side.net.files if (reason := _needed(side, net, sources, asked))}
    why.update({path: why.get(path, OTHERS) for path in squash.kept_directories(side.net, why)})
    told = [f"{side.host.name}: {path} stays: {reason}" for path, reason in sorted(why.items()) if not _above(path, why)]
    units = [one for one in side.net.units if not (asked and one.unit == approver.TIMER and False in one.wanted.values())]
    net = replace(side.net, files=[one for one in side.net.files if one.path not in why], units=units)
    return replace(side, net=net), told


def _needed(side: Sides, net: FileNet, sources: Iterable[str], asked: str | None) -> str | None:
    if asked and net.path in _APPROVER and (net.goes or _forgets(side, net)):
        return asked
    return _named_by(net.path, side, sources) if net.goes else None


def _forgets(side: Sides, net: FileNet) -> bool:
    """Whether the approver would no longer know a node that it knows now."""
    if net.path != approver.CONFIG:
        return False
    now, target = (approver.read(text or "") for text in (side.text_now(net), side.text_target(net)))
    return bool(set(now) - set(target))


def _named_by(path: str, side: Sides, sources: Iterable[str]) -> str | None:
    """What will still name a file that is to go: a component of this host, or what joins and upgrades write manifests from."""
    for name, component in side.host.components.items():
        items = side.pods[name].running() if name in side.pods else component.pod.running()
        if any(path in word for word in items):
            return f"{name} names it"
    return "kubeadm-config names it" if APISERVER in side.host.components and any(path in text for text in sources) else None


def _above(path: str, others: Mapping[str, str]) -> bool:
    """Whether one of these lies in a directory, which is then told by that."""
    return any(other.startswith(f"{path}/") for other in others)
