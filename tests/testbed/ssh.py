# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes are reached by ssh as an unprivileged user, with their host keys verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.testbed.bed import Bed, Node, write_private
from tests.testbed.command import run
from tests.testbed.image import SSH_USER
from tests.testbed.podman import Podman

KEY = "id_ed25519"


def make_key(directory: Path) -> str:
    """Make the bed's key pair once; return the public half."""
    key = directory / KEY
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ninepaths test bed", "-f", str(key)])
        key.with_suffix(".pub").chmod(0o600)
    return key.with_suffix(".pub").read_text(encoding="utf-8")


def host_keys(podman: Podman, node: Node) -> list[str]:
    """Read past the network, through podman, so that nothing has to be trusted on first use."""
    return podman.execute(node.container, ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]).splitlines()


def known_hosts(keys: Mapping[str, Sequence[str]], nodes: Sequence[Node]) -> str:
    """Lines for the address and the name of every node."""
    lines = (f"{node.address},{node.name} {' '.join(key.split()[:2])}" for node in nodes for key in keys[node.name])
    return "".join(f"{line}\n" for line in lines)


def options(bed: Bed) -> dict[str, str]:
    return {
        "IdentityFile": str(bed.directory / KEY),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(bed.directory / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }


def config(bed: Bed) -> str:
    """For people: `ssh -F .testbed/ssh_config cp1`."""
    shared = "".join(f"  {name} {value}\n" for name, value in options(bed).items())
    hosts = "".join(f"Host {node.name}\n  HostName {node.address}\n" for node in bed.nodes)
    return f"{hosts}Host {' '.join(node.name for node in bed.nodes)}\n  User {SSH_USER}\n{shared}"


def write(podman: Podman, bed: Bed) -> None:
    keys = {node.name: host_keys(podman, node) for node in bed.nodes}
    write_private(bed.directory / "known_hosts", known_hosts(keys, bed.nodes))
    write_private(bed.directory / "ssh_config", config(bed))
