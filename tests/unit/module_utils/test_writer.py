# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths are old or new; links, strangers and wrong attributes are refused; what was put back is exactly what was."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError, TransactionError, UndoError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes, writer
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import Writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    (tmp_path / "var/lib/ninepaths/transactions/t1").mkdir()
    return tmp_path


def make(root: Path) -> Writer:
    machine = bed.FakeMachine(root)
    return Writer(machine, Journal(machine, "/var/lib/ninepaths/transactions/t1/journal.jsonl"), "/var/lib/ninepaths/transactions/t1")


def write(root: Path, data: dict[str, Any]) -> Writer:
    one = make(root)
    one.apply(changes.parse(data), "s")
    return one


def undo(one: Writer) -> None:
    for record in reversed(one.records("s")):
        one.restore(record)
    one.clean([writer.stage_of(record["path"], one.name, one.watched) for record in one.records("s")])


def test_a_manifest_is_staged_outside_its_directory(root: Path) -> None:
    one = write(root, bed.change(root, f"{bed.MANIFESTS}/etcd.yaml", b"new"))
    assert one.records("s")[0]["stage"] == "/etc/kubernetes/.ninepaths-t1"
    assert sorted(path.name for path in (root / bed.MANIFESTS[1:]).iterdir()) == sorted(
        f"{name}.yaml" for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    )


def test_undo_gives_back_the_very_same_file(root: Path) -> None:
    path = root / "etc/kubernetes/audit.yaml"
    inode = path.stat().st_ino
    one = write(root, bed.change(root, "/etc/kubernetes/audit.yaml", b"new", "0600"))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    undo(one)
    assert (path.read_text(), path.stat().st_mode & 0o777, path.stat().st_ino) == ("old policy", 0o644, inode)


def test_undo_works_from_the_backup_when_staging_was_cleaned_up(root: Path) -> None:
    one = write(root, bed.change(root, "/etc/kubernetes/audit.yaml", b"new", "0600"))
    one.clean(["/etc/kubernetes/.ninepaths-t1"])
    undo(one)
    path = root / "etc/kubernetes/audit.yaml"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("old policy", 0o644)


def test_backups_are_private(root: Path) -> None:
    one = write(root, bed.change(root, "/etc/kubernetes/audit.yaml", b"new"))
    backup = root / one.records("s")[0]["backup"][1:]
    assert backup.read_text() == "old policy" and backup.stat().st_mode & 0o777 == 0o600 and backup.parent.stat().st_mode & 0o777 == 0o700


def test_extended_attributes_survive(root: Path) -> None:
    path = root / "etc/kubernetes/audit.yaml"
    try:
        os.setxattr(path, "user.label", b"kept")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write(root, bed.change(root, "/etc/kubernetes/audit.yaml", b"new"))
    assert os.getxattr(path, "user.label") == b"kept"


def test_links_directories_and_removals_come_back(root: Path) -> None:
    (root / "etc/link").symlink_to("old-target")
    old = bed.tree(root)
    one = make(root)
    link = {**bed.change(root, "/etc/link", None, kind="link"), "target": "new-target", "before": {"type": "link"}}
    for data in (
        link,
        bed.change(root, "/etc/kubernetes/ninepaths", None, "0700", "dir"),
        {**bed.change(root, "/etc/kubernetes/audit.yaml", None, kind="absent"), "mode": None},
    ):
        one.apply(changes.parse(data), "s")
    assert os.readlink(root / "etc/link") == "new-target" and not (root / "etc/kubernetes/audit.yaml").exists()
    undo(one)
    assert bed.tree(root) == old


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("other"), r"observed: its content \(sha256 [0-9a-f]{12} → [0-9a-f]{12}\)"),
        (lambda path: path.chmod(0o666), r"observed: its mode \(0644 → 0666\)"),
        (lambda path: path.unlink(), "is absent, the plan saw file"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "is link, the plan saw file"),
        (lambda path: (path.unlink(), path.mkdir()), "is dir, the plan saw file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is other, the plan saw file"),
    ],
)
def test_what_is_not_as_planned_is_refused(root: Path, spoil: Any, message: str) -> None:
    data = bed.change(root, "/etc/kubernetes/audit.yaml", b"new")
    spoil(root / "etc/kubernetes/audit.yaml")
    left = bed.tree(root) if "other" not in message else None
    with pytest.raises(PreconditionError, match=message):
        write(root, data)
    assert left is None or bed.tree(root) == left


def test_a_link_in_the_place_of_a_file_is_never_written_through(root: Path) -> None:
    (root / "etc/victim").write_text("safe")
    (root / "etc/kubernetes/x").symlink_to(root / "etc/victim")
    data = {**bed.change(root, "/etc/kubernetes/audit.yaml", b"evil"), "path": "/etc/kubernetes/x", "before": {"type": "link"}}
    with pytest.raises(PreconditionError, match="is a link where a file is expected"):
        write(root, data)
    assert (root / "etc/victim").read_text() == "safe"


@pytest.mark.parametrize("path", ["relative", "/a/../etc/shadow", "/", "/a//b", "/a/\0b", 7, None])
def test_a_path_that_is_none_is_refused(path: object) -> None:
    with pytest.raises(JobError, match="no plain absolute path"):
        changes.parse({"path": path, "type": "file", "before": {"type": "absent"}, "content": ""})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("type", "socket", "is none of"),
        ("before", None, "cannot be undone"),
        ("content", "***", "not base64"),
        ("mode", "rw-r--r--", "not an octal"),
        ("mode", "70000", "out of range"),
    ],
)
def test_a_damaged_change_is_refused(field: str, value: object, message: str) -> None:
    data = {"path": "/x", "type": "file", "before": {"type": "file"}, "content": "", "mode": "0600", "owner": "0", "group": "0"}
    with pytest.raises(JobError, match=message):
        changes.parse({**data, field: value})


def test_an_unknown_owner_is_named(root: Path) -> None:
    with pytest.raises(TransactionError, match=r"/etc/kubernetes/audit.yaml: owner nobody-knows-him"):
        write(root, {**bed.change(root, "/etc/kubernetes/audit.yaml", b"new"), "owner": "nobody-knows-him"})


def test_a_path_that_is_named_twice_is_refused(root: Path) -> None:
    one = bed.change(root, "/etc/kubernetes/audit.yaml", b"new")
    with pytest.raises(JobError, match="changed twice"):
        writer.parse_all([one, one])


def failed(root: Path) -> None:
    """The undo of this transaction has failed."""
    make(root).journal.add("end", "", "undo failed", {"state": "failed"})


def test_only_attributes_come_back_where_only_they_were_changed(root: Path) -> None:
    one = write(root, bed.change(root, "/etc/kubernetes/pki/ca.crt", None, "0600"))
    path = root / "etc/kubernetes/pki/ca.crt"
    path.write_text("renewed")
    undo(one)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("renewed", 0o644)
    assert not list((root / "var/lib/ninepaths/transactions/t1").glob("backup/*"))


def test_content_that_its_owner_renews_is_no_obstacle_to_a_change_of_attributes(root: Path) -> None:
    change = bed.change(root, "/etc/kubernetes/pki/ca.crt", None, "0600")
    (root / "etc/kubernetes/pki/ca.crt").write_text("renewed")
    write(root, change)
    gone = {**bed.change(root, "/etc/kubernetes/audit.yaml", None, kind="absent"), "mode": None}
    (root / "etc/kubernetes/audit.yaml").write_text("renewed")
    with pytest.raises(PreconditionError, match="its content"):
        write(root, gone)


def test_a_foreign_edit_that_cannot_be_kept_does_not_stop_the_old_file(root: Path) -> None:
    write(root, bed.change(root, "/etc/kubernetes/audit.yaml", b"new"))
    path = root / "etc/kubernetes/audit.yaml"
    path.write_text("somebody was here")

    class Full(bed.QuickFiles):
        def write_new(self, real: str, data: bytes, mode: int) -> None:
            super().write_new(real, data[:3], mode)
            raise OSError(errno.ENOSPC, "No space left on device", real)

    one = make(root)
    one.host.files = Full()
    undo(one)
    assert path.read_text() == "old policy" and "could not be kept" in one.journal.lines[-1]["message"]
    assert not list((root / "var/lib/ninepaths/transactions/t1/backup").glob("*.foreign"))


def test_after_a_failed_undo_only_what_is_still_ours_is_put_back(root: Path) -> None:
    ours = ("/etc/kubernetes/audit.yaml", b"new", "0600"), ("/etc/kubernetes/pki/ca.crt", None, "0600")
    for path, content, mode in (*ours, (f"{bed.MANIFESTS}/etcd.yaml", b"new", "0600")):
        write(root, bed.change(root, path, content, mode))
    failed(root)
    (root / bed.MANIFESTS[1:] / "etcd.yaml").write_bytes(b"upgraded")
    one = make(root)
    for record in one.records("s")[:2]:
        assert one.restore(record)
    with pytest.raises(UndoError, match="was changed since its undo failed; decide by hand"):
        one.restore(one.records("s")[2])
    assert (root / "etc/kubernetes/audit.yaml").read_text() == "old policy"
    assert (root / "etc/kubernetes/pki/ca.crt").stat().st_mode & 0o777 == 0o644
    assert (root / bed.MANIFESTS[1:] / "etcd.yaml").read_bytes() == b"upgraded"


def test_after_a_failed_undo_attributes_that_somebody_else_set_stay(root: Path) -> None:
    write(root, bed.change(root, "/etc/kubernetes/pki/ca.crt", None, "0600"))
    failed(root)
    (root / "etc/kubernetes/pki/ca.crt").chmod(0o640)
    one = make(root)
    with pytest.raises(UndoError, match="changed since"):
        one.restore(one.records("s")[0])
    assert (root / "etc/kubernetes/pki/ca.crt").stat().st_mode & 0o777 == 0o640


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_sequence_of_changes_is_undone(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("host")
    bed.make_tree(root)
    (root / "var/lib/ninepaths/transactions/t1").mkdir()
    old, one = bed.tree(root), make(root)
    names = ["/etc/kubernetes/audit.yaml", "/etc/kubernetes/new.yaml", "/etc/kubernetes/pki/ca.crt", f"{bed.MANIFESTS}/etcd.yaml"]
    for path in data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        content = (
            data.draw(st.one_of(st.none(), st.binary(max_size=40))) if Path(f"{root}{path}").exists() else data.draw(st.binary(max_size=40))
        )
        one.apply(changes.parse(bed.change(root, path, content, data.draw(st.sampled_from(["0600", "0644", "0640"])))), "s")
    undo(one)
    assert bed.tree(root) == old
    undo(one)
    assert bed.tree(root) == old


def absent(root: Path, path: str) -> dict[str, Any]:
    return {**bed.change(root, path, None, kind="absent"), "mode": None}


def in_its_own(root: Path, folder: str) -> Writer:
    """A writer of a job that removes a directory."""
    machine = bed.FakeMachine(root)
    journal = Journal(machine, "/var/lib/ninepaths/transactions/t1/journal.jsonl")
    return Writer(machine, journal, "/var/lib/ninepaths/transactions/t1", {writer.MANIFESTS, folder})


def test_a_directory_goes_with_what_is_in_it_and_comes_back(root: Path) -> None:
    folder = "/etc/kubernetes/ninepaths"
    (root / folder[1:]).mkdir()
    (root / folder[1:]).chmod(0o750)
    (root / folder[1:] / "policy").write_text("policy")
    old = bed.tree(root)
    one = in_its_own(root, folder)
    for path in (f"{folder}/policy", folder):
        one.apply(changes.parse(absent(root, path)), "s")
    assert not (root / folder[1:]).exists()
    assert [record["action"] for record in one.records("s")] == ["replace", "remove"]
    undo(one)
    assert bed.tree(root) == old


def test_a_directory_in_which_others_have_something_stays(root: Path) -> None:
    data = absent(root, "/etc/kubernetes/pki")
    old = bed.tree(root)
    with pytest.raises(PreconditionError, match="/etc/kubernetes/pki is to be removed, and others have put files into it"):
        write(root, data)
    assert bed.tree(root) == old


def test_a_file_where_a_removed_directory_was_is_not_overwritten(root: Path) -> None:
    folder = root / "etc/kubernetes/ninepaths"
    folder.mkdir()
    one = in_its_own(root, "/etc/kubernetes/ninepaths")
    one.apply(changes.parse(absent(root, "/etc/kubernetes/ninepaths")), "s")
    folder.write_text("mine")
    folder.chmod(0o644)
    with pytest.raises(UndoError, match="was a dir and is file now"):
        undo(one)
    assert (folder.read_text(), folder.stat().st_mode & 0o777) == ("mine", 0o644)
