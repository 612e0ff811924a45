# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a bed up, adds nodes to it, takes it down."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import bed as beds
from tests.testbed import host, image, imagestore, inventory, kubeadm, kubectl, loadbalancer, network, node, paths, provider, ssh, versions
from tests.testbed.bed import CONTROL_PLANE, WORKER, Bed, Node
from tests.testbed.errors import BedError
from tests.testbed.host import Host
from tests.testbed.podman import Podman
from tests.testbed.progress import say, step

# More at once only takes turns on a small machine.
PARALLEL = 4


@dataclass(frozen=True)
class Request:
    """What `up` is asked for."""

    name: str
    control_planes: int
    workers: int
    kubernetes: str
    source: str
    release: str = ""


@dataclass(frozen=True)
class Machine:
    """The machine that carries the bed, and podman on it."""

    host: Host
    podman: Podman


def check(request: Request) -> None:
    beds.check_name(request.name)
    limits = {role: beds.LAST_HOST[role] - beds.FIRST_HOST[role] + 1 for role in (CONTROL_PLANE, WORKER)}
    if not 1 <= request.control_planes <= limits[CONTROL_PLANE] or request.control_planes % 2 == 0:
        raise BedError(f"{request.control_planes} control planes are no quorum", f"choose an odd number up to {limits[CONTROL_PLANE]}")
    if not 0 <= request.workers <= limits[WORKER]:
        raise BedError(f"{request.workers} workers do not fit", f"choose 0 to {limits[WORKER]}")


def _plan_nodes(bed: Bed, request: Request) -> Bed:
    for role in [CONTROL_PLANE] * request.control_planes + [WORKER] * request.workers:
        bed = bed.with_node(beds.new_node(bed, role))
    return bed


def _already_there(machine: Machine, name: str) -> bool:
    """Whether a whole bed of this name runs; raises for what stands in the way of one."""
    bed = beds.load(name)
    advice = f"remove it first: make testbed-down{'' if name == beds.DEFAULT_BED else f' BED={name}'}"
    if bed is None:
        return False
    if bed.state != "running":
        raise BedError(f"bed {name} did not come up completely", advice)
    stopped = {one.container for one in bed.nodes} - set(machine.podman.names("ps"))
    if stopped:
        raise BedError(f"of bed {name} {', '.join(sorted(stopped))} does not run", f"podman start it, or {advice}")
    return True


def up(machine: Machine, request: Request) -> None:
    check(request)
    if _already_there(machine, request.name):
        say("bed", f"{request.name} runs already; nothing to do")
        return
    began = time.monotonic()
    binaries = provider.provide(versions.release(request.kubernetes), machine.host.architecture, request.source)
    store = imagestore.provide(machine.host, binaries)
    node_image = image.node_image(machine.podman, machine.host, binaries, store.references["pause"], request.release)
    bed = Bed(
        name=request.name,
        subnet=_new_bed(machine.podman, request.name),
        kubernetes=binaries["kubernetes"].upstream.version,
        versions={name: one.upstream.version for name, one in binaries.items()},
        image=node_image,
        tool_image=imagestore.TOOL_IMAGE,
        image_store=str(store.folder),
        highly_available=request.control_planes > 1,
        release=request.release or machine.host.codename,
    )
    bed = _plan_nodes(bed, request)
    beds.save(bed)
    host.raise_inotify_instances()
    bed = _bring_up(machine, bed)
    beds.save(dataclasses.replace(bed, state="running"))
    took = time.monotonic() - began
    size = f"{request.control_planes}+{request.workers}"
    say("bed", f"{bed.name} is up in {took:.0f} s: Kubernetes {bed.kubernetes}, {size}, {bed.directory}")


def _new_bed(podman: Podman, name: str) -> str:
    """Claim the name by its directory, then make the network. What podman still has of the name is then a rest: its directory is gone."""
    try:
        beds.directory(name).mkdir(mode=0o700)
    except FileExistsError as error:
        advice = "another start of it may be under way; if not, remove it: python3 -m tests.testbed down"
        raise BedError(f"{beds.directory(name)} exists without a bed", advice) from error
    _remove_objects(podman, beds.bed_label(name))
    return network.create(podman, name)


def _prepare(machine: Machine, bed: Bed, one: Node, public_key: str) -> None:
    with step("nodes", f"{one.name} ({one.address}) boots and loads its images"):
        node.start(machine.podman, bed, one, machine.host, public_key)
        node.wait_until_booted(machine.podman, one)
        node.load_images(machine.podman, one)


def _bring_up(machine: Machine, bed: Bed) -> Bed:
    public_key = ssh.make_key(bed.directory)
    if bed.highly_available:
        _start_load_balancer(machine, bed)
    first = bed.of_role(CONTROL_PLANE)[0]
    pool = ThreadPoolExecutor(max_workers=PARALLEL)
    try:
        prepared = {one.name: pool.submit(_prepare, machine, bed, one, public_key) for one in bed.nodes}
        prepared[first.name].result()
        with step("kubeadm", f"init {first.name}"):
            kubeadm.init(machine.podman, bed, first, machine.host)
        _join_all(machine, bed, prepared, pool)
    finally:
        pool.shutdown(cancel_futures=True)
    for one in bed.nodes:
        bed = bed.with_node(dataclasses.replace(one, joined=True))
    inventory.write(machine.podman, bed)
    inventory.write_kubeconfig(machine.podman, bed, first)
    _finish(machine, bed, first)
    return bed


def _join_all(machine: Machine, bed: Bed, prepared: Mapping[str, Future[None]], pool: ThreadPoolExecutor) -> None:
    """Workers join at any time; control planes one after the other, since etcd takes one new member at a time."""
    first, *others = bed.of_role(CONTROL_PLANE)
    workers = bed.of_role(WORKER)

    def join(one: Node, ticket: kubeadm.JoinTicket) -> None:
        prepared[one.name].result()
        with step("kubeadm", f"join {one.name}"):
            kubeadm.join(machine.podman, one, ticket)

    joining: list[Future[None]] = []
    if workers:
        ticket = kubeadm.ticket(machine.podman, first, WORKER)
        joining = [pool.submit(join, one, ticket) for one in workers]
    if others:
        ticket = kubeadm.ticket(machine.podman, first, CONTROL_PLANE)
        for one in others:
            join(one, ticket)
    for future in joining:
        future.result()


def _finish(machine: Machine, bed: Bed, first: Node) -> None:
    control = kubectl.Kubectl(machine.podman, first)
    if not bed.of_role(WORKER):
        control("taint", "nodes", "--all", f"{kubeadm.CONTROL_PLANE_TAINT}-")
    with step("cluster", "nodes, kube-proxy and CoreDNS get ready"):
        kubectl.wait_until_ready(control)
    with step("cluster", "pods of all nodes reach each other and the cluster's DNS"):
        kubectl.check_network(control, bed)


def _start_load_balancer(machine: Machine, bed: Bed) -> None:
    assert bed.load_balancer is not None
    numbers = range(beds.FIRST_HOST[CONTROL_PLANE], beds.LAST_HOST[CONTROL_PLANE] + 1)
    servers = {f"cp{index}": bed.address(number) for index, number in enumerate(numbers, 1)}
    directory = bed.directory / "haproxy"
    directory.mkdir(mode=0o755)
    (directory / "haproxy.cfg").write_text(loadbalancer.configuration(servers), encoding="utf-8")
    reference = loadbalancer.provide(machine.podman, machine.host)
    loadbalancer.start(machine.podman, reference, bed.load_balancer, (bed.network, bed.endpoint_address), bed.labels, directory)


def add_node(machine: Machine, bed_name: str, name: str, role: str) -> Node:
    """Create a node that is prepared, not joined: image, ssh, containerd, images. One that an earlier call left unfinished is finished."""
    bed = beds.existing(bed_name)
    if role == CONTROL_PLANE and not bed.highly_available:
        raise BedError(f"bed {bed_name} has one control plane and no load balancer", "start it with CONTROL_PLANES=3 to add more")
    with paths.locked("nodes", bed.directory):
        bed = beds.existing(bed_name)
        one = beds.unfinished(bed, role, name)
        if one is None:
            one = beds.new_node(bed, role, name)
            bed = bed.with_node(one)
            beds.save(bed)
            _prepare(machine, bed, one, ssh.make_key(bed.directory))
        else:
            _prepare_again(machine, bed, one)
        inventory.write(machine.podman, bed)
    return one


def _prepare_again(machine: Machine, bed: Bed, one: Node) -> None:
    """Go on where an earlier call gave up: a container that runs is waited for, any other is made anew."""
    if one.container not in machine.podman.names("ps"):
        machine.podman("rm", "--force", "--ignore", "--time=0", one.container)
        machine.podman("volume", "rm", "--force", one.container)
        _prepare(machine, bed, one, ssh.make_key(bed.directory))
        return
    with step("nodes", f"{one.name} ({one.address}) is there already; waits until it has booted, and loads its images"):
        node.wait_until_booted(machine.podman, one)
        node.load_images(machine.podman, one)


def join_node(machine: Machine, bed_name: str, name: str) -> None:
    """Join a prepared node with kubeadm."""
    with paths.locked("nodes", beds.existing(bed_name).directory):
        bed = beds.existing(bed_name)
        first, one = bed.of_role(CONTROL_PLANE)[0], bed.node(name)
        with step("kubeadm", f"join {one.name}"):
            kubeadm.join(machine.podman, one, kubeadm.ticket(machine.podman, first, one.role))
        bed = bed.with_node(dataclasses.replace(one, joined=True))
        beds.save(bed)
        inventory.write(machine.podman, bed)
        with step("cluster", "nodes get ready"):
            kubectl.wait_until_ready(kubectl.Kubectl(machine.podman, first))


def down(machine: Machine, name: str) -> None:
    """Remove one bed of this checkout, whole or not."""
    beds.check_name(name)
    beds.load(name)  # a directory that holds something else is not ours to delete
    _remove(machine.podman, beds.bed_label(name), [beds.directory(name)], name)


def down_all(machine: Machine) -> None:
    directories = [path.parent for path in paths.CHECKOUT.glob(".testbed*/bed.json")]
    for directory in directories:
        beds.parse((directory / "bed.json").read_text(encoding="utf-8"))
    _remove(machine.podman, beds.checkout_label(), directories, "all beds of this checkout")


def _remove(podman: Podman, label: str, directories: list[Path], what: str) -> None:
    with step("bed", f"remove {what}"):
        _remove_objects(podman, label)
        for directory in directories:
            if directory.exists():
                shutil.rmtree(directory)


def _remove_objects(podman: Podman, label: str) -> None:
    containers = podman.names("ps", "--all", label=label)
    if containers:
        podman("rm", "--force", "--time=0", *containers)
    for kind in ("volume", "network"):
        names = podman.names(kind, "ls", label=label)
        if names:
            podman(kind, "rm", "--force", *names)


def status(machine: Machine, name: str) -> None:
    bed = beds.existing(name)
    running = set(machine.podman.names("ps"))
    say("bed", f"{bed.name}: {bed.state}, Kubernetes {bed.kubernetes}, endpoint {bed.endpoint}, {bed.directory}")
    for one in bed.nodes:
        container, member = "runs" if one.container in running else "does not run", "joined" if one.joined else "prepared"
        say(one.name, f"{one.address}  {one.role}  {container}  {member}")
    print(kubectl.Kubectl(machine.podman, bed.of_role(CONTROL_PLANE)[0])("get", "nodes,pods", "--all-namespaces", "--output=wide"), end="")
