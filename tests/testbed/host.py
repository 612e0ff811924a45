# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine is and allows; everything that differs between machines is decided from these facts."""

from __future__ import annotations

import platform
import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.command import as_root, run
from tests.testbed.errors import BedError
from tests.testbed.progress import say

CAP_SYS_RESOURCE = 24
PODMAN_NPROC = 32768
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
# A node with systemd, containerd, kubelet and its pods takes about 25; the usual 128 end at the fifth node.
INOTIFY_WANTED = 1024


@dataclass(frozen=True)
class Host:
    """The facts. `file_limit` is the hard limit of open files, None where it can be raised at will."""

    architecture: str
    distribution: str
    codename: str
    cgroup_v2: bool
    systemd: bool
    file_limit: int | None
    modules: bool
    swap: bool

    @property
    def cgroup_driver(self) -> str:
        """On cgroup v2 what kubeadm defaults to; a systemd in a container cannot manage kubelet's v1 hierarchies."""
        return "systemd" if self.cgroup_v2 else "cgroupfs"

    @property
    def raises_limits(self) -> bool:
        """Whether root may raise rlimits and lower oom_score_adj here (CAP_SYS_RESOURCE)."""
        return self.file_limit is None


def has_capability(status: str, capability: int) -> bool:
    """Read the bounding set of /proc/*/status: what a root process can have at most."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def os_release(text: str) -> dict[str, str]:
    return dict(pair for pair in (line.replace('"', "").split("=", 1) for line in text.splitlines()) if len(pair) == 2)


def look() -> Host:
    release = os_release(Path("/etc/os-release").read_text(encoding="utf-8"))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    limited = not has_capability(status, CAP_SYS_RESOURCE)
    return Host(
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        distribution=release.get("ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        cgroup_v2=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        systemd=Path("/run/systemd/system").is_dir(),
        file_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1] if limited else None,
        modules=Path("/lib/modules").is_dir(),
        swap=len(Path("/proc/swaps").read_text(encoding="utf-8").splitlines()) > 1,
    )


def containers_conf(host: Host) -> str:
    """podman's configuration for the bed; it replaces the machine's own for our calls only."""
    ulimits = (
        ""
        if host.raises_limits
        else f'default_ulimits = ["nofile={host.file_limit}:{host.file_limit}", "nproc={PODMAN_NPROC}:{PODMAN_NPROC}"]\n'
    )
    manager = "systemd" if host.systemd else "cgroupfs"
    return f"""# Written by the test bed; rewritten at every start.
[containers]
{ulimits}
[engine]
runtime = "runc"
cgroup_manager = "{manager}"
events_logger = "file"
"""


def apt_sources(distribution: str, codename: str, root: Path = Path("/")) -> Path:
    """The machine's own sources file, so that images come from where its packages come from."""
    candidates: Sequence[Path] = (root / f"etc/apt/sources.list.d/{distribution}.sources", root / "etc/apt/sources.list")
    for path in candidates:
        if path.is_file() and codename in path.read_text(encoding="utf-8"):
            return path
    raise BedError(
        f"no apt sources for {distribution} {codename} found",
        f"looked at {', '.join(map(str, candidates))}; the bed needs Debian or Ubuntu",
    )


def sources_for(release: str, codename: str, text: str) -> str:
    """The machine's sources for another release of its distribution: the same mirrors and keys, other suites."""
    return re.sub(rf"\b{re.escape(codename)}\b", release, text)


def raise_inotify_instances() -> None:
    """Sysctls of this kind are the machine's, not a container's: changed only upwards, and said."""
    now = int(INOTIFY_INSTANCES.read_text(encoding="ascii"))
    if now >= INOTIFY_WANTED:
        return
    run(as_root(["sysctl", "--quiet", "--write", f"fs.inotify.max_user_instances={INOTIFY_WANTED}"]))
    say("machine", f"fs.inotify.max_user_instances raised from {now} to {INOTIFY_WANTED} (until the next boot; down leaves it)")
