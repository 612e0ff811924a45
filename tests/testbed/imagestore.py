# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the pods: the control plane's under the names kubeadm asks for, and a tool image for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import archive, host, image, paths
from tests.testbed.command import run
from tests.testbed.errors import BedError
from tests.testbed.progress import step
from tests.testbed.provider import Binaries

# IfNotPresent is the default pull policy of a tag other than latest.
TOOL_IMAGE = "localhost/ninepaths-tool:1"
# curl since tests speak TLS to the apiserver, and since busybox wget crashes with a time-out (-T).
TOOL_PACKAGES = "busybox,curl,openssl"
PROXY_PACKAGES = "iptables,nftables,conntrack,kmod"
STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
COREDNS_USER = "65532:65532"


@dataclass(frozen=True)
class ImageStore:
    """Folders of docker-archives: what every node loads, and what only control planes need."""

    folder: Path
    references: Mapping[str, str]

    def folders(self, role: str) -> Sequence[str]:
        return ("node", "control-plane") if role == "control-plane" else ("node",)


def wanted_images(kubernetes: Binaries) -> dict[str, str]:
    """What this kubeadm asks for, by the last part of the name."""
    listing = run([str(kubernetes["kubeadm"]), "config", "images", "list", "--kubernetes-version", f"v{kubernetes.upstream.version}"])
    return {reference.rsplit("/", 1)[1].split(":")[0]: reference for reference in listing.split()}


def _pause(work: Path) -> Path:
    pause = work / "pause"
    run(["gcc", "-Os", "-Wall", "-Wextra", "-static", "-s", "-o", str(pause), str(paths.FILES / "pause.c")])
    return pause


def _tool(machine: host.Host, work: Path) -> archive.Image:
    """busybox with all its applets in a folder of their own, behind the full commands of the same names."""
    rootfs, busybox = image.debootstrap(machine, "extract", TOOL_PACKAGES), work / "busybox"
    found = archive.extract(rootfs, ("bin/busybox", "usr/bin/busybox"), busybox)
    applets = [name for name in run([str(busybox), "--list"]).split() if name != "busybox"]
    links = {f"applets/{name}": f"/{found}" for name in applets} | {f"{Path(found).parent}/sh": "busybox"}
    return archive.Image([TOOL_IMAGE], links=links, base=[rootfs], path="/usr/bin:/bin:/applets")


def _images(machine: host.Host, binaries: Mapping[str, Binaries], wanted: Mapping[str, str], work: Path) -> dict[str, archive.Image]:
    kubernetes, etcd = binaries["kubernetes"], binaries["etcd"]
    images = {
        "node/pause": archive.Image([wanted["pause"]], files={"pause": _pause(work)}, entrypoint=["/pause"], user="65535:65535"),
        "node/tool": _tool(machine, work),
        "node/coredns": archive.Image(
            [wanted["coredns"]], files={"coredns": binaries["coredns"]["coredns"]}, entrypoint=["/coredns"], user=COREDNS_USER
        ),
        "node/kube-proxy": archive.Image(
            [wanted["kube-proxy"]],
            files={"usr/local/bin/kube-proxy": kubernetes["kube-proxy"]},
            base=[image.debootstrap(machine, "extract", PROXY_PACKAGES)],
        ),
        "control-plane/etcd": archive.Image(
            [wanted["etcd"]], files={f"usr/local/bin/{name}": etcd[name] for name in ("etcd", "etcdctl", "etcdutl")}
        ),
    }
    for name in STATIC_PODS:
        images[f"control-plane/{name}"] = archive.Image([wanted[name]], files={f"usr/local/bin/{name}": kubernetes[name]})
    return images


def provide(machine: host.Host, binaries: Mapping[str, Binaries]) -> ImageStore:
    """The image archives of a release, in the cache under the hash of what they are made from."""
    kubernetes = binaries["kubernetes"]
    wanted = wanted_images(kubernetes)
    missing = {"pause", "coredns", "kube-proxy", "etcd", *STATIC_PODS} - set(wanted)
    if missing:
        raise BedError(f"kubeadm {kubernetes.upstream.version} asks for no image named {', '.join(sorted(missing))}", "see imagestore.py")
    sources = [paths.file_digest(Path(archive.__file__)), paths.file_digest(Path(__file__)), paths.file_digest(paths.FILES / "pause.c")]
    key = paths.digest(machine.codename, *wanted.values(), *(binaries[name].digest for name in ("kubernetes", "etcd", "coredns")), *sources)
    folder = paths.cache() / "images" / f"{kubernetes.upstream}-{key}"
    with paths.locked("images"):
        if not folder.is_dir():
            with (
                step("images", "control plane, kube-proxy, CoreDNS, pause, tool"),
                paths.whole_directory(folder) as new,
                tempfile.TemporaryDirectory() as work,
            ):
                for name, one in _images(machine, binaries, wanted, Path(work)).items():
                    target = new / f"{name}.tar"
                    target.parent.mkdir(exist_ok=True)
                    archive.write(one, machine.architecture, target)
    return ImageStore(folder, wanted)
