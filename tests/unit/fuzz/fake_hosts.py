# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for a real ansible-playbook whose interpreter is a liar: it answers each program of ours from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle

ROOT = Path(__file__).resolve().parents[3]
# Reads the program, finds out which one it is, and prints what lies beside it. A module of Ansible's own is run.
INTERPRETER = """#!{python}
import os, re, subprocess, sys
program = sys.stdin.read()
if "PRELUDE['execute']" not in program:
    sys.exit(subprocess.run([sys.executable, "-"], input=program, text=True).returncode)
entry = re.findall(r"module_utils\\.(\\w+)'", program.rsplit("PRELUDE['execute']", 1)[-1])[0]
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
with open(os.path.join(folder, "asked"), "a") as log:
    log.write(entry + "\\n")
with open(os.path.join(folder, entry), "rb") as answer:
    sys.stdout.buffer.write(answer.read())
"""


class FakeHosts:
    """An inventory of such hosts, and the plays that run over them."""

    def __init__(self, folder: Path, groups: dict[str, list[str]]) -> None:
        self.folder = folder
        hosts = {host: {"ansible_python_interpreter": f"{folder}/{host}/python"} for names in groups.values() for host in names}
        children = {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()}
        variables = {"ansible_connection": "local", "ansible_become": False, "ansible_pipelining": True}
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables, "children": children}}))
        (folder / "bin").mkdir()
        self._program("bin/id", "#!/bin/sh\necho 0\n")  # whoever runs the tests need not be root
        for host in hosts:
            (folder / host).mkdir()
            self._program(f"{host}/python", INTERPRETER.format(python=sys.executable))

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def answer(self, host: str, entry: str, document: Any) -> None:
        """Let a host answer a program with a document, or with bytes that are none."""
        framed = document if isinstance(document, bytes) else f"{bundle.BEGIN}\n{json.dumps(document)}\n{bundle.END}\n".encode()
        (self.folder / host / entry).write_bytes(framed)

    def asked(self, host: str) -> list[str]:
        """The programs that a host was sent."""
        log = self.folder / host / "asked"
        return log.read_text().split() if log.exists() else []

    def collections(self) -> Path:
        """A path of collections that holds this checkout and nothing else."""
        namespace = self.folder / "collections" / "ansible_collections" / "ninepaths"
        if not namespace.exists():
            namespace.mkdir(parents=True)
            (namespace / "kubernetes").symlink_to(ROOT)
        return self.folder / "collections"

    def play(self, playbook: Path, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook; nothing of the user's own configuration counts."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NINEPATHS_", "PYTHON"))}
        environment = {
            **clean, "PATH": f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(self.collections()),
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"), "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }  # fmt: skip
        extra = json.dumps({"ninepaths_report_dir": str(self.folder / "reports"), **variables})
        argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.folder / "inventory.json"), str(playbook), "-e", extra, *arguments]
        return subprocess.run(argv, cwd=self.folder, env=environment, capture_output=True, text=True, errors="surrogateescape", check=False, timeout=600)
