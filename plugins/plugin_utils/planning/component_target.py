# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls are judged against on a host: the static pod of a component."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Rule, Value, like, same, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import Item, Obstacle, Planned
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import sha256
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import (
    APISERVER,
    OWN_DIRECTORY,
    Component,
    Host,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.targets import Around, HostTarget, document_path

# Flags that name the certificates a component serves with.
_SERVING: Mapping[str, tuple[str, ...]] = {APISERVER: ("tls-cert-file",), ETCD: ("cert-file", "peer-cert-file")}
# A flag with which a component ignores all others, and its environment.
_INSTEAD_OF_FLAGS: Mapping[str, str] = {ETCD: "config-file"}


class ComponentTarget(HostTarget):
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
        return (
            self.served(item, planned)
            or self._unread(item.key)
            or self._too_old(item.control)
            or self._in_the_way(item, planned)
            or self._conditions(item, planned)
        )

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
