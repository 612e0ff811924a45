# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bed is: names, addresses and nodes, kept in bed.json in the bed's directory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed import paths
from tests.testbed.errors import BedError

SCHEMA = 1
DEFAULT_BED = "default"
CONTROL_PLANE, WORKER = "control-plane", "worker"
# The last number of a node's address is also the third of its pods' network.
FIRST_HOST = {CONTROL_PLANE: 11, WORKER: 21}
LAST_HOST = {CONTROL_PLANE: 19, WORKER: 99}
PREFIX = {CONTROL_PLANE: "cp", WORKER: "w"}
LOAD_BALANCER_HOST = 5
POD_PREFIX = "10.244"
APISERVER_PORT = 6443


@dataclass(frozen=True)
class Node:
    name: str
    role: str
    address: str
    container: str
    joined: bool = False

    @property
    def number(self) -> int:
        return int(self.address.rsplit(".", 1)[1])

    @property
    def pod_subnet(self) -> str:
        return f"{POD_PREFIX}.{self.number}.0/24"


@dataclass(frozen=True)
class Bed:
    """One bed. Instances are values: a change makes a new one, `save` writes it."""

    name: str
    subnet: str
    kubernetes: str
    versions: Mapping[str, str]
    image: str
    tool_image: str
    image_store: str
    highly_available: bool
    nodes: tuple[Node, ...] = ()
    state: str = "starting"
    checkout: str = str(paths.CHECKOUT)
    release: str = ""
    schema: int = field(default=SCHEMA)

    @property
    def directory(self) -> Path:
        return directory(self.name)

    @property
    def prefix(self) -> str:
        return self.subnet.rsplit(".", 1)[0]

    @property
    def network(self) -> str:
        return object_name(self.name)

    @property
    def load_balancer(self) -> str | None:
        return object_name(self.name, "lb") if self.highly_available else None

    @property
    def endpoint_address(self) -> str:
        return f"{self.prefix}.{LOAD_BALANCER_HOST if self.highly_available else FIRST_HOST[CONTROL_PLANE]}"

    @property
    def endpoint(self) -> str:
        return f"{self.endpoint_address}:{APISERVER_PORT}"

    @property
    def labels(self) -> list[str]:
        return labels(self.name)

    def address(self, number: int) -> str:
        return f"{self.prefix}.{number}"

    def of_role(self, role: str) -> list[Node]:
        return [node for node in self.nodes if node.role == role]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def with_node(self, node: Node) -> Bed:
        """Add the node, or replace the one of its name."""
        others = [one for one in self.nodes if one.name != node.name]
        return dataclasses.replace(self, nodes=tuple(sorted([*others, node], key=lambda one: one.number)))


def check_name(name: str) -> str:
    """Names become container names and host names."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", name):
        raise BedError(f"{name!r} is no name for a bed or a node", "use up to 20 of a-z, 0-9 and -, with a letter or digit at both ends")
    return name


def directory(name: str) -> Path:
    return paths.CHECKOUT / (".testbed" if name == DEFAULT_BED else f".testbed-{name}")


def object_name(bed: str, node: str = "") -> str:
    """podman's names are the machine's, so they name the checkout, too: checkouts have beds of the same name side by side."""
    checkout = hashlib.sha256(str(paths.CHECKOUT).encode()).hexdigest()[:6]
    return "-".join(("np", checkout, bed, *filter(None, [node])))


def checkout_label() -> str:
    return f"ninepaths.checkout={paths.CHECKOUT}"


def bed_label(name: str) -> str:
    """Names the checkout, too: another checkout's bed of the same name is not ours to remove."""
    return f"ninepaths.bed={name}@{paths.CHECKOUT}"


def labels(name: str) -> list[str]:
    """What every container, volume and network of a bed carries, as podman's arguments."""
    return [f"--label={bed_label(name)}", f"--label={checkout_label()}"]


def new_node(bed: Bed, role: str, name: str = "") -> Node:
    """The next node of a role: the lowest free address, and cp1, cp2 … or w1, w2 … unless it is named."""
    taken = {node.number for node in bed.nodes}
    number = next((n for n in range(FIRST_HOST[role], LAST_HOST[role] + 1) if n not in taken), None)
    if number is None:
        raise BedError(f"bed {bed.name} has no address left for a {role}", "remove nodes, or start another bed")
    name = check_name(name or f"{PREFIX[role]}{number - FIRST_HOST[role] + 1}")
    if name in {"lb", *(node.name for node in bed.nodes)}:
        raise BedError(f"bed {bed.name} already has a node {name}", "choose another name")
    return Node(name, role, bed.address(number), object_name(bed.name, name))


def unfinished(bed: Bed, role: str, name: str) -> Node | None:
    """The node of this name and role that has not joined yet, if there is one."""
    return next((node for node in bed.nodes if (node.name, node.role, node.joined) == (name, role, False)), None)


def dump(bed: Bed) -> str:
    document: dict[str, Any] = dataclasses.asdict(bed)
    document["endpoint"] = bed.endpoint
    document["network"] = bed.network
    document["load_balancer"] = bed.load_balancer
    return json.dumps(document, indent=2) + "\n"


def parse(text: str) -> Bed:
    document = json.loads(text)
    if document.get("schema") != SCHEMA:
        raise BedError(
            f"a bed.json with schema {document.get('schema')} was not written by this version of the test bed",
            "remove that bed with what made it",
        )
    known = {one.name for one in dataclasses.fields(Bed)}
    values = {key: value for key, value in document.items() if key in known}
    values["nodes"] = tuple(Node(**node) for node in values["nodes"])
    return Bed(**values)


def write_private(path: Path, text: str) -> None:
    """Keys and kubeconfigs are for their owner alone, from the first byte on."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    temporary.rename(path)


def save(bed: Bed) -> None:
    bed.directory.mkdir(mode=0o700, exist_ok=True)
    write_private(bed.directory / "bed.json", dump(bed))


def load(name: str) -> Bed | None:
    try:
        return parse((directory(name) / "bed.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def existing(name: str) -> Bed:
    found = load(name)
    if found is None:
        raise BedError(
            f"there is no bed {name} in this checkout", f"start it: make testbed-up{'' if name == DEFAULT_BED else f' BED={name}'}"
        )
    return found
