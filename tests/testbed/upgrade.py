# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades a bed's cluster as kubeadm's documentation says: one node after the other, first its kubeadm, then what it runs, then its kubelet."""

from __future__ import annotations

import dataclasses

from tests.testbed import bed as beds
from tests.testbed import image, imagestore, kubeadm, kubectl, paths, provider, versions
from tests.testbed.bed import CONTROL_PLANE, Bed, Node
from tests.testbed.cluster import Machine
from tests.testbed.errors import BedError
from tests.testbed.imagestore import ImageStore
from tests.testbed.kubectl import Kubectl
from tests.testbed.podman import Podman
from tests.testbed.progress import say, step
from tests.testbed.provider import Binaries

# In the volume of /var: /tmp is a tmpfs that podman's copy does not see.
ARCHIVES = "/var/tmp/testbed-images"


def check(bed: Bed, minor: str) -> None:
    """kubeadm goes to the next minor only, and a bed that did not come up is nothing to upgrade."""
    if bed.state != "running":
        raise BedError(f"bed {bed.name} did not come up completely", "remove it, and start it anew")
    major, present = bed.kubernetes.split(".")[:2]
    allowed = [f"{major}.{int(present) + more}" for more in (0, 1)]
    if minor not in allowed:
        raise BedError(f"kubeadm does not upgrade Kubernetes {bed.kubernetes} to {minor}", f"upgrade to {allowed[1]} first")


def upgrade(machine: Machine, name: str, minor: str, source: str) -> None:
    """All nodes of a bed to the pinned version of a minor. Pods without a controller stand in the way of a drain, as everywhere."""
    check(beds.existing(name), minor)
    binaries = provider.provide(versions.release(minor), machine.host.architecture, source)
    store = imagestore.provide(machine.host, binaries)
    with paths.locked("nodes", beds.directory(name)):
        bed = beds.existing(name)
        joined = [one for one in bed.nodes if one.joined]
        first = joined[0]
        for one in joined:
            _load_images(machine.podman, one, store)  # everywhere: kubeadm tries first whether a Job with the new pause image runs
        for one in joined:
            _run_kubeadm(machine.podman, one, first, binaries["kubernetes"])
            _upgrade_kubelet(machine.podman, one, Kubectl(machine.podman, first), binaries["kubernetes"])
        with step("cluster", "nodes, kube-proxy and CoreDNS get ready"):
            kubectl.wait_until_ready(Kubectl(machine.podman, first))
        beds.save(_upgraded(machine, bed, binaries, store))
    say("bed", f"{name} runs Kubernetes {binaries['kubernetes'].upstream.version}")


def _upgraded(machine: Machine, bed: Bed, binaries: dict[str, Binaries], store: ImageStore) -> Bed:
    """Nodes that join later are made of the new release."""
    return dataclasses.replace(
        bed,
        kubernetes=binaries["kubernetes"].upstream.version,
        versions={name: one.upstream.version for name, one in binaries.items()},
        image=image.node_image(machine.podman, machine.host, binaries, store.references["pause"], "" if bed.release == machine.host.codename else bed.release),
        image_store=str(store.folder),
    )


def _load_images(podman: Podman, one: Node, store: ImageStore) -> None:
    """The new release's images, which no registry gives."""
    with step(one.name, f"images of {store.folder.name}"):
        for folder in store.folders(one.role):
            podman("cp", str(store.folder / folder), f"{one.container}:{ARCHIVES}")
            podman.execute(one.container, ["/usr/lib/testbed/load-images", ARCHIVES])
            podman.execute(one.container, ["rm", "-r", ARCHIVES])


def _install(podman: Podman, one: Node, kubernetes: Binaries, *names: str) -> None:
    """Beside and renamed, as packages do it: what runs keeps its file."""
    for name in names:
        new = f"/usr/bin/.{name}.new"
        podman("cp", str(kubernetes[name]), f"{one.container}:{new}")
        podman.execute(one.container, ["sh", "-c", f"chown root:root {new} && chmod 755 {new} && mv {new} /usr/bin/{name}"])


def _run_kubeadm(podman: Podman, one: Node, first: Node, kubernetes: Binaries) -> None:
    """`upgrade apply` on the first control plane, `upgrade node` everywhere else."""
    ignored = f"--ignore-preflight-errors={','.join(kubeadm.IGNORED_CHECKS)}"
    what = ["apply", f"v{kubernetes.upstream.version}", "--yes"] if one == first else ["node"]
    with step(one.name, f"kubeadm upgrade {what[0]}"):
        _install(podman, one, kubernetes, "kubeadm")
        podman.execute(one.container, ["kubeadm", "upgrade", *what, ignored], timeout=1200)


def _upgrade_kubelet(podman: Podman, one: Node, control: Kubectl, kubernetes: Binaries) -> None:
    """A kubelet of another minor also restarts the static pods of its node, so the apiserver may be away for some seconds."""
    version = f"v{kubernetes.upstream.version}"
    with step(one.name, "drain, kubelet and kubectl, uncordon"):
        kubectl.eventually(control, "drain", one.name, "--ignore-daemonsets", "--timeout=60s")
        _install(podman, one, kubernetes, "kubelet", "kubectl")
        podman.execute(one.container, ["sh", "-c", "systemctl daemon-reload && systemctl restart kubelet"])
        kubectl.eventually(control, "wait", f"--for=jsonpath={{.status.nodeInfo.kubeletVersion}}={version}", f"node/{one.name}", "--timeout=30s")
        kubectl.eventually(control, "wait", "--for=condition=Ready", f"node/{one.name}", "--timeout=30s")
        if one.role == CONTROL_PLANE:
            static_pods = ("--selector=tier=control-plane", f"--field-selector=spec.nodeName={one.name}")
            kubectl.eventually(control, "--namespace=kube-system", "wait", "--for=condition=Ready", "pods", *static_pods, "--timeout=30s")
        kubectl.eventually(control, "uncordon", one.name)
