# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters to plan for, made of documents that kubeadm wrote, and what they look like after a plan has been carried out."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils import _yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls, flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory, Plan
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import START, plan

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
MANIFESTS = "/etc/kubernetes/manifests"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
FLAGS_ENV = "/var/lib/kubelet/kubeadm-flags.env"
PKI = "/etc/kubernetes/pki"
STARTED = 1_800_000_000.0
NOW = STARTED + 7200
ASSETS: Mapping[str, bytes] = {approver.PROGRAM: b"# approves\n"}

Cluster = dict[str, dict[str, Any]]


@lru_cache(maxsize=1)
def all_controls() -> tuple[controls.Control, ...]:
    return controls.load()


@lru_cache(maxsize=1)
def all_flags() -> flags.Flags:
    return flags.load()


def minors() -> list[str]:
    """Minors that there are both kubeadm's documents and generated data for."""
    return [minor for minor in all_flags().minors("kube-apiserver") if (FIXTURES / f"kubeadm-{minor}").is_dir()]


def document(minor: str, name: str) -> str:
    """A document that kubeadm of this minor wrote for the node cp1 at 10.89.0.11."""
    return (FIXTURES / f"kubeadm-{minor}" / f"{name}.yaml").read_text()


def file(text: str | None = None, mode: str = "0600", **more: Any) -> dict[str, Any]:
    """An entry of an observation's files."""
    content = text.encode() if text is not None else b"x"
    entry = {
        "type": "file",
        "mode": mode,
        "uid": 0,
        "gid": 0,
        "owner": "root",
        "group": "root",
        "size": len(content),
        "mtime": STARTED - 100,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return {**entry, **({"text": text} if text is not None else {}), **more}


def directory(mode: str = "0755") -> dict[str, Any]:
    return {"type": "dir", "mode": mode, "uid": 0, "gid": 0, "owner": "root", "group": "root", "size": 4096, "mtime": STARTED - 100}


def certificate(key: str = "RSA-2048") -> dict[str, Any]:
    return {
        "subject": {"cn": "x", "o": []},
        "issuer": "kubernetes",
        "serial": "01",
        "not_before": 0.0,
        "not_after": 2e9,
        "dns": [],
        "ip": [],
        "sha256": "00" * 32,
        "key": key,
        "usages": ["serverAuth"],
        "ca": False,
    }


def base_host(name: str, address: str, minor: str, config: str | None = None) -> dict[str, Any]:
    """A worker."""
    return {
        "schema": 1,
        "at": NOW,
        "took_ms": 30,
        "host": {"hostname": name, "boot_id": "b", "python": "3.11.2", "node": name, "addresses": [address]},
        "layout": "kubeadm",
        "problems": [],
        "components": {},
        "manifests_foreign": [],
        "listening": [],
        "sysctls": {},
        "journals": [],
        "proofs": [],
        "accounts": {"etcd": None},
        "cluster": None,
        "places": {
            "cluster.pki": [],
            "controller_manager.kubeconfig": [],
            "etcd.data_dir": [],
            "kubelet.client_ca": [f"{PKI}/ca.crt"],
            "kubelet.config": [KUBELET_CONFIG],
            "kubelet.dropins": [],
            "kubelet.environment_files": [FLAGS_ENV],
            "kubelet.kubeconfig": ["/etc/kubernetes/kubelet.conf"],
            "kubelet.manifests": [],
            "kubelet.unit_files": [],
            "scheduler.kubeconfig": [],
        },
        "certificates": {f"{PKI}/ca.crt": [certificate()], "/var/lib/kubelet/pki/kubelet.crt": [certificate()]},
        "kubelet": {
            "unit": "kubelet.service",
            "active": True,
            "pid": 400,
            "started": STARTED,
            "version": f"v{minor}.4",
            "argv": ["/usr/bin/kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf", f"--config={KUBELET_CONFIG}"],
            "config": KUBELET_CONFIG,
            "config_dir": None,
            "dropins": [],
            "flags_env": FLAGS_ENV,
            "unit_files": [],
            "kubeconfig": "/etc/kubernetes/kubelet.conf",
        },
        "files": {
            KUBELET_CONFIG: file(document(minor, "kubelet") if config is None else config, "0644"),
            FLAGS_ENV: file('KUBELET_KUBEADM_ARGS=""\n', "0644"),
            f"{PKI}/ca.crt": file(mode="0644"),
            "/etc/kubernetes/kubelet.conf": file(),
            "/var/lib/kubelet/pki/kubelet.crt": file(mode="0644"),
            "/var/lib/kubelet/pki/kubelet.key": file(),
        },
    }


def control_plane(name: str, address: str, minor: str) -> dict[str, Any]:
    """A control plane, without what it says about the cluster."""
    host = base_host(name, address, minor)
    for number, component in enumerate(COMPONENTS):
        text = document(minor, component).replace("10.89.0.11", address).replace("cp1", name)
        path = f"{MANIFESTS}/{component}.yaml"
        host["files"][path] = file(text)
        host["components"][component] = {
            "manifest": path,
            "uid": f"uid-{component}",
            "pid": 100 + number,
            "started": STARTED,
            "version": None,
            "processes": 1,
            "argv": argv(text),
        }
    for path in ("ca.key", "apiserver.crt", "apiserver.key", "sa.pub", "sa.key", "etcd/ca.crt", "etcd/server.crt", "etcd/server.key"):
        host["files"][f"{PKI}/{path}"] = file(mode="0644" if path.endswith((".crt", ".pub")) else "0600")
    host["files"]["/var/lib/etcd"] = directory("0700")
    host["files"][PKI] = directory()
    host["files"][MANIFESTS] = directory()
    for component in ("scheduler", "controller-manager"):
        host["files"][f"/etc/kubernetes/{component}.conf"] = file()
    host["places"].update(
        {
            "cluster.pki": [PKI],
            "controller_manager.kubeconfig": ["/etc/kubernetes/controller-manager.conf"],
            "etcd.data_dir": ["/var/lib/etcd"],
            "kubelet.manifests": [MANIFESTS],
            "scheduler.kubeconfig": ["/etc/kubernetes/scheduler.conf"],
        }
    )
    for path in ("apiserver.crt", "etcd/server.crt", "etcd/peer.crt"):
        host["certificates"][f"{PKI}/{path}"] = [certificate()]
    return host


def argv(manifest: str) -> list[str]:
    """The command line that a manifest starts."""
    data: Any = _yaml.load(manifest)
    container = data["spec"]["containers"][0]
    return [*container["command"], *container.get("args", [])]


def cluster(minor: str = "1.36", planes: int = 1, workers: int = 1, kubeadm: str = "v1beta4") -> Cluster:
    """A healthy cluster as kubeadm leaves it."""
    hosts: Cluster = {f"cp{number}": control_plane(f"cp{number}", f"10.89.0.{10 + number}", minor) for number in range(1, planes + 1)}
    hosts.update({f"w{number}": base_host(f"w{number}", f"10.89.1.{number}", minor) for number in range(1, workers + 1)})
    configuration = document(minor, "ClusterConfiguration")
    if kubeadm == "v1beta3":
        lines = [line for line in configuration.splitlines(keepends=True) if not line.startswith(("caCert", "certificateValidity", "encryption", "proxy"))]
        configuration = "".join(lines).replace("v1beta4", "v1beta3")
    seen = {
        "readyz": True,
        "detail": "",
        "version": f"v{minor}.4",
        "endpoint": "https://10.89.0.11:6443",
        "nodes": [
            {
                "name": name,
                "uid": name,
                "addresses": [{"type": "InternalIP", "address": host["host"]["addresses"][0]}],
                "kubelet_port": 10250,
                "ready": True,
                "version": f"v{minor}.4",
                "lease_renewed": NOW,
                "control_plane": name.startswith("cp"),
                "os": "Debian",
            }
            for name, host in hosts.items()
        ],
        "serving_csrs": [],
        "configmaps": {
            "kubeadm-config": {"resource_version": "1", "data": {"ClusterConfiguration": configuration}},
            "kubelet-config": {"resource_version": "2", "data": {"kubelet": document(minor, "kubelet")}},
            "kube-proxy": {
                "resource_version": "3",
                "data": {"config.conf": (FIXTURES / "kube-proxy.yaml").read_text(), "kubeconfig.conf": "kind: Config\n"},
            },
        },
        "etcd": {
            "members": [
                {"id": str(number), "name": f"cp{number}", "peer_urls": [], "client_urls": [], "healthy": True, "leader": number == 1}
                for number in range(1, planes + 1)
            ],
            "error": None,
        },
        "stale_tokens": 0,
        "approvers": [],
        "lease": None,
        "kubelets": [
            {
                "node": name,
                "address": host["host"]["addresses"][0],
                "port": 10250,
                "verified": False,
                "error": "self-signed",
                "certificate": None,
                "configz": None,
                "configz_error": None,
            }
            for name, host in hosts.items()
        ],
    }
    for name, host in hosts.items():
        if name.startswith("cp"):
            host["cluster"] = copy.deepcopy(seen)
    return hosts


def inventory(hosts: Iterable[str], unreachable: Mapping[str, str] | None = None) -> Inventory:
    """Hosts called cp… are control planes with etcd, the others workers."""
    names = [*hosts, *(unreachable or {})]
    planes = tuple(name for name in names if name.startswith("cp"))
    return Inventory(planes, planes, tuple(name for name in names if not name.startswith("cp")), dict(unreachable or {}))


def planned(
    hosts: Cluster,
    unreachable: Mapping[str, str] | None = None,
    chosen: Iterable[controls.Control] | None = None,
    stage: str = START,
    **variables: Any,
) -> Plan:
    """The plan for a cluster. Variables are named as operators name them, without the prefix."""
    settings = Settings.parse({f"ninepaths_{name}": value for name, value in variables.items()})
    found = all_controls() if chosen is None else tuple(chosen)
    return plan(hosts, found, settings, inventory(hosts, unreachable), NOW, flags=all_flags(), assets=ASSETS, stage=stage)


def carried_out(hosts: Cluster, done: Plan) -> Cluster:
    """What would be observed after every job of a plan was committed."""
    after = copy.deepcopy(hosts)
    for name, jobs in done.jobs.items():
        for job in jobs.values():
            for step in job["steps"]:
                _STEPS[step["op"]](after, name, step)
    return after


def _write(host: dict[str, Any], change: Mapping[str, Any]) -> None:
    before = host["files"].get(change["path"], {"type": "absent"})
    assert {key: before.get(key) for key in ("type", "sha256", "mode", "uid", "gid") if change["before"][key] is not None} == {
        key: value for key, value in change["before"].items() if value is not None
    }, f"{change['path']} is not what the job expects"
    entry = {
        **before,
        "type": change["type"],
        "mode": change["mode"],
        "owner": change["owner"],
        "group": change["group"],
        "mtime": STARTED - 50,
        "uid": 0 if change["owner"] == "root" else 999,
        "gid": 0 if change["group"] == "root" else 999,
    }
    if change["type"] == "link":
        entry["target"] = change["target"]
    if change["content"] is not None:
        content = base64.b64decode(change["content"])
        entry.update(sha256=hashlib.sha256(content).hexdigest(), text=content.decode(), size=len(content))
    host["files"][change["path"]] = entry


def _files(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    for change in step["files"]:
        _write(after[name], change)


def _kubelet(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    _files(after, name, step)
    after[name]["kubelet"]["started"] = STARTED
    if step["expect"]["argv"] is not None:
        after[name]["kubelet"]["argv"] = step["expect"]["argv"]


def _static_pods(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    for component, change in step["changes"].items():
        _write(after[name], change["file"])
        seen = after[name]["components"][component]
        assert {key: seen[key] for key in change["old"]} == change["old"]
        assert argv(after[name]["files"][change["file"]["path"]]["text"]) == change["argv"]
        seen.update(argv=change["argv"], pid=seen["pid"] + 1000, uid=seen["uid"] + "+", started=STARTED)


def _approve(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    for host in after.values():
        for entry in (host["cluster"] or {}).get("kubelets", ()):
            if entry["node"] in step["nodes"]:
                entry.update(verified=True, error=None)
        for request in (host["cluster"] or {}).get("serving_csrs", ()):
            if request["node"] in step["nodes"] and request["verdict"] == "ok":
                request["state"] = "approved"


def _configmap(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    for host in after.values():
        if host["cluster"]:
            found = host["cluster"]["configmaps"][step["name"]]
            assert found["resource_version"] == step["resource_version"]
            found.update(data={**found["data"], **step["data"]}, resource_version=f"{step['resource_version']}0")


def _account(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    after[name]["accounts"][step["name"]] = {"uid": 999, "gid": 999}


def _units(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    after[name]["cluster"]["approvers"] += [unit for unit in step["enable"] if unit.endswith(".timer")]


def _sysctls(after: Cluster, name: str, step: Mapping[str, Any]) -> None:
    after[name]["sysctls"].update(step["values"])


_STEPS = {
    "files": _files,
    "kubelet": _kubelet,
    "static_pods": _static_pods,
    "approve": _approve,
    "configmap": _configmap,
    "account": _account,
    "units": _units,
    "sysctls": _sysctls,
}


@lru_cache(maxsize=16)
def _hardened(minor: str, profile: str) -> Cluster:
    hosts = cluster(minor)
    return carried_out(hosts, planned(hosts, profile=profile))


def hardened(minor: str = "1.36", profile: str = "recommended") -> Cluster:
    """A cluster as a harden run leaves it."""
    return copy.deepcopy(_hardened(minor, profile))


def with_manifest(hosts: Cluster, component: str, text: str, host: str = "cp1") -> Cluster:
    """The cluster with another manifest, and the process that the kubelet starts from it (variables with literal values filled in)."""
    hosts[host]["files"][f"{MANIFESTS}/{component}.yaml"] = file(text)
    hosts[host]["components"][component]["argv"] = list(static_pod.parse(text, component).running())
    return hosts


def with_flags(
    hosts: Cluster, component: str, *flags: str, without: Iterable[str] = (), environment: Mapping[str, str] | None = None, host: str = "cp1"
) -> Cluster:
    """The cluster with flags added to and taken from a manifest and its process, and with variables of its container."""
    lines = hosts[host]["files"][f"{MANIFESTS}/{component}.yaml"]["text"].splitlines(keepends=True)
    lines = [line for line in lines if not any(line.strip().startswith(f"- --{name}=") for name in without)]
    at = lines.index(f"    - {component}\n") + 1
    lines[at:at] = [f"    - {flag}\n" for flag in flags]
    if environment:
        at = next(number for number, line in enumerate(lines) if line.startswith("    image: "))
        entries = "".join(f"    - name: {name}\n      value: {json.dumps(value)}\n" for name, value in environment.items())
        lines[at:at] = ["    env:\n" + entries]
    return with_manifest(hosts, component, "".join(lines), host)
