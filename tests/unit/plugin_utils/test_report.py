# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json: complete, valid against its schema, and written in one step."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import report as reporting
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Control:
    id: str
    title: str
    references: tuple[tuple[str, tuple[str, ...]], ...] = (("cis", ("1.2.5",)),)
    proof: str | None = None
    sets: str | None = "kubelet-certificate-authority"
    kind: str = "flag"


CONTROLS = (Control("verify-kubelet", "The apiserver verifies kubelets"), Control("other", "Another"))
PROOF = {
    "id": "p",
    "path": 1,
    "aspect": "allowed",
    "kind": "allowed",
    "from": "cp1",
    "to": "w1",
    "passed": True,
    "at": 1.0,
    "evidence": {"tls": "TLSv1.3"},
    "fingerprint": "0" * 64,
}
OBSERVATION: dict[str, Any] = {
    "host": {"node": "cp1"},
    "layout": "kubeadm",
    "kubelet": {"version": "v1.36.4"},
    "proofs": [PROOF],
    "cluster": {
        "kubelets": [
            {"node": "w1", "certificate": {"not_after": 200.0}},
            {"node": "cp1", "certificate": {"not_after": 100.0}},
            {"node": "x", "certificate": None},
        ]
    },
}
FACTS = reporting.RunFacts("20270101T000000Z-abc", "harden", 1.0, 2.0, {"cp1": OBSERVATION})


def outcome(
    status: str, host: str | None = "cp1", before: str | None = None, after: str | None = None, name: str = "verify-kubelet"
) -> dict[str, Any]:
    return {"id": name, "path": 1, "host": host, "status": status, "before": before, "after": after, "reason": "r", "held_by": None}


def plan(*controls: dict[str, Any], **parts: Any) -> dict[str, Any]:
    cluster = {"name": "prod-1", "version": "v1.36.4", "layout": "kubeadm", "control_planes": 1, "nodes": 2}
    return {
        "digest": "d" * 64,
        "cluster": cluster,
        "controls": list(controls),
        "held": [],
        "warnings": [],
        "restarts": {"etcd": 9},
        **parts,
    }


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    return report["paths"][0]["controls"]


def valid(report: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return report


def test_all_nine_paths_are_there_and_it_is_valid():
    report = valid(reporting.build(FACTS, CONTROLS, plan(outcome("ok"), outcome("held", None, name="other"))))
    assert [path["id"] for path in report["paths"]] == list(range(1, 10))
    assert rows(report)[0]["title"] == "The apiserver verifies kubelets" and rows(report)[0]["references"] == {"cis": ["1.2.5"]}
    assert report["paths"][0]["proofs"] == [PROOF]
    assert report["serving_certificates"] == {"earliest": 100.0, "node": "cp1"}


def test_a_report_without_a_plan_is_valid_and_names_errors():
    errors = [{"host": "cp1", "file": "/x", "cause": "is no YAML", "advice": "correct it"}]
    report = valid(reporting.build(replace(FACTS, observations={}, unobserved={"w1": "gone"}, errors=errors), CONTROLS, None))
    assert report["errors"] == errors and report["hosts"][0]["message"] == "gone" and report["serving_certificates"] is None


def test_hosts_with_the_same_outcome_share_a_row_and_others_do_not():
    report = valid(reporting.build(FACTS, CONTROLS, plan(outcome("ok", "cp1"), outcome("ok", "cp2"), outcome("ok", "cp3", before="x"))))
    assert [row["hosts"] for row in rows(report)] == [["cp1", "cp2"], ["cp3"]]


def test_what_the_run_mended_shows_what_it_was_before():
    first, final = plan(outcome("change", before="absent", after="ca.crt")), plan(outcome("ok", before="ca.crt"))
    row = rows(valid(reporting.build(FACTS, CONTROLS, final, first)))[0]
    assert (row["status"], row["before"], row["after"], row["changed"]) == ("ok", "absent", "ca.crt", True)


def test_of_files_that_the_run_mended_it_shows_what_was_planned():
    first, final = plan(outcome("change", before="/x: 0644", after="/x: 0600")), plan(outcome("ok"))
    row = rows(valid(reporting.build(FACTS, CONTROLS, final, first)))[0]
    assert (row["before"], row["after"]) == ("/x: 0644", "/x: 0600")


def test_what_was_written_into_the_clusters_own_documents_was_changed_by_the_run():
    """A plan names those controls only as long as a document does not say them."""
    first = plan(outcome("change", None, "no", "yes"), outcome("ok"))
    done = rows(reporting.build(FACTS, CONTROLS, plan(outcome("ok")), first))
    assert [(row["hosts"], row["before"], row["after"], row["status"]) for row in done if row["changed"]] == [([None], "no", "yes", "ok")]
    for left in (outcome("change", None, "no", "yes"), outcome("held")):
        assert not any(row["changed"] for row in rows(reporting.build(FACTS, CONTROLS, plan(left), first)))


def test_restarts_are_those_that_happened_in_a_harden_run_and_the_predicted_ones_else():
    results = [
        {"host": "cp1", "changed": True, "restarts": {"kubelet": 1, "etcd": 1}},
        {"host": "w1", "changed": True, "restarts": {"kubelet": 1}},
    ]
    report = reporting.build(replace(FACTS, results=results), CONTROLS, plan())
    assert report["restarts"] == {"etcd": 1, "kubelet": 2} and [host["changed"] for host in report["hosts"]] == [True]
    assert reporting.build(replace(FACTS, mode="check"), CONTROLS, plan())["restarts"] == {"etcd": 9}


@pytest.mark.parametrize(
    ("status", "deviates"),
    [("ok", 0), ("held", 0), ("waived", 0), ("disabled", 0), ("not-applicable", 0), ("change", 1), ("deviation", 1)],
)
def test_what_counts_as_a_deviation(status, deviates):
    report = reporting.build(FACTS, CONTROLS, plan(outcome(status), outcome(status, "cp2")))
    assert len(reporting.deviations(report)) == deviates


def test_a_control_counts_once_by_its_worst_status_and_the_counts_agree():
    statuses = plan(outcome("ok"), outcome("change", "cp2"), outcome("held", "cp3"), outcome("deviation", name="other"))
    observation = {**OBSERVATION, "proofs": [{**PROOF, "passed": False}, {**PROOF, "passed": False, "kind": "forbidden"}]}
    report = reporting.build(replace(FACTS, observations={"cp1": observation}), CONTROLS, statuses)
    assert reporting.tally(report) == reporting.Tally(changing=1, deviating=1, proofs=2) and len(reporting.deviations(report)) == 4


@pytest.mark.parametrize(("kind", "sets", "shown"), [("flag", "x", "--x"), ("document", "x", "--x"), ("field", "a.b", "a.b"), ("files", None, None)])
def test_a_row_names_what_its_control_sets(kind, sets, shown):
    report = valid(reporting.build(FACTS, [Control("verify-kubelet", "t", sets=sets, kind=kind)], plan(outcome("ok"))))
    assert rows(report)[0]["setting"] == shown


def test_a_failed_proof_is_a_deviation():
    observation = {**OBSERVATION, "proofs": [{**PROOF, "passed": False}]}
    assert reporting.deviations(reporting.build(replace(FACTS, observations={"cp1": observation}), CONTROLS, plan())) == [
        "proof p cp1 → w1"
    ]


@pytest.mark.parametrize(("statuses", "deviates"), [(["held"], 0), (["waived", "disabled"], 0), (["held", "ok"], 1), (["ok"], 1)])
def test_a_proof_of_nothing_that_is_active_may_fail(statuses, deviates):
    controls = [Control(str(number), "t", proof="p") for number in range(len(statuses))]
    outcomes = [outcome(status, name=str(number)) for number, status in enumerate(statuses)]
    observation = {**OBSERVATION, "proofs": [{**PROOF, "passed": False}]}
    report = valid(reporting.build(replace(FACTS, observations={"cp1": observation}), controls, plan(*outcomes)))
    assert len(reporting.deviations(report)) == deviates


def test_it_is_written_in_one_step_and_readable(tmp_path):
    report = reporting.build(FACTS, CONTROLS, plan(outcome("ok")))
    path = reporting.write(report, tmp_path)
    assert path == tmp_path / "prod-1" / "report.json" and json.loads(path.read_text(encoding="utf-8")) == report
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_a_partial_report_lies_beside_the_full_one(tmp_path):
    full = reporting.write(valid(reporting.build(FACTS, CONTROLS, plan(outcome("ok")))), tmp_path)
    before = full.read_bytes()
    limited = valid(reporting.build(replace(FACTS, limit="w1", partial="partial run"), CONTROLS, plan(outcome("held"), warnings=["w"])))
    assert (limited["limit"], limited["partial"], limited["warnings"]) == ("w1", True, ["partial run", "w"])
    assert reporting.write(limited, tmp_path) == tmp_path / "prod-1" / "report-limited.json" and full.read_bytes() == before


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = reporting.write(reporting.build(FACTS, CONTROLS, plan()), tmp_path)
    before = path.read_bytes()
    broken = {**reporting.build(FACTS, CONTROLS, plan()), "errors": [object()]}
    with pytest.raises(TypeError):
        reporting.write(broken, tmp_path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


@given(st.text())
def test_a_cluster_cannot_name_a_folder_elsewhere(name):
    folder = reporting.folder_name(name)
    assert folder and "/" not in folder and not folder.startswith(".") and len(folder) <= 100 and folder.isascii()
