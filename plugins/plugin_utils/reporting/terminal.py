# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads while a run goes on: a few lines with a name in front and the facts behind it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NOT_PART
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import details, excuses
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import LABEL, Line, clean, count, labelled
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.report import COMPONENTS, PATHS, Tally, worst

__all__ = ["LABEL", "Line", "clean"]

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


def cluster_line(cluster: Mapping[str, Any]) -> Line:
    """`prod-1   Kubernetes 1.36.4, kubeadm, 3 control planes, 12 nodes`."""
    version = str(cluster.get("version") or "unknown").lstrip("v")
    parts = [
        f"Kubernetes {version}",
        str(cluster["layout"]),
        count(cluster["control_planes"], "control plane"),
        count(cluster["nodes"], "node"),
    ]
    return Line(labelled(str(cluster["name"]), ", ".join(parts)))


def plan_lines(plan: Mapping[str, Any], tally: Tally) -> list[Line]:
    """What a run will do, and what it leaves alone on purpose. `tally`: what is not as it should be now."""
    lines = [cluster_line(plan["cluster"])]
    changes, held = plan["changes"], len({entry["control"] for entry in plan["held"]})
    others = [
        f"{tally.deviating} deviating" if tally.deviating else "",
        f"{count(tally.proofs, 'proof')} {'fails' if tally.proofs == 1 else 'fail'}" if tally.proofs else "",
        f"{held} held" if held else "",
    ]
    tail = "".join(f", {text}" for text in others if text)
    if not changes:
        lines.append(Line(labelled("plan", f"nothing to change{tail}"), "notice" if held else "good"))
    else:
        hosts = len({change["host"] for change in changes})
        text = f"{_controls(tally.changing)} to change ({count(len(changes), 'edit')} on {count(hosts, 'host')}){tail}"
        restarts = restarts_text(plan["restarts"])
        lines.append(Line(labelled("plan", text + (f"     restarts: {restarts}" if restarts else "     no restarts")), "notice"))
        lines.append(Line(labelled("", f"digest {plan['digest'][:16]}")))
    return lines + [Line(labelled("warning", clean(str(text))), "notice") for text in plan["warnings"]]


def waves_lines(plan: Mapping[str, Any], mode: str) -> list[Line]:
    """Ansible names every play, also one without hosts; so what comes below is said here."""
    if mode == "audit" or (mode == "harden" and any(plan["waves"].values())):
        return []
    why = "check mode carries nothing out, so " if any(plan["waves"].values()) else ""
    return [Line(labelled("", f"{why}the waves below are empty"))]


def tally_text(tally: Tally) -> str:
    """`36 deviations (33 controls, 3 proofs)`."""
    parts = [count(tally.controls, "control")] if tally.controls else []
    parts += [count(tally.proofs, "proof")] if tally.proofs else []
    return f"{count(tally.controls + tally.proofs, 'deviation')} ({', '.join(parts)})"


def report_lines(report: Mapping[str, Any], path: str) -> list[Line]:
    """One line per path with anything to say, then errors and where the report is."""
    lines, mode = [], str(report["mode"])
    foretold = (report.get("rollback") or {}).get("state") == "predicted"  # of what it leaves behind nothing is known yet
    for entry in report["paths"]:
        if entry["controls"] or (entry["proofs"] and not foretold):
            lines += _path_lines(entry, mode)
    for host in report["hosts"]:
        if not (host["observed"] or host["message"] == NOT_PART):
            lines.append(Line(labelled(str(host["name"]), f"not observed: {clean(str(host['message']))}"), "bad"))
    restarts = restarts_text(report["restarts"])
    if restarts and (mode == "harden" or (mode == "rollback" and not foretold)):
        lines.append(Line(labelled("restarts", restarts)))
    lines += _errors(report["errors"])
    if report["partial"]:
        lines.append(Line(labelled("warning", clean(str(report["warnings"][0]))), "notice"))
    return [*lines, Line(labelled("report", path))]


def error_lines(errors: Sequence[Mapping[str, Any]], path: str) -> list[Line]:
    """What ends a run early, and where the report is."""
    return [*_errors(errors), Line(labelled("report", path))]


def _errors(errors: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [Line(labelled("error", clean(error_text(error))), "bad") for error in errors]


def restarts_text(restarts: Mapping[str, int]) -> str:
    """`etcd 3, kube-apiserver 3, kubelet 15`, in the order in which components start."""
    names = sorted(restarts, key=lambda name: (COMPONENTS.index(name) if name in COMPONENTS else len(COMPONENTS), name))
    return ", ".join(f"{name} {restarts[name]}" for name in names if restarts[name])


def error_text(error: Mapping[str, Any]) -> str:
    """`cp1: /etc/kubernetes/manifests/x.yaml: cause; advice` with whatever of it is known."""
    where = ": ".join(str(error[key]) for key in ("host", "file") if error.get(key))
    text = f"{where}: {error['cause']}" if where else str(error["cause"])
    return f"{text}; {error['advice']}" if error.get("advice") else text


def _controls(number: int) -> str:
    return count(number, "control") if number else "no control"


def _path_lines(entry: Mapping[str, Any], mode: str) -> list[Line]:
    title = f"path {entry['id']}", str(PATHS[entry["id"]])
    by_status = worst(entry["controls"])
    words = {**WORDS, "change": "still to change"} if mode == "harden" else WORDS
    parts = [f"{len(by_status[status])} {word}" for status, word in words.items() if status in by_status]
    failed = excuses.failed(entry)
    parts.append(_proofs_text(entry["proofs"], len(failed)))
    tone = _tone(set(by_status), entry["proofs"], len(failed), mode)
    lines = [Line(labelled(title[0], f"{title[1]:<42}{GAP.join(parts)}".rstrip()), tone)]
    return lines + details.lines(entry, failed, by_status.get("held", ()))


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
