# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer of an HA bed: haproxy in a container of its own."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

from tests.testbed import host, image, paths
from tests.testbed.podman import Podman
from tests.testbed.progress import step


def configuration(servers: Mapping[str, str]) -> str:
    """`servers`: name → address of every control plane the bed may ever have; who is not there fails its check."""
    lines = "\n".join(f"  server {name} {address}:6443" for name, address in servers.items())
    return string.Template((paths.FILES / "haproxy.cfg").read_text(encoding="utf-8")).substitute(servers=lines)


def provide(podman: Podman, machine: host.Host) -> str:
    """The reference of the image, made when it is not there."""
    rootfs = image.debootstrap(machine, "extract", "haproxy")
    reference = f"localhost/ninepaths-haproxy:{rootfs.stem.rsplit('-', 1)[1]}"
    with paths.locked("podman-images"):
        if not podman.has_image(reference):
            with step("images", f"import {reference}"):
                podman("import", "--quiet", str(rootfs), reference)
    return reference


def start(podman: Podman, reference: str, name: str, network: tuple[str, str], labels: list[str], directory: Path) -> None:
    """`network`: its name and the load balancer's address; `directory` holds haproxy.cfg."""
    podman(
        "run", "--detach", "--name", name, "--hostname", "lb", "--network", network[0], "--ip", network[1], *labels,
        "--volume", f"{directory}:/etc/haproxy:ro", reference, "haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg",
    )  # fmt: skip
