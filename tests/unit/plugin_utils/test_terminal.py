# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads: short, aligned, and nothing from a host can forge it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import details, differences, partial, terminal
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.report import Tally
from hypothesis import given
from hypothesis import strategies as st

CLUSTER = {"name": "prod-1", "version": "v1.36.4", "layout": "kubeadm", "control_planes": 3, "nodes": 12}


def plan(**parts: Any) -> dict[str, Any]:
    return {"cluster": CLUSTER, "changes": [], "held": [], "warnings": [], "restarts": {}, "digest": "0123456789abcdef" * 4, **parts}


def report(mode: str = "harden", controls: Any = (), proofs: Any = (), **parts: Any) -> dict[str, Any]:
    paths = [{"id": 1, "title": "apiserver → kubelet", "controls": list(controls), "proofs": list(proofs)}]
    return {"mode": mode, "paths": paths, "hosts": [], "restarts": {}, "errors": [], "partial": False, "warnings": [], **parts}


def control(status: str, name: str = "a", reason: str = "because", **parts: Any) -> dict[str, Any]:
    unset = dict.fromkeys(("before", "after", "held_by", "setting", "proof"))
    return {"id": name, "status": status, "reason": reason, "hosts": ["cp1"], **unset, **parts}


def failed_proof(**evidence: Any) -> dict[str, Any]:
    return {"id": "p", "aspect": "plain", "kind": "forbidden", "from": "cp1", "to": "etcd", "passed": False, "evidence": evidence}


def below(*controls: dict[str, Any], mode: str = "check", proofs: Any = ()) -> list[str]:
    """What stands below the path."""
    return [line.text[len("           ") :] for line in terminal.report_lines(report(mode, controls, proofs), "x")[1:-1]]


def texts(lines: list[terminal.Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_plan_as_in_the_design():
    changes = [{"host": f"w{number % 15}"} for number in range(41)]
    restarts = {"kubelet": 15, "kube-apiserver": 3, "etcd": 3}
    assert texts(terminal.plan_lines(plan(changes=changes, held=[{"control": "x"}], restarts=restarts), Tally(33, 0, 3))) == [
        "prod-1   Kubernetes 1.36.4, kubeadm, 3 control planes, 12 nodes",
        "plan     33 controls to change (41 edits on 15 hosts), 3 proofs fail, 1 held"
        "     restarts: etcd 3, kube-apiserver 3, kubelet 15",
        "         digest 0123456789abcdef",
    ]


def test_nothing_to_change_is_said_and_good():
    assert terminal.plan_lines(plan(), Tally(0, 0, 0))[1] == ("plan     nothing to change", "good")


def test_what_no_run_mends_is_said_although_nothing_changes():
    assert terminal.plan_lines(plan(), Tally(0, 2, 1))[1].text == "plan     nothing to change, 2 deviating, 1 proof fails"


def test_one_is_not_plural():
    lines = terminal.plan_lines(plan(changes=[{"host": "a"}], cluster={**CLUSTER, "control_planes": 1, "nodes": 1}), Tally(1, 0, 0))
    assert texts(lines)[:2] == [
        "prod-1   Kubernetes 1.36.4, kubeadm, 1 control plane, 1 node",
        "plan     1 control to change (1 edit on 1 host)     no restarts",
    ]


def test_edits_of_our_own_files_are_no_controls():
    assert "no control to change (1 edit on 1 host)" in terminal.plan_lines(plan(changes=[{"host": "a"}]), Tally(0, 0, 0))[1].text


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (Tally(33, 0, 3), "36 deviations (33 controls, 3 proofs)"),
        (Tally(0, 1, 0), "1 deviation (1 control)"),
        (Tally(0, 0, 1), "1 deviation (1 proof)"),
    ],
)
def test_deviations_are_counted_by_kind(tally, text):
    assert terminal.tally_text(tally) == text


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
        "           1 held: no enforcing CNI is installed (c)",
        "report   /r/report.json",
    ]
    assert lines[0].tone == "notice"


@pytest.mark.parametrize(("mode", "word", "tone"), [("check", "1 to change", "notice"), ("harden", "1 still to change", "bad")])
def test_what_is_left_after_a_harden_run_is_bad(mode, word, tone):
    line = terminal.report_lines(report(mode, [control("change")]), "x")[0]
    assert word in line.text and line.tone == tone


def test_a_failed_proof_is_bad_and_named():
    lines = terminal.report_lines(report(proofs=[failed_proof(refusal="connected")]), "x")
    assert lines[0].text.endswith("proofs 0/1") and lines[0].tone == "bad"
    assert lines[1].text.strip() == "p  cp1 → etcd failed: connected"


PASSED = {"id": "p", "aspect": "allowed", "kind": "allowed", "from": "cp1", "to": "w1", "passed": True, "evidence": {}}


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
    assert terminal.plan_lines(plan(held=[{"control": "x"}]), Tally(0, 0, 0))[1] == ("plan     nothing to change, 1 held", "notice")


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (
            {"request": "GET /version, no credentials", "status": 200, "tls": "TLSv1.3", "expected": "401 or 403"},
            "GET /version, no credentials: answered with 200, expected: 401 or 403",
        ),
        ({"refusal": "certificate unknown", "expected": "200"}, "certificate unknown, expected: 200"),
        ({"answer": "0 of 50 Secrets are encrypted"}, "0 of 50 Secrets are encrypted"),
        ({"tls": "TLSv1.1", "stage": "response"}, "TLS was spoken"),
        ({}, "it was answered"),
    ],
)
def test_a_failed_proof_says_what_happened_and_what_was_expected(evidence, said):
    assert below(proofs=[failed_proof(**evidence)]) == [f"p  cp1 → etcd failed: {said}"]


def test_a_change_is_shown_with_host_and_values():
    row = control("change", "scheduler-profiling-off", setting="--profiling", after=False)
    assert below(row) == ["scheduler-profiling-off  cp1  --profiling: unset → false"]


def test_a_change_of_files_names_the_file_once():
    row = control("change", "cni-files", before="/etc/cni/net.d/x and 2 more: 0644 root:root", after="/etc/cni/net.d/x and 2 more: 0600 root:root")
    assert below(row) == ["cni-files  cp1  /etc/cni/net.d/x and 2 more: 0644 root:root → 0600 root:root"]


def test_the_same_change_of_many_hosts_is_one_line():
    rows = [control("change", setting="f", after=True, hosts=[f"w{number}"], reason=str(number)) for number in range(1, 13)]
    assert below(*rows) == ["a  12 hosts: w1, w2, w3 …  f: unset → true"]


@pytest.mark.parametrize(("hosts", "said"), [([None, "cp1"], "cp1"), ([None], "the cluster"), (["w2", "w1", "w2"], "w2, w1")])
def test_the_cluster_as_a_whole_is_named_where_no_host_is(hosts, said):
    assert details.hosts_text(hosts) == said


def test_a_value_that_stays_is_not_shown_as_a_change():
    assert below(control("change", setting="--x", before="a", after="a")) == ["a  cp1  --x: a, what belongs to it is not in place"]


def test_a_harden_run_shows_what_it_has_changed():
    rows = [control("ok", "mended", setting="--x", before="1", after="2", changed=True), control("ok", "b", changed=False)]
    assert below(*rows, mode="harden") == ["mended  cp1  --x: 1 → 2"]


def test_what_is_below_a_path_is_cut_and_counted():
    rows = [control("change", f"c{number}", after="x") for number in range(9)]
    found = below(*rows, control("deviation", "z", "it is old"))
    assert found[0] == "z  cp1  deviates: it is old"
    assert len(found) == details.SHOWN + 1 and found[-1] == "… and 5 more, see the report"


def test_held_controls_are_grouped_by_reason():
    rows = [control("held", f"c{number}", "could not be observed: not part of this run", held_by="observation") for number in range(12)]
    never = "It comes with the data-at-rest work, which also makes the keys, rolls them and rewrites what is stored."
    rows += [control("held", name, never, held_by="not-offered-yet") for name in ("e1", "e2")]
    assert below(*rows) == [
        "12 held: cp1 could not be observed (not part of this run)",
        "2 held: not offered by this version: it comes with the data-at-rest work (e1, e2)",
    ]


def test_what_is_held_on_some_hosts_only_says_so():
    rows = [control("change", after=1, hosts=["w1"]), control("held", reason="could not be observed: gone")]
    assert below(*rows)[1] == "1 held on cp1 only: it could not be observed (gone) (a)"


def test_a_control_counts_once_by_the_worst_that_it_is():
    rows = [control("ok", hosts=["w1"]), control("held", reason="it waits"), control("change", "b", after=1, hosts=["w1"]), control("held", "b", "it waits")]
    lines = terminal.report_lines(report("check", rows), "x")
    assert lines[0].text.endswith("1 to change   1 held   no proof")
    assert [line.text.strip() for line in lines[1:-1]] == ["b  w1  unset → 1", "1 held: it waits (a)", "1 held on cp1 only: it waits (b)"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=30), max_leaves=30))
def test_a_value_is_short_and_cannot_forge_output(value):
    text = details.value_text(value)
    assert text and len(text.splitlines()) <= 1 and "\x1b" not in text


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


def test_a_partial_run_says_so_and_hosts_that_were_left_out_are_no_error():
    hosts = [{"name": "cp1", "observed": False, "message": "not part of this run"}]
    lines = terminal.report_lines(report(hosts=hosts, partial=True, warnings=["partial run (--limit w1): so and so", "another"]), "x")
    assert texts(lines) == ["warning  partial run (--limit w1): so and so", "report   x"] and lines[0].tone == "notice"


@pytest.mark.parametrize(
    ("limit", "left_out", "said"),
    [
        (None, [], None),
        ("all", [], None),
        (
            "w1",
            ["cp1", "w2"],
            "partial run (--limit w1): no control plane takes part, so only w1's own files and kubelet are judged; use --limit 'w1,cp1'",
        ),
        (
            "kube_node",
            ["cp1"],
            "partial run (--limit kube_node): no control plane takes part, so only the files and kubelets of its hosts are judged; "
            "use --limit 'kube_node,cp1'",
        ),
        ("w1,cp1", ["w2"], "partial run (--limit w1,cp1): 1 host left out (w2); what depends on it is held"),
    ],
)
def test_what_a_limit_means(limit, left_out, said):
    assert partial.warning(limit, left_out, ["cp1", "w1", "w2"], ["cp1"]) == said


@pytest.mark.parametrize(
    ("waves", "mode", "said"),
    [
        ({"files": []}, "harden", ["         the waves below are empty"]),
        ({"files": ["w1"]}, "harden", []),
        ({"files": ["w1"]}, "check", ["         check mode carries nothing out, so the waves below are empty"]),
        ({"files": []}, "check", ["         the waves below are empty"]),
        ({"files": []}, "audit", []),
    ],
)
def test_empty_plays_are_explained(waves, mode, said):
    assert texts(terminal.waves_lines({"waves": waves}, mode)) == said


def test_a_difference_is_headed_by_its_controls_a_line_each():
    change = {"host": "cp1", "file": "/etc/x.yaml", "controls": ["a", "tls-floor"], "reason": "One. Two.", "diff": "--- /etc/x.yaml\n-a\n+b\n"}
    outcomes = [{"id": "a", "host": "cp1", "status": "change", "reason": "It makes room."}, {"id": "a", "host": "w1", "status": "ok", "reason": ""}]
    known = [SimpleNamespace(id="a", why="One."), SimpleNamespace(id="tls-floor", why="Two.")]
    (text,) = differences.texts({"controls": outcomes, "changes": [change, {**change, "diff": ""}]}, known)
    assert text == "# cp1: /etc/x.yaml (2 controls)\n#   a          It makes room.\n#   tls-floor  Two.\n--- /etc/x.yaml\n-a\n+b\n"
    assert [line.tone for line in differences.lines([text])][-4:] == ["bad", "bad", "good", "plain"]


def test_a_difference_that_serves_no_control_has_its_reason():
    change = {"host": "cp1", "file": None, "object": "ConfigMap x", "controls": [], "reason": "Upgrades write what stands here.", "diff": "+b\n"}
    assert differences.texts({"controls": [], "changes": [change]}, []) == ["# cp1: ConfigMap x: Upgrades write what stands here.\n+b\n"]
