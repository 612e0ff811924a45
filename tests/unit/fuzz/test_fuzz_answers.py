# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a host answers: the controller names what is wrong with it, or plans, reports and prints it without harm."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import CONTROL, visible
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers, bundle, second_look
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.shapes import ShapeError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Plan, PlanError, PlanErrors
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import differences, report, terminal
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.progress import Progress
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past
from effort import examples
from factories import NOW, Cluster, all_controls, cluster, hardened, planned
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import TOKENS, changed_bytes, changed_data, changed_text, changed_words

REFUSED = (bundle.ProgramError, ShapeError)
PROOF = {
    "id": "kubelet_to_apiserver", "path": 2, "aspect": "allowed", "kind": "allowed", "from": "w1", "to": "apiserver", "passed": False, "at": NOW,
    "evidence": {"request": "GET /", "expected": "200", "refusal": "no answer in time"}, "fingerprint": "0" * 64,
}  # fmt: skip
FOUND = {"type": "file", "sha256": "ab" * 32, "mode": "0600", "uid": 0, "gid": 0, "target": None}
EFFECTS = [
    {"kind": "file", "op": "files", "path": "/etc/a", "action": "replace", "component": None, "argv": None, "before": FOUND, "after": FOUND,
     "backup": {"path": "/var/lib/ninepaths/transactions/t/backup/00001", "sha256": "ab" * 32}, "controls": ["a"]},
    {"kind": "account", "name": "etcd", "home": "/var/lib/etcd", "made": ["user", "group"], "controls": []},
    {"kind": "unit", "unit": "a.timer", "verb": "enable", "controls": []},
    {"kind": "sysctl", "key": "vm.panic_on_oom", "before": "1", "after": "0", "controls": []},
    {"kind": "object", "namespace": "kube-system", "name": "kube-proxy", "before": {"a": None}, "after": {"a": "b"}, "annotation": None, "controls": []},
]  # fmt: skip
HISTORY = {
    "schema": 1,
    "transactions": [
        {"id": "t", "run": "r", "wave": "files", "number": 1, "at": 1.0, "state": "committed", "takes_back": [], "problem": None, "effects": EFFECTS}
    ],
    "removed": [{"id": "s", "run": "q", "wave": "files", "number": 0, "at": None, "state": "committed"}],
    "now": {
        "files": {"/etc/a": {**FOUND, "owner": "root", "group": "root", "entries": [], "problem": None}}, "accounts": {"etcd": {"user": {"uid": 1, "gid": 1}}},
        "units": {"a.timer": {"enabled": True, "active": False}}, "sysctls": {"vm.panic_on_oom": None},
    },
    "texts": {"ab" * 32: "a"},
}  # fmt: skip
LINES = [
    {"seq": 1, "at": 1.0, "event": "begin", "step": "", "message": "transaction x", "data": {"run": "r"}},
    {"seq": 2, "at": 2.0, "event": "wait", "step": "1:files", "message": "waiting", "data": {}},
    {"seq": 3, "at": 9.0, "event": "end", "step": "", "message": "undone", "data": {"state": "undone", "cause": "c", "advice": "a", "healthy": True}},
]


@lru_cache(maxsize=1)
def seeds() -> list[Cluster]:
    """A default and a hardened cluster, with everything in them that an observation may hold."""
    found = [cluster(), hardened()]
    for hosts in found:
        for name, host in hosts.items():
            host["manifest_shapes"] = {"/etc/kubernetes/manifests/x.yaml": "aaa: 1"}
            host["manifests_foreign"] = ["/etc/kubernetes/manifests/x.yaml"]
            host["journals"] = [{"id": "t1", "run": "r", "state": "committed", "step": "", "at": 1.0, "cause": None, "advice": None}]
            host["proofs"] = [{**PROOF, "from": name}]
            host["listening"] = [{"address": "::", "port": 2379, "pid": None, "component": None}]
            host["kubelet"].update(environment_files=[], config_dir=None)
            host["files"] = {path: as_observed(entry) for path, entry in host["files"].items()}
            answers.check("observe", host)
    return found


def as_observed(entry: dict[str, Any]) -> dict[str, Any]:
    """A file of the factories with all that an observation says of it."""
    if entry["type"] == "absent":
        return {"type": "absent"}
    usual = {"uid": 0, "gid": 0, "size": 1, "mtime": NOW, "mode": "0777"}
    return {**usual, **{key: value for key, value in entry.items() if value is not None}}


def framed(text: str) -> str:
    return f"banner\n{bundle.BEGIN}\n{text}\n{bundle.END}\n"


def heard(entry: str, document: Any) -> Any:
    """What the controller takes an answer for. Raises REFUSED."""
    found = bundle.parse(framed(json.dumps(document)))
    answers.check(entry, found)
    return found


def told(hosts: Cluster) -> list[str]:
    """Plan, report and print what was observed; every line as it reaches the terminal."""
    facts = report.RunFacts(run="r", mode="check", started=NOW, finished=NOW, observations=hosts)
    try:
        made: Plan = planned(hosts)
    except PlanErrors as errors:
        assert all(error.cause and error.advice and len(str(error)) < 100_000 for error in errors.errors)
        found = [{"host": error.host, "file": error.file, "cause": error.cause, "advice": error.advice} for error in errors.errors]
        return [line.text for line in terminal.error_lines(found, "path")]
    done = made.as_dict()
    json.dumps(done, allow_nan=False).encode("utf-8")
    built = report.build(facts, all_controls(), done)
    json.dumps(built, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert "/" not in report.folder_name(str(built["cluster"]["name"])) and report.folder_name(str(built["cluster"]["name"])) not in ("", ".", "..")
    texts = second_look.documents(hosts, sorted(hosts))
    assert second_look.surprises(done, done, [], texts, texts) == [] and second_look.given_up(done, done) == []
    lines = [*terminal.plan_lines(done, report.tally(built)), *terminal.report_lines(built, "path")]
    return [line.text for line in [*lines, *differences.lines(differences.texts(done, all_controls()))]]


def check_lines(lines: list[str]) -> None:
    shown = [visible(line) for line in lines]
    assert not [line for line in shown if CONTROL.search(line.replace("\t", "").replace("\n", ""))]


def with_host(hosts: Cluster, name: str, seen: Any) -> Cluster:
    return {**{other: copy.deepcopy(host) for other, host in hosts.items()}, name: seen}


@examples(150)
@given(st.data())
def test_an_observation_of_any_shape_is_refused_by_its_place_or_planned(data: st.DataObject) -> None:
    hosts = data.draw(st.sampled_from(seeds()))
    name = data.draw(st.sampled_from(sorted(hosts)))
    try:
        seen = heard("observe", data.draw(changed_data([hosts[name]])))
    except REFUSED as refusal:
        assert 0 < len(str(refusal)) < 5000
        return
    check_lines(told(with_host(hosts, name, seen)))


@examples(60)
@given(st.data())
def test_a_liar_who_knows_the_form_is_planned_or_named(data: st.DataObject) -> None:
    hosts = data.draw(st.sampled_from(seeds()))
    name = data.draw(st.sampled_from(sorted(hosts)))
    try:
        seen = heard("observe", data.draw(changed_words([hosts[name]], most=8)))
    except REFUSED:
        return
    check_lines(told(with_host(hosts, name, seen)))


def documents(host: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Where an observation holds the text of a document."""
    found = [(entry, "text") for _path, entry in sorted(host["files"].items()) if "text" in entry]
    for configmap in (host["cluster"] or {"configmaps": {}})["configmaps"].values():
        found += [(configmap["data"], key) for key in sorted(configmap["data"])]
    return found


@examples(80)
@given(st.data())
def test_a_document_of_a_host_that_says_anything_is_named_or_planned(data: st.DataObject) -> None:
    hosts = copy.deepcopy(data.draw(st.sampled_from(seeds())))
    places = [place for host in hosts.values() for place in documents(host)]
    entry, key = places[data.draw(st.integers(0, len(places) - 1))]
    entry[key] = data.draw(changed_text([entry[key]]))
    if "sha256" in entry:
        entry["sha256"] = hashlib.sha256(entry[key].encode()).hexdigest()
    check_lines(told(hosts))


def test_a_text_that_its_digest_does_not_belong_to_is_refused() -> None:
    host = copy.deepcopy(seeds()[0]["w1"])
    entry, key = documents(host)[0]
    entry[key] += "\n"
    with pytest.raises(ShapeError, match="is not the digest of its text"):
        answers.check("observe", host)


@examples(150)
@given(changed_bytes([framed(json.dumps({"schema": 1, "transactions": []})).encode()], most=8))
@example(b"")
@example(bundle.BEGIN.encode())
@example(framed("[" * 100_000).encode())
@example(framed('{"a": NaN}').encode())
@example(framed('{"a": 1e999}').encode())
@example(framed('{"a": "\\ud800"}').encode())
@example(framed('{"a": ' + "9" * 5000 + "}").encode())
@example(framed(json.dumps({"schema": 1, "transactions": [{"id": framed("{}")}]})).encode())
def test_an_answer_of_any_bytes_is_read_or_named(answer: bytes) -> None:
    try:
        found = bundle.parse(answer.decode("utf-8", "surrogateescape"))
        answers.check("recover", found)
    except REFUSED as refusal:
        assert str(refusal) and not CONTROL.search(str(refusal))


@pytest.mark.parametrize("inside", [framed('{"schema": 1, "transactions": []}'), f"\n{bundle.END}\n", f"{bundle.BEGIN}\n{{}}\n{bundle.END}"])
def test_markers_inside_a_string_are_a_string(inside: str) -> None:
    assert bundle.parse(framed(json.dumps({"a": inside}))) == {"a": inside}


def test_the_history_that_is_changed_at_random_is_one() -> None:
    assert len(past.parse("cp1", HISTORY).transactions[0].effects) == len(EFFECTS)


@pytest.mark.parametrize("entry", sorted(answers.ANSWERS))
@examples(40)
@given(data=st.data())
def test_no_answer_comes_in_that_is_not_of_its_form(entry: str, data: st.DataObject) -> None:
    good = {
        "observe": seeds()[0]["w1"],
        "visit": {**seeds()[0]["w1"], "recovered": [{"id": "t", "run": "r", "state": "undone", "healthy": True, "cause": "c", "advice": None}]},
        "launch": {"schema": 1, "id": "t", "unit": "u.service", "directory": "/var/lib/x"},
        "follow": {"schema": 1, "id": "t", "lines": LINES, "offset": 9, "alive": True, "state": "open"},
        "recover": {"schema": 1, "transactions": []},
        "history": HISTORY,
    }[entry]
    answers.check(entry, good)
    try:
        found = heard(entry, data.draw(changed_data([good])))
    except REFUSED:
        return
    if entry == "history":
        with contextlib.suppress(PlanError):  # it names the host
            past.parse("cp1", found)
    if entry == "follow":
        progress = Progress("cp1")
        check_lines([line.text for entry_line in found["lines"] for line in progress.add(entry_line)])


@examples(60)
@given(changed_words([LINES], most=6))
def test_what_a_journal_says_is_printed_without_harm(lines: Any) -> None:
    try:
        found = heard("follow", {"schema": 1, "id": "t", "lines": lines, "offset": 9, "alive": True, "state": "open"})
    except REFUSED:
        return
    progress = Progress(TOKENS[5].decode())
    check_lines([line.text for entry in found["lines"] for line in progress.add(entry)] + [line.text for line in progress.still()])


def test_the_proofs_of_another_node_are_refused() -> None:
    worker = copy.deepcopy(seeds()[0]["w1"])
    worker["proofs"] = [{**PROOF, "from": "cp1"}]
    with pytest.raises(ShapeError, match=r"proofs\[0\]\.from is in the name of another node"):
        answers.check("observe", worker)
    worker["proofs"] = [{**PROOF, "id": "user_to_apiserver"}]
    with pytest.raises(ShapeError, match="only a control plane"):
        answers.check("observe", worker)
    worker.update(proofs=[], cluster=seeds()[0]["cp1"]["cluster"])
    with pytest.raises(ShapeError, match="no apiserver runs here"):
        answers.check("observe", worker)


def test_a_name_of_a_cluster_never_leaves_the_report_directory(tmp_path: Any) -> None:
    for name in ("../../x", "/etc/passwd", "..", ".", "", "a/../../b", "\x1b[2J", "x" * 5000, "{{ 7 * 7 }}"):
        built = SimpleNamespace(value={"cluster": {"name": name}, "partial": False}).value
        written = report.write(built, tmp_path / "reports")
        assert written.resolve().parent.parent == (tmp_path / "reports").resolve()
    assert {path.name for path in tmp_path.iterdir()} == {"reports"}
