# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a bed with the choices of these tests, and what their reports say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control

from tests.integration.bed import Bed, Playbook
from tests.integration.live import read_report

from . import breaks, snapshot
from .hand import Hand

CALLBACKS = Path(__file__).parent / "callbacks"
Named = set[tuple[str, str | None]]


@dataclass(frozen=True)
class Run:
    """What one run printed, and its report."""

    playbook: Playbook
    report: Mapping[str, Any]

    @property
    def named(self) -> Named:
        """Controls that are not as wanted, and where; None stands for the cluster as a whole."""
        return {
            (row["id"], host)
            for path in self.report["paths"]
            for row in path["controls"]
            if row["status"] in ("change", "deviation")
            for host in row["hosts"]
        }

    @property
    def repaired(self) -> Named:
        """Controls that this run has set."""
        return {(row["id"], host) for path in self.report["paths"] for row in path["controls"] if row["changed"] for host in row["hosts"]}

    @property
    def targets(self) -> list[str]:
        """Files, kernel settings and objects that its plan changes: `w1 /path`, `w1 sysctl kernel.panic`, `ConfigMap kubelet-config`."""
        hosts = self.report["predicted"]["hosts"].items()
        files = [f"{name} {path}" for name, host in hosts for path in host["files"]]
        sysctls = [f"{name} sysctl {sysctl}" for name, host in hosts for sysctl in host["sysctls"]]
        return sorted([*files, *sysctls, *(name.replace("kube-system/", "") for name in self.report["predicted"]["objects"])])

    def unexplained_proofs(self, controls: Iterable[str]) -> list[str]:
        """Connections that misbehave although no broken control is about them."""
        found = []
        for path in self.report["paths"]:
            about = {row["id"]: row["proof"] for row in path["controls"]}
            active = {row["proof"] for row in path["controls"] if row["status"] in ("ok", "change", "deviation")}
            broken = {about[name] for name in controls if name in about}
            for proof in path["proofs"]:
                names = {proof["id"], f"{proof['id']}/{proof['aspect']}"}
                if not proof["passed"] and names & active and not names & broken:
                    found.append(f"{proof['id']}/{proof['aspect']} {proof['from']} → {proof['to']}: {proof['evidence']}")
        return found


class Live:
    """A bed, a person's hand on it, and runs with the choices under which controls are tried. `open`: the case that has not ended yet."""

    def __init__(self, bed: Bed, controls: tuple[Control, ...], folder: Path) -> None:
        self.bed, self.controls, self.folder = bed, controls, folder
        self.hand = Hand(bed, controls)
        self.open: str | None = None
        self._runs = 0

    def snapshot(self) -> snapshot.Snapshot:
        return snapshot.take(self.bed)

    def run(self, playbook: str, *arguments: str, tried: str = "", environment: Mapping[str, str] | None = None) -> Run:
        """One run, with its own report."""
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        variables = {f"ninepaths_{name}": value for name, value in breaks.choices(self.controls, tried).items()}
        chosen = json.dumps({**variables, "ninepaths_report_dir": str(folder)})
        done = self.bed.playbook(playbook, "-e", chosen, *arguments, environment=environment)
        assert "Traceback" not in done.output, done.output
        return Run(done, read_report(folder))

    def harden_between(self, play: str, act: Callable[[], None]) -> Run:
        """A harden run that halts before a play, in which moment something is done."""
        folder = self.folder / f"between-{self._runs}"
        folder.mkdir()
        environment = {
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "between",
            "BETWEEN_PLAY": play,
            "BETWEEN_FOLDER": str(folder),
        }
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(self.run, "harden", environment=environment)
            while not (folder / "reached").exists():
                assert not run.done(), f"the run never came to {play!r}: {run.result().playbook.output}"
                time.sleep(0.1)
            try:
                act()
            finally:
                (folder / "go").touch()
            return run.result()
