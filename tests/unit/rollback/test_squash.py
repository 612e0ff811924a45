# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever was done to files in whatever runs: the way back gives the tree of before, or is refused and loses nothing of anybody else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import backups, history
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past, runs, squash, waves
from hypothesis import given, settings
from hypothesis import strategies as st

FILES = ("/etc/np/a", "/etc/np/b", "/etc/np/new/c", "/etc/np/new/d")
FOLDER, LINK = "/etc/np/new", "/etc/np/link"
CONTENTS = [b"one\n", b"two\n", b"three\n"]
FOREIGN = b"somebody else's\n"
OWNERS = [os.getuid(), 4242] if os.getuid() == 0 else [os.getuid()]  # who is not root gives nothing away

contents = st.sampled_from(CONTENTS)
rights = st.tuples(st.sampled_from(["0600", "0640", "0644"]), st.sampled_from(OWNERS))
writes = st.tuples(st.just("write"), st.sampled_from(FILES), contents, rights)
attributes = st.tuples(st.just("attributes"), st.sampled_from(FILES), st.none(), rights)
modes = st.tuples(st.just("attributes"), st.just(FOLDER), st.none(), st.tuples(st.sampled_from(["0700", "0750"]), st.just(os.getuid())))
removals = st.tuples(st.just("remove"), st.sampled_from([*FILES, FOLDER, LINK]), st.none(), st.none())
folders = st.tuples(st.just("folder"), st.just(FOLDER), st.none(), st.tuples(st.sampled_from(["0700", "0750"]), st.just(os.getuid())))
links = st.tuples(st.just("link"), st.just(LINK), st.sampled_from(["a", "b"]), st.none())
operations = st.one_of(writes, attributes, modes, removals, folders, links)
jobs = st.tuples(st.lists(operations, min_size=1, max_size=4), st.sampled_from(["committed", "committed", "undone"]))
histories = st.lists(st.lists(jobs, min_size=1, max_size=2), min_size=1, max_size=5)


@dataclass
class Tree:
    """A host with a few files, and the runs that have changed it."""

    root: Path
    number: int = 0
    befores: dict[str, dict[str, Any]] = field(default_factory=dict)

    def lay(self) -> None:
        bed.make_tree(self.root)
        (self.root / "etc/np").mkdir()
        (self.root / "etc/np/a").write_bytes(b"zero\n")
        (self.root / "etc/np/a").chmod(0o644)
        (self.root / LINK[1:]).symlink_to("a")

    def real(self, path: str) -> Path:
        return self.root / path[1:]

    def state(self) -> dict[str, Any]:
        found = {}
        for path in sorted((self.root / "etc/np").rglob("*")):
            status = path.lstat()
            content: Any = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found

    def change(self, what: tuple[Any, ...]) -> dict[str, Any] | None:
        """The FileChange of an operation; None where it makes no sense now."""
        verb, path, content, rights_ = what
        real = self.real(path)
        there = os.path.lexists(real)
        if not real.parent.is_dir() or (verb == "attributes" and not there) or (verb == "remove" and not there) or (verb == "folder" and there):
            return None
        if verb == "remove" and path == FOLDER and any(real.iterdir()):
            return None
        kind = {"write": "file", "folder": "dir", "link": "link", "remove": "absent", "attributes": "dir" if real.is_dir() else "file"}[verb]
        mode, owner = rights_ or (None, os.getuid())
        before = {"type": "link", "sha256": None, "mode": None, "uid": None, "gid": None} if real.is_symlink() else bed.before(self.root, path)
        made = bed.change(self.root, path, content if verb == "write" else None, mode, kind)
        return {**made, "before": {**before, "uid": None, "gid": None}, "owner": str(owner), "group": str(owner), "target": content if verb == "link" else None}

    def carry_out(self, run: str, operations_: list[Any], ending: str) -> None:
        """One transaction; a second operation on a path, or below one that goes, is left out, since a job has none."""
        self.befores.setdefault(run, self.state())
        changes: dict[str, dict[str, Any]] = {}
        for what in operations_:
            made = self.change(what)
            if made and not any(_one_inside(made["path"], path) or _one_inside(path, made["path"]) for path in changes):
                changes[made["path"]] = made
        if changes:
            self.run(run, [{"op": "files", "files": list(changes.values())}], ending)

    def run(self, run: str, steps: list[dict[str, Any]], ending: str = "committed") -> None:
        self.number += 1
        failing = [{"op": "sysctls", "values": {"vm.nowhere": "1"}}] if ending == "undone" else []
        machine = bed.FakeMachine(self.root)
        job = backups.filled(machine, {"steps": [*steps, *failing]})
        directory = bed.lay(self.root, job["steps"], f"t{self.number}", run=run, wave="files", number=self.number)
        if failing:  # its check would stop it before it begins
            (self.root / "proc/sys/vm").mkdir(parents=True, exist_ok=True)
            (self.root / "proc/sys/vm/nowhere").write_text("0\n")
        state, _, _ = bed.execute(self.root, directory)
        assert state == ending, (self.root / directory[1:] / "journal.jsonl").read_text()

    def way_back(self, run: str) -> squash.HostNet:
        told = past.parse("cp1", history.read(bed.FakeMachine(self.root)))
        return squash.host(told, runs.of_host(told, runs.chosen({"cp1": told}, run)))

    def roll_back(self, net: squash.HostNet, run: str) -> None:
        stay = squash.kept_directories(net, ())
        steps = waves._files_step([one for one in net.files if one.path not in stay])
        if steps:
            self.run(run, steps)


@pytest.fixture
def tree() -> Iterator[Tree]:
    with _tree() as made:
        yield made


def _one_inside(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/")


class _tree:  # noqa: N801 - hypothesis wants a fresh one for each example
    def __enter__(self) -> Tree:
        self.folder = tempfile.mkdtemp()
        found = Tree(Path(self.folder) / "host")
        found.lay()
        return found

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


def name(number: int) -> str:
    return f"20270301T{number:06d}Z-abcdef"


@settings(max_examples=150)
@given(done=histories, first=st.integers(0, 4))
def test_the_tree_is_as_before_the_run(done: list[Any], first: int) -> None:
    with _tree() as tree:
        for number, run in enumerate(done):
            for operations_, ending in run:
                tree.carry_out(name(number), operations_, ending)
        told = past.parse("cp1", history.read(bed.FakeMachine(tree.root)))
        known = [run.id for run in reversed(runs.runs({"cp1": told}))]
        if not known:
            return
        run = known[first % len(known)]
        net = tree.way_back(run)
        assert not net.errors
        after = tree.state()
        tree.roll_back(net, name(8))
        assert tree.state() == tree.befores[run]
        if net.files:  # and back again
            again = tree.way_back(name(8))
            assert not again.errors
            tree.roll_back(again, name(9))
            assert tree.state() == after


@settings(max_examples=150)
@given(done=histories, first=st.integers(0, 4), when=st.integers(0, 9), path=st.sampled_from(FILES), how=st.sampled_from(["write", "mode", "remove"]))
def test_what_somebody_else_did_is_never_lost(done: list[Any], first: int, when: int, path: str, how: str) -> None:
    """At any time somebody edits, chmods or removes a file. Either the rollback stops and names it, or that is not in the tree any more."""
    with _tree() as tree:
        steps = [(name(number), *job) for number, run in enumerate(done) for job in run]
        for number, (run, operations_, ending) in enumerate(steps):
            if number == when % (len(steps) + 1):
                _by_somebody(tree, path, how)
            tree.carry_out(run, operations_, ending)
        if when % (len(steps) + 1) == len(steps):
            _by_somebody(tree, path, how)
        told = past.parse("cp1", history.read(bed.FakeMachine(tree.root)))
        known = [run.id for run in reversed(runs.runs({"cp1": told}))]
        if not known:
            return
        net = tree.way_back(known[first % len(known)])
        if net.errors:
            assert all(error.host == "cp1" and error.file and error.advice for error in net.errors)
            return
        lost = [one.path for one in net.files if one.rewritten and one.now.state.sha256 == past_digest(FOREIGN)]
        assert lost == []
        tree.roll_back(net, name(8))


def past_digest(data: bytes) -> str:
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes

    return changes.digest(data)


def _by_somebody(tree: Tree, path: str, how: str) -> None:
    real = tree.real(path)
    if how == "write" and real.parent.is_dir():
        real.write_bytes(FOREIGN)
    elif how == "mode" and real.is_file():
        real.chmod(0o604)
    elif how == "remove" and real.is_file():
        real.unlink()


def write(tree: Tree, run: str, path: str, content: bytes, mode: str = "0600") -> None:
    tree.carry_out(run, [("write", path, content, (mode, os.getuid()))], "committed")


def refused(tree: Tree, run: str) -> tuple[str, str, str]:
    (error,) = tree.way_back(run).errors
    return str(error.file), error.cause, error.advice


def test_an_edit_since_is_named_with_where_the_old_content_is(tree: Tree) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n")
    tree.real("/etc/np/a").write_bytes(FOREIGN)
    file, cause, advice = refused(tree, name(1))
    assert (file, cause) == ("/etc/np/a", f"somebody else has changed it since run {name(1)}")
    assert "undo that first" in advice and f"{lock.TRANSACTIONS}/t1/backup/" in advice


@pytest.mark.parametrize("what", [("write", "/etc/np/a", b"one\n", ("0600", os.getuid())), ("attributes", "/etc/np/a", None, ("0600", os.getuid()))])
def test_a_mode_that_somebody_else_has_set_since_is_named(tree: Tree, what: tuple[Any, ...]) -> None:
    tree.carry_out(name(1), [what], "committed")
    tree.real("/etc/np/a").chmod(0o604)
    _file, cause, advice = refused(tree, name(1))
    assert cause == f"somebody else has changed its owner or mode since run {name(1)}" and f"it was 0644 {os.getuid()}:{os.getgid()} before" in advice
    tree.real("/etc/np/a").chmod(0o644)
    assert not tree.way_back(name(1)).errors, "as it was before already"


def test_an_edit_in_between_is_named_with_both_runs(tree: Tree) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n")
    tree.real("/etc/np/a").write_bytes(FOREIGN)
    write(tree, name(2), "/etc/np/a", b"two\n")
    _file, cause, advice = refused(tree, name(1))
    assert f"between run {name(1)} and run {name(2)}" in cause and f"take back run {name(2)} only" in advice
    net = tree.way_back(name(2))
    tree.roll_back(net, name(3))
    assert tree.real("/etc/np/a").read_bytes() == FOREIGN


def test_drift_that_a_later_run_has_mended_is_nobodys_loss(tree: Tree) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n")
    tree.real("/etc/np/a").write_bytes(FOREIGN)
    write(tree, name(2), "/etc/np/a", b"one\n")
    tree.roll_back(tree.way_back(name(1)), name(3))
    assert tree.real("/etc/np/a").read_bytes() == b"zero\n"


def test_what_somebody_has_put_back_by_hand_is_left_alone(tree: Tree) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n", "0644")
    tree.real("/etc/np/a").write_bytes(b"zero\n")
    net = tree.way_back(name(1))
    assert not net.files and not net.errors


@pytest.mark.parametrize("how", ["gone", "other"])
def test_a_backup_that_is_not_there_any_more_is_named(tree: Tree, how: str) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n")
    (backup,) = (tree.root / lock.TRANSACTIONS[1:] / "t1/backup").iterdir()
    backup.unlink() if how == "gone" else backup.write_bytes(b"?")
    _file, cause, _advice = refused(tree, name(1))
    assert cause.startswith(f"its content from before run {name(1)} is lost: ") and backup.name in cause


def test_a_backup_that_is_lost_in_the_last_moment_stops_the_launch(tree: Tree) -> None:
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError

    write(tree, name(1), "/etc/np/a", b"one\n")
    net = tree.way_back(name(1))
    (backup,) = (tree.root / lock.TRANSACTIONS[1:] / "t1/backup").iterdir()
    backup.write_bytes(b"?")
    with pytest.raises(PreconditionError, match="is not what was saved there"):
        tree.roll_back(net, name(2))
    assert tree.real("/etc/np/a").read_bytes() == b"one\n"


def test_owner_and_mode_of_a_file_that_is_gone_are_not_worth_a_stop(tree: Tree) -> None:
    tree.carry_out(name(1), [("attributes", "/etc/np/a", None, ("0600", os.getuid()))], "committed")
    tree.real("/etc/np/a").unlink()
    net = tree.way_back(name(1))
    assert not net.files and not net.errors and "is not there any more" in net.warnings[0]


def test_content_that_its_owner_wrote_meanwhile_stays(tree: Tree) -> None:
    """Where only the mode was ours."""
    tree.carry_out(name(1), [("attributes", "/etc/np/a", None, ("0600", os.getuid()))], "committed")
    tree.real("/etc/np/a").write_bytes(FOREIGN)
    tree.roll_back(tree.way_back(name(1)), name(2))
    assert (tree.real("/etc/np/a").read_bytes(), tree.real("/etc/np/a").stat().st_mode & 0o777) == (FOREIGN, 0o644)


def test_an_undone_run_is_passed_over(tree: Tree) -> None:
    write(tree, name(1), "/etc/np/a", b"one\n")
    tree.carry_out(name(2), [("write", "/etc/np/a", b"two\n", ("0600", os.getuid()))], "undone")
    told = past.parse("cp1", history.read(bed.FakeMachine(tree.root)))
    assert [run.id for run in runs.runs({"cp1": told})] == [name(1)]
    tree.roll_back(tree.way_back(name(1)), name(3))
    assert tree.real("/etc/np/a").read_bytes() == b"zero\n"
