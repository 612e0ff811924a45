# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of truth: what kubeadm writes to nodes at an upgrade or a join, so that it writes what the plan has set.

Only what every control plane (every node, for the kubelet) has or will have goes there. What an operator set on the hosts but
not here, and what kubeadm cannot be told, is named: it is lost at the next upgrade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value, like, merge, satisfied, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file, kubeadm_config
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.kubeadm_config import ClusterConfiguration, KubeadmError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import TLS12_ALLOWED, Item, Verdict, equal
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NAMESPACE, Outcome, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import OWN_DIRECTORY

KUBEADM, KUBELET = "kubeadm-config", "kubelet-config"
_KEYS = {KUBEADM: "ClusterConfiguration", KUBELET: "kubelet"}
_LOST = "it is lost at the next upgrade"
# What works only with something that kubeadm-config cannot say; there alone it would break what kubeadm writes.
_PATCHED = {"probes-without-anonymous": "works only with probes that kubeadm does not write; keep both in a patch (--patches)"}


@dataclass
class Source:
    """A ConfigMap and what it is to hold. `wave`: when it is written; `served`: ids of the controls that its change serves."""

    name: str
    key: str
    resource_version: str
    data: Mapping[str, str]
    after: str
    wave: str
    served: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def before(self) -> str:
        return self.data[self.key]

    @property
    def changed(self) -> bool:
        return self.after != self.before

    @property
    def object(self) -> str:
        return f"ConfigMap {NAMESPACE}/{self.name}"


def source(cluster: Mapping[str, Any], name: str, key: str, wave: str = "cluster") -> Source | None:
    """A ConfigMap of the cluster, unchanged so far; None where there is none."""
    found = (cluster.get("configmaps") or {}).get(name)
    if not found or key not in (found.get("data") or {}):
        return None
    return Source(name, key, str(found["resource_version"]), found["data"], found["data"][key], wave)


def cluster_name(cluster: Mapping[str, Any]) -> str | None:
    """What kubeadm-config calls the cluster; None where it does not say."""
    found = source(cluster, KUBEADM, _KEYS[KUBEADM])
    try:
        name = kubeadm_config.parse(found.before).data.get("clusterName") if found else None
    except KubeadmError:
        return None  # whoever needs the document says what is wrong with it
    return str(name) if name else None


def kubeadm(
    cluster: Mapping[str, Any], verdicts: Mapping[str, Sequence[Verdict]], minors: Mapping[str, str], knowledge: Knowledge, host: str
) -> Source | None:
    """kubeadm-config for components' verdicts, one per control plane. `minors`: of each component, and "kubernetes". Raises PlanError."""
    found = source(cluster, KUBEADM, _KEYS[KUBEADM])
    if found is None:
        return None
    try:
        config = kubeadm_config.parse(found.before)
        for component in sorted(verdicts):
            if config.has(component):
                config = _Arguments(found, component, minors, knowledge).apply(config, verdicts[component])
    except (KubeadmError, EditError, MergeError) as error:
        raise PlanError(host, found.object, str(error), "correct it with kubectl edit, then run again") from error
    found.after = config.text
    return found


class _Arguments:
    """One component's extra arguments and volumes."""

    def __init__(self, source: Source, component: str, minors: Mapping[str, str], knowledge: Knowledge) -> None:
        self.source = source
        self.component = component
        self.minor = minors[component]
        self.next = knowledge.next_minor(component, self.minor)
        self.knowledge = knowledge
        written = knowledge.flags.kubernetes.get(minors["kubernetes"], {}).get("kubeadm", {}).get(component, {})
        self.written: Mapping[str, str] = {flag: str(entry[1]) for flag, entry in written.items()}

    def apply(self, config: ClusterConfiguration, verdicts: Sequence[Verdict]) -> ClusterConfiguration:
        items = _common(verdicts)
        for key in sorted({item.key for item in items}, key=lambda key: min(item.id for item in items if item.key == key)):
            config = self._argument(config, key, [item for item in items if item.key == key], verdicts)
        for item in items:
            ours = [flag for flag in item.control.conflicts if show(config.values(self.component, flag)).startswith(f"{OWN_DIRECTORY}/")]
            for flag in (*item.control.drops, *ours):
                if config.values(self.component, flag):
                    config = kubeadm_config.with_argument(config, self.component, flag, None)
                    self._served(item, None, None)
        return config

    def _argument(self, config: ClusterConfiguration, key: str, items: Sequence[Item], verdicts: Sequence[Verdict]) -> ClusterConfiguration:
        wanted = items[0].rule.wanted
        given = config.values(self.component, key)
        raw = ",".join(given) if given else self.written.get(key)
        there = None if raw is None else like(wanted, raw)
        if isinstance(there, tuple):
            there = self.knowledge.spelled(self.component, self.minor, key, there)
        finals = [verdict.planned[key] for verdict in verdicts]
        final = finals[0]
        own = [item for item in items if final is not None and item.rule.wanted is not None and show(final) == show(item.rule.wanted)]
        # A cipher list that serves its control, and that the hosts had to give up for TLS 1.3: etcd does not start with both.
        released = bool(given) and final is None and any(TLS12_ALLOWED in item.control.needs for item in items)
        if all(satisfied(item.rule, there) for item in items) and not released and not self._documents_differ(own, there):
            return self._mounted(config, own, given)
        reason = self._patched(items) or self._cannot(key, finals, own)
        if reason:
            self.source.warnings.append(f"{self.component}: --{key} {reason}; {_LOST}")
            return config
        changed = kubeadm_config.with_argument(config, self.component, key, None if final is None else show(final))
        for item in [item for item in items if not satisfied(item.rule, there)] or items:  # not those beside it that are met
            self._served(item, there, final)
        return self._mounted(changed, own, (show(final),))

    def _documents_differ(self, own: Sequence[Item], there: Value | None) -> bool:
        """A document of ours that is out of date is renewed, also where any document would do."""
        return any(item.control.document and not equal(there, item.rule.wanted) and show(there).startswith(OWN_DIRECTORY) for item in own)

    def _mounted(self, config: ClusterConfiguration, own: Sequence[Item], given: Sequence[str]) -> ClusterConfiguration:
        mounts = [mount for item in own for mount in item.control.mounts] if given else []
        changed = kubeadm_config.with_mounts(config, self.component, mounts)
        if changed.text != config.text:
            for item in own:
                self.source.served.add(item.id)
        return changed

    def _patched(self, items: Sequence[Item]) -> str | None:
        needs = [need for item in items for need in item.control.needs if need in _PATCHED]
        return _PATCHED[needs[0]] if needs else None

    def _cannot(self, key: str, finals: Sequence[Value | None], own: Sequence[Item]) -> str | None:
        """Why kubeadm-config cannot or must not say what the hosts have."""
        final = finals[0]
        if any(not equal(final, other) for other in finals[1:]):
            return "differs between the control planes and is not put into kubeadm-config"
        if final is None and key in self.written:
            return "is written by kubeadm itself; only a patch (--patches) takes it away"
        if final is not None and self.next and not self.knowledge.knows_flag(self.component, self.next, key):
            return f"is unknown to {self.component} {self.next} and is not put into kubeadm-config"
        if final is not None and not own and show(final).startswith("/"):
            return f"is {show(final)} on the hosts, with volumes of your own; put both into kubeadm-config"
        return None

    def _served(self, item: Item, before: Value | None, after: Value | None) -> None:
        _record(self.source, item, before, after, "kubeadm-config does not say it yet, so the next upgrade would take it away.")


def kubelet(cluster: Mapping[str, Any], verdicts: Sequence[Verdict], knowledge: Knowledge, minor: str, host: str) -> Source | None:
    """kubelet-config for the verdicts of all kubelets. Raises PlanError."""
    found = source(cluster, KUBELET, _KEYS[KUBELET])
    if found is None or not verdicts:
        return None
    try:
        config = knowledge.config(found.before)
        unknown = knowledge.unknown_fields(found.before, "kubelet", minor)
        fields = _fields(found, config, verdicts)
        found.after = config_file.edited(config, fields)
    except (ConfigError, EditError, MergeError) as error:
        raise PlanError(host, found.object, str(error), "correct it with kubectl edit, then run again") from error
    if unknown:
        found.warnings.append(
            f"{found.object}: the kubelet {minor} does not know {', '.join(unknown)}; kubeadm writes it to every node that joins"
        )
    return found


def _fields(found: Source, config: config_file.ConfigFile, verdicts: Sequence[Verdict]) -> dict[str, Value | None]:
    fields: dict[str, Value | None] = {}
    for item in _common(verdicts):
        if item.control.field is None:
            continue
        there = fields[item.key] if item.key in fields else config_file.typed(item.key, config.get(item.key), item.rule.wanted)
        if satisfied(item.rule, there):
            continue
        finals = [verdict.planned[item.key] for verdict in verdicts]
        uniform = all(equal(finals[0], other) for other in finals[1:]) and finals[0] is not None
        fields[item.key] = finals[0] if uniform else merge(item.rule, there)
        _record(
            found,
            item,
            there,
            fields[item.key],
            "kubelet-config does not say it yet, so nodes that join or are upgraded would not have it.",
        )
    return fields


def _common(verdicts: Sequence[Verdict]) -> list[Item]:
    """Items that are met, or will be, on all hosts; in the order of their ids. What is held or never edited is the operator's own."""
    if not verdicts:
        return []
    names = [{item.id for item in (*verdict.applied, *verdict.kept) if not (item.control.held or item.control.unmet)} for verdict in verdicts]
    everywhere = set.intersection(*names)
    first = {item.id: item for item in (*verdicts[0].applied, *verdicts[0].kept)}
    return [first[name] for name in sorted(everywhere)]


def _record(found: Source, item: Item, before: Value | None, after: Value | None, reason: str) -> None:
    found.served.add(item.id)
    plain: Iterable[object] = [list(value) if isinstance(value, tuple) else value for value in (before, after)]
    old, new = plain
    found.outcomes.append(Outcome(item.id, item.control.path, None, "change", old, new, reason))


__all__ = ["Source", "kubeadm", "kubelet", "source"]
