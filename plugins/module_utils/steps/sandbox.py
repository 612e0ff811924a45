# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a binary where it can do no harm: no network but its own loopback, no file but read-only copies of what its pod mounts.

Runs as `program.py sandbox` below `unshare --net --mount --pid --fork`; reads its task from stdin and becomes the binary. What the pod may
write (a data directory, an audit log) is an empty tmpfs here, so the real one is out of reach by construction.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Mapping
from typing import Any

FAILED = 125
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8913, 0x8914, 1
SYSTEM = ("usr", "lib", "lib64", "bin")
DEVICES = ("null", "zero", "random", "urandom")


def main() -> None:
    """Become the binary; writes one line to stderr and exits with 125 when that cannot be arranged."""
    task = json.load(sys.stdin)
    try:
        enter(task)
    except (OSError, ValueError, AttributeError) as error:
        sys.stderr.write(f"sandbox: {getattr(error, 'filename', None) or ''} {getattr(error, 'strerror', None) or type(error).__name__}\n")
        raise SystemExit(FAILED) from None


def enter(task: Mapping[str, Any]) -> None:
    """Build the root, go there, execute. Raises OSError."""
    executable = os.open(task["executable"], os.O_RDONLY)  # before chroot; stays valid through it
    environment = _environment(task["executable"])
    _loopback(task["addresses"])
    root = task["root"]
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV)
    _system(root)
    for name in SYSTEM if task["system"] else ():
        _system_directory(name, root)
    for bind in sorted(task["binds"], key=lambda bind: bind["path"].count("/")):
        _bind(bind["host_path"], root + bind["path"])
    for path in task["scratch"]:
        os.makedirs(root + path, exist_ok=True)
        _mount("tmpfs", root + path, "tmpfs", MS_NOSUID | MS_NODEV)
    os.chroot(root)
    os.chdir("/")
    os.execve(executable, task["argv"], environment)  # noqa: S606 - this process is there to become that binary


def _environment(executable: str) -> dict[str, str]:
    """What the running process was started with; it stays in memory."""
    with open(os.path.join(os.path.dirname(executable), "environ"), "rb") as file:
        words = [os.fsdecode(word).partition("=") for word in file.read().split(b"\0") if b"=" in word]
    return {name: value for name, _equals, value in words}


def _system(root: str) -> None:
    """Some devices, an empty /tmp and a /proc of the new namespace."""
    os.mkdir(f"{root}/dev")
    for device in DEVICES:
        _bind(f"/dev/{device}", f"{root}/dev/{device}")
    os.mkdir(f"{root}/tmp", 0o1777)  # noqa: S108 - in the namespace that ends with this process
    os.mkdir(f"{root}/proc")
    with contextlib.suppress(OSError):  # refused in a container that hides parts of /proc; the binaries do without
        _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_RDONLY)


def _system_directory(name: str, root: str) -> None:
    """The host's libraries, for a host's binary. A pod's are in another mount namespace and cannot be bound; upstream's are static."""
    if os.path.islink(f"/{name}"):
        os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    elif os.path.isdir(f"/{name}"):
        _bind(f"/{name}", f"{root}/{name}")


def _bind(source: str, target: str) -> None:
    mode = os.stat(source).st_mode
    if stat.S_ISDIR(mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    _mount(source, target, None, MS_BIND)
    if not stat.S_ISCHR(mode):
        _mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | _kept_flags(target))


def _kept_flags(target: str) -> int:
    """A remount must repeat the mount's nosuid, nodev, noexec and atime flags; statvfs numbers them as mount does, but for relatime."""
    flags = os.statvfs(target).f_flag
    relatime = (1 << 21) if flags & 4096 else 0
    return (flags & (2 | 4 | 8 | 1024 | 2048)) | relatime


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if libc.mount(words[0], words[1], words[2], flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", target)


def _loopback(addresses: list[str]) -> None:
    """Bring up the loopback and give it the node's IPv4 addresses, so that a listener on one of them can bind."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _up(control, b"lo")
        for number, address in enumerate(addresses):
            if ipaddress.ip_address(address).version == 4:
                name = f"lo:{number}".encode("ascii")
                family_and_address = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(address))
                fcntl.ioctl(control, SIOCSIFADDR, struct.pack("=16s16s", name, family_and_address))


def _up(control: socket.socket, name: bytes) -> None:
    flags = struct.unpack("=16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("=16sH14x", name, 0)))[1]
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("=16sH14x", name, flags | IFF_UP))
