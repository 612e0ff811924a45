# SPDX-License-Identifier: GPL-3.0-or-later
"""A node: a container that boots systemd."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

from tests.testbed import network, paths
from tests.testbed.bed import CONTROL_PLANE, FIRST_HOST, LAST_HOST, WORKER, Bed, Node
from tests.testbed.errors import BedError, CommandError
from tests.testbed.host import Host
from tests.testbed.podman import Podman

BOOT_SECONDS = 60.0
OPS_UID = 1000
ROOT = (0, 0o755)


def own_files(node: Node, public_key: str) -> bytes:
    """A tar of the files that no other node has."""
    authorized = "home/ops/.ssh"
    content = {
        "etc/cni/net.d/10-bridge.conflist": (0, 0o644, network.conflist(node)),
        "etc/default/testbed-node": (0, 0o644, network.node_values(node, FIRST_HOST[CONTROL_PLANE], LAST_HOST[WORKER])),
        f"{authorized}/authorized_keys": (OPS_UID, 0o600, public_key),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, uid, mode in (("etc/cni", *ROOT), ("etc/cni/net.d", *ROOT), (authorized, OPS_UID, 0o700)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, uid, uid
            tar.addfile(member)
        for name, (uid, mode, text) in content.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(text.encode()), mode, uid, uid
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def create_arguments(bed: Bed, node: Node, machine: Host, kube_bench: Path) -> list[str]:
    # --systemd=always would bind the machine's whole name=systemd hierarchy into the node on cgroup v1: all nodes would share
    # /system.slice, and stopping one would trim the others'. So the tmpfs are made by hand.
    tmpfs = ["--tmpfs=/run:rw,mode=755,exec", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"]
    # /var is a volume since containerd's overlay does not stack on podman's; one level above /var/lib/etcd, which kubeadm makes 0700.
    volumes = [f"--volume={node.container}:/var", f"--volume={bed.image_store}:/images:ro", f"--volume={kube_bench}:/opt/kube-bench:ro"]
    if machine.modules:
        volumes.append("--volume=/lib/modules:/lib/modules:ro")
    identity = [f"--name={node.container}", f"--hostname={node.name}", f"--network={bed.network}", f"--ip={node.address}", *bed.labels]
    powers = ["--privileged", "--cgroupns=private", "--systemd=false", "--stop-signal=SIGRTMIN+3", "--sysctl=net.ipv4.ip_forward=1"]
    return [*identity, *powers, *tmpfs, *volumes, bed.image]


def start(podman: Podman, bed: Bed, node: Node, machine: Host, public_key: str) -> None:
    """Create the container, lay the node's own files, boot it."""
    kube_bench = paths.cache() / "binaries" / f"kube-bench-v{bed.versions['kube-bench']}"
    podman("volume", "create", *bed.labels, node.container)
    podman("create", *create_arguments(bed, node, machine, kube_bench))
    podman("cp", "--archive=false", "-", f"{node.container}:/", stdin=own_files(node, public_key))
    podman("start", node.container)


def wait_until_booted(podman: Podman, node: Node) -> None:
    """Wait for sshd, which comes after the host keys and the routes."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            podman.execute(node.container, ["systemctl", "is-active", "--quiet", "testbed-node", "ssh", "containerd"], timeout=30)
            return
        except CommandError as error:
            if time.monotonic() > deadline:
                raise BedError(
                    f"node {node.name} has not booted after {BOOT_SECONDS:.0f} s", f"podman exec {node.container} journalctl -b"
                ) from error
        time.sleep(0.5)


def load_images(podman: Podman, node: Node) -> None:
    folders = ["/images/node", "/images/control-plane"] if node.role == CONTROL_PLANE else ["/images/node"]
    podman.execute(node.container, ["/usr/lib/testbed/load-images", *folders])
