# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls are judged against on a host: the static pod of a component, and the kubelet with its layers of configuration."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Value, like, same, satisfied, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import env_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile, effective, typed
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import conditions
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.conditions import ClusterConditions
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Item, Obstacle, Planned, Target
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import sha256
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import (
    APISERVER,
    KUBELET_PKI,
    OWN_DIRECTORY,
    Component,
    Host,
    Kubelet,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.refs import resolve as resolve_ref

# Flags that name the certificates a component serves with.
_SERVING: Mapping[str, tuple[str, ...]] = {APISERVER: ("tls-cert-file",), ETCD: ("cert-file", "peer-cert-file")}


@dataclass(frozen=True)
class Around:
    """What lies around a target: conditions of the whole cluster, and what became of other controls on the host."""

    cluster: ClusterConditions
    statuses: Mapping[str, str] = field(default_factory=dict)


def document_path(name: str, text: str) -> str:
    """Where a document lies on a host: its content decides its name."""
    return f"{OWN_DIRECTORY}/{name}-{sha256(text.encode())[:8]}.yaml"


class _HostTarget(Target):
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

    def _view(self, planned: Planned) -> conditions.View:
        raise NotImplementedError


class ComponentTarget(_HostTarget):
    """A component that runs as a static pod."""

    def __init__(self, host: Host, component: Component, around: Around) -> None:
        super().__init__(host, component.name, component.minor, around)
        self.component = component
        self.argv = component.argv

    def resolve(self, control: Control, value: object) -> Value | None:
        if control.document:
            text = control.document.text(self.minor)
            return None if text is None else document_path(control.document.name, text)
        return self._resolved(value)

    def inapplicable(self, control: Control) -> str | None:
        flag = str(control.sets)
        if not self.seen.knowledge.knows_flag(self.name, self.minor, flag):
            return f"{self.name} {self.minor} does not know --{flag}"
        if control.document and control.document.text(self.minor) is None:
            return f"there is no document for Kubernetes {self.minor}"
        apiserver = self.seen.components.get(APISERVER)
        return self._versions(control, apiserver.minor if self.name == ETCD and apiserver else self.minor)

    def current(self, key: str, like: Value | None) -> Value | None:
        return self._read(key, like)

    def _read(self, key: str, wanted: Value | None) -> Value | None:
        raw = self.argv.value(key)
        if raw is None:
            return None
        if isinstance(wanted, tuple):
            return self.argv.values(key) if self.is_list(key) else like(wanted, raw)
        return like(wanted, raw)

    def is_list(self, key: str) -> bool:
        return self.seen.knowledge.collects(self.name, self.minor, key)

    def settled(self, item: Item) -> bool:
        if any(self.argv.of(name) for name in item.drops) or self._shared(item, self._read(item.key, item.rule.wanted)):
            return False
        if not self._ours(item, self._read(item.key, item.rule.wanted)):
            return not self._lost(item, self._read(item.key, item.rule.wanted))
        return not self._missing_mounts(item) and self._document_in_place(item)

    def drops(self, control: Control) -> tuple[str, ...]:
        """A document of ours is in nobody's way: it goes with the flag that names it."""
        ours = (name for name in control.conflicts if show(self.argv.value(name)).startswith(f"{OWN_DIRECTORY}/"))
        return (*control.drops, *ours)

    def conflict(self, item: Item, planned: Planned) -> Obstacle | None:
        view = self._view(planned)
        for name in () if self.served(item, planned) else item.control.conflicts:
            if view.planned(name) is not None and name not in item.drops:
                return Obstacle("held", f"--{name} is set, which decides in its place or does not go together with it", name, yields=2)
        return None

    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        return self.served(item, planned) or self._in_the_way(item, planned) or self._conditions(item, planned)

    def _in_the_way(self, item: Item, planned: Planned) -> Obstacle | None:
        if self._shared(item, planned.get(item.key)):
            what = f"--{item.key} names {show(planned.get(item.key))}, the same as {show(item.unlike)}"
            return Obstacle("deviation", f"{what}; give it a CA of its own, by hand: certificates have to change along with it", item.key)
        if self.seen.knowledge.separate(self.name, self.minor, item.key) and len(self.argv.of(item.key)) > 1:
            return Obstacle("held", f"--{item.key} is there several times; change it by hand", item.key)
        if self._lost(item, planned.get(item.key)):
            what = f"{show(planned.get(item.key))} lies inside the container and is lost with it"
            return Obstacle("deviation", f"{what}; mount a directory of the host there, writable, or take --{item.key} away", item.key)
        try:
            self._missing_mounts(item)
        except static_pod.MountConflictError as error:
            return Obstacle("held", str(error), item.key)
        return None

    def served(self, item: Item, planned: Planned) -> Obstacle | None:
        """A flag, as it would be, that makes the control unnecessary."""
        view = self._view(planned)
        for name, value in item.control.unless:
            found = view.planned(name)
            if found is not None and same(like(value, show(found)), value):
                return Obstacle("ok", f"--{name}={show(value)} serves it", yields=1)
        return None

    def _shared(self, item: Item, value: Value | None) -> bool:
        """Whether a file is, or has a certificate in common with, the one that it must differ from."""
        if item.unlike is None or value is None:
            return False
        one, other = (posixpath.normpath(show(path)) for path in (value, item.unlike))
        return one == other or bool(self.seen.fingerprints(one) & self.seen.fingerprints(other))

    def _lost(self, item: Item, value: Value | None) -> bool:
        """Whether a file that has to outlive the container is written into it. What is no path (`-`) is no file."""
        path = show(value)
        if not item.control.on_host or not path.startswith("/"):
            return False
        return not static_pod.kept_on_host(self.component.pod, path, item.control.mounts if self._ours(item, value) else ())

    def _ours(self, item: Item, value: Value | None) -> bool:
        return value is not None and item.rule.wanted is not None and same(value, item.rule.wanted)

    def _missing_mounts(self, item: Item) -> bool:
        return any(static_pod.missing_mounts(self.component.pod, item.control.mounts))

    def _document_in_place(self, item: Item) -> bool:
        if not item.control.document:
            return True
        text = item.control.document.text(self.minor) or ""
        return bool(self.seen.file(show(item.rule.wanted)).get("sha256") == sha256(text.encode()))

    def _view(self, planned: Planned) -> _ComponentView:
        return _ComponentView(self, planned)


@dataclass(frozen=True)
class _ComponentView:
    target: ComponentTarget
    values: Planned

    @property
    def seen(self) -> Host:
        return self.target.seen

    def current(self, name: str) -> Value | None:
        return self.target.argv.value(name)

    def planned(self, name: str) -> Value | None:
        return self.values[name] if name in self.values else self.target.argv.value(name)

    def tls_floor(self) -> Value | None:
        return self.planned("tls-min-version")

    def serving_keys(self) -> tuple[str, ...]:
        certificates = [self.seen.certificate(self.target.argv.value(flag)) for flag in _SERVING.get(self.target.name, ())]
        return tuple(str(certificate["key"]) for certificate in certificates if certificate)

    def anonymous_probes(self) -> tuple[str, ...]:
        return self.target.component.pod.anonymous_probes()


class KubeletTarget(_HostTarget):
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
        return typed(key, effective(self.kubelet.layers, key), like)

    def is_list(self, key: str) -> bool:
        return False

    def settled(self, item: Item) -> bool:
        """The file named by --config has it, since that is what auditors read, and nothing above it says otherwise."""
        if item.key in self._flag_keys:
            return True
        layers_agree = all(value is None or satisfied(item.rule, value) for value in self._layer_values(item))
        base = self.kubelet.base.get(item.key) if self.kubelet.base else None
        return layers_agree and satisfied(item.rule, base) and not self.weakening(item)

    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        if item.key in self._flag_keys:
            return Obstacle("held", f"--{item.key} is set; it is yours to take out", item.key)
        if self.kubelet.base is None:
            return Obstacle("held", "the kubelet runs without --config; give it a configuration file", "--config")
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
    """What each file of the kubelet's configuration has to hold for an applied control, by path: the base file, and weaker drop-ins."""
    kubelet = target.kubelet
    found: dict[str, Value | None] = {}
    if kubelet.base is not None and kubelet.path and not _has(kubelet.base, item, value):
        found[kubelet.path] = value
    for path, dropin in kubelet.dropins:
        inside = typed(item.key, dropin.get(item.key), item.rule.wanted)
        if inside is not None and not satisfied(item.rule, inside):
            found[path] = value
    return found


def _has(config: ConfigFile, item: Item, value: Value | None) -> bool:
    inside = typed(item.key, config.get(item.key), item.rule.wanted)
    return inside is not None and satisfied(item.rule, inside) if value is not None else inside is None
