# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook in the background, whose controller or ssh connections can be ended with SIGKILL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.bed import ROOT, Bed, Playbook

MARK = "ANSIBLE_SSH_CONTROL_PATH_DIR"


@dataclass(frozen=True)
class Run:
    """One ansible-playbook process. Everything that it starts, also what became a daemon, carries its directory in its environment or its title."""

    process: subprocess.Popen[bytes]
    directory: Path

    def processes(self) -> Iterator[tuple[int, str]]:
        """(PID, name) of everything that belongs to this run."""
        mark = f"{MARK}={self.directory}".encode()
        master = f"ssh: {self.directory}/".encode()  # ssh's own title for what holds a connection open; it is written over the environment
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0") or (entry / "cmdline").read_bytes().startswith(master):
                        yield int(entry.name), (entry / "comm").read_text(encoding="utf-8").strip()
                except OSError:
                    continue  # it ended while we looked

    def kill_controller(self) -> None:
        """The controller is gone in this moment, with everything on it."""
        self._kill([process for process, _name in self.processes()])
        self.process.wait(30)

    def kill_ssh(self) -> int:
        """All connections are gone; returns how many processes that were."""
        found = [process for process, name in self.processes() if name == "ssh"]
        self._kill(found)
        return len(found)

    def _kill(self, processes: list[int]) -> None:
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue  # its parent's end took it along

    def output(self) -> str:
        """What it has said so far."""
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float = 900.0) -> Playbook:
        """Wait for its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_controller()
            raise AssertionError(f"the run has not ended within {seconds:g} s:\n{self.output()}") from None
        finally:
            said = self.output()
            self.kill_ssh()  # they would stay open for half an hour, and each is a session on its node
            shutil.rmtree(self.directory, ignore_errors=True)  # a connection that has just been ended may still have its socket there
        return Playbook(code, said)


def start(inventory: Path, playbook: Path, *arguments: str) -> Run:
    """Start a playbook."""
    directory = Path(tempfile.mkdtemp(prefix="np-", dir="/tmp"))  # a socket's path may have 108 characters
    report = ("-e", f"ninepaths_report_dir={directory}/report")
    argv = ["ansible-playbook", "-i", str(inventory), str(playbook), *report, *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", MARK: str(directory)}
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
    return Run(process, directory)


def task(bed: Bed, node: str, module: str, arguments: Mapping[str, object], *options: str) -> Playbook:
    """One task of a module of the collection on one node."""
    step = {"name": "The task", f"ninepaths.kubernetes.{module}": dict(arguments), "become": True}
    with tempfile.TemporaryDirectory(prefix="np-") as directory:
        play = Path(directory) / "play.yml"
        play.write_text(yaml.safe_dump([{"name": "One task", "hosts": node, "gather_facts": False, "tasks": [step]}]), encoding="utf-8")
        return start(bed.folder / "inventory.yml", play, *options).wait()
