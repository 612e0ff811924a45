# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one job on one host: begin, preconditions, arm the undo, steps, commit; or put everything back.

The job lies in a directory of its own (job.json, program.py, journal.jsonl, backup/), so that a process that was killed, or a machine
that lost power, can be taken up by any other that reads the journal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.lease import Lease
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, JobError, TransactionError, UndoError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal as journals
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import registry as steps
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import sandbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, Step
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Node
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.toolbox import Toolbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import MANIFESTS, Writer

BALLAST = 64 << 10  # bytes kept back, so that an undo on a full disk can still write its journal
UNDO_PATIENCE = 600.0  # seconds that the timer grants to an undo that is already under way
FULL_DISK = "look at what the message says about the file system (df -h, df -i), then run again"


class Transaction:
    """One job and everything that it takes to run or undo it. Raises JobError for a job that is not valid."""

    def __init__(self, machine: Machine, directory: str, *, node: Any = None, tools: Any = None) -> None:
        self.machine, self.directory = machine, directory
        self.id = os.path.basename(directory)
        self.job = _read_job(machine, directory)
        self.journal = Journal(machine, f"{directory}/journal.jsonl")
        self.writer = Writer(machine, self.journal, directory, {MANIFESTS} | steps.manifest_directories(self.job))
        name = str(self.job.get("node") or "")
        self.context = Context(
            machine, node or Node(machine, name), self.journal, self.writer, directory, self.job, tools or Toolbox(machine, name)
        )  # fmt: skip
        self.steps: list[Step] = steps.build(self.context)
        self.lease: Lease | None = None

    # --- forward -----------------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Run the job to its end; returns the state. The caller holds the host's lock."""
        try:
            self._begin()
            for step in self.steps:
                self.journal.add("step", step.name, f"step {step.name} begins", {"begun": True})
                step.apply()
                self.journal.add("done", step.name, f"step {step.name} is done", {"ended": True})
            self.journal.add("end", "", "committed", {"state": journals.COMMITTED})
        except (TransactionError, OSError) as error:
            return self.undo(as_error(error))
        self._close()
        return journals.COMMITTED

    def _begin(self) -> None:
        self.journal.add(
            "begin", "", f"transaction {self.id} on {self.job.get('host')}", {"run": self.job.get("run"), "stages": sorted(self._stages())}
        )
        for step in self.steps:
            step.check()
        self.machine.files.write_new(self.machine.at(self._ballast()), b"\0" * BALLAST, 0o600)
        if self.job.get("lease"):
            self.lease = Lease(self.machine, self.context.tools.administrator(self.context), self.job["lease"], str(self.job.get("host")))
            self.lease.acquire()
            self.context.keep = self.lease.keep
            self.journal.add("done", "", f"holds the cluster's Lease {self.lease.namespace}/{self.lease.name}")
        seconds = float(self.job.get("undo_after_s") or 900)
        units.arm(self.machine, self.id, self.directory, seconds)
        self.journal.add("done", "", f"everything is as planned; undo is armed for {seconds:.0f} s and for a reboot")

    # --- back --------------------------------------------------------------------------------------------------------------

    def undo(self, error: TransactionError | None = None) -> str:
        """Put everything back and wait until it is well; returns the state. Also takes up an undo that was interrupted."""
        cause = error.cause if error else "the transaction was interrupted"
        advice = error.advice if error else "nothing is left of it; run the playbook again"
        self._start_undo(cause)
        try:
            for step in reversed(self._begun()):
                step.restore()
                step.revive()
            self.writer.clean(self._stages())
        except (TransactionError, OSError) as failure:
            return self._end_failed(cause, failure)
        healthy, ill = self._settle()
        data = {"state": journals.UNDONE, "healthy": healthy, "cause": cause, "advice": advice, **({"ill": ill} if ill else {})}
        done = "undone" if self._changed() else "nothing was changed"
        self._end(f"{done}: {cause}" + ("" if healthy else f"; still not healthy: {'; '.join(ill)}"), data)
        return journals.UNDONE

    def restore_files(self) -> None:
        """The part of an undo that needs no running system: old files back, at boot, before the kubelet reads them. Raises UndoError."""
        self._start_undo("the machine went down")
        for step in reversed(self._begun()):
            step.restore()

    def _start_undo(self, cause: str) -> None:
        self.context.undoing.append(cause)
        self.context.keep = _nothing
        try:
            self.machine.files.remove(self.machine.at(self._ballast()))
            self.journal.add("undo", "", f"undoing: {cause}", {"cause": cause})
        except OSError as error:  # a disk that takes no more lines must not stop the files from being put back
            self.context.undoing.append(f"journal: {error.strerror}")

    def _settle(self) -> tuple[bool, list[str]]:
        ill = []
        for step in reversed(self._begun()):
            try:
                step.settle()
            except (TransactionError, OSError) as error:
                ill.append(as_error(error).cause)
        return not ill, ill

    def _end_failed(self, cause: str, failure: TransactionError | OSError) -> str:
        error = as_error(failure)
        advice = f"{error.advice or 'put it back by hand'}; the backups are in {self.directory}/backup, then run the recover entry again"
        self._end(
            f"undo failed: {error.cause}; it was undone because {cause}",
            {"state": journals.FAILED, "cause": f"{error.cause} (while undoing: {cause})", "advice": advice},
        )
        return journals.FAILED

    def _end(self, message: str, data: Mapping[str, Any]) -> None:
        try:
            self.journal.add("end", "", message, data)
        except OSError as error:  # the journal stays open: timer and boot unit stay armed and try again
            raise UndoError(f"{self.directory}/journal.jsonl: {error.strerror}", FULL_DISK) from error
        if data["state"] != journals.FAILED:
            self._close()

    # --- both --------------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """After the end line: disarm, give back, tidy. What fails here is done by the next recover; the state stands."""
        try:
            self.writer.clean(self._stages())
            self.machine.files.remove(self.machine.at(self._ballast()))
            units.disarm(self.machine, self.id, self.directory)
            self._release()
        except (TransactionError, OSError, ApiError) as error:
            self.context.undoing.append(str(error))

    def _release(self) -> None:
        """Also the Lease that a killed process of this transaction has left behind. One that cannot be released ends by itself."""
        if self.job.get("lease"):
            lease = self.lease or Lease(
                self.machine, self.context.tools.administrator(self.context), self.job["lease"], str(self.job.get("host"))
            )
            lease.release()

    def _changed(self) -> bool:
        """Was anything announced but the begin of a step?"""
        return any(line["event"] == "step" and set(line["data"]) - {"begun"} for line in self.journal.lines)

    def _begun(self) -> list[Step]:
        names = {line["step"] for line in self.journal.lines if line["event"] == "step"}
        return [step for step in self.steps if step.name in names]

    def _stages(self) -> list[str]:
        return steps.stages(self.job, self.writer)

    def _ballast(self) -> str:
        return f"{self.directory}/ballast"


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """What program.py calls: its mode is the first argument (none: run the job), its directory is where it lies."""
    mode = sys.argv[1] if len(sys.argv) > 1 else "run"
    if mode == "sandbox":
        sandbox.main()
    directory = os.path.dirname(os.path.abspath(sys.argv[0]))
    return act(Machine(run), directory, mode)


def act(machine: Machine, directory: str, mode: str) -> dict[str, Any]:
    """Run, recover or boot one transaction under the host's lock."""
    modes: dict[str, Callable[[Machine, str], str]] = {"run": run_job, "recover": recover_job, "boot": boot_job}
    if mode not in modes:
        raise JobError(f"mode {mode!r} is none of {', '.join(modes)}")
    return {"schema": 1, "id": os.path.basename(directory), "state": modes[mode](machine, directory)}


def run_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Run the job of a directory. A job that cannot even begin gets its end line too, so that whoever follows sees why."""
    try:
        with lock.hold(machine, os.path.basename(directory)):
            return Transaction(machine, directory, **replaced).run()
    except (HeldError, JobError) as error:
        data = {"state": journals.UNDONE, "healthy": True, "cause": error.cause, "advice": error.advice}
        Journal(machine, f"{directory}/journal.jsonl").add("end", "", f"nothing was changed: {error.cause}", data)
        return journals.UNDONE


def recover_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Undo what is open. A live transaction that has not begun to undo is stopped first: its time is over."""
    name = os.path.basename(directory)
    if _finished(machine, directory):
        return Journal(machine, f"{directory}/journal.jsonl").state
    if lock.holder(machine) == name and not _is_undoing(machine, directory):
        units.stop(machine, name)
    with lock.hold(machine, name, patience=UNDO_PATIENCE):
        transaction = Transaction(machine, directory, **replaced)
        if transaction.journal.state in (journals.COMMITTED, journals.UNDONE):
            transaction._close()
            return transaction.journal.state
        if units.going_down(machine):
            transaction.restore_files()
            return journals.OPEN
        return transaction.undo()


def boot_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Before the kubelet starts: put the old files back, and let the rest be done once it runs."""
    name = os.path.basename(directory)
    with lock.hold(machine, name):
        transaction = Transaction(machine, directory, **replaced)
        if transaction.journal.state in (journals.COMMITTED, journals.UNDONE):
            transaction._close()
            return transaction.journal.state
        transaction.restore_files()
    units.recover_after_kubelet(machine, name, directory)
    return journals.OPEN


def _finished(machine: Machine, directory: str) -> bool:
    """Ended and tidied up: nothing of it is armed any more."""
    done = Journal(machine, f"{directory}/journal.jsonl").state in (journals.COMMITTED, journals.UNDONE)
    return done and not machine.exists(f"{directory}/ballast") and not units.is_armed(machine, directory)


def _is_undoing(machine: Machine, directory: str) -> bool:
    return any(line["event"] == "undo" for line in Journal(machine, f"{directory}/journal.jsonl").lines)


def _read_job(machine: Machine, directory: str) -> Mapping[str, Any]:
    path = f"{directory}/job.json"
    try:
        job = json.loads(machine.read(path))
    except (OSError, ValueError) as error:
        raise JobError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not JSON'}",
            "the transaction cannot be taken up without it",
        ) from error
    if not isinstance(job, dict) or job.get("schema") != 1 or not _is_list_of_objects(job.get("steps")):
        raise JobError(f"{path} is no job of schema 1", "use the collection's version that made it")
    return job


def as_error(error: TransactionError | OSError) -> TransactionError:
    """The same error, or an OSError in words."""
    if isinstance(error, TransactionError):
        return error
    return TransactionError(f"{error.filename or 'a system call'}: {error.strerror}", FULL_DISK)


def _nothing() -> None:
    """While undoing, no Lease is renewed: what is begun must be put back whoever holds it."""


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
