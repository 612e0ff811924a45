# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes and listening sockets, read from /proc.

A component is known by the cgroup that its process is in, never by its name: any pod may run something called kube-apiserver.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import plain
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host, read_bytes

PROC_LIMIT = 4 << 20
LISTEN = "0A"
NETWORK_CHUNK = 1 << 14

# kubelet's two cgroup drivers write pod<uid> and kubepods[-<class>]-pod<uid>.slice, the latter with _ for each - of the UID. A static
# pod's UID is a hash of 32 digits; one that the apiserver gave has dashes, so it never has this form.
POD = re.compile(r"(?:kubepods-(?:[a-z]+-)?)?pod([0-9a-f]{8}[0-9a-f_-]{24,28})(?:\.slice)?")
ADDRESS = re.compile(r"[0-9a-f]{32}")
STATIC_UID = re.compile(r"[0-9a-f]{32}")


class Process(NamedTuple):
    """A running process; `started` is in unix seconds, exact to one second."""

    pid: int
    argv: list[str]
    started: float
    executable: str


class Socket(NamedTuple):
    """A listening TCP socket."""

    address: str
    port: int
    inode: int


def text_of(host: Host, path: str) -> str:
    """A file below /proc or /sys as text; raises OSError."""
    return read_bytes(host.real(path), PROC_LIMIT).decode("utf-8", "replace")


def boot_time(host: Host) -> float:
    """When the kernel started, in whole unix seconds; raises OSError or ValueError."""
    for line in text_of(host, "/proc/stat").splitlines():
        if line.startswith("btime "):
            found = plain.number(line[6:].strip())
            if found is not None:
                return float(found)
    raise ValueError("/proc/stat has no btime")


def process(host: Host, pid: int, booted: float) -> Process | None:
    """A process, or None when it is gone, or ending."""
    try:
        argv = read_bytes(host.real(f"/proc/{pid}/cmdline"), PROC_LIMIT)
        status = text_of(host, f"/proc/{pid}/stat")
        executable = os.readlink(host.real(f"/proc/{pid}/exe"))
        ticks = plain.number(status[status.rindex(")") + 1 :].split()[19])  # field 22; the name before it may hold anything
    except (OSError, ValueError, IndexError):
        return None
    if ticks is None:
        return None
    words = argv.decode("utf-8", "replace").split("\0")[:-1]
    return Process(pid, words, booted + ticks / os.sysconf("SC_CLK_TCK"), executable)


def pod_of(cgroup: str) -> str | None:
    """UID of the pod whose cgroup a /proc/PID/cgroup text names, or None.

    The outermost pod counts: what a container nests below its own cgroup, in whatever name, stays inside its pod.
    """
    for line in cgroup.splitlines():
        for part in line.split(":", 2)[-1].split("/"):
            found = POD.fullmatch(part)
            if found:
                return found.group(1).replace("_", "-")
    return None


def pids(host: Host) -> list[int]:
    """Numbers of all processes."""
    return sorted(int(name) for name in os.listdir(host.real("/proc")) if name.isdigit())


def in_pods(host: Host, uids: Collection[str]) -> dict[str, list[int]]:
    """Processes in the cgroups of these pods, by the pod's UID."""
    found: dict[str, list[int]] = {}
    for pid in pids(host) if uids else []:
        try:
            cgroup = text_of(host, f"/proc/{pid}/cgroup")
        except OSError:  # ended since the listing
            continue
        uid = pod_of(cgroup)
        if uid in uids and uid is not None:
            found.setdefault(uid, []).append(pid)
    return found


def listening(host: Host) -> list[Socket]:
    """Listening TCP sockets of this network namespace; raises OSError."""
    found = _listening(host, "/proc/net/tcp", socket.AF_INET)
    if os.path.exists(host.real("/proc/net/tcp6")):  # absent where IPv6 is switched off
        found += _listening(host, "/proc/net/tcp6", socket.AF_INET6)
    return sorted(set(found))


def _listening(host: Host, path: str, family: int) -> list[Socket]:
    """The kernel writes listening sockets first (Documentation/networking/proc_net_tcp.rst), so thousands of others are not read."""
    found: list[Socket] = []
    rest = ""
    with open(host.real(path), encoding="ascii", errors="replace") as table:
        table.readline()
        while True:
            chunk = table.read(NETWORK_CHUNK)
            lines = (rest + chunk).split("\n")
            rest = lines.pop() if chunk else ""
            for line in lines:
                fields = line.split()
                if len(fields) < 10:
                    continue
                if fields[3] != LISTEN:
                    return found
                address, _colon, port = fields[1].partition(":")
                found.append(Socket(_address(address, family), int(port, 16), int(fields[9])))
            if not chunk:
                return found


def _address(digits: str, family: int) -> str:
    """The kernel prints an address as 32-bit words in the machine's byte order."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    return socket.inet_ntop(family, b"".join(words))


def socket_owners(host: Host, candidates: Iterable[int]) -> dict[int, int]:
    """Process by socket inode, for the sockets that these processes hold."""
    owners: dict[int, int] = {}
    for pid in candidates:
        folder = host.real(f"/proc/{pid}/fd")
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"{folder}/{name}")
            except OSError:
                continue
            if target.startswith("socket:["):
                owners[int(target[8:-1])] = pid
    return owners


def addresses(host: Host) -> list[str]:
    """Addresses of the interfaces, without loopback and link-local ones."""
    return [address for address in [*_ipv4(host), *_ipv6(host)] if not address.startswith(("127.", "169.254."))]


def _ipv4(host: Host) -> list[str]:
    """The kernel's routing trie lists every own address as a leaf `/32 host LOCAL`."""
    found, leaf = [], ""
    try:
        lines = text_of(host, "/proc/net/fib_trie").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"] and len(words) > 1:
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"] and leaf not in found:
            found.append(leaf)
    return sorted(found)


def _ipv6(host: Host) -> list[str]:
    try:
        rows = [line.split() for line in text_of(host, "/proc/net/if_inet6").splitlines()]
    except OSError:
        return []
    wide = [row[0] for row in rows if len(row) == 6 and ADDRESS.fullmatch(row[0]) and row[3] == "00"]  # 00: global scope
    return sorted(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)) for digits in wide)
