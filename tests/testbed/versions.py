# SPDX-License-Identifier: GPL-3.0-or-later
"""Which upstream versions make a bed. The versions themselves stand in modules/*/go.mod and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.errors import BedError

MODULES = Path(__file__).parent / "modules"


@dataclass(frozen=True)
class Upstream:
    """One upstream project at one pinned version."""

    name: str
    module: Path
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])

    def __str__(self) -> str:
        return f"{self.name}-v{self.version}"


# The Go module whose version is the project's version.
GO_MODULES: Mapping[str, str] = {
    "kubernetes": "k8s.io/kubernetes",
    "etcd": "go.etcd.io/etcd/server/v3",
    "containerd": "github.com/containerd/containerd/v2",
    "cri-tools": "sigs.k8s.io/cri-tools",
    "cni-plugins": "github.com/containernetworking/plugins",
    "coredns": "github.com/coredns/coredns",
    "kube-bench": "github.com/aquasecurity/kube-bench",
}

COMMON: Mapping[str, str] = {"containerd": "2.3", "cri-tools": "1.36", "cni-plugins": "1.9", "coredns": "1.14", "kube-bench": "0.15"}

# A minor that a bed can run: add its module folder and a line here. etcd is the minor that this kubeadm asks for.
RELEASES: Mapping[str, Mapping[str, str]] = {
    "1.31": {"kubernetes": "1.31", "etcd": "3.5", **COMMON},
    "1.32": {"kubernetes": "1.32", "etcd": "3.5", **COMMON},
    "1.33": {"kubernetes": "1.33", "etcd": "3.5", **COMMON},
    "1.34": {"kubernetes": "1.34", "etcd": "3.6", **COMMON},
    "1.35": {"kubernetes": "1.35", "etcd": "3.6", **COMMON},
    "1.36": {"kubernetes": "1.36", "etcd": "3.6", **COMMON},
    "1.37": {"kubernetes": "1.37", "etcd": "3.7", **COMMON},
}
DEFAULT_RELEASE = "1.36"


def pinned_version(go_mod: str, module: str) -> str:
    """The version that a go.mod requires of a module, without the leading v."""
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} v(\S+)$", go_mod, re.MULTILINE)
    if not found:
        raise BedError(f"no version of {module} is pinned", "see the go.mod files in tests/testbed/modules")
    return found.group(1)


def upstream(name: str, minor: str) -> Upstream:
    folder = MODULES / f"{name}-{minor}"
    try:
        go_mod = (folder / "go.mod").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BedError(f"{name} {minor} has no module folder", f"add {folder} with go.mod, go.sum and tools.go") from error
    return Upstream(name, folder, pinned_version(go_mod, GO_MODULES[name]))


def release(minor: str) -> tuple[Upstream, ...]:
    """All upstreams of a bed that runs this Kubernetes minor."""
    if minor not in RELEASES:
        raise BedError(f"Kubernetes {minor} is not in the versions table", f"choose one of: {', '.join(RELEASES)}")
    return tuple(upstream(name, its_minor) for name, its_minor in RELEASES[minor].items())
