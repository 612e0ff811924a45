# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on the host a path of a container lies, read from the mounts of its process and our own (/proc/PID/mountinfo, proc(5))."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.processes import text_of

ESCAPE = re.compile(r"\\([0-7]{3})")
# A file that was replaced while it was mounted.
DELETED = "//deleted"


class Mount(NamedTuple):
    """`root` is the directory of the file system `device` that is seen at `point`."""

    device: str
    root: str
    point: str


def on_host(host: Host, pid: int | None, path: str) -> str | None:
    """The host's path of what a process sees at `path`; None where no process runs or the path is not one of the host's."""
    if pid is None:
        return None
    try:
        inside, outside = _mounts(host, f"/proc/{pid}/mountinfo"), _mounts(host, "/proc/self/mountinfo")
    except OSError:
        return None
    wanted = posixpath.normpath(path)
    mount = _nearest(inside, wanted)
    if mount is None:
        return None
    place = posixpath.normpath(mount.root + wanted[len(mount.point.rstrip("/")) :])
    candidates = [entry for entry in outside if entry.device == mount.device and _below(place, entry.root)]
    if not candidates:
        return None
    outer = max(candidates, key=lambda entry: len(entry.root))
    return posixpath.normpath(f"{outer.point}/{place[len(outer.root.rstrip('/')) :]}")


def _nearest(found: list[Mount], path: str) -> Mount | None:
    """The mount that a path lies in; of several at one point the last one covers the others."""
    above = [mount for mount in found if _below(path, mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point.rstrip("/"))) if above else None


def _below(path: str, top: str) -> bool:
    top = top.rstrip("/")
    return path == top or path.startswith(top + "/")


def _mounts(host: Host, path: str) -> list[Mount]:
    rows = (line.split() for line in text_of(host, path).splitlines())
    return [Mount(row[2], _plain(row[3]), _plain(row[4])) for row in rows if len(row) > 5]


def _plain(text: str) -> str:
    """Spaces and the like are written in octal."""
    name = ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)
    return name[: -len(DELETED)] if name.endswith(DELETED) else name
