# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk is full, has no inodes left, or is read-only

Once with real file systems that are filled (or mounted read-only) while the transaction stands at a line of its journal, and once with
each system call that writes failing in turn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from . import scenarios, state
from .nodes import HOME, Nodes, at_line, failing, tracing, words
from .scenarios import CONTROL_PLANE, Scenario
from .table import EITHER, REFUSED, UNDONE, Case, parameters

BASE = "/var/lib/ninepaths"
MOUNT = f"mkdir -p {BASE}; mount -t tmpfs -o size=2m,nr_inodes=200,mode=0700 faults {BASE}"
UNMOUNT = f"for n in $(seq 60); do mountpoint -q {BASE} || break; umount {BASE} || sleep 1; done"
FILL = {
    "full": f"dd if=/dev/zero of={BASE}/filler bs=4k 2>/dev/null; ls {BASE}/filler >/dev/null",
    "no-inodes": f"for n in $(seq 300); do touch {BASE}/filler$n 2>/dev/null || break; done",
    # Over it, since a file system on which a journal is open is not made read-only by request; a damaged one does that by itself.
    "read-only": f"mount --bind {BASE} {BASE} && mount -o remount,bind,ro {BASE}",
}
EMPTY = {"full": f"rm -f {BASE}/filler*", "no-inodes": f"rm -f {BASE}/filler*", "read-only": f"mount -o remount,bind,rw {BASE}"}
MEANS = {"full": "is full", "no-inodes": "has no inodes left", "read-only": "becomes read-only"}
SAYS = {"full": "space", "no-inodes": "space", "read-only": "ead-only"}


@dataclass(frozen=True)
class Disk(Case):
    """The file system of the transactions at a line of the journal; 0 is before the run begins."""

    how: str = "full"
    scenario: Scenario = scenarios.SCHEDULER
    line: int = 0


def disk(how: str, line: int, place: str, outcome: str, scenario: Scenario = scenarios.SCHEDULER) -> Disk:
    """One case."""
    name = f"disk/{how}/{scenario.name}/{place}"
    fault = f"the file system of the journal {MEANS[how]} " + (f"at line {line} of the journal" if line else "before the run")
    return Disk(name, fault, outcome, name in QUICK, how, scenario, line)


QUICK = {"disk/full/scheduler/before-the-backup", "disk/no-inodes/scheduler/before-the-run", "disk/read-only/scheduler/manifest-in-place"}
FILLED = [
    *(disk(how, 0, "before-the-run", REFUSED) for how in FILL),
    *(disk(how, 1, "after-the-first-line", UNDONE) for how in FILL),
    *(disk(how, 6, "before-the-backup", UNDONE) for how in FILL),
    *(disk(how, 8, "manifest-in-place", EITHER) for how in FILL),
    *(disk(how, 6, "while-files-are-written", EITHER, scenarios.FILES) for how in FILL),
    *(disk(how, 4, "before-the-object", UNDONE, scenarios.CLUSTER) for how in FILL),
]


@pytest.fixture
def own_file_system(nodes: Nodes) -> Iterator[None]:
    """Transactions have a small file system of their own."""
    nodes.root(CONTROL_PLANE, MOUNT)
    yield
    nodes.forget(CONTROL_PLANE)
    nodes.root(CONTROL_PLANE, "; ".join((*EMPTY.values(), UNMOUNT)), check=False)


@pytest.mark.usefixtures("own_file_system")
@pytest.mark.parametrize("case", parameters(FILLED))
def test_filled(nodes: Nodes, case: Disk) -> None:
    node = case.scenario.node
    case.scenario.break_it(nodes)
    before = state.take(nodes)
    if case.line == 0:
        nodes.root(node, FILL[case.how])
        ended = state.harden(nodes)
        said = ended.output
    else:
        nodes.order(node, at_line(case.scenario.wave, case.line, "SIGSTOP"))
        run = state.start(nodes)
        nodes.wait_until_stopped(node)
        nodes.root(node, FILL[case.how])
        nodes.go_on(node)
        ended = run.wait()
        said = ended.output + words(nodes.newest_journal(node, case.scenario.wave))
    assert ended.rc == 0 or (node in said and SAYS[case.how] in said), said
    if case.line == 0:
        assert ended.rc != 0
        assert state.take(nodes) == before
    nodes.root(node, EMPTY[case.how])  # somebody made room; the rest is ours
    if case.line:  # whatever could not be written down is ended by the timer, the next boot or the next run
        nodes.root(node, "elapse", check=False)
    now = state.check_aftermath(nodes, before)
    if case.outcome in (REFUSED, UNDONE):
        assert now == before


@dataclass(frozen=True)
class Write(Case):
    """The n-th call of a kind fails once, in the transaction's process or in what it starts."""

    scenario: Scenario = scenarios.FILES
    call: str = "fsync"
    error: str = "EIO"
    number: int = 1


# How often each call is made while three files are written, and what can go wrong with it. `test_every_call_has_its_case` compares.
CALLS = {
    "mkdir": ("ENOSPC", 3), "linkat": ("EMLINK", 1), "symlink": ("EROFS", 1), "rename": ("EROFS", 3), "fchmod": ("EROFS", 8),
    "chmod": ("EROFS", 3), "lchown": ("EPERM", 3), "fsync": ("EIO", 36), "unlink": ("EROFS", 7), "rmdir": ("EBUSY", 2), "ftruncate": ("EIO", 1),
}  # fmt: skip
QUICK_WRITES = {"write/fsync/12", "write/rename/2", "write/linkat/1"}
WRITES = [
    Write(f"write/{call}/{number}", f"{call} number {number} of a transaction on files fails with {error}", EITHER, f"write/{call}/{number}" in QUICK_WRITES,
          scenarios.FILES, call, error, number)
    for call, (error, count) in CALLS.items() for number in range(1, count + 1)
]  # fmt: skip


ALL = [*FILLED, *WRITES]


@pytest.mark.parametrize("case", parameters(WRITES))
def test_write_fails(nodes: Nodes, case: Write) -> None:
    node = case.scenario.node
    case.scenario.break_it(nodes)
    before = state.take(nodes)
    nodes.order(node, failing(case.scenario.wave, case.call, case.error, str(case.number)))
    ended = state.harden(nodes)
    injected = nodes.root(node, f"grep -c INJECTED {HOME}/trace", check=False).strip()
    assert injected == "1", f"{case.call} number {case.number} was not made"
    now = state.check_aftermath(nodes, before)
    if ended.rc:
        assert node in ended.output
        assert now == before


def test_every_call_has_its_case(nodes: Nodes) -> None:
    scenarios.FILES.break_it(nodes)
    nodes.order(scenarios.FILES.node, tracing(scenarios.FILES.wave, ",".join(CALLS)))
    ended = state.harden(nodes)
    assert ended.rc == 0, ended.output
    trace = nodes.root(scenarios.FILES.node, f"cat {HOME}/trace")
    made = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))  # by (process, call): strace counts in each process anew
    assert {call: max(count for (_process, name), count in made.items() if name == call) for call in CALLS} == {
        call: count for call, (_error, count) in CALLS.items()
    }, trace
