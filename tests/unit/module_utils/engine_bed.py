# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which transactions run without root and without waiting: a tree, a clock, a kubelet that rolls pods, and faults on demand."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import ValidationError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import FileSystem, Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Running
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.probes import Answer

MANIFESTS = "/etc/kubernetes/manifests"
SYSCALLS = {
    "write_new", "append", "truncate", "rename", "link", "symlink", "make_directory", "remove", "remove_directory", "set_owner", "set_mode",
    "copy_xattrs", "sync_directory",
}  # fmt: skip
UID, GID = os.getuid(), os.getgid()


class Killed(BaseException):
    """The process is gone at this very call."""


class QuickFiles(FileSystem):
    """Does not wait for the disk; which calls are made in which order is what the tests look at."""

    def sync(self, descriptor: int) -> None:
        """Nothing to wait for."""


class FaultyFiles(QuickFiles):
    """Counts the calls that change files; at number `at` it is killed before or after the call, or the call fails with an errno."""

    def __init__(self, at: int = 0, how: str = "before", keep_failing: bool = False) -> None:
        self.at, self.how, self.keep_failing, self.count, self.depth = at, how, keep_failing, 0, 0
        self.seen: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        plain = super().__getattribute__(name)
        if name not in SYSCALLS:
            return plain

        def counted(*arguments: Any) -> Any:
            if self.depth:
                return plain(*arguments)
            self.count += 1
            self.seen.append(f"{name} {arguments[0]}")
            self.depth += 1
            try:
                return self._fault(name, plain, arguments)
            finally:
                self.depth -= 1

        return counted

    def _fault(self, name: str, plain: Any, arguments: Sequence[Any]) -> Any:
        due = self.count == self.at or (self.keep_failing and self.at and self.count >= self.at)
        if due and self.how == "before":
            raise Killed(name)
        if due and self.how == "full" and name in ("write_new", "append", "make_directory", "link", "symlink"):
            self._leave_half(name, arguments)
            raise OSError(errno.ENOSPC, "No space left on device", arguments[0])
        if due and self.how == "torn" and name in ("append", "write_new"):
            self._leave_half(name, arguments)
            raise Killed(name)
        result = plain(*arguments)
        if due and self.how == "after":
            raise Killed(name)
        return result

    def _leave_half(self, name: str, arguments: Sequence[Any]) -> None:
        """A power cut or a full disk in the middle of a write leaves some of its bytes (an append on a full disk is cut off again)."""
        if name == "write_new" or (name == "append" and self.how == "torn"):
            with open(arguments[0], "ab") as file:
                file.write(arguments[1][: len(arguments[1]) // 2])


class FakeMachine(Machine):
    """A machine under a directory, whose clock moves only when somebody waits."""

    def __init__(self, root: Path, files: FileSystem | None = None) -> None:
        super().__init__(self.systemd, root=str(root), files=files or QuickFiles())
        self.time = 1000.0
        self.commands: list[list[str]] = []
        self.answers: dict[str, RunResult] = {}

    def now(self) -> float:
        return 1_700_000_000.0 + self.time

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> RunResult:
        self.commands.append(list(argv))
        line = " ".join(argv)
        return next((answer for start, answer in self.answers.items() if line.startswith(start)), RunResult(0, "", ""))

# Arguments with which a component starts, and what its probes get.
ILL = {b"--ill": 503, b"--unauthorized": 401}


class FakeNode:
    """A kubelet that rolls a pod when its manifest changes; an argv with --broken never runs, one with --ill fails its probes."""

    name = "cp1"

    def __init__(self, machine: FakeMachine) -> None:
        self.machine, self.pids, self.log, self.asked = machine, {}, [], 0  # type: ignore[var-annotated]

    def running(self, component: str) -> list[Running]:
        for path in Path(self.machine.at(MANIFESTS)).iterdir():
            assert path.name.endswith(".yaml"), f"the kubelet would read {path.name} as a pod"
        raw = Path(self.machine.at(f"{MANIFESTS}/{component}.yaml")).read_bytes()
        argv = tuple(json.loads(raw)["argv"])
        uid = hashlib.md5(json.dumps(argv).encode()).hexdigest()
        if self.pids.get(component, ("", 0))[0] != uid:
            self.log.append(f"{component} {argv[-1]}")
            self.pids[component] = (uid, 100 + len(self.log))
            return []
        return [] if "--broken" in argv else [Running(self.pids[component][1], 1.0, uid, argv)]

    def probe(self, pod_probes: Mapping[str, Mapping[str, Any]]) -> Answer:
        manifests = b"".join(path.read_bytes() for path in Path(self.machine.at(MANIFESTS)).iterdir())
        status = next((status for word, status in ILL.items() if word in manifests), 200)
        if status == 200 or not pod_probes:
            return Answer(True, "all probes pass", 200)
        return Answer(False, f"readiness probe /readyz on port 1: {status}", status)

    def newest_pod(self, component: str) -> str:
        return str(self.pids[component][0])

    def starts(self, component: str, uid: str) -> int:
        self.asked += 1
        return self.asked // 40 if "--broken" in Path(self.machine.at(f"{MANIFESTS}/{component}.yaml")).read_text() else 1

    def last_words(self, component: str, uid: str) -> str:
        return "Error: unknown flag: --broken"


class FakeTools:
    """Helpers that agree with everything, unless an argv says --refused."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def validate(self, context: Any, component: str, change: Mapping[str, Any], old: Running) -> str:
        if "--refused" in change["argv"]:
            raise ValidationError(f"{component} refuses its new arguments: unknown flag", "correct it")
        return "accepted"

    def hand_over_leadership(self, context: Any, argv: Sequence[str]) -> str:
        self.log.append("leader moved")
        return "leadership moved to cp2"

    def drain(self, context: Any, argv: Sequence[str]) -> str:
        return "refused new connections"

    def rejoin(self, context: Any) -> None:
        return None

    def check_quorum(self, context: Any, argv: Sequence[str]) -> None:
        self.log.append("quorum checked")

    def check_pressure(self) -> None:
        self.log.append("pressure checked")

    def pod_is_ready(self, context: Any, component: str, uid: str) -> bool:
        return True


def manifest(*argv: str) -> bytes:
    return json.dumps({"argv": list(argv)}).encode()


def before(root: Path, path: str) -> dict[str, Any]:
    """A FileChange's `before` as the plan would have seen it."""
    real = Path(f"{root}{path}")
    if not real.exists():
        return {"type": "absent", "sha256": None, "mode": None, "uid": None, "gid": None}
    status = real.stat()
    sha256 = hashlib.sha256(real.read_bytes()).hexdigest() if real.is_file() else None
    return {"type": "file" if real.is_file() else "dir", "sha256": sha256, "mode": f"{status.st_mode & 0o7777:04o}", "uid": UID, "gid": GID}


def change(root: Path, path: str, content: bytes | None, mode: str = "0600", kind: str = "file") -> dict[str, Any]:
    encoded = None if content is None else base64.b64encode(content).decode()
    return {
        "path": path,
        "type": kind,
        "before": before(root, path),
        "content": encoded,
        "target": None,
        "mode": mode,
        "owner": str(UID),
        "group": str(GID),
    }


def pod_change(root: Path, component: str, *argv: str) -> dict[str, Any]:
    return {
        "file": change(root, f"{MANIFESTS}/{component}.yaml", manifest(component, *argv)),
        "argv": [component, *argv],
        "probes": {"readiness": {"scheme": "HTTPS", "host": "127.0.0.1", "port": 1, "path": "/readyz", "timeout_s": 1}},
        "old": {"pid": None, "started": None, "uid": None},
    }


def make_tree(root: Path) -> None:
    """A node with a running control plane and some files of mixed modes."""
    for directory in (
        MANIFESTS,
        "/etc/kubernetes/pki",
        "/var/lib",
        "/run/systemd/system",
        "/etc/systemd/system",
        "/proc/sys/kernel/random",
    ):
        Path(f"{root}{directory}").mkdir(parents=True)
    for component in ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"):
        path = Path(f"{root}{MANIFESTS}/{component}.yaml")
        path.write_bytes(manifest(component, "--old"))
        path.chmod(0o640)
    (root / "etc/kubernetes/pki/ca.crt").write_text("public")
    (root / "etc/kubernetes/pki/ca.crt").chmod(0o644)
    (root / "etc/kubernetes/audit.yaml").write_text("old policy")
    (root / "etc/kubernetes/audit.yaml").chmod(0o644)
    lock.prepare(FakeMachine(root))


def full_steps(root: Path, *, flag: str = "--new") -> list[dict[str, Any]]:
    """Every way in which a file can change, and all four components."""
    own = "/etc/kubernetes/ninepaths"
    return [
        {
            "op": "files",
            "files": [
                change(root, own, None, "0700", "dir"),
                change(root, f"{own}/audit-policy-1.yaml", b"new policy"),
                change(root, "/etc/kubernetes/audit.yaml", b"newer policy", "0600"),
                change(root, "/etc/kubernetes/pki/ca.crt", None, "0600"),
            ],
        },
        {
            "op": "static_pods",
            "changes": {
                name: pod_change(root, name, flag) for name in ("kube-scheduler", "etcd", "kube-apiserver", "kube-controller-manager")
            },
        },
    ]


def lay(root: Path, steps: list[dict[str, Any]], name: str = "t1", **fields: Any) -> str:
    """Put a job into its transaction directory, as launch does; returns the directory."""
    directory = f"{lock.TRANSACTIONS}/{name}"
    Path(f"{root}{directory}").mkdir(mode=0o700)
    job = {
        "schema": 1,
        "id": name,
        "run": "r1",
        "host": "cp1",
        "node": "cp1",
        "wave": "x",
        "lease": None,
        "undo_after_s": 900,
        "steps": steps,
        **fields,
    }
    Path(f"{root}{directory}/job.json").write_text(json.dumps(job))
    Path(f"{root}{directory}/program.py").write_text("")
    return directory


def tree(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """Everything of the host but our own transactions: kind, mode and bytes by path."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith("var/lib/ninepaths") or name == f"{units.WANTS[1:]}":
            continue
        content = b"" if path.is_dir() else os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        found[name] = ("dir" if path.is_dir() else "file", path.lstat().st_mode & 0o7777, content)
    return found


def execute(
    root: Path, directory: str, files: FileSystem | None = None, mode: str = "run", **replaced: Any
) -> tuple[str, FakeMachine, Any]:
    """Run, recover, boot or settle a transaction on a fresh machine (a new process); returns state, machine and node."""
    machine = FakeMachine(root, files)
    node = replaced.pop("node", None) or FakeNode(machine)
    if isinstance(node, FakeNode):
        for path in Path(f"{root}{MANIFESTS}").glob("*.yaml"):
            node.running(path.stem)
        node.log.clear()
    modes = {"run": transaction.run_job, "recover": transaction.recover_job, "boot": transaction.boot_job, "settle": transaction.settle_job}
    return modes[mode](machine, directory, node=node, tools=replaced.pop("tools", FakeTools())), machine, node
