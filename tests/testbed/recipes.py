# SPDX-License-Identifier: GPL-3.0-or-later
"""How each upstream publishes its binaries, and how the same binaries are built from its Go module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable

from tests.testbed.versions import GO_MODULES, Upstream

KUBERNETES_HOST = "https://dl.k8s.io"
GITHUB_HOST = "https://github.com"


@dataclass(frozen=True)
class Download:
    """One published file with the file that carries its SHA-256; `members` (archive → ours) where it is an archive."""

    url: str
    checksum_url: str
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """The binaries of an upstream. `trees` are folders of the module that belong to them."""

    packages: Mapping[str, str]
    downloads: Callable[[Upstream, str], Sequence[Download]]
    tags: str = ""
    stamps: Callable[[Upstream], Mapping[str, str]] = lambda upstream: {}
    trees: Sequence[str] = ()


def _github(project: str, version: str, name: str) -> str:
    return f"{GITHUB_HOST}/{project}/releases/download/v{version}/{name}"


def _kubernetes_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    base = f"{KUBERNETES_HOST}/v{upstream.version}/bin/linux/{arch}"
    return [Download(f"{base}/{name}", f"{base}/{name}.sha256") for name in RECIPES["kubernetes"].packages]


def _kubernetes_stamps(upstream: Upstream) -> Mapping[str, str]:
    major, minor = upstream.minor.split(".")
    values = {"gitVersion": f"v{upstream.version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return {
        f"{package}.{name}": value
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in values.items()
    }


def _etcd_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    folder = f"etcd-v{upstream.version}-linux-{arch}"
    members = {f"{folder}/{name}": name for name in RECIPES["etcd"].packages}
    return [
        Download(
            _github("etcd-io/etcd", upstream.version, f"{folder}.tar.gz"), _github("etcd-io/etcd", upstream.version, "SHA256SUMS"), members
        )
    ]


def _containerd_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    url = _github("containerd/containerd", upstream.version, f"containerd-static-{upstream.version}-linux-{arch}.tar.gz")
    return [Download(url, f"{url}.sha256sum", {f"bin/{name}": name for name in RECIPES["containerd"].packages})]


def _cri_tools_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    url = _github("kubernetes-sigs/cri-tools", upstream.version, f"crictl-v{upstream.version}-linux-{arch}.tar.gz")
    return [Download(url, f"{url}.sha256", {"crictl": "crictl"})]


def _cni_plugins_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    url = _github("containernetworking/plugins", upstream.version, f"cni-plugins-linux-{arch}-v{upstream.version}.tgz")
    return [Download(url, f"{url}.sha256", {f"./{name}": name for name in RECIPES["cni-plugins"].packages})]


def _coredns_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    url = _github("coredns/coredns", upstream.version, f"coredns_{upstream.version}_linux_{arch}.tgz")
    return [Download(url, f"{url}.sha256", {"coredns": "coredns"})]


def _kube_bench_downloads(upstream: Upstream, arch: str) -> Sequence[Download]:
    project, base = "aquasecurity/kube-bench", f"kube-bench_{upstream.version}"
    url = _github(project, upstream.version, f"{base}_linux_{arch}.tar.gz")
    return [Download(url, _github(project, upstream.version, f"{base}_checksums.txt"), {"kube-bench": "kube-bench", "cfg/": "cfg/"})]


RECIPES: Mapping[str, Recipe] = {
    "kubernetes": Recipe(
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kubeadm", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")
        },
        downloads=_kubernetes_downloads,
        tags="selinux,notest,grpcnotrace",
        stamps=_kubernetes_stamps,
    ),
    "etcd": Recipe(
        packages={"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3", "etcdutl": "go.etcd.io/etcd/etcdutl/v3"},
        downloads=_etcd_downloads,
    ),
    "containerd": Recipe(
        packages={name: f"{GO_MODULES['containerd']}/cmd/{name}" for name in ("containerd", "ctr", "containerd-shim-runc-v2")},
        downloads=_containerd_downloads,
        tags="osusergo netgo static_build urfave_cli_no_docs no_btrfs no_zfs",
        stamps=lambda upstream: {f"{GO_MODULES['containerd']}/version.Version": f"v{upstream.version}"},
    ),
    "cri-tools": Recipe(
        packages={"crictl": f"{GO_MODULES['cri-tools']}/cmd/crictl"},
        downloads=_cri_tools_downloads,
        stamps=lambda upstream: {f"{GO_MODULES['cri-tools']}/pkg/version.Version": f"v{upstream.version}"},
    ),
    "cni-plugins": Recipe(
        packages={
            name.split("/")[1]: f"{GO_MODULES['cni-plugins']}/plugins/{name}"
            for name in ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap")
        },
        downloads=_cni_plugins_downloads,
    ),
    "coredns": Recipe(packages={"coredns": GO_MODULES["coredns"]}, downloads=_coredns_downloads),
    "kube-bench": Recipe(packages={"kube-bench": GO_MODULES["kube-bench"]}, downloads=_kube_bench_downloads, trees=("cfg",)),
}
