# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads while a run goes on: a few lines with a name in front and the facts behind it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.report import COMPONENTS, PATHS, excused

LABEL = 9
DETAILS = 5  # reasons shown per path; the report has all
GAP = "   "
UNJUDGED = "not-applicable"
WORDS: Mapping[str, str] = {
    "ok": "set",
    "change": "to change",
    "deviation": "deviating",
    "held": "held",
    "waived": "waived",
    UNJUDGED: "not judged",
    "disabled": "not chosen",
}


class Line(NamedTuple):
    """One line; `tone` is plain, good, notice or bad."""

    text: str
    tone: str = "plain"


def cluster_line(cluster: Mapping[str, Any]) -> Line:
    """`prod-1   Kubernetes 1.36.4, kubeadm, 3 control planes, 12 nodes`."""
    version = str(cluster.get("version") or "unknown").lstrip("v")
    parts = [
        f"Kubernetes {version}",
        str(cluster["layout"]),
        _count(cluster["control_planes"], "control plane"),
        _count(cluster["nodes"], "node"),
    ]
    return Line(_labelled(str(cluster["name"]), ", ".join(parts)))


def plan_lines(plan: Mapping[str, Any]) -> list[Line]:
    """What a run will do, and what it leaves alone on purpose."""
    lines = [cluster_line(plan["cluster"])]
    changes, held = plan["changes"], len({entry["control"] for entry in plan["held"]})
    tail = f", {held} held" if held else ""
    if not changes:
        lines.append(Line(_labelled("plan", f"nothing to change{tail}"), "notice" if held else "good"))
    else:
        hosts = len({change["host"] for change in changes})
        text = f"{_count(len(changes), 'change')} on {_count(hosts, 'host')}{tail}"
        restarts = restarts_text(plan["restarts"])
        lines.append(Line(_labelled("plan", text + (f"     restarts: {restarts}" if restarts else "     no restarts")), "notice"))
        lines.append(Line(_labelled("", f"digest {plan['digest'][:16]}")))
    return lines + [Line(_labelled("warning", str(text)), "notice") for text in plan["warnings"]]


def report_lines(report: Mapping[str, Any], path: str) -> list[Line]:
    """One line per path with anything to say, then errors and where the report is."""
    lines = []
    for entry in report["paths"]:
        if entry["controls"] or entry["proofs"]:
            lines += _path_lines(entry, str(report["mode"]))
    for host in report["hosts"]:
        if not host["observed"]:
            lines.append(Line(_labelled(str(host["name"]), f"not observed: {clean(str(host['message']))}"), "bad"))
    restarts = restarts_text(report["restarts"])
    if restarts and report["mode"] == "harden":
        lines.append(Line(_labelled("restarts", restarts)))
    lines += [Line(_labelled("error", clean(error_text(error))), "bad") for error in report["errors"]]
    return [*lines, Line(_labelled("report", path))]


def progress_line(host: str, seconds: float, message: str, event: str) -> Line:
    """One line of a transaction's journal: `cp1      12.3 s  kube-apiserver: old process gone after 7.2 s`."""
    return Line(_labelled(host, f"{seconds:6.1f} s  {clean(message)}"), "bad" if event == "undo" else "plain")


def restarts_text(restarts: Mapping[str, int]) -> str:
    """`etcd 3, kube-apiserver 3, kubelet 15`, in the order in which components start."""
    names = sorted(restarts, key=lambda name: (COMPONENTS.index(name) if name in COMPONENTS else len(COMPONENTS), name))
    return ", ".join(f"{name} {restarts[name]}" for name in names if restarts[name])


def error_text(error: Mapping[str, Any]) -> str:
    """`cp1: /etc/kubernetes/manifests/x.yaml: cause; advice` with whatever of it is known."""
    where = ": ".join(str(error[key]) for key in ("host", "file") if error.get(key))
    text = f"{where}: {error['cause']}" if where else str(error["cause"])
    return f"{text}; {error['advice']}" if error.get("advice") else text


def clean(text: str) -> str:
    """Text from a host, without line breaks and control characters that could forge output."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+", " ", text).strip()


def _path_lines(entry: Mapping[str, Any], mode: str) -> list[Line]:
    title = f"path {entry['id']}", str(PATHS[entry["id"]])
    by_status: dict[str, list[Mapping[str, Any]]] = {}
    for control in entry["controls"]:
        by_status.setdefault(control["status"], []).append(control)
    judged = {control["id"] for control in entry["controls"] if control["status"] != UNJUDGED}
    by_status[UNJUDGED] = [control for control in by_status.get(UNJUDGED, ()) if control["id"] not in judged]
    words = {**WORDS, "change": "still to change"} if mode == "harden" else WORDS
    parts = [f"{_distinct(by_status[status])} {word}" for status, word in words.items() if by_status.get(status)]
    pardoned = excused(entry["controls"])
    failed = [proof for proof in entry["proofs"] if not proof["passed"] and proof["id"] not in pardoned]
    parts.append(_proofs_text(entry["proofs"], len(failed)))
    tone = _tone({status for status, controls in by_status.items() if controls}, entry["proofs"], len(failed), mode)
    lines = [Line(_labelled(title[0], f"{title[1]:<42}{GAP.join(parts)}".rstrip()), tone)]
    return lines + _details(by_status, failed)


def _proofs_text(proofs: Sequence[Mapping[str, Any]], failed: int) -> str:
    """`proofs 11/12 (1 excused)`: excused are those that may fail, since nothing that is chosen and applied would make them pass."""
    if not proofs:
        return "no proof"
    passed = sum(1 for proof in proofs if proof["passed"])
    excused_ones = len(proofs) - passed - failed
    return f"proofs {passed}/{len(proofs)}" + (f" ({excused_ones} excused)" if excused_ones else "")


def _tone(statuses: set[str], proofs: Sequence[Mapping[str, Any]], failed: int, mode: str) -> str:
    """Green is a claim: something is set, a live connection has shown it, and nothing on the path is left open."""
    if failed or "deviation" in statuses or ("change" in statuses and mode == "harden"):
        return "bad"
    proven = any(proof["passed"] for proof in proofs)
    return "good" if "ok" in statuses and proven and statuses <= {"ok", "disabled"} else "notice"


def _details(by_status: Mapping[str, Sequence[Mapping[str, Any]]], failed: Sequence[Mapping[str, Any]]) -> list[Line]:
    texts: dict[str, str] = {}
    for status, tone in (("deviation", "bad"), ("held", "notice")):
        for control in by_status.get(status, ()):
            texts.setdefault(f"{status} {control['id']}: {clean(str(control['reason']))}", tone)
    for proof in failed:
        refusal = clean(str(proof["evidence"].get("refusal") or "not as expected"))
        texts.setdefault(
            f"proof {proof['id']} ({proof['kind']}) {clean(str(proof['from']))} → {clean(str(proof['to']))} failed: {refusal}", "bad"
        )
    lines = [Line(_labelled("", f"  {text}"), tone) for text, tone in list(texts.items())[:DETAILS]]
    if len(texts) > DETAILS:
        lines.append(Line(_labelled("", f"  and {len(texts) - DETAILS} more, see the report"), "notice"))
    return lines


def _labelled(label: str, text: str) -> str:
    shown = clean(label)
    return (f"{shown:<{LABEL}}" if len(shown) < LABEL else f"{shown}  ") + text


def _distinct(controls: Sequence[Mapping[str, Any]]) -> int:
    return len({control["id"] for control in controls})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
