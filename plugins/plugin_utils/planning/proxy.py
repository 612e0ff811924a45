# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy: its configuration is a ConfigMap, and so one for the whole cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigError, ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Item, Obstacle, Planned, Target, judge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import UNDO_AFTER_S, Outcome, PlanError, Status
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.sources import Source, source

NAME, KEY, KIND = "kube-proxy", "config.conf", "KubeProxyConfiguration"
# Before the control planes: with AlwaysPullImages in force new pods would need a registry.
WAVE = "kube_proxy"
# Seconds that the transaction waits for a rollout, which goes node by node (see module_utils/steps/objects.py).
ROLLOUT, ROLLOUT_PER_NODE = 120, 30


class ProxyTarget(Target):
    """The configuration of all kube-proxies."""

    host = None

    def __init__(self, config: ConfigFile, knowledge: Knowledge, minor: str) -> None:
        self.config = config
        self.knowledge = knowledge
        self.minor = minor

    def resolve(self, control: Control, value: object) -> Value | None:
        return value if isinstance(value, (str, int, bool, tuple)) else None

    def inapplicable(self, control: Control) -> str | None:
        if control.field is None:
            return "kube-proxy is configured by a file, flags are ignored"
        if not self.knowledge.knows_field(NAME, self.minor, control.field):
            return f"kube-proxy {self.minor} does not know {control.field}"
        return None

    def current(self, key: str, like: Value | None) -> Value | None:
        # Empty text stands for the default.
        value = config_file.typed(key, self.config.get(key), like)
        return None if value == "" else value

    def is_list(self, key: str) -> bool:
        return False

    def settled(self, item: Item) -> bool:
        return True

    def conflict(self, item: Item, planned: Planned) -> Obstacle | None:
        for name in item.control.conflicts:
            if self.config.get(name) not in (None, ""):
                return Obstacle("held", f"{name} is set, which decides in its place or does not go together with it", name)
        return None

    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        return (
            Obstacle("held", f"the condition {item.control.needs[0]} cannot be judged", item.control.needs[0])
            if item.control.needs
            else None
        )

    def required(self, name: str) -> Obstacle | None:
        return Obstacle("held", f"{name} is not a setting of kube-proxy, and this control requires it", name)

    def holds(self, condition: str, item: Item, planned: Planned) -> bool:
        return True


def undo_after(steps: Sequence[Mapping[str, Any]], nodes: int) -> int:
    """Seconds until a job on cluster objects is undone: a rollout, and another one back, may take all their time before that."""
    rolls = any(step["op"] == "configmap" and step["name"] == NAME for step in steps)
    return UNDO_AFTER_S + (2 * (ROLLOUT + ROLLOUT_PER_NODE * nodes) if rolls else 0)


def evaluate(
    cluster: Mapping[str, Any] | None, selected: Sequence[Selected], knowledge: Knowledge, minor: str, host: str
) -> tuple[list[Outcome], Source | None]:
    """What becomes of kube-proxy's controls, and of its ConfigMap. Raises PlanError."""
    found = source(cluster, NAME, KEY, WAVE) if cluster else None
    if found is None:
        reason = "the cluster has no ConfigMap kube-system/kube-proxy" if cluster else "no apiserver answered"
        status: Status = "not-applicable" if cluster else "held"
        return [
            Outcome(entry.control.id, entry.control.path, None, status, reason=reason, held_by=None if cluster else "apiserver")
            for entry in selected
        ], None
    try:
        config = knowledge.config(found.before, KIND)
        verdict = judge(ProxyTarget(config, knowledge, minor), selected)
        found.after = config_file.edited(config, {item.key: verdict.planned[item.key] for item in verdict.applied})
    except (ConfigError, EditError, MergeError) as error:
        raise PlanError(host, found.object, str(error), "correct it with kubectl edit, then run again") from error
    found.served = {item.id for item in verdict.applied}
    return list(verdict.outcomes), found
