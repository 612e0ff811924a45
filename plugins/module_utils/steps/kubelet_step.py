# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet: its files, one restart, and proof that node, Lease and static pods are known again before it counts as done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import kubelet
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HealthError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, after
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.system_steps import Plain, put_back
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import parse_all

UNIT = kubelet.UNIT
SYSTEMD = ("/etc/systemd/", "/usr/lib/systemd/", "/lib/systemd/", "/run/systemd/")

# Seconds.
ACTIVE, HEALTHY, READY, PODS = 90.0, 120.0, 180.0, 120.0
STOP_AND_START = 150.0


class Kubelet(Plain):
    """The kubelet step of a job."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.changes = parse_all(step["files"])
        self.expected = (step.get("expect") or {}).get("argv")

    # --- forward -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The files are as the plan saw them and the kubelet runs."""
        for change in self.changes:
            changes.check(self.context.machine, change)
        service = self._service()
        if not service.active or not service.pid:
            raise PreconditionError("the kubelet does not run on this host", "mend it first: journalctl -u kubelet")

    def apply(self) -> None:
        """Write the files, let the running binary judge them, restart, wait."""
        old = self._service()
        self.record(f"kubelet: runs as process {old.pid}", {"seen": [old.pid, old.started]})
        for change in self.changes:
            self.context.writer.apply(change, self.name)
        verdict = self.context.tools.validate_kubelet(self.context, old.pid, self.expected)
        self.context.say(self.name, f"kubelet: {verdict}")
        self.record("kubelet: restarting", {"kubelet": {"pid": old.pid}})
        self._restart()
        self._wait_until_well(self.context.machine.now(), old.pid)

    def _restart(self) -> None:
        if any(change.path.startswith(SYSTEMD) for change in self.changes):
            self.command("systemctl", "daemon-reload")
        self.command("systemctl", "reset-failed", UNIT)
        self.context.tools.forget_kubelet_api()
        found = self.context.machine.command(["systemctl", "restart", UNIT], timeout=STOP_AND_START)
        if found.rc != 0:
            raise HealthError(
                f"the kubelet does not restart: {found.stderr.strip()[:300] or self._said()}", "look at journalctl -u kubelet"
            )

    def _wait_until_well(self, restarted: float, old_pid: int) -> None:
        pid = self._wait_for_process(old_pid)
        self._wait("for its health port", "answers on its health port", self._is_healthy, HEALTHY)
        self._wait(
            "until its Node is Ready and its Lease renewed", "its Node is Ready, its Lease renewed",
            lambda: self.context.tools.node_is_back(restarted), READY,
        )  # fmt: skip
        self._wait("until it knows its static pods again", "it knows its static pods again", self.context.tools.static_pods_known, PODS)
        now = self._service()
        if now.pid != pid:
            raise HealthError(f"the kubelet was restarted by systemd meanwhile{self._said()}", "look at journalctl -u kubelet")

    def _wait_for_process(self, old_pid: int) -> int:
        def started() -> int:
            service = self._service()
            if not service.active or service.pid in (0, old_pid):
                raise Waiting(f"not active{self._said()}")
            self._check_argv(service.pid)
            return service.pid

        pid, took = self.context.wait(self.name, "kubelet: waiting for its new process", started, ACTIVE)
        self.context.say(self.name, f"kubelet: new process {pid}{after(took)}")
        return int(pid)

    def _check_argv(self, pid: int) -> None:
        if self.expected is None or self.context.undoing:
            return
        found = self.context.tools.argv_of(pid)
        if found and list(found) != list(self.expected):
            differing = sorted({word.partition("=")[0] for word in set(found) ^ set(self.expected)})
            raise HealthError(
                f"the kubelet runs with other arguments than planned ({', '.join(differing[:6])})",
                "a unit file or environment file overrides them",
            )

    def _wait(self, what: str, found: str, condition: Any, seconds: float) -> None:
        _found, took = self.context.wait(self.name, f"kubelet: waiting {what}", condition, seconds)
        self.context.say(self.name, f"kubelet: {found}{after(took)}")

    def _is_healthy(self) -> bool:
        argv = self.context.tools.argv_of(self._service().pid)
        address, port = kubelet.dial(self.context.machine, argv, kubelet.HEALTHZ)
        if port == 0:
            return True
        answer = self.context.node.probe({"liveness": {"scheme": "HTTP", "host": address, "port": port, "path": "/healthz", "timeout_s": 2}})
        if not answer.passed:
            raise Waiting(f"{answer.detail}{self._said()}")
        return True

    def _service(self) -> kubelet.Service:
        return kubelet.service(self.context.machine)

    def _said(self) -> str:
        words = self.context.tools.unit_words(UNIT)
        return f"; it said: {words}" if words else ""

    # --- back --------------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Put the files back, the last one first."""
        if put_back(self.context, self.name):
            self.context.say(self.name, "kubelet: old files back in place", self._mark())

    def revive(self) -> None:
        """Restart the kubelet if it may have read the new files: when we restarted it, or systemd or a person did."""
        if self._touched() and not self._started_since():
            self.context.say(self.name, "kubelet: restarting with its old files", self._mark())
            self._restart()

    def _touched(self) -> bool:
        """Was it restarted since its first file was written, by us or by anybody else?"""
        now, seen = self._service(), self.recorded("seen")
        others = bool(seen and self.context.writer.records(self.name)) and seen[-1] != [now.pid, now.started]
        return others or bool(self.recorded("kubelet"))

    def _mark(self) -> dict[str, Any]:
        return {"restored": self.context.machine.clock(), "boot": _boot_id(self.context)}

    def _started_since(self) -> bool:
        """Was its process started after the files were back (a reboot in between, an undo that was interrupted here or failed elsewhere)?"""
        marks = [line["data"] for line in self.context.journal.lines if line["step"] == self.name and "restored" in line["data"]]
        if not marks:
            return False
        restored = marks[-1]["restored"] if isinstance(marks[-1]["restored"], (int, float)) else self.context.machine.clock()
        return bool(marks[-1].get("boot") != _boot_id(self.context) or self._service().started > restored)

    def settle(self) -> None:
        """Wait as after any restart. Raises HealthError."""
        if self._touched():
            self._wait_until_well(self.context.machine.now() - 1.0, 0)


def _boot_id(context: Context) -> str:
    try:
        with open(os.path.join(context.machine.root or "/", "proc/sys/kernel/random/boot_id"), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
