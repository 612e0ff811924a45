# SPDX-License-Identifier: GPL-3.0-or-later
"""podman, always with the bed's own configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import host, paths
from tests.testbed.command import as_root, run
from tests.testbed.errors import CommandError


@dataclass(frozen=True)
class Podman:
    """A handle on rootful podman."""

    configuration: Path

    def __call__(self, *arguments: str, stdin: bytes = b"", timeout: float = 600.0) -> str:
        # Given through env(1) since sudo drops the variables of the caller.
        return run(as_root(["env", f"CONTAINERS_CONF={self.configuration}", "podman", *arguments]), stdin=stdin, timeout=timeout)

    def execute(self, container: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 600.0) -> str:
        """Run a program inside a container as root."""
        return self("exec", "--interactive", container, *argv, stdin=stdin, timeout=timeout)

    def names(self, *listing: str, label: str = "") -> list[str]:
        """What `podman ps`, `volume ls` or `network ls` knows with this label: one only, since podman joins several by "or"."""
        filters = ["--filter", f"label={label}"] if label else []
        field = "{{.Names}}" if listing[0] == "ps" else "{{.Name}}"
        return self(*listing, *filters, "--format", field).split()

    def subnets(self) -> list[str]:
        found: Any = json.loads(self("network", "inspect", *self("network", "ls", "--format", "{{.Name}}").split()))
        return [subnet["subnet"] for network in found for subnet in network.get("subnets") or []]

    def has_image(self, reference: str) -> bool:
        try:
            self("image", "exists", reference)
        except CommandError as error:
            if error.returncode == 1:
                return False
            raise
        return True


def connect(machine: host.Host) -> Podman:
    configuration = paths.cache() / "containers.conf"
    text = host.containers_conf(machine)
    if not configuration.exists() or configuration.read_text(encoding="utf-8") != text:
        with paths.whole_file(configuration) as new:
            new.write_text(text, encoding="utf-8")
    return Podman(configuration)
