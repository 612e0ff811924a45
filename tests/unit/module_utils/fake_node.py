# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's file system and /proc, made of plain files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult

BOOTED = 1_700_000_000
UID = "bdc2834cd77b91eb9e9858fa4b907088"
API_UID = "0ce8b99c-51be-4d42-880b-2eb5a4c51bad"
CONTAINER = "3e08164508e3336cba9fddeaada82f3b05129a9183ac12acecb059cd403b2539"
SANDBOX = "449e403046a4a91e06c470e8da050a70f8c9de034ebc18a8d3bc41983a905b9d"


def cgroupfs(uid: str, container: str = CONTAINER) -> str:
    return f"/kubepods/burstable/pod{uid}/{container}"


def systemd(uid: str, container: str = CONTAINER) -> str:
    pod = uid.replace("-", "_")
    return f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice/cri-containerd-{container}.scope"


class FakeNode:
    """Builds what a Host reads."""

    def __init__(self, root: Path) -> None:
        self.root, self.host = root, Host(str(root))
        self.write("/proc/stat", f"cpu 1 2 3\nbtime {BOOTED}\n")
        self.write("/proc/sys/kernel/random/boot_id", "0e15facb-8413-436a-bb35-eaefacdbfff2\n")
        self.write("/proc/net/tcp", "  sl  local_address rem_address   st\n")

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        place = Path(self.host.real(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        place.chmod(mode)
        return place

    def directory(self, path: str) -> None:
        Path(self.host.real(path)).mkdir(parents=True, exist_ok=True)

    def process(
        self,
        pid: int,
        argv: Sequence[str],
        cgroup: str,
        *,
        version: int = 1,
        started: float = 10.0,
        exe: str = "",
        sockets: Sequence[int] = (),
    ) -> None:
        """A process with a name that tries to confuse who reads its status."""
        self.write(f"/proc/{pid}/cmdline", b"".join(word.encode() + b"\0" for word in argv))
        ticks = int(started * os.sysconf("SC_CLK_TCK"))
        self.write(f"/proc/{pid}/stat", f"{pid} (a) b (c) S 1 {' '.join(['0'] * 17)} {ticks} 0\n")
        lines = [f"0::{cgroup}"] if version == 2 else [f"{number}:{name}:{cgroup}" for number, name in ((9, "name=systemd"), (4, "memory"))]
        self.write(f"/proc/{pid}/cgroup", "\n".join(lines) + "\n")
        os.symlink(exe or f"/usr/local/bin/{os.path.basename(argv[0])}", self.host.real(f"/proc/{pid}/exe"))
        self.directory(f"/proc/{pid}/fd")
        for number, inode in enumerate(sockets):
            os.symlink(f"socket:[{inode}]", self.host.real(f"/proc/{pid}/fd/{number}"))

    def static_pod(self, component: str, node: str, uid: str) -> None:
        self.directory(f"/var/log/pods/kube-system_{component}-{node}_{uid}")

    def unit(self, pid: int = 0, **properties: str) -> str:
        """What systemctl shows of the kubelet."""
        shown = {
            "Id": "kubelet.service",
            "LoadState": "loaded",
            "ActiveState": "active" if pid else "inactive",
            "MainPID": str(pid),
            **properties,
        }
        return "\n".join(f"{key}={value}" for key, value in shown.items()) + "\n"


class FakeRun:
    """Answers by the first word of a command."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.calls = answers, []  # type: ignore[var-annotated]

    def __call__(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> RunResult:
        self.calls.append(list(argv))
        word = "version" if argv[-1] == "--version" else os.path.basename(argv[0])
        if word not in self.answers:
            return RunResult(127, "", f"{argv[0]}: not found")
        return RunResult(0, self.answers[word], "")
