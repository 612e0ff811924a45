# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's image: a distribution made by mmdebstrap, and the binaries and units as the upstream packages lay them."""

from __future__ import annotations

import shutil
import string
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import host, paths
from tests.testbed.command import as_root, run
from tests.testbed.podman import Podman
from tests.testbed.progress import step
from tests.testbed.provider import Binaries

NODE_PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,iproute2,iputils-ping,procps,ca-certificates,sudo,kmod,iptables,nftables,"
    "conntrack,ethtool,socat,ebtables,util-linux,mount,runc,openssl,curl,strace"
)
SSH_USER = "ops"
NODE_HOOKS = (
    f'chroot "$1" useradd --create-home --shell /bin/bash {SSH_USER}',
    # Every node makes its own identity at its first boot.
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname && : > "$1"/etc/machine-id',
)
# Installers merge /usr in every release; the packages of those before bookworm do not say so.
MERGED_USR = ("--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh",)
UNITS = "usr/lib/systemd/system"
WANTS = "etc/systemd/system/multi-user.target.wants"
# What only makes sense on a machine of its own, or would write the machine's global sysctls.
MASKED = (
    "getty.target",
    "console-getty.service",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-logind.service",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
)


@dataclass(frozen=True)
class Entry:
    """A file of the node's image."""

    content: Path | str
    mode: int = 0o644

    def fingerprint(self) -> str:
        content = self.content if isinstance(self.content, str) else paths.file_digest(self.content)
        return f"{self.mode:o} {content}"

    def write(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, str):
            target.write_text(self.content, encoding="utf-8")
        else:
            shutil.copyfile(self.content, target)
        target.chmod(self.mode)


def debootstrap(machine: host.Host, variant: str, packages: str, hooks: Sequence[str] = (), release: str = "") -> Path:
    """A root file system as a tar in the cache, of the machine's own release or another one, from the machine's mirrors."""
    release = release or machine.codename
    key = paths.digest(release, machine.architecture, variant, packages, *hooks)
    target = paths.cache() / "rootfs" / f"{release}-{variant}-{key}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.locked("rootfs"):
        if not target.exists():
            with (
                step("images", f"root file system of {release} for {packages.split(',')[0]} and others"),
                paths.whole_file(target) as new,
            ):
                own = host.apt_sources(machine.distribution, machine.codename)
                sources = new.with_name(own.name)
                sources.write_text(host.sources_for(release, machine.codename, own.read_text(encoding="utf-8")), encoding="utf-8")
                argv = [
                    "mmdebstrap",
                    "--quiet",
                    f"--variant={variant}",
                    f"--include={packages}",
                    *(f"--customize-hook={hook}" for hook in hooks),
                    *(MERGED_USR if release != machine.codename else ()),
                ]
                run(as_root([*argv, release, str(new), str(sources)]), timeout=1800)
    return target


def containerd_config(machine: host.Host, pause: str) -> str:
    template = string.Template((paths.FILES / "node" / "config.toml").read_text(encoding="utf-8"))
    return template.substitute(
        pause=pause,
        restrict_oom_score_adj=str(not machine.raises_limits).lower(),
        systemd_cgroup=str(machine.cgroup_driver == "systemd").lower(),
    )


def node_entries(machine: host.Host, binaries: Mapping[str, Binaries], pause: str) -> dict[str, Entry]:
    """Everything that the packages of the field would install, at their paths and with their modes."""
    files = paths.FILES / "node"
    entries = {
        "etc/containerd/config.toml": Entry(containerd_config(machine, pause)),
        "etc/crictl.yaml": Entry(files / "crictl.yaml"),
        "etc/ssh/sshd_config.d/10-testbed.conf": Entry(files / "sshd.conf"),
        f"etc/sudoers.d/{SSH_USER}": Entry(files / "sudoers", 0o440),
        f"{UNITS}/kubelet.service.d/10-kubeadm.conf": Entry(files / "10-kubeadm.conf"),
        "usr/lib/testbed/prepare-node": Entry(files / "prepare-node", 0o755),
        "usr/lib/testbed/load-images": Entry(files / "load-images", 0o755),
    }
    for unit in ("containerd", "kubelet", "testbed-node"):
        entries[f"{UNITS}/{unit}.service"] = Entry(files / f"{unit}.service")
    commands = {"kubernetes": ("kubeadm", "kubelet", "kubectl"), "etcd": ("etcdctl", "etcdutl"), "cri-tools": ("crictl",)}
    commands["containerd"] = ("containerd", "ctr", "containerd-shim-runc-v2")
    for upstream, names in commands.items():
        entries.update({f"usr/bin/{name}": Entry(binaries[upstream][name], 0o755) for name in names})
    for name in ("bridge", "loopback", "host-local", "portmap"):
        entries[f"opt/cni/bin/{name}"] = Entry(binaries["cni-plugins"][name], 0o755)
    return entries


def _write_tree(entries: Mapping[str, Entry], tree: Path) -> None:
    for name, entry in entries.items():
        entry.write(tree / name)
    (tree / "etc/kubernetes/manifests").mkdir(parents=True)
    (tree / WANTS).mkdir(parents=True)
    for unit in ("containerd", "kubelet", "testbed-node"):
        (tree / WANTS / f"{unit}.service").symlink_to(f"/{UNITS}/{unit}.service")
    for unit in MASKED:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")


CONTAINERFILE = """FROM {base}
COPY tree/ /
ENV container=podman
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
"""


def node_image(podman: Podman, machine: host.Host, binaries: Mapping[str, Binaries], pause: str, release: str = "") -> str:
    """The reference of the node's image, made when its content is new; `release` is another one than the machine's."""
    rootfs = debootstrap(machine, "minbase", NODE_PACKAGES, NODE_HOOKS, release)
    base = f"localhost/ninepaths-base:{rootfs.stem.rsplit('-', 1)[1]}"
    entries = node_entries(machine, binaries, pause)
    content = [f"{name} {entry.fingerprint()}" for name, entry in sorted(entries.items())]
    reference = f"localhost/ninepaths-node:{paths.digest(base, CONTAINERFILE, *MASKED, *content)}"
    with paths.locked("podman-images"):
        if not podman.has_image(base):
            with step("images", f"import {base}"):
                podman("import", "--quiet", str(rootfs), base)
        if not podman.has_image(reference):
            with step("images", f"build {reference}"), tempfile.TemporaryDirectory(dir=paths.cache()) as work:
                _write_tree(entries, Path(work) / "tree")
                (Path(work) / "Containerfile").write_text(CONTAINERFILE.format(base=base), encoding="utf-8")
                podman("build", "--quiet", "--tag", reference, "--file", f"{work}/Containerfile", work)
    return reference
