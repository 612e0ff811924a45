# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet of this host: whether systemd runs it, and where it listens according to its flags and its merged configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, plain
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

UNIT = "kubelet.service"
LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class Service(NamedTuple):
    """The unit as systemd sees it; `started` is on the monotonic clock."""

    active: bool
    pid: int
    started: float


class Listener(NamedTuple):
    """One of the kubelet's listeners: its flags, its fields in the configuration, and its port where they say nothing."""

    address_flag: str
    port_flag: str
    address_field: str
    port_field: str
    port: int


API = Listener("address", "port", "address", "port", 10250)
HEALTHZ = Listener("healthz-bind-address", "healthz-port", "healthzBindAddress", "healthzPort", 10248)


def service(machine: Machine) -> Service:
    """Ask systemd."""
    found = machine.command(["systemctl", "show", "--property=ActiveState,MainPID,ExecMainStartTimestampMonotonic", UNIT])
    values = dict(line.partition("=")[::2] for line in found.stdout.splitlines())
    started = (plain.number(values.get("ExecMainStartTimestampMonotonic")) or 0) / 1e6
    return Service(values.get("ActiveState") == "active", plain.number(values.get("MainPID")) or 0, started)


def dial(machine: Machine, argv: Sequence[str], listener: Listener) -> tuple[str, int]:
    """Address and port under which this host reaches a listener of a kubelet that was started with these arguments."""
    texts = list(_configuration(files.Host(machine.root or "/"), argv))

    def said(flag: str, field: str) -> str:
        return layout.flag(argv, flag) or next((value for text in texts for value in [layout.top_level(text, field)] if value), "")

    address, port = said(listener.address_flag, listener.address_field), said(listener.port_flag, listener.port_field)
    number = plain.number(port, plain.PORTS)
    return LOOPBACK if not address or address in EVERYWHERE else address, listener.port if number is None else number


def _configuration(host: files.Host, argv: Sequence[str]) -> Iterator[str]:
    """Its configuration, what wins first: drop-ins in the reverse of the order in which they are merged, then the file itself."""
    folder = layout.flag(argv, "config-dir")
    try:
        dropins = sorted(files.expand("**/*.conf", host, folder), key=lambda path: path.split("/")) if folder else []
    except files.TooManyFilesError:  # then the file itself is the best guess
        dropins = []
    for path in [*reversed(dropins), layout.flag(argv, "config") or layout.KUBELET_CONFIG]:
        try:
            yield files.read_bytes(layout.real_target(host, path)).decode("utf-8", "replace")
        except OSError:  # then the others and the defaults are the best guess
            continue
