# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names and addresses a kubelet's serving certificate may hold, of those that its host claims to have.

A host says by itself what it is called and which addresses it has. Whoever holds a certificate of the cluster's CA for a name is believed to
be what has that name, so no host gets what belongs to an apiserver or to another node by its own word. What the operator gives it, it gets.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.csr import RESERVED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.inventory import control_planes
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, Host

Hosts = Mapping[str, Host]
Names = dict[str, dict[str, list[str]]]
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*", re.ASCII | re.IGNORECASE)
_OF_APISERVER = "belongs to the apiserver, or to a service of the cluster"


@dataclass(frozen=True)
class Claims:
    """`names`: what each node's certificate may hold. `refused`: what it may not, though its host claims it, by node, with the reason."""

    names: Names
    refused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def missing(self, node: str, hosts: Iterable[Host]) -> str | None:
        """Why a node's certificate cannot hold all that its Node object has, which its kubelet will ask for."""
        wanted = {_canonical(entry["address"]) for entry in _node_objects(hosts).get(node, ())}
        found = sorted((name, reason) for name, reason in self.refused.get(node, {}).items() if name in wanted)
        if not found:
            return None
        name, reason = found[0]
        return f"its Node object has {name}, which {reason}; if it is this node's as well, say so in ninepaths_node_addresses"


def claims(hosts: Hosts, inventory: Inventory, settings: Settings) -> Claims:
    """Judge what the observed hosts claim."""
    planes = control_planes(inventory, hosts)
    taken = _Taken(planes, [hosts[name] for name in sorted(hosts)])
    names: Names = {}
    refused: dict[str, dict[str, str]] = {}
    for name in sorted(hosts):
        host = hosts[name]
        if not host.seen.get("kubelet"):
            continue
        given = {_canonical(text) for key in (host.node, name) for text in settings.node_addresses.get(key, ())}
        claimed = {_canonical(text) for text in (host.node, str(host.seen["host"]["hostname"]), *host.seen["host"].get("addresses", ()))}
        against = {text: reason for text in claimed - given if (reason := taken.reason(text, host, host in planes)) is not None}
        names[host.node] = _sorted({*given, *(claimed - against.keys())})
        refused[host.node] = against
    return Claims(names, refused)


def without_apiserver(known: Names, hosts: Hosts, inventory: Inventory, settings: Settings) -> Names:
    """What an approver remembers of nodes that this run did not see, less what no worker may have."""
    taken = _Taken(control_planes(inventory, hosts), ())
    planes = {host.node for host in control_planes(inventory, hosts)} | {name for name in inventory.control_plane if name not in hosts}
    found: Names = {}
    for node, names in known.items():
        given = {_canonical(text) for text in settings.node_addresses.get(node, ())}
        kept = {_canonical(text) for text in (*names["dns"], *names["ip"])}
        if node not in planes:
            kept = {text for text in kept if text in given or not taken.of_apiserver(text)}
        found[node] = _sorted(kept)
    return found


class _Taken:
    """What belongs to somebody: to the apiservers by their certificates, to nodes by their Node objects and names."""

    def __init__(self, planes: Iterable[Host], hosts: Iterable[Host]) -> None:
        planes = list(planes)
        served = [host.certificate(host.components[APISERVER].argv.value("tls-cert-file")) for host in planes if APISERVER in host.components]
        self._apiservers = {_canonical(text) for found in served if found for text in (*found["dns"], *found["ip"])}
        self._nodes = {name: {_canonical(entry["address"]) for entry in entries} | {name} for name, entries in _node_objects(planes).items()}
        for host in hosts:
            self._nodes.setdefault(host.node, {host.node})
        self._planes = {host.node for host in planes}

    def of_apiserver(self, text: str) -> bool:
        """Whether it is one of the apiservers' names or addresses, or one that every cluster gives them."""
        return text in self._apiservers or bool(RESERVED.fullmatch(text))

    def reason(self, text: str, host: Host, is_plane: bool) -> str | None:
        """Why a host may not have a name or address by its own word."""
        if not _usable(text):
            return "is no name or address that a node can have"
        if not is_plane and self.of_apiserver(text):
            return _OF_APISERVER
        if not _is_ip(text) and text.partition(".")[0] != host.node.lower().partition(".")[0]:
            return "is not this node's name"
        others = sorted(node for node, texts in self._nodes.items() if text in texts and node != host.node)
        own = text in self._nodes.get(host.node, ())
        if not others or (own and is_plane and not set(others) & self._planes):
            return None
        return f"is claimed by the node {others[0]} as well" if own else f"belongs to the node {others[0]}"


def _node_objects(hosts: Iterable[Host]) -> dict[str, list[Mapping[str, Any]]]:
    """The addresses of all Node objects, as the control planes see them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for host in hosts:
        for node in (host.cluster or {}).get("nodes") or ():
            found.setdefault(str(node["name"]), []).extend(node.get("addresses") or ())
    return found


def _canonical(text: object) -> str:
    """One spelling of an address or a name."""
    try:
        return str(ipaddress.ip_address(str(text)))
    except ValueError:
        return str(text).lower()


def _usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and bool(_DNS_NAME.fullmatch(text)) and not re.fullmatch(r"[0-9.]+", text)
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local or getattr(address, "scope_id", None))


def _sorted(texts: Iterable[str]) -> dict[str, list[str]]:
    ip = {text for text in texts if _is_ip(text)}
    return {"dns": sorted({*texts} - ip), "ip": sorted(ip)}


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
