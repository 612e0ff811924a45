# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits of tests/drift done to an observation: what would be seen after a person has made them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.globs import matching
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Plan
from factories import MANIFESTS, NOW, Cluster, all_controls, all_flags, carried_out, certificate, cluster, directory, file, planned, with_manifest

from tests.drift import breaks, edits, texts
from tests.drift.breaks import Break

MINOR, PLANE, WORKER = "1.36", "cp1", "w1"
CA = "/etc/kubernetes/pki/ca.crt"
KUBELET_CONFIG, FLAGS_ENV = "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env"
DROPIN_DIRECTORY = "/etc/kubernetes/kubelet.conf.d"
RIGHTS = ("mode", "owner", "group", "uid", "gid")
SYSCTLS = {
    "vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1", "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}  # fmt: skip
# Files of a real node that the factories leave out.
ON_EVERY_NODE = ("/usr/lib/systemd/system/kubelet.service", "/var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem", "/etc/cni/net.d/10-bridge.conflist")
ON_CONTROL_PLANES = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/apiserver-etcd-client.crt", "/etc/kubernetes/pki/apiserver-etcd-client.key")


def _whole() -> Cluster:
    """A default cluster with the files that controls speak about."""
    hosts = cluster()
    for name, host in hosts.items():
        host["sysctls"] = dict(SYSCTLS)
        paths = (*ON_EVERY_NODE, *(ON_CONTROL_PLANES if name == PLANE else ()))
        host["files"].update({path: file(mode="0644") for path in paths})
        host["files"]["/etc/kubernetes/pki"] = directory()
        if name == PLANE:
            host["certificates"][CA] = [{**certificate(), "not_before": NOW - 600}]  # the cluster is young
            pairs = ("apiserver-kubelet-client", "etcd/peer")
            host["files"].update({f"/etc/kubernetes/pki/{pair}.{kind}": file(mode="0600") for pair in pairs for kind in ("crt", "key")})
            host["files"]["/var/lib/etcd/member"] = directory("0700")
    return hosts


def every_break() -> list[Break]:
    """All ways to break a control, of those that leave the cluster well."""
    written = {component: all_flags().kubeadm(component, MINOR) for component in breaks.STATIC_PODS}
    return breaks.all_breaks(all_controls(), written)


@lru_cache(maxsize=4)
def _hardened(alone: str) -> Cluster:
    hosts = _whole()
    return carried_out(hosts, planned(hosts, **breaks.choices(all_controls(), alone)))


def hardened(case: Break | None = None) -> Cluster:
    """The cluster as a harden run leaves it."""
    return copy.deepcopy(_hardened(case.control if case and case.control in breaks.table.ALONE else ""))


def plan_for(hosts: Cluster, case: Break | None = None) -> Plan:
    """The plan by which a case is judged."""
    return planned(hosts, **breaks.choices(all_controls(), case.control if case else ""))


def touched(hosts: Cluster, edit: edits.Edit) -> str | None:
    """The host that an edit is made on; None for the cluster's own objects."""
    if isinstance(edit, (edits.ProxyFields, edits.Arguments, edits.ClusterFields)):
        return None
    if isinstance(edit, edits.Rights):
        return PLANE if not target(hosts[WORKER], edit) or "pki" in edit.control else WORKER
    return PLANE if isinstance(edit, (edits.Flags, edits.Document)) else WORKER


def target(host: Mapping[str, Any], edit: edits.Rights) -> str | None:
    """The first file that the control speaks about."""
    control = next(one for one in all_controls() if one.id == edit.control)
    assert control.files is not None
    patterns = [(pattern,) for pattern in control.files.paths]
    for place in control.files.places:
        patterns += [(f"{path}/{place.below}" if place.below else path,) for path in host["places"].get(place.name) or ()]
    known = tuple(sorted(path for path, entry in host["files"].items() if entry["type"] != "absent"))
    return next((path for pattern in patterns for path in matching(pattern, known)), None)


def broken(hosts: Cluster, edit: edits.Edit) -> Cluster:
    """The cluster after an edit, which its processes have taken up."""
    after = copy.deepcopy(hosts)
    _HANDS[type(edit)](after, edit)
    return after


def _flags(hosts: Cluster, edit: Any) -> None:
    path = f"{MANIFESTS}/{edit.component}.yaml"
    hosts[PLANE]["files"].update({name: file(mode="0600") for name in edit.files})
    before = hosts[PLANE]["files"][path]
    with_manifest(hosts, edit.component, texts.with_flags(before["text"], edit), PLANE)
    hosts[PLANE]["files"][path].update({key: before[key] for key in RIGHTS})
    hosts[PLANE]["components"][edit.component]["started"] = NOW - 60


def _fields(hosts: Cluster, edit: Any) -> None:
    _write(hosts[WORKER], KUBELET_CONFIG, texts.with_fields(hosts[WORKER]["files"][KUBELET_CONFIG]["text"], edit.ops))
    _restarted(hosts, edit)


def _write(host: dict[str, Any], path: str, text: str) -> None:
    """With an editor: owner and mode stay."""
    before = host["files"].get(path, {})
    host["files"][path] = {**file(text), **{key: before[key] for key in RIGHTS if key in before}, "mtime": NOW - 61}


def _restarted(hosts: Cluster, edit: Any) -> None:
    """The kubelet; without its request it serves what it made for itself."""
    hosts[WORKER]["kubelet"]["started"] = NOW - 60
    entry = next(entry for entry in hosts[PLANE]["cluster"]["kubelets"] if entry["node"] == WORKER)
    if {"serverTLSBootstrap", "rotate-server-certificates"} & set(edit.ops):
        entry.update(verified=False, error="self-signed")


def _drop_in(hosts: Cluster, edit: Any) -> None:
    host = hosts[WORKER]
    base = host["files"][KUBELET_CONFIG]["text"]
    for dotted, op in edit.ops.items():
        path = f"{DROPIN_DIRECTORY}/{dotted}.conf"
        _write(host, path, texts.dropin(base, dotted, op))
        host["kubelet"].update(config_dir=DROPIN_DIRECTORY, dropins=sorted({*host["kubelet"]["dropins"], path}))
    _restarted(hosts, edit)


def _kubelet_flags(hosts: Cluster, edit: Any) -> None:
    host = hosts[WORKER]
    given = [f"--{name}={edits.on_text(op, None)}" for name, op in edit.ops.items()]
    _write(host, FLAGS_ENV, host["files"][FLAGS_ENV]["text"].replace('ARGS="', f'ARGS="{" ".join(given)} '))
    host["kubelet"]["argv"] = [*host["kubelet"]["argv"], *given]
    _restarted(hosts, edit)


def _rights(hosts: Cluster, edit: Any) -> None:
    name = touched(hosts, edit)
    assert name is not None
    entry = hosts[name]["files"][str(target(hosts[name], edit))]
    if edit.mode:
        entry["mode"] = edit.mode
    if edit.owner:
        entry.update(owner=edit.owner, group="nogroup", uid=65534, gid=65534)


def _document(hosts: Cluster, edit: Any) -> None:
    argv = hosts[PLANE]["components"][edit.component]["argv"]
    path = next(item.partition("=")[2] for item in argv if item.startswith(f"--{edit.flag}="))
    files = hosts[PLANE]["files"]
    if edit.act == "delete":
        files[path] = {"type": "absent"}
    else:
        files[path] = {**file(files[path]["text"] + "# by hand\n"), "mtime": NOW - 60}


def _sysctl(hosts: Cluster, edit: Any) -> None:
    hosts[WORKER]["sysctls"][edit.name] = str(edit.value)


def _with_data(hosts: Cluster, name: str, key: str, change: Callable[[str], str]) -> None:
    data = hosts[PLANE]["cluster"]["configmaps"][name]["data"]
    data[key] = change(data[key])


def _proxy(hosts: Cluster, edit: Any) -> None:
    _with_data(hosts, "kube-proxy", "config.conf", lambda text: texts.with_fields(text, edit.ops))


def _cluster_fields(hosts: Cluster, edit: Any) -> None:
    _with_data(hosts, "kubelet-config", "kubelet", lambda text: texts.with_fields(text, edit.ops))


def _arguments(hosts: Cluster, edit: Any) -> None:
    _with_data(hosts, "kubeadm-config", "ClusterConfiguration", lambda text: texts.with_arguments(text, edit))


_HANDS: Mapping[type, Callable[[Cluster, Any], None]] = {
    edits.Flags: _flags,
    edits.Fields: _fields,
    edits.DropIn: _drop_in,
    edits.KubeletFlags: _kubelet_flags,
    edits.Rights: _rights,
    edits.Document: _document,
    edits.Sysctl: _sysctl,
    edits.ProxyFields: _proxy,
    edits.ClusterFields: _cluster_fields,
    edits.Arguments: _arguments,
}
