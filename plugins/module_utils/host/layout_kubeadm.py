# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a kubeadm node keeps what: paths, names of static pods, identity of their processes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import processes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.processes import Process

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
KUBERNETES = "/etc/kubernetes"
MANIFESTS = "/etc/kubernetes/manifests"
PKI = "/etc/kubernetes/pki"
OWN = "/etc/kubernetes/ninepaths"
KUBELET_KUBECONFIG = "/etc/kubernetes/kubelet.conf"
ADMIN_KUBECONFIGS = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")
KUBECONFIGS = (*ADMIN_KUBECONFIGS, "/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/scheduler.conf")
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
KUBELET_INSTANCE_CONFIG = "/var/lib/kubelet/instance-config.yaml"
KUBELET_PKI = "/var/lib/kubelet/pki"
KUBELET_CLIENT = f"{KUBELET_PKI}/kubelet-client-current.pem"
KUBELET_SELF_SIGNED = (f"{KUBELET_PKI}/kubelet.crt", f"{KUBELET_PKI}/kubelet.key")
POD_LOGS = "/var/log/pods"

# Blanks are matched within a line only: a search that may cross lines is slow in a file that holds little else.
FLAG_LINE = re.compile(r"""^[ \t]*-[ \t]+["']?(--[a-z0-9-]+=.*)$""", re.MULTILINE)
CERTIFICATE_FLAG = re.compile(r"--[a-z-]*(?:ca-?file|cert-?file|client-certificate|certificate-authority)=(/.+)")


class Component(NamedTuple):
    """A static pod's process; `processes` counts those of its name in pods of its name: an exec probe or a shell beside it is no second one."""

    uid: str | None
    process: Process | None
    processes: int


def manifest(component: str, folder: str = MANIFESTS) -> str:
    """Path of a component's manifest."""
    return f"{folder}/{component}.yaml"


def real_target(host: Host, path: str) -> str:
    """Real place of a path whose last part may be a link, absolute links counted from the host's root."""
    for _step in range(8):
        real = host.real(path)
        if not os.path.islink(real):
            return real
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(real)))
    return host.real(path)


def is_kubeadm(host: Host) -> bool:
    """Whether kubeadm's own files are here: a kubelet's kubeconfig, or the manifest of an apiserver or an etcd."""
    marks = (KUBELET_KUBECONFIG, manifest("kube-apiserver"), manifest("etcd"))
    return any(os.path.exists(host.real(mark)) for mark in marks)


def flag(argv: Sequence[str], name: str) -> str | None:
    """Value of a flag in an argv, the last one if there are several; an empty text for a flag without a value."""
    value = None
    for position, word in enumerate(argv):
        bare, equals, rest = word.partition("=")
        if bare.lstrip("-") != name or not bare.startswith("-"):
            continue
        following = argv[position + 1] if position + 1 < len(argv) else "-"
        value = rest if equals else "" if following.startswith("-") else following
    return value


def manifest_flags(text: str) -> list[str]:
    """Flags that a manifest's lists hold, without reading YAML: good enough to find the apiserver before its process runs."""
    found = (word.rstrip() for word in FLAG_LINE.findall(text))
    return [word[:-1] if word.endswith(("'", '"')) else word for word in found]


def top_level(text: str, key: str) -> str | None:
    """A plain value at any depth of a kubelet configuration, by its line; None when there is none or more than one."""
    found = re.findall(rf"""^[ \t]*{re.escape(key)}:[ \t]*["']?([^\s"'#]+)["']?[ \t\r]*(?:#.*)?$""", text, re.MULTILINE)
    return found[0] if len(found) == 1 else None


def certificate_paths(argv: Sequence[str]) -> list[str]:
    """Files with certificates that a component's flags name."""
    return [path for word in argv for path in CERTIFICATE_FLAG.findall(word)]


def foreign_manifests(host: Host, folder: str) -> list[str]:
    """Files in the manifests directory that kubelet reads as pods and that are none of our components.

    kubelet reads every regular file whose name does not begin with a dot, whatever its extension, links included.
    """
    ours = {f"{name}.yaml" for name in COMPONENTS}
    try:
        names = os.listdir(host.real(folder))
    except OSError:
        return []
    others = (f"{folder}/{name}" for name in sorted(names) if name not in ours and not name.startswith("."))
    return [path for path in others if os.path.isfile(host.real(path))]


def static_pods(host: Host, node: str) -> dict[str, list[str]]:
    """UIDs of our components' static pods, running or past, by component.

    kubelet names a pod's log directory kube-system_<name>-<node>_<uid>.
    """
    found: dict[str, list[str]] = {name: [] for name in COMPONENTS}
    for entry in _listdir(host, POD_LOGS):
        namespace, _mark, rest = entry.partition("_")
        pod, _mark, uid = rest.partition("_")
        component = pod[: -len(node) - 1] if pod.endswith(f"-{node}") else ""
        if namespace == "kube-system" and component in found and processes.STATIC_UID.fullmatch(uid):
            found[component].append(uid)
    return found


def _listdir(host: Host, path: str) -> list[str]:
    try:
        return sorted(os.listdir(host.real(path)))
    except OSError:
        return []


def find_components(host: Host, node: str, booted: float) -> dict[str, Component]:
    """The process of each component, found by the cgroup of its static pod."""
    pods = static_pods(host, node)
    members = processes.in_pods(host, {uid for uids in pods.values() for uid in uids})
    return {name: _choose(name, _processes(host, uids, members, booted)) for name, uids in pods.items()}


def _processes(host: Host, uids: Iterable[str], members: Mapping[str, Sequence[int]], booted: float) -> list[tuple[str, Process]]:
    found = []
    for uid in uids:
        for pid in members.get(uid, ()):
            process = processes.process(host, pid, booted)
            if process is not None and os.path.basename(process.executable) != "pause":
                found.append((uid, process))
    return found


def _choose(component: str, found: Sequence[tuple[str, Process]]) -> Component:
    """The container's first process: of the right name if there is one (a shell may have been started beside it), of the newest pod."""
    named = [(uid, process) for uid, process in found if process.argv and os.path.basename(process.argv[0]) == component] or found
    if not named:
        return Component(None, None, 0)
    newest = max(named, key=lambda pair: pair[1].started)[0]
    first = min((process for uid, process in named if uid == newest), key=lambda process: (process.started, process.pid))
    return Component(newest, first, len(named))
