# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.testbed up|down|status|add-node|upgrade|binaries|setup, from the root of the checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Callable

from tests.testbed import cluster, host, packages, podman, provider, upgrade, versions
from tests.testbed.bed import CONTROL_PLANE, DEFAULT_BED, WORKER
from tests.testbed.errors import BedError


def _machine() -> cluster.Machine:
    machine = host.look()
    return cluster.Machine(machine, podman.connect(machine))


def _up(arguments: argparse.Namespace) -> None:
    request = cluster.Request(arguments.bed, arguments.control_planes, arguments.workers, arguments.kubernetes, arguments.source, arguments.node_release)
    cluster.up(_machine(), request)


def _down(arguments: argparse.Namespace) -> None:
    if arguments.all:
        cluster.down_all(_machine())
    else:
        cluster.down(_machine(), arguments.bed)


def _status(arguments: argparse.Namespace) -> None:
    cluster.status(_machine(), arguments.bed)


def _add_node(arguments: argparse.Namespace) -> None:
    machine = _machine()
    node = cluster.add_node(machine, arguments.bed, arguments.name, arguments.role)
    if arguments.join:
        cluster.join_node(machine, arguments.bed, node.name)


def _upgrade(arguments: argparse.Namespace) -> None:
    upgrade.upgrade(_machine(), arguments.bed, arguments.kubernetes, arguments.source)


def _binaries(arguments: argparse.Namespace) -> None:
    upstreams = [one for one in versions.release(arguments.kubernetes) if not arguments.only or one.name in arguments.only]
    for binaries in provider.provide(upstreams, host.look().architecture, arguments.source).values():
        print(binaries.folder)


def _setup(_arguments: argparse.Namespace) -> None:
    packages.install()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 -m tests.testbed", description="Real Kubernetes in podman containers.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, action: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(action=action)
        return one

    def bed(one: argparse.ArgumentParser) -> None:
        one.add_argument("--bed", default=DEFAULT_BED, help="name of the bed; several live side by side (default: %(default)s)")

    def versioned(one: argparse.ArgumentParser) -> None:
        one.add_argument(
            "--kubernetes", default=versions.DEFAULT_RELEASE, choices=versions.RELEASES, help="minor version (default: %(default)s)"
        )
        one.add_argument(
            "--source",
            default="auto",
            choices=provider.SOURCES,
            help="where binaries come from that the cache lacks (default: %(default)s)",
        )

    command("setup", _setup, "install what the bed needs of the machine (apt, with sudo)")
    up = command("up", _up, "start a bed; says so when it runs already")
    down = command("down", _down, "remove a bed and everything that belongs to it")
    status = command("status", _status, "show what runs in a bed")
    add = command("add-node", _add_node, "create a prepared node (image, ssh, containerd), or finish one that did not boot in time")
    higher = command("upgrade", _upgrade, "upgrade a bed's cluster with kubeadm, node by node, as its documentation says")
    binaries = command("binaries", _binaries, "provide the binaries of a release in the cache, print their folders")
    for one in (up, down, status, add, higher):
        bed(one)
    for one in (up, higher, binaries):
        versioned(one)
    up.add_argument("--control-planes", type=int, default=1, help="1, or an odd number behind a load balancer (default: %(default)s)")
    up.add_argument("--workers", type=int, default=1, help="(default: %(default)s)")
    up.add_argument("--node-release", default="", metavar="CODENAME", help="nodes run this release of the machine's distribution (default: its own)")
    down.add_argument("--all", action="store_true", help="all beds of this checkout")
    add.add_argument("name", help="name of the node")
    add.add_argument("--role", choices=(WORKER, CONTROL_PLANE), default=WORKER, help="(default: %(default)s)")
    add.add_argument("--join", action="store_true", help="join it with kubeadm, too")
    binaries.add_argument("--only", nargs="+", choices=versions.GO_MODULES, help="these upstreams only")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.action(arguments)
    except BedError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.advice:
            print(f"advice: {error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; an incomplete bed is removed with: python3 -m tests.testbed down --bed NAME", file=sys.stderr)
        return 130
    return 0
