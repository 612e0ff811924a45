# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's ClusterConfiguration: extra arguments and volumes of components, in v1beta3 (maps) and v1beta4 (lists)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import YamlError, load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Mount
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import edit

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "kube-apiserver": ("apiServer",),
    "kube-controller-manager": ("controllerManager",),
    "kube-scheduler": ("scheduler",),
    "etcd": ("etcd", "local"),
}
_VERSIONS = {"kubeadm.k8s.io/v1beta3": False, "kubeadm.k8s.io/v1beta4": True}


class KubeadmError(ValueError):
    """The document cannot be judged or edited; the text says why."""


@dataclass(frozen=True)
class ClusterConfiguration:
    """One document. `lists`: whether extraArgs are a list of names and values."""

    text: str
    data: Mapping[str, Any]
    lists: bool

    def has(self, component: str) -> bool:
        """Whether kubeadm runs the component: an external etcd is not its own."""
        etcd = self.data.get("etcd")
        return component != "etcd" or not (isinstance(etcd, dict) and isinstance(etcd.get("external"), dict))

    def values(self, component: str, flag: str) -> tuple[str, ...]:
        """The values of an extra argument; () where it is not set."""
        found = self._section(component).get("extraArgs")
        if self.lists:
            return tuple(str(entry.get("value", "")) for entry in found or () if entry.get("name") == flag)
        return (str(found[flag]),) if found and flag in found else ()

    def mount_paths(self, component: str) -> Mapping[str, str]:
        """Host path of each extra volume, by its path in the container."""
        return {str(entry.get("mountPath")): str(entry.get("hostPath")) for entry in self._section(component).get("extraVolumes") or ()}

    def volume_names(self, component: str) -> frozenset[str]:
        return frozenset(str(entry.get("name")) for entry in self._section(component).get("extraVolumes") or ())

    def _section(self, component: str) -> Mapping[str, Any]:
        found: Any = self.data
        for key in SECTIONS[component]:
            found = (found or {}).get(key)
        return found or {}


def parse(text: str) -> ClusterConfiguration:
    """Raises KubeadmError."""
    try:
        data = load(text)
    except YamlError as error:
        raise KubeadmError(str(error)) from error
    if not isinstance(data, dict) or data.get("kind") != "ClusterConfiguration":
        raise KubeadmError("is no mapping of kind ClusterConfiguration")
    version = data.get("apiVersion")
    if not isinstance(version, str) or version not in _VERSIONS:
        raise KubeadmError(f"has the version {str(version)[:80]!r}; known are {' and '.join(_VERSIONS)}")
    found = ClusterConfiguration(text, data, _VERSIONS[version])
    for component, path in SECTIONS.items():
        _check(data, component, path, found.lists)
    return found


def with_argument(config: ClusterConfiguration, component: str, flag: str, value: str | None) -> ClusterConfiguration:
    """The document with exactly one extra argument of the name; with none where value is None. Raises EditError, KubeadmError."""
    path = (*SECTIONS[component], "extraArgs")
    text = config.text
    if not config.lists:
        return parse(edit.remove(text, (*path, flag)) if value is None else edit.set_value(text, (*path, flag), value))
    names = [entry.get("name") for entry in config._section(component).get("extraArgs") or ()]
    indexes = [index for index, name in enumerate(names) if name == flag]
    for index in reversed(indexes if value is None else indexes[1:]):
        text = edit.remove(text, (*path, index))
    if value is not None and indexes:
        text = edit.set_value(text, (*path, indexes[0], "value"), value)
    elif value is not None:
        text = edit.append(text, path, [{"name": flag, "value": value}])
    return parse(text)


def with_mounts(config: ClusterConfiguration, component: str, mounts: Sequence[Mount]) -> ClusterConfiguration:
    """The document with these extra volumes, where the container's path is not taken yet. Raises EditError, KubeadmError."""
    taken, names = set(config.mount_paths(component)), set(config.volume_names(component))
    new = []
    for mount in dict.fromkeys(mounts):
        if mount.path in taken:
            continue
        name = next(name for name in (mount.name, *(f"{mount.name}-{number}" for number in range(2, len(names) + 3))) if name not in names)
        taken.add(mount.path)
        names.add(name)
        read_only = {"readOnly": True} if mount.read_only else {}
        new.append({"hostPath": mount.host_path, "mountPath": mount.path, "name": name, "pathType": mount.type, **read_only})
    return parse(edit.append(config.text, (*SECTIONS[component], "extraVolumes"), new)) if new else config


def _check(data: Mapping[str, Any], component: str, path: Sequence[str], lists: bool) -> None:
    found: Any = data
    for key in path:
        found = found.get(key)
        if found is None:
            return
        if not isinstance(found, dict):
            raise KubeadmError(f"{'.'.join(path)} is no mapping")
    arguments, volumes = found.get("extraArgs"), found.get("extraVolumes")
    wanted = list if lists else dict
    if arguments is not None and (not isinstance(arguments, wanted) or (lists and not all(isinstance(entry, dict) for entry in arguments))):
        raise KubeadmError(f"{'.'.join(path)}.extraArgs of {component} is no {'list of names and values' if lists else 'mapping'}")
    if volumes is not None and (not isinstance(volumes, list) or not all(isinstance(entry, dict) for entry in volumes)):
        raise KubeadmError(f"{'.'.join(path)}.extraVolumes of {component} is no list of mappings")
