# SPDX-License-Identifier: GPL-3.0-or-later
"""One /24 per bed, chosen free when it starts, so that several beds live side by side."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from tests.testbed import paths
from tests.testbed.bed import POD_PREFIX, Node, labels, object_name
from tests.testbed.command import run
from tests.testbed.errors import BedError
from tests.testbed.podman import Podman

POOL = ipaddress.IPv4Network("10.89.0.0/16")


def free_subnet(taken: Iterable[str]) -> str:
    """The first /24 of the pool that overlaps nothing; the first two are podman's own habit."""
    used = [ipaddress.IPv4Network(one, strict=False) for one in taken if ":" not in one]
    for subnet in list(POOL.subnets(new_prefix=24))[2:]:
        if not any(subnet.overlaps(network) for network in used):
            return str(subnet)
    raise BedError(f"no free /24 in {POOL}", "remove beds: python3 -m tests.testbed down --all")


def machine_routes() -> list[str]:
    """Destinations that the machine already routes somewhere."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show"]))
    return [route["dst"] for route in routes if route["dst"] != "default"]


def create(podman: Podman, bed: str) -> str:
    """Make the bed's network and return its subnet."""
    with paths.locked("network"):
        subnet = free_subnet([*podman.subnets(), *machine_routes()])
        podman("network", "create", "--disable-dns", "--subnet", subnet, *labels(bed), object_name(bed))
    return subnet


def conflist(node: Node) -> str:
    """The node's pod network: a bridge. prepare-node does the routes and the masquerading, which ipMasq would do between nodes, too."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pod_subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "testbed", "plugins": plugins}, indent=2) + "\n"


def node_values(node: Node, first: int, last: int) -> str:
    """What prepare-node reads at boot."""
    prefix = node.address.rsplit(".", 1)[0]
    return f"NODES={prefix}\nNODE={node.number}\nPODS={POD_PREFIX}\nFIRST={first}\nLAST={last}\n"
