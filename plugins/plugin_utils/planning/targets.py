# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls are judged against on a host: what its kinds (component_target, kubelet_target) share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Value
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import conditions
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.conditions import ClusterConditions
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Item, Obstacle, Planned, Target
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import sha256
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import OWN_DIRECTORY, Host
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.refs import resolve as resolve_ref


@dataclass(frozen=True)
class Around:
    """What lies around a target: conditions of the whole cluster, and what became of other controls on the host."""

    cluster: ClusterConditions
    statuses: Mapping[str, str] = field(default_factory=dict)


def document_path(name: str, text: str) -> str:
    """Where a document lies on a host: its content decides its name."""
    return f"{OWN_DIRECTORY}/{name}-{sha256(text.encode())[:8]}.yaml"


class HostTarget(Target):
    """What component and kubelet share."""

    def __init__(self, host: Host, name: str, minor: str, around: Around) -> None:
        self.host = host.name
        self.seen = host
        self.name = name
        self.minor = minor
        self.around = around

    def required(self, name: str) -> Obstacle | None:
        if self.around.statuses.get(name) in ("ok", "change"):
            return None
        return Obstacle("held", f"{name} is not applied here, and this control requires it", name)

    def _resolved(self, value: object) -> Value | None:
        if isinstance(value, Ref):
            return resolve_ref(value.name, self.seen)
        return value if isinstance(value, (str, int, bool, tuple)) else None

    def _versions(self, control: Control, minor: str) -> str | None:
        if control.versions is not None and minor not in control.versions:
            return f"it is for Kubernetes {control.versions}, this is {minor}"
        return None

    def _conditions(self, item: Item, planned: Planned) -> Obstacle | None:
        view = self._view(planned)
        for name in item.control.needs:
            reason = conditions.unmet(name, item.key, view, self.around.cluster)
            if reason:
                return Obstacle("held", reason, name)
        return None

    def holds(self, condition: str, item: Item, planned: Planned) -> bool:
        return conditions.unmet(condition, item.key, self._view(planned), self.around.cluster) is None

    @abstractmethod
    def _view(self, planned: Planned) -> conditions.View:
        """What conditions look at: the target as it would be."""
