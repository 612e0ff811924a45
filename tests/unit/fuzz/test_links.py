# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No link, no `..` and no name leads anything of ours out of the place that it is for: on a node, and on the controller."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import keeping
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes, states
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.spool import Spool, SpoolError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report
from effort import examples
from factories import cluster, planned
from hypothesis import given
from mutations import hostile_text

FOREIGN = 65534  # a user that is neither root nor whoever runs the tests


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host, and beside it a file that is not the host's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("not ours")
    folder = tmp_path / "root"
    folder.mkdir()
    bed.make_tree(folder)
    return folder


def untouched(root: Path) -> bool:
    kept = root.parent / "outside" / "kept"
    return kept.read_text() == "not ours" and os.listdir(kept.parent) == ["kept"] and sorted(os.listdir(root.parent)) == ["outside", "root"]


def owned_by(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let directories of these names belong to somebody else, as far as `lstat` and `stat` tell."""
    for name in ("lstat", "stat"):
        real = getattr(os, name)

        def told(path: Any, *more: Any, _real: Any = real, **options: Any) -> os.stat_result:
            found = _real(path, *more, **options)
            if isinstance(path, (str, os.PathLike)) and os.path.basename(os.path.normpath(path)) in names:
                return os.stat_result((*found[:4], FOREIGN, FOREIGN, *found[6:10]))
            return found

        monkeypatch.setattr(os, name, told)


def change(root: Path, path: str, content: bytes | None, **more: Any) -> dict[str, Any]:
    return {**bed.change(root, path, content), **more}


def refused(root: Path, *steps: dict[str, Any]) -> str:
    """Run a job that has to be refused before anything is touched; returns why."""
    before = bed.tree(root)
    directory = bed.lay(root, [{"op": "files", "files": list(steps)}])
    assert bed.execute(root, directory)[0] == states.UNDONE
    assert bed.tree(root) == before and untouched(root)
    lines = [json.loads(line) for line in (root / directory[1:] / "journal.jsonl").read_text().splitlines()]
    return str(lines[-1]["data"]["cause"])


# --- the writer -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/etc/../outside/kept", "etc/x", "/", "", "//etc/x", "/etc/kubernetes/./x", "/etc/x\0y", "/etc/x/", "/.."])
def test_a_path_that_is_not_plain_is_no_path(root: Path, path: str) -> None:
    with pytest.raises(JobError, match="no plain absolute path"):
        changes.parse({"path": path, "type": "file", "before": {"type": "absent"}, "content": ""})


def test_a_link_of_somebody_else_on_the_way_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "etc/kubernetes/led").symlink_to(root.parent / "outside")
    owned_by(monkeypatch, "led")
    cause = refused(root, change(root, "/etc/kubernetes/led/kept", b"ours"))
    assert "/etc/kubernetes/led/kept lies below /etc/kubernetes/led, which others than root may change" in cause


def test_a_link_of_root_on_the_way_is_followed(root: Path) -> None:
    """/var/lib/kubelet on another disk is nothing strange."""
    (root / "data").mkdir()
    (root / "etc/kubernetes/elsewhere").symlink_to("../../data")
    directory = bed.lay(root, [{"op": "files", "files": [change(root, "/etc/kubernetes/elsewhere/x", b"ours")]}])
    assert bed.execute(root, directory)[0] == states.COMMITTED
    assert (root / "data/x").read_bytes() == b"ours" and untouched(root)


def test_a_directory_that_anybody_may_write_to_is_no_place(root: Path) -> None:
    (root / "etc/open").mkdir()
    (root / "etc/open").chmod(0o1777)
    assert "lies below /etc/open" in refused(root, change(root, "/etc/open/x", b"ours"))


def test_a_link_that_is_swapped_in_for_the_file_is_not_followed(root: Path) -> None:
    target = root / "etc/kubernetes/audit.yaml"
    wanted = [change(root, "/etc/kubernetes/audit.yaml", b"new"), change(root, "/etc/kubernetes/pki/ca.crt", None, mode="0600")]
    target.unlink()
    target.symlink_to(root.parent / "outside" / "kept")
    assert "is link, the plan saw file" in refused(root, *wanted)


def test_owner_and_mode_are_set_where_a_component_owns_the_directory_and_on_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd owns its data directory, and may put there what it likes: a link, or a second name of somebody else's file."""
    data = root / "var/lib/etcd"
    data.mkdir(mode=0o700)
    (data / "member").mkdir()
    (data / "snap").write_text("x")
    owned_by(monkeypatch, "etcd")
    wanted = [change(root, f"/var/lib/etcd/{name}", None, mode=mode) for name, mode in (("member", "0700"), ("snap", "0600"))]
    wanted[0]["type"] = "dir"
    machine = bed.FakeMachine(root)
    for one in wanted:
        changes.check(machine, changes.parse(one))
    with pytest.raises(PreconditionError, match="/var/lib/etcd/new lies below /var/lib/etcd"):
        changes.check(machine, changes.parse(change(root, "/var/lib/etcd/new", b"x")))
    (data / "snap").unlink()
    os.link(root.parent / "outside" / "kept", data / "snap")
    with pytest.raises(PreconditionError, match="has a second name"):
        changes.check(machine, changes.parse(wanted[1]))
    (data / "deep").mkdir()
    (data / "deep" / "x").write_text("x")
    with pytest.raises(PreconditionError, match="lies below /var/lib/etcd"):
        changes.check(machine, changes.parse(change(root, "/var/lib/etcd/deep/x", None)))


# --- transactions ---------------------------------------------------------------------------------------------------------------------


def test_a_link_among_the_transactions_is_none_and_is_not_emptied(root: Path) -> None:
    base = root / lock.TRANSACTIONS[1:]
    for number in range(12):
        bed.lay(root, [], name=f"t{number:02}", run=f"r{number:02}")
        (base / f"t{number:02}" / "journal.jsonl").write_text(bed.json.dumps({
            "seq": 1, "at": 1.0, "event": "end", "step": "", "message": "", "data": {"state": states.COMMITTED},
        }) + "\n")  # fmt: skip
    (base / "t00" / "led").symlink_to(root.parent / "outside")
    (base / "linked").symlink_to(root.parent / "outside")
    machine = bed.FakeMachine(root)
    assert "linked" not in keeping.transactions(machine)
    keeping.prune(machine)
    assert len(keeping.transactions(machine)) == keeping.KEPT and untouched(root)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_of_transactions_that_others_can_look_into_is_refused(root: Path, mode: int) -> None:
    (root / lock.BASE[1:]).chmod(mode)
    with pytest.raises(PreconditionError, match="is not a directory of root alone"):
        lock.prepare(bed.FakeMachine(root))


def test_a_lock_that_is_a_link_is_not_written_through(root: Path) -> None:
    (root / lock.LOCK[1:]).symlink_to(root.parent / "outside" / "kept")
    with pytest.raises(OSError), lock.hold(bed.FakeMachine(root), "t1"):
        pass
    assert untouched(root)


@pytest.mark.parametrize("key", ["path", "stage", "backup"])
def test_a_journal_that_names_other_places_is_not_followed(root: Path, key: str) -> None:
    """A journal is root's alone; still an undo writes only where its transaction could have written."""
    directory = bed.lay(root, bed.full_steps(root))
    with pytest.raises(bed.Killed):
        bed.execute(root, directory, bed.FaultyFiles(34, "before"))  # audit.yaml has just been replaced
    journal = root / directory[1:] / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    record = next(line["data"]["file"] for line in lines if key in line["data"].get("file", {}) and line["data"]["file"]["action"] == "replace")
    if key == "path":  # whose other places would give it away
        del record["stage"], record["backup"]
    record[key] = f"/../outside/{'kept' if key == 'path' else ''}"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert bed.execute(root, directory, mode="recover")[0] == states.FAILED
    end = json.loads(journal.read_text().splitlines()[-1])["data"]
    assert "is no record of this transaction" in end["cause"] and "journal.jsonl" in end["cause"]
    assert untouched(root)


# --- observation ----------------------------------------------------------------------------------------------------------------------


def test_a_walk_over_directories_goes_through_no_link(root: Path) -> None:
    (root / "etc/kubernetes/pki/led").symlink_to(root.parent / "outside")
    (root / "etc/kubernetes/pki/around").symlink_to(".")
    found = list(files.expand("/etc/kubernetes/pki/**", Host(str(root))))
    assert found == ["/etc/kubernetes/pki/around", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/led"]


@pytest.mark.parametrize("target", ["etcd.yaml", "/etc/kubernetes/manifests/etcd.yaml", "../manifests/../manifests/etcd.yaml", "/loop/a", "x\x1b[2J", "\udcff"])
def test_a_link_for_a_document_is_looked_at_or_named(root: Path, target: str) -> None:
    (root / "loop").symlink_to("loop")
    path = root / "etc/kubernetes/manifests/etcd.yaml"
    path.unlink()
    path.symlink_to(os.fsencode(target))
    seen = Collection(Host(str(root)))
    assert seen.document("/etc/kubernetes/manifests/etcd.yaml") is None
    seen.follow("/etc/kubernetes/manifests/etcd.yaml")
    assert all(name.isprintable() and str(entry.get("target", "")).isprintable() for name, entry in seen.files.items())


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device"])
def test_what_is_no_file_is_not_opened(root: Path, kind: str) -> None:
    path = root / "etc/kubernetes/admin.conf"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(path.parent)
            listener.bind(path.name)
    with pytest.raises(OSError):
        files.read_bytes(str(path))
    with pytest.raises(OSError):
        bed.FakeMachine(root).read("/etc/kubernetes/admin.conf")


def test_a_file_below_a_directory_of_somebody_else_is_held(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "etc/kubernetes/pki/deep/deeper").mkdir(parents=True)
    (root / "etc/kubernetes/pki/deep/deeper/x.key").write_text("x")
    owned_by(monkeypatch, "deep")
    seen = Collection(Host(str(root)))
    seen.expand(["/etc/kubernetes/pki/deep/**"])
    assert seen.files["/etc/kubernetes/pki/deep/deeper/x.key"]["exposed"] == "/etc/kubernetes/pki/deep"
    hosts = cluster()
    path = "/etc/kubernetes/pki/deep/deeper/x.key"
    hosts["cp1"]["files"][path] = {**hosts["cp1"]["files"]["/etc/kubernetes/pki/sa.key"], "mode": "0644", "exposed": "/etc/kubernetes/pki/deep"}
    made = planned(hosts).as_dict()
    assert path not in [step["path"] for job in made["jobs"]["cp1"]["files"]["steps"] if job["op"] == "files" for step in job["files"]]
    assert any("lies below /etc/kubernetes/pki/deep" in entry["reason"] for entry in made["held"])


# --- the controller -------------------------------------------------------------------------------------------------------------------


@examples(80)
@given(hostile_text, hostile_text)
def test_a_host_of_any_name_has_its_document_in_the_spool(tmp_path_factory: pytest.TempPathFactory, name: str, other: str) -> None:
    base = tmp_path_factory.mktemp("controller")
    spool = Spool.under(str(base))
    for host in (name, "../../x", "/etc/passwd", other):
        spool.put("observation", host, {"of": host})
        assert spool.get("observation", host) == {"of": host}
    assert set(spool.all("observation")) == {name, "../../x", "/etc/passwd", other}
    assert os.listdir(base) == ["ninepaths"] and sorted(os.listdir(base / "ninepaths")) == ["observation"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in base.rglob("*") if path.name != base.name)


@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_spool_that_somebody_else_could_have_made_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (tmp_path / "ninepaths").symlink_to("elsewhere")
    else:
        (tmp_path / "ninepaths").mkdir()
        (tmp_path / "ninepaths").chmod(0o777)
    with pytest.raises(SpoolError, match="not a directory of this user alone"):
        Spool.under(str(tmp_path))


def test_a_document_is_written_beside_a_link_and_never_through_it(tmp_path: Path) -> None:
    spool = Spool.under(str(tmp_path))
    spool.put("observation", "cp1", {})
    (path,) = (tmp_path / "ninepaths/observation").glob("*.json")
    (tmp_path / "kept").write_text("not ours")
    path.unlink()
    path.symlink_to(tmp_path / "kept")
    spool.put("observation", "cp1", {"a": 1})
    assert (tmp_path / "kept").read_text() == "not ours" and not path.is_symlink()


def test_a_report_is_written_beside_a_link_and_never_through_it(tmp_path: Path) -> None:
    (tmp_path / "prod").mkdir()
    (tmp_path / "kept").write_text("not ours")
    (tmp_path / "prod" / "report.json").symlink_to(tmp_path / "kept")
    written = report.write({"cluster": {"name": "prod"}, "partial": False}, tmp_path)
    assert (tmp_path / "kept").read_text() == "not ours" and not written.is_symlink()


def test_a_node_that_names_other_files_changes_its_own_only() -> None:
    """Whatever paths a host names, they are in its own job, and its target refuses what is not plain."""
    hosts = cluster()
    hosts["w1"]["kubelet"]["config"] = "/etc/../../x"
    hosts["w1"]["files"]["/etc/../../x"] = hosts["w1"]["files"].pop("/var/lib/kubelet/config.yaml")
    jobs = planned(hosts).as_dict()["jobs"]
    assert not [name for name, waves in jobs.items() if name != "w1" and "/etc/../../x" in json.dumps(waves)]
    for step in jobs["w1"]["kubelets"]["steps"]:
        with pytest.raises(TransactionError, match="no plain absolute path"):
            for one in step["files"]:
                changes.parse(one)
