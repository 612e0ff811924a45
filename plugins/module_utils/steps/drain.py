# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes an apiserver out of its load balancer before it is stopped, where its own shutdown would be too sudden for that.

An apiserver without --shutdown-delay-duration closes its listener the moment it is told to stop; a connection that the load balancer
has just opened is then lost (measured: one request of 7,369 in a roll of three). For a few seconds new connections from other hosts
are refused while those that are open end in their own time: a load balancer sends a refused connection elsewhere and its health check
fails. The kernel forgets the refusal by itself (a set element with a timeout), so that nothing that happens to us can leave the port closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.layout_kubeadm import flag
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

TABLE = "inet ninepaths_drain"
SECONDS = 3  # for requests that are under way
REFUSED_SECONDS = 12  # until the kernel forgets; the old process closes its port within one or two
KUBERNETES_SERVICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


def needed(argv: Sequence[str]) -> bool:
    """Would this apiserver close its listener at once?"""
    return (flag(argv, "shutdown-delay-duration") or "0").strip("0smh") == ""


def other_apiservers(client: Any) -> int:
    """How many apiservers besides this one the cluster's own Service knows. Raises ApiError."""
    found = client.find(KUBERNETES_SERVICE) or {}
    return max(0, sum(len(endpoint.get("addresses") or []) for endpoint in found.get("endpoints") or []) - 1)


def begin(machine: Machine, argv: Sequence[str]) -> str:
    """Refuse new connections to the apiserver's port for a few seconds, and wait for those that are under way; says what was done."""
    port = int(flag(argv, "secure-port") or 6443)
    done = machine.command(["nft", "-f", "-"], stdin=_rules(port).encode())
    if done.rc:
        return f"could not be taken out of the load balancer first ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'nft failed'})"
    machine.sleep(SECONDS)
    return f"refused new connections for {SECONDS} s, so that load balancers turn to the others"


def end(machine: Machine) -> None:
    """Remove what `begin` made. Whether it is there or not, and whether there is nft at all, makes no difference afterwards."""
    machine.command(["nft", "-f", "-"], stdin=f"add table {TABLE}\ndelete table {TABLE}\n".encode())


def _rules(port: int) -> str:
    """Only connections that begin, only from outside: the loopback interface carries this node's own."""
    return f"""\
add table {TABLE}
delete table {TABLE}
add table {TABLE}
add set {TABLE} ports {{ type inet_service; flags timeout; }}
add chain {TABLE} input {{ type filter hook input priority -150; policy accept; }}
add rule {TABLE} input iifname != "lo" tcp flags & (syn | ack) == syn tcp dport @ports reject with tcp reset
add element {TABLE} ports {{ {port} timeout {REFUSED_SECONDS}s }}
"""
