# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls are judged against on a host: the static pod of a component, and the kubelet with its layers of configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Rule, Value, like, same, satisfied, show, truth
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import env_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile, effective, nulls, typed
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
# A flag with which a component ignores all others, and its environment.
_INSTEAD_OF_FLAGS: Mapping[str, str] = {ETCD: "config-file"}
_GATES = "featureGates."


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

    def rule(self, control: Control, value: Value | None) -> Rule:
        rule = super().rule(control, value)
        default = self.seen.knowledge.default(self.name, self.minor, str(control.sets)) if control.unset_default else None
        return rule if default is None else replace(rule, floor=like(value, default))

    def inapplicable(self, control: Control) -> str | None:
        if control.older and self._versions(control, self._kubernetes()):
            return None
        flag = str(control.sets)
        if not self.seen.knowledge.knows_flag(self.name, self.minor, flag):
            return f"{self.name} {self.minor} does not know --{flag}"
        if control.document and control.document.text(self.minor) is None:
            return f"there is no document for Kubernetes {self.minor}"
        return self._versions(control, self._kubernetes())

    def _kubernetes(self) -> str:
        """The minor that `versions` is about."""
        apiserver = self.seen.components.get(APISERVER)
        return apiserver.minor if self.name == ETCD and apiserver else self.minor

    def current(self, key: str, like: Value | None) -> Value | None:
        return self._read(key, like)

    def _read(self, key: str, wanted: Value | None) -> Value | None:
        raw = self.argv.value(key)
        if raw is None or self._unread(key):
            return None
        if isinstance(wanted, tuple):
            values = self.argv.values(key) if self.is_list(key) else tuple(part.strip() for part in raw.split(",") if part.strip())
            return self.seen.knowledge.spelled(self.name, self.minor, key, values)
        return like(wanted, raw)

    def _unread(self, key: str) -> Obstacle | None:
        """Why what the command line says about a flag is not what counts."""
        instead = _INSTEAD_OF_FLAGS.get(self.name)
        if instead and self.argv.value(instead):
            cause = f"{self.name} reads {self.argv.value(instead)} (--{instead}) and ignores every other flag and variable"
            return Obstacle("held", f"{cause}; ninepaths does not judge that file", instead)
        variable = self.component.unresolved(key)
        if variable:
            return Obstacle("held", f"--{key} holds $({variable}), and neither the manifest nor a process tells what that is", key)
        return None

    def is_list(self, key: str) -> bool:
        return self.seen.knowledge.collects(self.name, self.minor, key)

    def settled(self, item: Item) -> bool:
        if self._unread(item.key) or self._too_old(item.control):
            return False
        if any(self.argv.of(name) for name in item.control.drops):
            return False
        if not self._ours(item, self._read(item.key, item.rule.wanted)):
            return True
        return not self._missing_mounts(item) and self._document_in_place(item)

    def obstacle(self, item: Item, planned: Planned) -> Obstacle | None:
        view = self._view(planned)
        for name, value in item.control.unless:
            found = view.planned(name)
            if found is not None and same(like(value, show(found)), value):
                return Obstacle("ok", f"--{name}={show(value)} serves it")
        unread = self._unread(item.key) or self._too_old(item.control)
        if unread:
            return unread
        for name in item.control.conflicts:
            if view.planned(name) is not None:
                return Obstacle("held", f"--{name} is set, and both together do not work", name)
        if self.seen.knowledge.separate(self.name, self.minor, item.key) and len(self.argv.of(item.key)) > 1:
            return Obstacle("held", f"--{item.key} is there several times; change it by hand", item.key)
        try:
            self._missing_mounts(item)
        except static_pod.MountConflictError as error:
            return Obstacle("held", str(error), item.key)
        return self._conditions(item, planned)

    def _too_old(self, control: Control) -> Obstacle | None:
        return Obstacle("held", control.older, "version") if control.older and self._versions(control, self._kubernetes()) else None

    def _ours(self, item: Item, value: Value | None) -> bool:
        return value is not None and item.rule.wanted is not None and same(value, item.rule.wanted)

    def _missing_mounts(self, item: Item) -> bool:
        return any(static_pod.missing_mounts(self.component.pod, item.control.mounts))

    def _document_in_place(self, item: Item) -> bool:
        if not item.control.document:
            return True
        text, path = item.control.document.text(self.minor) or "", show(item.rule.wanted)
        if self.seen.newer(path, self.component.seen.get("started")):
            return False  # it is read at start only
        return bool(self.seen.file(path).get("sha256") == sha256(text.encode()))

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

    def default(self, name: str) -> str | None:
        return self.seen.knowledge.default(self.target.name, self.target.minor, name)

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
        set_by_flag = next((value for value in (self._flag(flag, like) for flag in flags) if value is not None), None)
        if set_by_flag is not None or key in self._flag_keys:
            return set_by_flag
        gate = self._gate(key)
        if gate is not None:
            return gate
        found = typed(key, effective(self.kubelet.layers, key), like)
        return self._legacy(key, like) if found is None and self.kubelet.base is None else found

    def _gate(self, key: str) -> bool | None:
        """What --feature-gates says about a gate; it beats the configuration, gate by gate."""
        name = key.removeprefix(_GATES)
        gates = self.seen.knowledge.spelled(self.name, self.minor, "feature-gates", self.kubelet.argv.values("feature-gates"))
        found = [truth(value) for gate, _equals, value in (item.partition("=") for item in gates) if gate == name and name != key]
        return found[-1] if found else None

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
        gate = self._gate(item.key)
        if gate is not None and not satisfied(item.rule, gate):
            return False
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
        gate = self._gate(item.key)
        if gate is not None and not satisfied(item.rule, gate):
            return Obstacle("deviation", f"the kubelet's flag --feature-gates says {show(gate)}, and beats its configuration", "--feature-gates")
        view = self._view(planned)
        for name in item.control.conflicts:
            if view.planned(name) not in (None, "") or self.kubelet.argv.value(name) is not None:
                return Obstacle("held", f"{name} is set, and both together do not work", name)
        for flag in self.weakening(item):
            if not self.in_flags_env(flag):
                where = self._place_of(flag)
                return Obstacle("held", f"the kubelet's flag --{flag} beats its configuration; take it out of {where}", f"--{flag}")
        return self._conditions(item, planned)

    def weakening(self, item: Item) -> tuple[str, ...]:
        """Flags on the kubelet's command line that override the field with something weaker."""
        found = [(flag, self._flag(flag, item.rule.wanted)) for flag in item.control.drops]
        return tuple(flag for flag, value in found if value is not None and not satisfied(item.rule, value))

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
        return "its unit or its environment files"

    def _layer_values(self, item: Item) -> list[Value | None]:
        return [typed(item.key, layer.get(item.key), item.rule.wanted) for layer in self.kubelet.layers]

    def _flag(self, name: str, wanted: Value | None) -> Value | None:
        raw = self.kubelet.argv.value(name)
        return None if raw is None else like(wanted, raw)

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
    """What each file of the kubelet's configuration has to hold for an applied control, by path: the base file, and weaker drop-ins."""
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
    return inside is not None and satisfied(item.rule, inside) if value is not None else inside is None
