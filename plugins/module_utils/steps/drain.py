# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes an apiserver out of its load balancer before it is stopped, where its own shutdown would be too sudden for that.

An apiserver without --shutdown-delay-duration closes its listener the moment it is told to stop; a connection that the load balancer
has just opened is then lost (measured: one request of 7,369 in a roll of three). For a few seconds new connections from outside the
cluster are refused while those that are open end in their own time: a load balancer sends a refused connection elsewhere and its health
check fails. Nodes and pods are let in: what kube-proxy sends here for the Service `kubernetes` nobody would send elsewhere. The kernel
forgets the refusal by itself (a set element with a timeout), so that nothing that happens to us can leave the port closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Union

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, texts
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.layout_kubeadm import flag
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import PORTS, number

TABLE = "inet ninepaths_drain"
SECONDS = 3  # for requests that are under way
REFUSED_SECONDS = 12  # until the kernel forgets; the old process closes its port within one or two
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
KUBERNETES_SERVICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


def needed(argv: Sequence[str]) -> bool:
    """Would this apiserver close its listener at once?"""
    return (flag(argv, "shutdown-delay-duration") or "0").strip("0smh") == ""


def other_apiservers(client: Any) -> int:
    """How many apiservers besides this one the cluster's own Service knows. Raises ApiError."""
    found = client.find(KUBERNETES_SERVICE) or {}
    return max(0, sum(len(texts(endpoint.get("addresses"))) for endpoint in mappings(found.get("endpoints"))) - 1)


def inside(client: Any, controller_manager: Sequence[str]) -> list[Network]:
    """Addresses of the cluster's nodes and pods; none where it cannot be told which ones pods have. Raises ApiError."""
    nodes = list(client.list("/api/v1/nodes"))
    pods = [cidr for node in nodes for cidr in texts(mapping(node, "spec").get("podCIDRs"))]
    pods += (flag(controller_manager, "cluster-cidr") or "").split(",")
    addresses = [entry.get("address") for node in nodes for entry in mappings(mapping(node, "status").get("addresses"))]
    found = _networks(pods)
    return [*_networks(addresses), *found] if found else []


def _networks(names: Iterable[Any]) -> list[Network]:
    """Those that are addresses or networks; a Node has its name among its addresses."""
    found = []
    for name in names:
        try:
            found.append(ipaddress.ip_network(str(name)))
        except ValueError:
            continue
    return found


def begin(machine: Machine, argv: Sequence[str], spared: Sequence[Network]) -> str:
    """Refuse new connections to the apiserver's port for a few seconds, but from the spared networks; says what was done.

    Waits for those that are under way.
    """
    if not spared:
        return "stays in the load balancer until it stops: nothing says which addresses the pods have (--cluster-cidr)"
    port = number(flag(argv, "secure-port") or "6443", PORTS)
    if not port:
        return "stays in the load balancer until it stops: --secure-port is no port"
    done = machine.command(["nft", "-f", "-"], stdin=_rules(port, spared).encode())
    if done.rc:
        return f"could not be taken out of the load balancer first ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'nft failed'})"
    machine.sleep(SECONDS)
    return f"refused new connections from outside the cluster for {SECONDS} s, so that load balancers turn to the others"


def end(machine: Machine) -> None:
    """Remove what `begin` made. Whether it is there or not, and whether there is nft at all, makes no difference afterwards."""
    machine.command(["nft", "-f", "-"], stdin=f"add table {TABLE}\ndelete table {TABLE}\n".encode())


def _rules(port: int, spared: Sequence[Network]) -> str:
    """Only connections that begin, only from outside: the loopback interface carries this node's own."""
    sets = ""
    for version in (4, 6):
        networks = ipaddress.collapse_addresses(one for one in spared if one.version == version)  # type: ignore[type-var]
        elements = ", ".join(str(network) for network in networks)
        sets += f"add set {TABLE} inside{version} {{ type ipv{version}_addr; flags interval; }}\n"
        sets += f"add element {TABLE} inside{version} {{ {elements} }}\n" if elements else ""
    return f"""\
add table {TABLE}
delete table {TABLE}
add table {TABLE}
{sets}add set {TABLE} ports {{ type inet_service; flags timeout; }}
add chain {TABLE} input {{ type filter hook input priority -150; policy accept; }}
add rule {TABLE} input ip saddr @inside4 accept
add rule {TABLE} input ip6 saddr @inside6 accept
add rule {TABLE} input iifname != "lo" tcp flags & (syn | ack) == syn tcp dport @ports reject with tcp reset
add element {TABLE} ports {{ {port} timeout {REFUSED_SECONDS}s }}
"""
