# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's settings as they are and as they would be after a rollback, read from the documents on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Value, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file, env_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import Argv
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.static_pod import StaticPod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, Host
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.past import History, State
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.squash import FileNet, HostNet

BOOTSTRAP, DEFAULTS = "serverTLSBootstrap", "protectKernelDefaults"
VERIFY, PULL, ADMISSION = "kubelet-certificate-authority", "AlwaysPullImages", "enable-admission-plugins"


class Setting(NamedTuple):
    """One setting on both sides; None: not set."""

    now: Value | None
    target: Value | None

    @property
    def changes(self) -> bool:
        return self.now != self.target


@dataclass(frozen=True)
class Sides:
    """One host. Raises PlanError where a document of before cannot be read."""

    host: Host
    history: History
    net: HostNet

    @cached_property
    def files(self) -> Mapping[str, FileNet]:
        return {one.path: one for one in self.net.files}

    def text_now(self, net: FileNet) -> str | None:
        """The document as it is; None where it is no text or holds a secret."""
        return self.history.texts.get(net.now.state.sha256 or "")

    def text_target(self, net: FileNet) -> str | None:
        """The document as it was before; None where it is no text or holds a secret."""
        return self.history.texts.get(net.target.sha256 or "")

    def shown(self, state: State) -> dict[str, object]:
        """Owner, group, mode and a link's target in words; of what is absent nothing."""
        seen = [one for one in self.history.files.values() if one.owner is not None]
        owners = {0: "root", **{one.state.uid: one.owner for one in seen}}
        groups = {0: "root", **{one.state.gid: one.group for one in seen}}
        found = {"owner": owners.get(state.uid, state.uid), "group": groups.get(state.gid, state.gid), "mode": state.mode, "target": state.target}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def pods(self) -> Mapping[str, StaticPod]:
        """Components that are to run from another manifest."""
        found = {}
        for net in self.net.files:
            if net.op == "static_pods" and net.rewritten and net.component:
                found[net.component] = self._pod(net, net.component)
        return found

    def _pod(self, net: FileNet, component: str) -> StaticPod:
        text = self.text_target(net)
        if component not in self.host.components or net.path != self.host.components[component].path:
            raise PlanError(self.host.name, net.path, f"{component} does not run from this manifest any more", "take it back by hand")
        if text is None:
            raise PlanError(self.host.name, net.path, "its content from before is no manifest that could be looked at", "put it back by hand")
        try:
            return self.host.knowledge.pod(text, component)
        except static_pod.ManifestError as error:
            raise PlanError(self.host.name, net.path, f"its content from before: {error}", "put it back by hand") from error

    @cached_property
    def _argv(self) -> Mapping[str, Argv]:
        """Command lines as they will be, of components that change."""
        return {
            name: self.host.knowledge.argv(pod.running(), name, self.host.components[name].minor) for name, pod in self.pods.items()
        }

    @cached_property
    def _layers(self) -> tuple[ConfigFile, ...]:
        """The kubelet's configuration as it will be."""
        kubelet = self.host.kubelet
        if kubelet is None:
            return ()
        return tuple(self._config(path, config) for path, config in ((kubelet.path, kubelet.base), *kubelet.dropins) if path and config)

    def _config(self, path: str, now: ConfigFile) -> ConfigFile:
        net = self.files.get(path)
        if net is None or not net.rewritten:
            return now
        text = self.text_target(net)
        try:
            if text is None:
                raise config_file.ConfigError("is no document that could be looked at")
            return self.host.knowledge.config(text)
        except config_file.ConfigError as error:
            raise PlanError(self.host.name, path, f"its content from before {error}", "put it back by hand") from error

    def field(self, name: str) -> Setting:
        """A field of the kubelet's configuration. Raises PlanError."""
        kubelet = self.host.kubelet
        try:
            now = config_file.effective(kubelet.layers, name) if kubelet else None
            return Setting(now, config_file.effective(self._layers, name))
        except config_file.ConfigError as error:
            raise PlanError(self.host.name, kubelet.path if kubelet else None, str(error), "correct the value, then run again") from error

    def flag(self, component: str, name: str) -> Setting:
        """A flag of a component that runs as a static pod."""
        found = self.host.components.get(component)
        if found is None:
            return Setting(None, None)
        now = found.argv.value(name)
        return Setting(now, self._argv[component].value(name) if component in self._argv else now)

    def of(self, control: Control) -> Setting | None:
        """What a control sets, on both sides; None where it does not speak about one setting of this host."""
        if control.component == "kubelet" and control.field:
            return self.field(control.field) if self.host.kubelet else None
        if control.component in self.host.components and control.sets and not control.field:
            return self.flag(control.component, str(control.sets))
        return None

    @property
    def verifies(self) -> Setting:
        """The CA that this host's apiserver verifies kubelets with."""
        return self.flag(APISERVER, VERIFY)

    @property
    def pulls(self) -> Setting:
        """Whether new pods need a registry."""
        sides = self.flag(APISERVER, ADMISSION)
        return Setting(*(PULL in show(side).split(",") or None for side in sides))

    def kubelet_argv(self) -> tuple[str, ...] | None:
        """The kubelet's command line as it will be, where that follows from its environment file; None where it is not to be judged."""
        kubelet = self.host.kubelet
        net = self.files.get(kubelet.flags_env or "") if kubelet else None
        if kubelet is None or net is None or not net.rewritten:
            return None
        words = [env_file.words(text or "") for text in (self.text_now(net), self.text_target(net))]
        items, length = kubelet.argv.items, len(words[0])
        places = [at for at in range(1, len(items) - length + 1) if list(items[at : at + length]) == words[0]]
        return (*items[: places[0]], *words[1], *items[places[0] + length :]) if length and len(places) == 1 else None
