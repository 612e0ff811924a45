# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flags kubeadm itself writes into the manifests, read from a dry run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml

from tools.flags.programs import GenerateError, run

# A documentation address: nothing is contacted, and what depends on the node is not kept.
_CONFIGURATION = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: 192.0.2.10, bindPort: 6443}}
nodeRegistration: {{name: node, criSocket: unix:///run/containerd/containerd.sock}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{version}
"""
_STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def defaults(kubeadm: Path, version: str) -> dict[str, dict[str, list[object]]]:
    """Component -> flag -> [type, value on a node called node at 192.0.2.10]."""
    with tempfile.TemporaryDirectory(prefix="ninepaths-flags-") as name:
        folder = Path(name)
        configuration = folder / "kubeadm.yaml"
        configuration.write_text(_CONFIGURATION.format(version=version), encoding="utf-8")
        # Without it the dry run writes under /etc/kubernetes.
        environment = {**os.environ, "KUBEADM_INIT_DRYRUN_DIR": str(folder / "out")}
        (folder / "out").mkdir(mode=0o700)
        shown = ""
        for phase in (("control-plane", "all"), ("etcd", "local")):
            argv: list[str | Path] = [kubeadm, "init", "phase", *phase, "--config", configuration, "--dry-run"]
            shown += run(argv, environment=environment)
        manifests = [file.read_text(encoding="utf-8") for file in sorted((folder / "out").rglob("*.yaml"))]
    return _flags([*manifests, _printed(shown)])


def _printed(shown: str) -> str:
    """The manifest that `etcd local` prints and does not write."""
    return "apiVersion:" + shown.rpartition("\napiVersion:")[2] if "\napiVersion:" in shown else ""


def _flags(manifests: list[str]) -> dict[str, dict[str, list[object]]]:
    found: dict[str, dict[str, list[object]]] = {}
    for manifest in manifests:
        pod = yaml.safe_load(manifest) if manifest else None
        if not pod or pod.get("kind") != "Pod":
            continue
        command = pod["spec"]["containers"][0]["command"]
        pairs = [flag.removeprefix("--").partition("=") for flag in command[1:]]
        found[command[0]] = {flag: ["string", value] for flag, _equals, value in pairs}
    missing = [component for component in _STATIC_PODS if component not in found]
    if missing:
        raise GenerateError(f"kubeadm's dry run made no manifest of {', '.join(missing)}")
    return found
