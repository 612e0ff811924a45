# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets planted on a bed, and everything in which one could turn up: outputs, spools, processes, files, logs."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import secrets as randoms
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracles import leaks

from .bed import ROOT, Bed, Playbook

# Every process of a node, again and again: command lines and environments, each once. Only what is new is written.
# What the kubelet starts (umount, iptables) has its environment, which somebody has given a password.
SAMPLER = r"""
import os, sys, base64
seen = set()
out = open("/run/np-test-samples", "w", buffering=1)
while not os.path.exists("/run/np-test-stop"):
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        for kind in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/cgroup") as file:
                    if kind == "environ" and "/kubelet.service" in file.read():
                        continue
                with open(f"/proc/{pid}/{kind}", "rb") as file:
                    data = file.read(1 << 20)
                exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                continue
            if data and (exe, kind, data) not in seen:
                seen.add((exe, kind, data))
                out.write(f"{exe} {kind} {base64.b64encode(data).decode()}\n")
"""
START_SAMPLER = (
    f"rm -f /run/np-test-stop /run/np-test-samples; cat >/run/np-test-sampler.py <<'END'\n{SAMPLER}END\n"
    "setsid python3 /run/np-test-sampler.py >/dev/null 2>&1 &\n"
)
STOP_SAMPLER = "touch /run/np-test-stop; sleep 0.5; cat /run/np-test-samples; rm -f /run/np-test-*"
# What a run could leave, but for the backups, which hold what they are for.
LEFT = (
    "/var/lib/ninepaths /etc/kubernetes/ninepaths /usr/local/lib/ninepaths /etc/systemd/system/ninepaths-* /run/systemd/transient "
    "/tmp /var/tmp /dev/shm /root/.ansible /home/ops/.ansible"
)
LOGS = """
journalctl --no-pager --since @{since:.0f} --output=export --unit 'ninepaths-*'
journalctl --no-pager --since @{since:.0f} --output=short _COMM=sudo + _COMM=sshd + _COMM=systemd
systemctl show 'ninepaths-*' --all
systemctl list-units --all --full 'ninepaths-*'
"""
# Who has a planted value in its environment because somebody gave it that; a trial start inherits it, and so do the tools that a kubelet starts.
HOLDERS = {"environ": {"kubelet", "kube-scheduler", "mount", "umount", "xtables-nft-multi"}, "cmdline": frozenset()}


def password(name: str) -> leaks.Secret:
    """A fresh one that no program takes for a path, a number or a known word."""
    return leaks.text(name, f"Planted{randoms.token_hex(13)}")


@dataclass
class Evidence:
    """Named bytes, each from a place where no secret may be."""

    items: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, where: str, data: bytes | str) -> None:
        self.items.append((where, data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data))

    def leaks(self, search: leaks.Search) -> list[str]:
        return [line for where, data in self.items for line in search.found(where, data)]


class Watched:
    """A folder that is read as fast as possible while something goes on: a file that is there for a moment counts as well."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, {}  # type: ignore[var-annotated]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for path in list(self.folder.rglob("*")):
                with contextlib.suppress(OSError):
                    if path.is_file():
                        self.seen.setdefault(str(path.relative_to(self.folder)), set()).add(path.read_bytes())

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def sampled(bed: Bed, evidence: Evidence) -> Iterator[None]:
    """Sample the processes of all nodes, and of this machine, meanwhile."""
    over = threading.Event()
    here: set[tuple[str, str, bytes]] = set()

    def sample_here() -> None:
        while not over.wait(0.005):
            for pid in (name for name in os.listdir("/proc") if name.isdigit()):
                for kind in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        if kind == "environ" and "/kubelet.service" in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"):
                            continue  # of a bed's node
                        here.add((os.path.basename(os.readlink(f"/proc/{pid}/exe")), kind, Path(f"/proc/{pid}/{kind}").read_bytes()))

    for node in bed.nodes:
        bed.root(node, START_SAMPLER)
    thread = threading.Thread(target=sample_here, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for node in bed.nodes:
            lines = [line.split(" ") for line in bed.root(node, STOP_SAMPLER).splitlines()]
            for exe, kind, data in (line for line in lines if len(line) == 3):
                if exe not in HOLDERS[kind]:
                    evidence.add(f"{node}: {kind} of {exe}", base64.b64decode(data))
        for exe, kind, blob in here:
            if exe not in HOLDERS[kind]:
                evidence.add(f"controller: {kind} of {exe}", blob)


def run(bed: Bed, evidence: Evidence, folder: Path, playbook: Path, *arguments: str) -> Playbook:
    """Run a playbook; what it prints, what it keeps meanwhile and what it leaves is evidence."""
    name = f"{playbook.stem}-{randoms.token_hex(3)}"
    spool, reports, home = folder / f"{name}-tmp", folder / f"{name}-reports", folder / f"{name}-home"
    spool.mkdir(mode=0o700)
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(spool), "ANSIBLE_HOME": str(home)}
    argv = ["ansible-playbook", "-i", str(folder / "inventory.yml"), str(playbook), "-e", f"ninepaths_report_dir={reports}", *arguments]
    with Watched(spool) as watched:
        done = subprocess.run(argv, capture_output=True, text=True, errors="surrogateescape", timeout=900, check=False, cwd=ROOT, env=environment)
    evidence.add(f"output of {name}", done.stdout + done.stderr)
    for path, contents in watched.seen.items():
        for data in contents:
            evidence.add(f"spool of {name}: {path}", data)
    for left in (spool, reports, home):
        for path in left.rglob("*"):
            if path.is_file():
                evidence.add(f"left by {name}: {path.relative_to(folder)}", path.read_bytes())
    assert watched.seen, "the spool was not seen, so nothing is known about it"
    return Playbook(done.returncode, done.stdout + done.stderr)


def left_on(bed: Bed, node: str, evidence: Evidence, since: float) -> list[tarfile.TarInfo]:
    """What lies on a node now, and its logs since then (the planting is in those from before), as evidence; returns the entries with their modes."""
    packed = bed.root(node, f"tar -cf - --ignore-failed-read --warning=none -C / {LEFT} 2>/dev/null | base64 -w0")
    entries = []
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as archive:
        for entry in archive.getmembers():
            entries.append(entry)
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is not None and not re.search(r"var/lib/ninepaths/transactions/[^/]+/backup/", entry.name):
                evidence.add(f"{node}: /{entry.name}", content.read())
            evidence.add(f"{node}: a name", entry.name)
    evidence.add(f"{node}: logs", bed.root(node, LOGS.format(since=since), check=False))
    return entries
