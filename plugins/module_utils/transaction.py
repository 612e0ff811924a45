# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one job on one host: begin, preconditions, arm the undo, steps, commit; or put everything back.

The job lies in a directory of its own (job.json, program.py, journal.jsonl, backup/), so that a process that was killed, or a machine
that lost power, can be taken up by any other that reads the journal.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.lease import Lease
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import (
    FULL_DISK,
    HealthError,
    HeldError,
    JobError,
    TransactionError,
    UndoError,
    as_error,
    joined,
)
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine, Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import registry as steps
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import sandbox, states
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, Step
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Node
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.toolbox import Toolbox
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import MANIFESTS, Writer
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json

LONGEST = 7 * 86400  # seconds
BALLAST = 64 << 10  # bytes kept back, so that an undo on a full disk can still write its journal
RELEASE_TRIES, RELEASE_PAUSE = 3, 1.0  # seconds between two tries to give the Lease back
AFTER_BOOT = 600.0  # seconds that this node's apiserver may take after a boot, before what needs it is tried all the same
INTERRUPTED = ("the transaction was interrupted", "nothing is left of it; run the playbook again")


class Transaction:
    """One job and everything that it takes to run or undo it. Raises JobError for a job that is not valid."""

    def __init__(self, machine: Machine, directory: str, *, node: Any = None, tools: Any = None) -> None:
        self.machine, self.directory = machine, directory
        self.id = os.path.basename(directory)
        self.job = _read_job(machine, directory)
        self.journal = Journal(machine, f"{directory}/journal.jsonl")
        watched = {MANIFESTS} | steps.manifest_directories(self.job) | steps.removed_directories(self.job)
        self.writer = Writer(machine, self.journal, directory, watched)
        name = str(self.job.get("node") or "")
        self.context = Context(
            machine, node or Node(machine, name), self.journal, self.writer, directory, self.job, tools or Toolbox(machine, name)
        )  # fmt: skip
        self.steps: list[Step] = steps.build(self.context)
        lease, host = self.job.get("lease"), str(self.job.get("host"))
        self.lease = Lease(machine, lambda: self.context.tools.administrator(self.context), lease, host) if lease else None

    # --- forward -----------------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Run the job to its end; returns the state. The caller holds the host's lock."""
        try:
            self._begin()
            for step in self.steps:
                self.journal.add("step", step.name, f"step {step.name} begins", {"begun": True})
                step.apply()
                self.journal.add("done", step.name, f"step {step.name} is done", {"ended": True})
            self.journal.add("end", "", "committed", {"state": states.COMMITTED})
        except Exception as error:  # a mistake of ours, too: what was begun is put back here and now, with its cause
            return self.undo(as_error(error))
        self.close()
        return states.COMMITTED

    def _begin(self) -> None:
        self.journal.add(
            "begin", "", f"transaction {self.id} on {self.job.get('host')}", {"run": self.job.get("run"), "stages": sorted(self._stages())}
        )
        for step in self.steps:
            step.check()
        self.machine.files.write_new(self.machine.at(self._ballast()), b"\0" * BALLAST, 0o600)
        if self.lease:
            self.lease.acquire(lambda message: self.context.add("wait", "", message))
            self.context.keep = self.lease.keep
            self.journal.add("done", "", f"holds the cluster's Lease {self.lease.namespace}/{self.lease.name}")
        units.arm(self.machine, self.id, self.directory, self.job)
        seconds = units.undo_after(self.job)
        self.journal.add("done", "", f"everything is as planned; undo is armed for {seconds:.0f} s and for a reboot")

    # --- back --------------------------------------------------------------------------------------------------------------

    def undo(self, error: TransactionError | None = None) -> str:
        """Put everything back and wait until it is well; returns the state. Also takes up an undo that was interrupted, or has failed."""
        cause, advice = (error.cause, error.advice) if error else self._first_cause()
        self._start_undo(cause, advice)
        failed = self.writer.damaged() + self._each(lambda step: step.restore()) + self._each(lambda step: step.revive())
        if failed:
            return self._end_failed(cause, joined(failed))
        with contextlib.suppress(OSError):  # makes room; `close` does it again, and says what went wrong
            self.writer.clean(self._stages())
        ill = [failure.cause for failure in self._each(lambda step: step.settle())]
        data = {"state": states.UNDONE, "healthy": not ill, "cause": cause, "advice": advice, **({"ill": ill} if ill else {})}
        done = "undone" if self._changed() else "nothing was changed"
        self._end(f"{done}: {cause}" + (f"; still not healthy: {'; '.join(ill)}" if ill else ""), data)
        return states.UNDONE

    def restore_files(self) -> None:
        """The part of an undo that needs no running system: old files back, at boot, before the kubelet reads them. Raises UndoError."""
        self._start_undo("the machine went down", INTERRUPTED[1])
        failed = self.writer.damaged() + self._each(lambda step: step.restore())
        if failed:
            raise joined(failed)

    def wait_for_apiserver(self) -> None:
        """After a boot, where a Lease was held: it is given back, and the cluster's objects are put back, through this node's apiserver.

        Without the host's lock, so nothing is journaled: another process may be writing there.
        """
        lease = self.lease
        if lease is None:
            return

        def answers() -> bool:
            try:
                lease.client.find(lease.path)
            except (ApiError, TransactionError) as error:
                raise Waiting(str(error)) from error
            return True

        with contextlib.suppress(HealthError):  # what needs it is tried, and told, all the same
            self.machine.wait("waiting for this node's apiserver", answers, AFTER_BOOT, every=1.0)

    def _first_cause(self) -> tuple[str, str]:
        """Cause and advice of an undo that is taken up again: those with which it was begun."""
        begun = next((line["data"] for line in self.journal.lines if line["event"] == "undo"), None)
        return (str(begun.get("cause") or INTERRUPTED[0]), str(begun.get("advice") or "")) if begun else INTERRUPTED

    def _start_undo(self, cause: str, advice: str) -> None:
        self.context.undoing = True
        self.context.keep = self._keep_while_undoing
        with contextlib.suppress(OSError):  # it only makes room
            self.machine.files.remove(self.machine.at(self._ballast()))
        self.context.add("undo", "", f"undoing: {cause}", {"cause": cause, "advice": advice})

    def _keep_while_undoing(self) -> None:
        """Nobody may begin beside an undo, so the Lease is renewed while it is ours. What is begun is put back whoever holds it."""
        try:
            if self.lease:
                self.lease.keep()
        except HeldError as error:
            self.context.keep = _nothing
            self.context.say("", f"undoing without the cluster's Lease: {error.cause}")

    def _each(self, act: Callable[[Step], None]) -> list[TransactionError]:
        """Do it for every step that was begun, the last one first; what fails keeps none of the others from it."""
        failed = []
        for step in reversed(self._begun()):
            try:
                act(step)
            except Exception as error:  # nothing may end an undo, not even a mistake of ours: it is all that stands behind a change
                failed.append(as_error(error))
        return failed

    def _end_failed(self, cause: str, error: TransactionError) -> str:
        hint = f" ({error.advice})" if error.advice else ""
        advice = (
            f"take away what is in the way, or put it back by hand{hint}, then run the playbook again: it goes on with the undo; "
            f"or keep what is there, and move {self.directory} to another place"
        )
        self._end(
            f"undo failed: {error.cause}; it was undone because {cause}",
            {"state": states.FAILED, "cause": f"{error.cause} (while undoing: {cause})", "advice": advice},
        )
        return states.FAILED

    def _end(self, message: str, data: Mapping[str, Any]) -> None:
        lost = f"; {self.context.unwritten} lines before this one could not be written" if self.context.unwritten else ""
        try:
            self.journal.add("end", "", message + lost, data)
        except OSError as error:  # the journal stays open: timer and boot unit stay armed and try again
            raise UndoError(f"{self.directory}/journal.jsonl: {error.strerror}", FULL_DISK) from error
        if data["state"] == states.FAILED:
            units.stop_timer(self.machine, self.id)  # a person, or the next run, decides when to try again
        else:
            self.close()

    # --- both --------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """After the end line: give the Lease back, for which other hosts may wait already; tidy; disarm.

        What fails here is done by the next recover, since the undo stays armed until then; the state stands.
        """
        self.context.undoing = True  # from here on a line that cannot be written stops nothing
        try:
            self._release()
            self.writer.clean(self._stages())
            self.machine.files.remove(self.machine.at(self._ballast()))
            units.disarm(self.machine, self.id, self.directory)
        except (TransactionError, OSError, ApiError) as error:
            self.context.say("", f"not tidied up yet: {error}")

    def _release(self) -> None:
        """Also the Lease that a killed process of this transaction has left behind. Raises ApiError or TransactionError."""
        if not self.lease:
            return
        for _try in range(RELEASE_TRIES - 1):
            try:
                return self.lease.release()
            except (ApiError, TransactionError):
                self.machine.sleep(RELEASE_PAUSE)
        self.lease.release()

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
    """Run, recover, boot or settle one transaction."""
    modes: dict[str, Callable[[Machine, str], str]] = {"run": run_job, "recover": recover_job, "boot": boot_job, "settle": settle_job}
    if mode not in modes:
        raise JobError(f"mode {mode!r} is none of {', '.join(modes)}")
    return {"schema": 1, "id": os.path.basename(directory), "state": modes[mode](machine, directory)}


def run_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Run the job of a directory. A job that cannot even begin gets its end line too, so that whoever follows sees why."""
    try:
        with lock.hold(machine, os.path.basename(directory)):
            return Transaction(machine, directory, **replaced).run()
    except (HeldError, JobError) as error:
        data = {"state": states.UNDONE, "healthy": True, "cause": error.cause, "advice": error.advice}
        Journal(machine, f"{directory}/journal.jsonl").add("end", "", f"nothing was changed: {error.cause}", data)
        return states.UNDONE


def recover_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Undo what has not ended, or go on with an undo. A live transaction that has not begun to undo is stopped first: its time is over."""
    name = os.path.basename(directory)
    if _finished(machine, directory):
        return Journal(machine, f"{directory}/journal.jsonl").state
    job = _read_job(machine, directory)
    if lock.holder(machine) == name and not _is_undoing(machine, directory):
        units.stop(machine, name, job)
    with lock.hold(machine, name, patience=units.undo_limit(job)):
        transaction = Transaction(machine, directory, **replaced)
        if transaction.journal.state not in states.UNFINISHED:
            transaction.close()
            return transaction.journal.state
        if units.going_down(machine):
            transaction.restore_files()
            return transaction.journal.state
        return transaction.undo()


def boot_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """Before the kubelet starts: put the old files back, and let the rest be done once it runs."""
    name = os.path.basename(directory)
    with lock.hold(machine, name):
        transaction = Transaction(machine, directory, **replaced)
        if transaction.journal.state not in states.UNFINISHED and not transaction.lease:
            transaction.close()
            return transaction.journal.state
        try:
            if transaction.journal.state in states.UNFINISHED:
                transaction.restore_files()
        finally:  # what could not be put back now is tried again, and told, once the kubelet runs
            units.settle_after_kubelet(machine, name, directory)
        return transaction.journal.state


def settle_job(machine: Machine, directory: str, **replaced: Any) -> str:
    """After a boot, once the kubelet was started: all that was left to do. Nobody is kept from the host's lock while the apiserver starts."""
    Transaction(machine, directory, **replaced).wait_for_apiserver()
    return recover_job(machine, directory, **replaced)


def _finished(machine: Machine, directory: str) -> bool:
    """Ended and tidied up: nothing of it is armed any more."""
    done = Journal(machine, f"{directory}/journal.jsonl").state not in states.UNFINISHED
    return done and not machine.exists(f"{directory}/ballast") and not units.is_armed(machine, directory)


def _is_undoing(machine: Machine, directory: str) -> bool:
    return any(line["event"] == "undo" for line in Journal(machine, f"{directory}/journal.jsonl").lines)


def _read_job(machine: Machine, directory: str) -> Mapping[str, Any]:
    path = f"{directory}/job.json"
    try:
        job = strict_json.parse(machine.read(path))
    except (OSError, ValueError) as error:
        raise JobError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}",
            "the transaction cannot be taken up without it",
        ) from error
    if not isinstance(job, dict) or job.get("schema") != 1 or not _is_list_of_objects(job.get("steps")) or not _has_terms(job):
        raise JobError(f"{path} is no job of schema 1", "use the collection's version that made it")
    return job


def _nothing() -> None:
    """There is no Lease to renew any more."""


def _has_terms(job: Mapping[str, Any]) -> bool:
    """Whether the parts that are about no step have the types that the plan gives them."""
    lease, seconds = job.get("lease"), job.get("undo_after_s") or 0
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < LONGEST:
        return False
    if lease is None:
        return True
    named = isinstance(lease, dict) and all(isinstance(lease.get(key), str) and lease[key] for key in ("namespace", "name", "holder"))
    return named and isinstance(lease.get("seconds"), int) and 0 < lease["seconds"] < LONGEST


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
