# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls are judged against on a host: the kubelet with its layers of configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Value, like, satisfied, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import env_file
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile, effective, nulls, typed
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Item, Obstacle, Planned
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import (
    KUBELET_PKI,
    Host,
    Kubelet,
)

# Flags that name the certificates a component serves with.
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.targets import Around, HostTarget


class KubeletTarget(HostTarget):
    """The kubelet: its configuration file, drop-ins that override it, and flags that override both."""

    def __init__(self, host: Host, kubelet: Kubelet, around: Around, controls: Iterable[Control]) -> None:
        super().__init__(host, "kubelet", kubelet.minor, around)
        self.kubelet = kubelet
        self._flag_keys = {control.flag for control in controls if control.flag}
        self._overriding = {control.field: control.drops for control in controls if control.field}

    def resolve(self, control: Control, value: object) -> Value | None:
        return self._resolved(value)

    def inapplicable(self, control: Control) -> str | None:
        known = self.seen.knowledge
        if control.field and not known.knows_field("kubelet", self.minor, control.field):
            return f"kubelet {self.minor} does not know {control.field}"
        if control.flag and not known.knows_flag("kubelet", self.minor, control.flag):
            return f"kubelet {self.minor} does not know --{control.flag}"
        return self._versions(control, self.minor)

    def current(self, key: str, like: Value | None) -> Value | None:
        flags = (key,) if key in self._flag_keys else self._overriding.get(key, ())
        set_by_flag = next((value for value in (self._flag(flag, key, like) for flag in flags) if value is not None), None)
        if set_by_flag is not None or key in self._flag_keys:
            return set_by_flag
        found = typed(key, effective(self.kubelet.layers, key), like)
        return self._legacy(key, like) if found is None and self.kubelet.base is None else found

    def _legacy(self, key: str, wanted: Value | None) -> Value | None:
        """Without --config the defaults of the flags count, which are older and weaker than those of the configuration."""
        defaults = (self.seen.knowledge.default(self.name, self.minor, flag) for flag in self._overriding.get(key, ()))
        found = next((default for default in defaults if default is not None), None)
        return None if found is None else like(wanted, found)

    def is_list(self, key: str) -> bool:
        return False

    def settled(self, item: Item) -> bool:
        """The file named by --config has it, since that is what auditors read, and nothing above it says otherwise."""
        if item.key in self._flag_keys:
            return True
        if self.kubelet.base is None:
            known = item.rule.policy == "absent" or self.current(item.key, item.rule.wanted) is not None
            return known and not self.weakening(item)
        layers_agree = all(value is None or satisfied(item.rule, value) for value in self._layer_values(item))
        base = self.kubelet.base.get(item.key) if self.kubelet.base else None
        return layers_agree and satisfied(item.rule, base) and not self.weakening(item)

    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        if item.key in self._flag_keys:
            return Obstacle("held", f"--{item.key} is set; it is yours to take out", item.key)
        if self.kubelet.base is None:
            value = self.current(item.key, item.rule.wanted)
            counts = "the older defaults of its flags count" if value is None else f"{item.key} is {show(value)}"
            return Obstacle("deviation", f"the kubelet runs without --config, so {counts}; give it a configuration file", "--config")
        for flag in self.weakening(item):
            if not self.in_flags_env(flag) or self._says_more(flag, item.key):
                where = self._place_of(flag)
                return Obstacle("held", f"the kubelet's flag --{flag} beats its configuration; take it out of {where}", f"--{flag}")
        return self._conditions(item, planned)

    def conflict(self, item: Item, planned: Planned) -> Obstacle | None:
        view = self._view(planned)
        for name in item.control.conflicts:
            if view.planned(name) not in (None, "") or self.kubelet.argv.value(name) is not None:
                return Obstacle("held", f"{name} is set, which decides in its place or does not go together with it", name)
        return None

    def weakening(self, item: Item) -> tuple[str, ...]:
        """Flags on the kubelet's command line that override the field with something weaker, or with anything where that is asked for."""
        found = [(flag, self._flag(flag, item.key, item.rule.wanted)) for flag in item.control.drops]
        return tuple(flag for flag, value in found if value is not None and (item.strict or not satisfied(item.rule, value)))

    def in_flags_env(self, flag: str) -> bool:
        """Whether a flag stands in the file that kubeadm keeps flags in, and nowhere else."""
        path = self.kubelet.flags_env
        text = self.seen.file(path).get("text") if path else None
        return bool(text) and env_file.holds(str(text), flag) and len(self.kubelet.argv.of(flag)) == 1

    def _place_of(self, flag: str) -> str:
        seen = self.seen.seen["kubelet"]
        candidates = [*(seen.get("environment_files") or ()), *(seen.get("unit_files") or ())]
        for path in candidates:
            if f"--{flag}" in str(self.seen.file(path).get("text") or "") and path != self.kubelet.flags_env:
                return str(path)
        if self.in_flags_env(flag):
            return str(self.kubelet.flags_env)
        return "its unit or its environment files"

    def _layer_values(self, item: Item) -> list[Value | None]:
        return [typed(item.key, layer.get(item.key), item.rule.wanted) for layer in self.kubelet.layers]

    def _flag(self, name: str, key: str, wanted: Value | None) -> Value | None:
        """What a flag says about a key, which is the flag's own name, or the field that it overrides."""
        if self._is_map(name) and key != name:
            raw = dict(pair.partition("=")[::2] for pair in self.kubelet.argv.values(name)).get(key.rpartition(".")[2])
            return None if raw is None else like(wanted, raw)
        if isinstance(wanted, tuple) and self.kubelet.argv.of(name) and self.seen.knowledge.collects(self.name, self.minor, name):
            return self.kubelet.argv.values(name)
        raw = self.kubelet.argv.value(name)
        return None if raw is None else like(wanted, raw)

    def _is_map(self, flag: str) -> bool:
        return self.seen.knowledge.maps(self.name, self.minor, flag)

    def _says_more(self, flag: str, key: str) -> bool:
        """Whether a flag is a map that also speaks about other things than a field."""
        return self._is_map(flag) and any(pair.partition("=")[0] != key.rpartition(".")[2] for pair in self.kubelet.argv.values(flag))

    def _view(self, planned: Planned) -> _KubeletView:
        return _KubeletView(self, planned)


@dataclass(frozen=True)
class _KubeletView:
    target: KubeletTarget
    values: Planned

    @property
    def seen(self) -> Host:
        return self.target.seen

    def current(self, name: str) -> Value | None:
        return effective(self.target.kubelet.layers, name)

    def planned(self, name: str) -> Value | None:
        return self.values[name] if name in self.values else effective(self.target.kubelet.layers, name)

    def default(self, name: str) -> str | None:
        return self.seen.knowledge.default(self.target.name, self.target.minor, name)

    def tls_floor(self) -> Value | None:
        return self.planned("tlsMinVersion")

    def serving_keys(self) -> tuple[str, ...]:
        """A certificate that the cluster's signer signs has an ECDSA key; until it is there the kubelet's own is served."""
        named = self.planned("tlsCertFile")
        paths = [str(named)] if named else [f"{KUBELET_PKI}/kubelet-server-current.pem", f"{KUBELET_PKI}/kubelet.crt"]
        certificates = [self.seen.certificate(path) for path in paths]
        signed = ("ECDSA-P256",) if self.planned("serverTLSBootstrap") is True else ()
        return (*signed, *(str(certificate["key"]) for certificate in certificates if certificate))

    def anonymous_probes(self) -> tuple[str, ...]:
        return ()


def layer_edits(target: KubeletTarget, item: Item, value: Value | None) -> dict[str, Value | None]:
    """What each file of the kubelet's configuration has to hold for an applied control, by path: the base file, and weaker drop-ins.

    A base file that says nothing is left alone where that is enough for the control: then only what is weaker above it changes.
    """
    kubelet = target.kubelet
    found: dict[str, Value | None] = {}
    if kubelet.base is not None and kubelet.path and not _has(kubelet.base, item, value):
        found[kubelet.path] = value
    deleted = value is not None and effective(kubelet.layers, item.key) is None
    for path, dropin in kubelet.dropins:
        inside = typed(item.key, dropin.get(item.key), item.rule.wanted)
        weaker = inside is not None and not satisfied(item.rule, inside)
        if weaker or (deleted and nulls(dropin, item.key)):
            found[path] = value
    return found


def _has(config: ConfigFile, item: Item, value: Value | None) -> bool:
    inside = typed(item.key, config.get(item.key), item.rule.wanted)
    return satisfied(item.rule, inside) if value is not None else inside is None
