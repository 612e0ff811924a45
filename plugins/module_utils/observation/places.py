# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that running processes name, found on the host: the kubelet's by its flags and units, a component's through its mounts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import mounts
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection

APISERVER, MANAGER, SCHEDULER, ETCD = layout.COMPONENTS
KUBECONFIGS = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
NAMES = (
    "cluster.pki",
    "controller_manager.kubeconfig",
    "etcd.data_dir",
    "kubelet.client_ca",
    "kubelet.config",
    "kubelet.dropins",
    "kubelet.environment_files",
    "kubelet.kubeconfig",
    "kubelet.manifests",
    "kubelet.unit_files",
    "scheduler.kubeconfig",
)


def find(
    seen: Collection, wanted: Mapping[str, Iterable[str]], kubelet: Mapping[str, Any] | None, components: Mapping[str, Mapping[str, Any]], manifests: str
) -> dict[str, list[str]]:
    """The places of a request, each described with what is `below`. A place that nothing names is an empty list."""
    named = {**_of_kubelet(seen, kubelet, manifests), **_of_components(seen, components)}
    found = {}
    for name in sorted(set(wanted) & set(NAMES)):
        found[name] = list(dict.fromkeys(_placed(seen, path) for path in named.get(name, ()) if path and path.startswith("/")))
        for path in found[name]:
            top = seen.follow(path).get("resolved", path)
            seen.below(top, (below for below in wanted[name] if below))
    return found


def _of_kubelet(seen: Collection, kubelet: Mapping[str, Any] | None, manifests: str) -> dict[str, list[str]]:
    if kubelet is None:
        return {}
    text = seen.document(kubelet["config"]) or "" if kubelet["config"] else ""
    return {
        "kubelet.client_ca": [layout.flag(kubelet["argv"], "client-ca-file") or layout.top_level(text, "clientCAFile") or ""],
        "kubelet.config": [kubelet["config"] or ""],
        "kubelet.dropins": list(kubelet["dropins"]),
        "kubelet.environment_files": list(kubelet["environment_files"]),
        "kubelet.kubeconfig": [layout.flag(kubelet["argv"], "kubeconfig") or ""],
        # A worker may name the directory without having it: the kubelet then reads none.
        "kubelet.manifests": [manifests] if seen.describe(manifests)["type"] != "absent" else [],
        "kubelet.unit_files": list(kubelet["unit_files"]),
    }


def _of_components(seen: Collection, components: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    def on_host(name: str, *flags: str) -> list[str]:
        component = components.get(name) or {}
        paths = [layout.flag(component.get("argv") or (), flag) for flag in flags]
        found = [mounts.on_host(seen.host, component.get("pid"), path) for path in paths if path]
        return [path for path in found if path]

    authority, key = on_host(APISERVER, "client-ca-file"), on_host(APISERVER, "tls-private-key-file")
    folders = {posixpath.dirname(path) for path in (*authority, *key)}
    return {
        # A directory of CA files without keys may be the system's, which belongs to others as well.
        "cluster.pki": sorted(folders) if authority and key and len(folders) == 1 else [],
        "controller_manager.kubeconfig": on_host(MANAGER, *KUBECONFIGS),
        "etcd.data_dir": on_host(ETCD, "data-dir"),
        "scheduler.kubeconfig": on_host(SCHEDULER, *KUBECONFIGS),
    }


def _placed(seen: Collection, path: str) -> str:
    """The path with the links above it resolved, so that a file has one name."""
    folder, name = posixpath.split(posixpath.normpath(path))
    return posixpath.join(seen.resolve(folder), name)
