# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers: effects of what was committed, in their order whatever the clock said, without secrets and without trusting a journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import backups, history
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes

SECRET = b"password: x\ntoken: eyJhbGciOi\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    return tmp_path


def done(root: Path, name: str, *steps: dict[str, Any], **fields: Any) -> str:
    directory = bed.lay(root, list(steps), name, **fields)
    bed.execute(root, directory)
    return directory


def read(root: Path) -> dict[str, Any]:
    found = history.read(bed.FakeMachine(root))
    assert json.loads(json.dumps(found)) == found
    return found


def write(root: Path, path: str, content: bytes) -> dict[str, Any]:
    return {"op": "files", "files": [{**bed.change(root, path, content), "controls": ["a-control"]}]}


def test_every_kind_of_change_is_told(root: Path) -> None:
    done(root, "t1", *bed.full_steps(root), run="r1", wave="files", number=1)
    (one,) = read(root)["transactions"]
    assert (one["id"], one["run"], one["wave"], one["number"], one["state"], one["problem"]) == ("t1", "r1", "files", 1, "committed", None)
    by_path = {effect["path"]: effect for effect in one["effects"]}
    assert by_path["/etc/kubernetes/audit.yaml"]["backup"]["sha256"] == changes.digest(b"old policy")
    assert by_path["/etc/kubernetes/ninepaths"]["before"]["type"] == "absent" and by_path["/etc/kubernetes/pki/ca.crt"]["action"] == "attributes"
    etcd = by_path[f"{bed.MANIFESTS}/etcd.yaml"]
    assert (etcd["op"], etcd["component"], etcd["argv"]) == ("static_pods", "etcd", ["etcd", "--old"])


def test_what_was_undone_or_is_open_has_no_effects(root: Path) -> None:
    done(root, "t1", *bed.full_steps(root, flag="--refused"), number=1)
    bed.lay(root, [], "t2", number=2)
    assert [(one["state"], one["effects"]) for one in read(root)["transactions"]] == [("undone", []), ("open", [])]


def test_their_numbers_are_their_order(root: Path) -> None:
    done(root, "t2", number=1)
    done(root, "t1", number=2)
    assert [one["id"] for one in read(root)["transactions"]] == ["t2", "t1"]


def test_now_is_what_is_there_now(root: Path) -> None:
    folder = {"op": "files", "files": [bed.change(root, "/etc/kubernetes/own", None, "0700", "dir")]}
    done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"), folder)
    (root / "etc/kubernetes/audit.yaml").write_text("mine")
    (root / "etc/kubernetes/own/x").write_text("mine")
    now = read(root)["now"]["files"]
    assert now["/etc/kubernetes/audit.yaml"]["sha256"] == changes.digest(b"mine") and now["/etc/kubernetes/own"]["entries"] == ["x"]


def test_texts_of_documents_are_told_and_those_with_a_secret_are_not(root: Path) -> None:
    (root / "etc/kubernetes/audit.yaml").write_bytes(SECRET)
    done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"), number=1)
    (root / "etc/kubernetes/ca.yaml").write_bytes(b"\xff\xfe")
    done(root, "t2", write(root, "/etc/kubernetes/ca.yaml", b"x" * (history.TEXT_LIMIT + 1)), number=2)
    found = read(root)
    assert set(found["texts"].values()) == {"new"} and "eyJhbGciOi" not in json.dumps(found)


def test_of_a_file_whose_mode_changed_no_text_is_told(root: Path) -> None:
    done(root, "t1", {"op": "files", "files": [bed.change(root, "/etc/kubernetes/pki/ca.crt", None, "0600")]})
    assert read(root)["texts"] == {}


def test_a_backup_that_is_gone_has_no_digest(root: Path) -> None:
    directory = done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"))
    for backup in (root / directory[1:] / "backup").iterdir():
        backup.unlink()
    assert [effect["backup"]["sha256"] for effect in read(root)["transactions"][0]["effects"]] == [None]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda journal, job: journal.write_text(journal.read_text().replace('"before":', '"after_all":')),
        lambda journal, job: journal.write_text(journal.read_text().replace("/backup/", "/../../../../etc/")),
        lambda journal, job: journal.write_text(journal.read_text().replace('"step":"1:files"', '"step":"9:files"')),
        lambda journal, job: journal.write_text(journal.read_text().replace('"step":"1:files"', '"step":"x"')),
        lambda journal, job: job.write_text("[]"),
        lambda journal, job: job.unlink(),
        lambda journal, job: job.write_text('{"steps": [{"op": "files", "files": 7}], "run": "r1"}'),
    ],
)
def test_what_makes_no_sense_is_a_problem_and_no_crash(root: Path, spoil: Any) -> None:
    directory = done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"))
    spoil(root / directory[1:] / "journal.jsonl", root / directory[1:] / "job.json")
    (one,) = read(root)["transactions"]
    assert one["problem"].startswith(history.UNREADABLE) and one["effects"] == [] and one["run"] == "r1"


def test_names_in_a_journal_are_no_questions_to_the_system(root: Path) -> None:
    directory = done(root, "t1", {"op": "files", "files": []}, number=1)
    journal = root / directory[1:] / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for data in ({"enable": "--root=/ x.service"}, {"sysctl": {"key": "../../etc/passwd", "old": "1"}}, {"configmap": "/etc/shadow"}):
        forged = [*lines[:-1], {**lines[0], "event": "step", "step": "1:files", "data": data}, lines[-1]]
        journal.write_text("".join(json.dumps({**line, "seq": number}) + "\n" for number, line in enumerate(forged, 1)))
        machine = bed.FakeMachine(root)
        (one,) = history.read(machine)["transactions"]
        assert one["problem"] and machine.commands == []


def test_the_bytes_of_a_backup_are_filled_in_on_the_host(root: Path) -> None:
    done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"))
    (effect,) = read(root)["transactions"][0]["effects"]
    item = {**bed.change(root, "/etc/kubernetes/audit.yaml", None), "backup": effect["backup"]}
    job = {"steps": [{"op": "files", "files": [item]}, {"op": "static_pods", "changes": {"etcd": {"file": item}}}, {"op": "units"}]}
    filled = backups.filled(bed.FakeMachine(root), job)
    done(root, "t2", filled["steps"][0])
    assert (root / "etc/kubernetes/audit.yaml").read_text() == "old policy"
    assert filled["steps"][1]["changes"]["etcd"]["file"]["content"] == filled["steps"][0]["files"][0]["content"]
    assert "backup" not in filled["steps"][0]["files"][0] and job["steps"][0]["files"][0]["content"] is None


IN = lock.TRANSACTIONS


@pytest.mark.parametrize("path", ["/etc/shadow", f"{IN}/t1/backup/../../../../etc/shadow", f"{IN}/t1/job.json", f"{IN}/../x/backup/00001", 7, None])
def test_only_backups_can_be_named(root: Path, path: Any) -> None:
    with pytest.raises(JobError, match="is no backup of a transaction"):
        backups.filled(bed.FakeMachine(root), {"steps": [{"op": "files", "files": [{"path": "/x", "backup": {"path": path, "sha256": "0" * 64}}]}]})


def test_a_backup_is_never_read_through_a_link(root: Path) -> None:
    directory = done(root, "t1", write(root, "/etc/kubernetes/audit.yaml", b"new"))
    (backup,) = (root / directory[1:] / "backup").iterdir()
    data = backup.read_bytes()
    backup.unlink()
    (root / "elsewhere").write_bytes(data)
    backup.symlink_to(root / "elsewhere")
    named = {"path": f"{directory}/backup/{backup.name}", "sha256": changes.digest(data)}
    with pytest.raises(PreconditionError, match="cannot be read"):
        backups.filled(bed.FakeMachine(root), {"steps": [{"op": "files", "files": [{"path": "/x", "backup": named}]}]})


@pytest.mark.parametrize("job", [{}, {"steps": None}])
def test_a_job_without_steps_is_refused(root: Path, job: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="no list of steps"):
        backups.filled(bed.FakeMachine(root), job)


def test_what_is_malformed_is_left_to_the_transaction(root: Path) -> None:
    steps = [7, {"op": "files", "files": 7}, {"op": "files", "files": [7]}, {"op": "static_pods", "changes": {"etcd": 7}}]
    assert backups.filled(bed.FakeMachine(root), {"steps": steps})["steps"] == steps
