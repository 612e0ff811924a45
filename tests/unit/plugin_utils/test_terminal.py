# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads: short, aligned, and nothing from a host can forge it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import terminal
from hypothesis import given
from hypothesis import strategies as st

CLUSTER = {"name": "prod-1", "version": "v1.36.4", "layout": "kubeadm", "control_planes": 3, "nodes": 12}


def plan(**parts: Any) -> dict[str, Any]:
    return {"cluster": CLUSTER, "changes": [], "held": [], "warnings": [], "restarts": {}, "digest": "0123456789abcdef" * 4, **parts}


def report(mode: str = "harden", controls: Any = (), proofs: Any = (), **parts: Any) -> dict[str, Any]:
    paths = [{"id": 1, "title": "apiserver → kubelet", "controls": list(controls), "proofs": list(proofs)}]
    return {"mode": mode, "paths": paths, "hosts": [], "restarts": {}, "errors": [], **parts}


def control(status: str, name: str = "a", reason: str = "because") -> dict[str, Any]:
    return {"id": name, "status": status, "reason": reason, "hosts": ["cp1"]}


def texts(lines: list[terminal.Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_plan_as_in_the_design():
    changes = [{"host": f"w{number % 15}"} for number in range(41)]
    restarts = {"kubelet": 15, "kube-apiserver": 3, "etcd": 3}
    assert texts(terminal.plan_lines(plan(changes=changes, held=[{"control": "x"}], restarts=restarts))) == [
        "prod-1   Kubernetes 1.36.4, kubeadm, 3 control planes, 12 nodes",
        "plan     41 changes on 15 hosts, 1 held     restarts: etcd 3, kube-apiserver 3, kubelet 15",
        "         digest 0123456789abcdef",
    ]


def test_nothing_to_change_is_said_and_good():
    assert terminal.plan_lines(plan())[1] == ("plan     nothing to change", "good")


def test_one_is_not_plural():
    lines = terminal.plan_lines(plan(changes=[{"host": "a"}], cluster={**CLUSTER, "control_planes": 1, "nodes": 1}))
    assert texts(lines)[:2] == [
        "prod-1   Kubernetes 1.36.4, kubeadm, 1 control plane, 1 node",
        "plan     1 change on 1 host     no restarts",
    ]


def test_a_path_counts_controls_once_and_shows_what_is_held():
    controls = [
        control("ok"),
        control("ok", "b"),
        control("ok", "b"),
        control("held", "c", "no enforcing CNI is installed"),
        control("disabled", "d"),
    ]
    proof = {"id": "p", "kind": "allowed", "from": "cp1", "to": "w1", "passed": True, "evidence": {}}
    lines = terminal.report_lines(report(controls=controls, proofs=[proof]), "/r/report.json")
    assert texts(lines) == [
        f"path 1   {'apiserver → kubelet':<42}2 set   1 held   1 not chosen   proofs 1/1",
        "           held c: no enforcing CNI is installed",
        "report   /r/report.json",
    ]
    assert lines[0].tone == "notice"


@pytest.mark.parametrize(("mode", "word", "tone"), [("check", "1 to change", "notice"), ("harden", "1 still to change", "bad")])
def test_what_is_left_after_a_harden_run_is_bad(mode, word, tone):
    line = terminal.report_lines(report(mode, [control("change")]), "x")[0]
    assert word in line.text and line.tone == tone


def test_a_failed_proof_is_bad_and_named():
    proof = {
        "id": "etcd_refuses",
        "kind": "forbidden",
        "from": "cp1",
        "to": "cp2:2379",
        "passed": False,
        "evidence": {"refusal": "connected"},
    }
    lines = terminal.report_lines(report(proofs=[proof]), "x")
    assert lines[0].text.endswith("proofs 0/1") and lines[0].tone == "bad"
    assert lines[1].text.strip() == "proof etcd_refuses (forbidden) cp1 → cp2:2379 failed: connected"


PASSED = {"id": "p", "kind": "allowed", "from": "cp1", "to": "w1", "passed": True, "evidence": {}}


@pytest.mark.parametrize(
    ("statuses", "proofs", "words", "tone"),
    [
        (["ok"], [PASSED], "1 set   proofs 1/1", "good"),
        (["ok", "disabled"], [PASSED], "1 set   1 not chosen   proofs 1/1", "good"),
        (["ok"], [], "1 set   no proof", "notice"),
        (["disabled"], [], "1 not chosen   no proof", "notice"),
        (["disabled"], [PASSED], "1 not chosen   proofs 1/1", "notice"),
        (["ok", "not-applicable"], [PASSED], "1 set   1 not judged   proofs 1/1", "notice"),
        (["ok", "waived"], [PASSED], "1 set   1 waived   proofs 1/1", "notice"),
        (["ok", "held"], [PASSED], "1 set   1 held   proofs 1/1", "notice"),
        (["ok", "deviation"], [PASSED], "1 set   1 deviating   proofs 1/1", "bad"),
        ([], [PASSED], "proofs 1/1", "notice"),
    ],
)
def test_green_is_a_claim(statuses, proofs, words, tone):
    line = terminal.report_lines(report("audit", [control(status, status) for status in statuses], proofs), "x")[0]
    assert (line.text.removeprefix(f"path 1   {'apiserver → kubelet':<42}"), line.tone) == (words, tone)


def test_what_is_judged_on_another_host_is_judged():
    line = terminal.report_lines(report("audit", [control("not-applicable"), control("ok")], [PASSED]), "x")[0]
    assert line.text.endswith("1 set   proofs 1/1") and line.tone == "good"


def test_a_proof_that_may_fail_is_counted_and_said():
    waived = {**control("waived"), "proof": "q"}
    failed = {**PASSED, "id": "q", "passed": False}
    lines = terminal.report_lines(report("audit", [waived], [PASSED, failed]), "x")
    assert lines[0].text.endswith("1 waived   proofs 1/2 (1 excused)") and lines[0].tone == "notice" and len(lines) == 2


def test_nothing_to_change_is_not_green_where_something_is_held():
    assert terminal.plan_lines(plan(held=[{"control": "x"}]))[1] == ("plan     nothing to change, 1 held", "notice")


def test_many_reasons_are_cut_and_counted():
    lines = terminal.report_lines(report(controls=[control("held", f"c{number}") for number in range(9)]), "x")
    assert len(lines) == 1 + terminal.DETAILS + 1 + 1 and "and 4 more" in lines[-2].text


def test_errors_and_hosts_without_observation_are_shown():
    hosts = [{"name": "w3", "observed": False, "message": "cannot be reached"}, {"name": "w1", "observed": True, "message": None}]
    errors = [{"host": "cp1", "file": "/etc/x", "cause": "is no YAML", "advice": "correct it"}]
    found = texts(terminal.report_lines(report(hosts=hosts, errors=errors, restarts={"etcd": 1}), "x"))
    assert found[-4:] == [
        "w3       not observed: cannot be reached",
        "restarts etcd 1",
        "error    cp1: /etc/x: is no YAML; correct it",
        "report   x",
    ]


@given(st.text(), st.text(), st.sampled_from(["step", "undo", "end"]))
def test_a_progress_line_is_one_line_whatever_the_host_says(host, message, event):
    text = terminal.progress_line(host, 12.34, message, event).text
    assert len(text.splitlines()) <= 1 and "\x1b" not in text and "12.3 s" in text


def test_a_progress_line_is_aligned():
    assert terminal.progress_line("cp1", 12.34, "etcd: healthy", "step").text == "cp1        12.3 s  etcd: healthy"
    assert terminal.progress_line("a-very-long-name", 1, "x", "step").text == "a-very-long-name     1.0 s  x"
