# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as one JSON document: what was found, what was done, what was proven. Its schema is docs/report.schema.json."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.excuses import failed
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.prediction import predicted

SCHEMA = 1
PATHS: Mapping[int, str] = {
    1: "apiserver → kubelet",
    2: "kubelet → apiserver",
    3: "user → apiserver",
    4: "apiserver ↔ etcd",
    5: "etcd ↔ etcd",
    6: "pod ↔ pod",
    7: "pod → apiserver",
    8: "scheduler, controller-manager → apiserver",
    9: "node ↔ node",
}
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
SAME = ("id", "status", "before", "after", "reason", "held_by")  # hosts for which all of these are equal share one row
WORST = ("deviation", "change", "held", "waived", "ok", "disabled", "not-applicable")


class Tally(NamedTuple):
    """How much is not as it should be: controls to change, controls that no run can mend, and connections."""

    changing: int
    deviating: int
    proofs: int

    @property
    def controls(self) -> int:
        return self.changing + self.deviating


@dataclass(frozen=True)
class RunFacts:
    """What a run knows besides its plan. Times are unix seconds."""

    run: str
    mode: str  # audit | check | harden | rollback
    started: float
    finished: float
    observations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unobserved: Mapping[str, str] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    limit: str | None = None
    partial: str | None = None  # what that means; None where nobody is left out
    check: bool = False  # of a rollback: nothing was changed, only foretold


def build(
    facts: RunFacts, controls: Iterable[Any], plan: Mapping[str, Any] | None, first: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the report.

    `plan` is the plan of the newest observations, None when there is none; `first` is the plan that was carried out, where the two
    differ: its `before` values are the ones from before the run.
    """
    planned = first or plan or {}
    now = plan or {}
    forward = None if facts.mode == "rollback" else first  # a way back sets no control
    return {
        "schema": SCHEMA,
        "cluster": now.get("cluster") or {"name": "unknown", "version": None, "layout": "none", "control_planes": 0, "nodes": 0},
        "run": facts.run,
        "mode": facts.mode,
        "limit": facts.limit,
        "partial": facts.partial is not None,
        "started": facts.started,
        "finished": facts.finished,
        "plan_digest": planned.get("digest"),
        "hosts": _hosts(facts),
        "paths": _paths(facts, controls, [*now.get("controls", []), *_written(now, forward)], _earlier(forward)),
        "restarts": _restarts(facts, planned),
        "predicted": predicted(planned),
        "held": list(now.get("held", [])),
        "warnings": [*([facts.partial] if facts.partial else []), *now.get("warnings", [])],
        "serving_certificates": serving_certificates(facts.observations.values()),
        "errors": [dict(error) for error in facts.errors],
        "rollback": _rollback(facts, first),
    }


def without_controls(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a rollback says what becomes of controls, and not what they are; that is seen afterwards."""
    return {**plan, "controls": [], "held": []}


def _rollback(facts: RunFacts, first: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a rollback has taken back; None for every other run, and where it was refused."""
    if facts.mode != "rollback" or not first or not first.get("rollback"):
        return None
    wanted = {(host, wave) for host, by_wave in first["jobs"].items() for wave in by_wave}
    done = {(str(result["host"]), str(result["wave"])) for result in facts.results if result.get("changed")}
    changes = [
        {"host": change["host"], "wave": change["wave"], "what": change.get("file") or change.get("object"), "controls": list(change["controls"]),
         "done": (change["host"], change["wave"]) in done}
        for change in first["changes"]
    ]  # fmt: skip
    state = "predicted" if facts.check else "done" if wanted <= done else "incomplete"
    return {"run": first["rollback"]["run"], "runs": list(first["rollback"]["runs"]), "state": state, "changes": changes}


def deviations(report: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, one short text each: controls that differ and proofs that failed."""
    found: list[str] = []
    for path in report["paths"]:
        by_status = worst(path["controls"])
        found += [name for status in ("change", "deviation") for name in by_status.get(status, ())]
        found += [f"proof {proof['id']} {proof['from']} → {proof['to']}" for proof in failed(path)]
    return found


def tally(report: Mapping[str, Any]) -> Tally:
    """The number of deviations of each kind; together as many as `deviations` names."""
    statuses = [worst(path["controls"]) for path in report["paths"]]
    changing, deviating = (sum(len(found.get(status, ())) for found in statuses) for status in ("change", "deviation"))
    return Tally(changing, deviating, sum(len(failed(path)) for path in report["paths"]))


def worst(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Ids of a path's controls by status. A control counts once, by the worst that it is on any host."""
    found: dict[str, str] = {}
    for row in rows:
        found[row["id"]] = min(found.get(row["id"], row["status"]), row["status"], key=WORST.index)
    return {status: [name for name, its in found.items() if its == status] for status in WORST if status in found.values()}


def serving_certificates(observations: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The kubelet serving certificate that ends first, over all kubelets that were shaken hands with; None when there was none."""
    ends = [
        (float(kubelet["certificate"]["not_after"]), str(kubelet["node"]))
        for observation in observations
        for kubelet in (observation.get("cluster") or {}).get("kubelets", [])
        if kubelet.get("certificate")
    ]
    return {"earliest": min(ends)[0], "node": min(ends)[1]} if ends else None


def write(report: Mapping[str, Any], directory: Path) -> Path:
    """Write the report below `directory`, in the cluster's own folder, replacing an older one in one step; returns its path.

    A partial one never replaces one of the whole cluster.
    """
    folder = directory / folder_name(str(report["cluster"]["name"]))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / ("report-limited.json" if report["partial"] else "report.json")
    beside = folder / f".report.{secrets.token_hex(6)}"
    try:
        beside.write_text(
            json.dumps(report, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8", errors="backslashreplace"
        )
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def folder_name(cluster: str) -> str:
    """A plain folder name for a cluster's name, which comes from the cluster."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", cluster).lstrip(".")[:100] or "cluster"


def _hosts(facts: RunFacts) -> list[dict[str, Any]]:
    touched = {str(result["host"]) for result in facts.results if result.get("changed")}
    seen = [
        {
            "name": host,
            "observed": True,
            "message": None,
            "node": observation["host"].get("node"),
            "layout": observation.get("layout"),
            "version": (observation.get("kubelet") or {}).get("version"),
            "changed": host in touched,
        }
        for host, observation in facts.observations.items()
    ]
    missing = [
        {"name": host, "observed": False, "message": message, "node": None, "layout": None, "version": None, "changed": False}
        for host, message in facts.unobserved.items()
    ]
    return sorted(seen + missing, key=lambda entry: str(entry["name"]))


def _earlier(first: Mapping[str, Any] | None) -> dict[tuple[str, str], tuple[Any, Any]]:
    """What a control was before the run, and what it was to be, by control and host, for those that were to change."""
    entries = (first or {}).get("controls", [])
    return {(entry["id"], entry["host"]): (entry["before"], entry["after"]) for entry in entries if entry["status"] == "change"}


def _written(now: Mapping[str, Any], first: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Controls that the cluster's own documents now say. A plan names these only where they do not, and what is held goes unsaid there."""
    still = {(entry["id"], entry["host"]) for entry in now.get("controls", [])}
    unmet = {entry["id"] for entry in now.get("controls", []) if entry["status"] != "ok"}
    return [
        {**entry, "status": "ok", "before": entry["after"], "reason": ""}
        for entry in (first or {}).get("controls", [])
        if entry["status"] == "change" and entry["host"] is None and (entry["id"], None) not in still and entry["id"] not in unmet
    ]


def _paths(
    facts: RunFacts, controls: Iterable[Any], entries: Iterable[Mapping[str, Any]], earlier: Mapping[tuple[str, str], tuple[Any, Any]]
) -> list[dict[str, Any]]:
    known = {control.id: control for control in controls}
    rows: dict[int, dict[str, dict[str, Any]]] = {number: {} for number in PATHS}
    for entry in entries:
        mended = (entry["id"], entry["host"]) in earlier and entry["status"] == "ok"
        row = {**{key: entry.get(key) for key in SAME}, "changed": mended}
        if mended:
            row["before"], planned = earlier[(entry["id"], entry["host"])]
            # Of files nothing is said once they are as they should be.
            row["after"] = planned if entry.get("before") is None else entry["before"]
        key = json.dumps(row, sort_keys=True, default=str)
        control = known.get(entry["id"])
        fresh = {
            **row,
            "title": control.title if control else entry["id"],
            "setting": _setting(control),
            "references": _references(control),
            "hosts": [],
            "proof": control.proof if control else None,
        }
        rows[entry["path"]].setdefault(key, fresh)["hosts"].append(entry["host"])
    proofs = _proofs(facts.observations.values())
    return [
        {
            "id": number,
            "title": title,
            "controls": list(rows[number].values()),
            "proofs": [proof for proof in proofs if proof["path"] == number],
        }
        for number, title in PATHS.items()
    ]


def _setting(control: Any) -> str | None:
    """The flag, field or kernel setting that a control speaks about, as it is written there; None for files."""
    if control is None or control.sets is None:
        return None
    return f"--{control.sets}" if control.kind in ("flag", "document") else str(control.sets)


def _references(control: Any) -> dict[str, list[str]]:
    return {catalogue: list(cited) for catalogue, cited in control.references} if control else {}


def _proofs(observations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [dict(proof) for observation in observations for proof in observation.get("proofs", [])]
    return sorted(found, key=lambda proof: (proof["path"], proof["id"], proof["from"], proof["to"], proof["kind"]))


def _restarts(facts: RunFacts, plan: Mapping[str, Any]) -> dict[str, int]:
    """Restarts that happened in a harden run or a rollback; those that would happen, otherwise."""
    if facts.mode not in ("harden", "rollback") or facts.check:
        return {name: int(count) for name, count in plan.get("restarts", {}).items()}
    counts: dict[str, int] = {}
    for result in facts.results:
        for component, count in result.get("restarts", {}).items():
            counts[component] = counts.get(component, 0) + int(count)
    return {
        name: counts[name] for name in sorted(counts, key=lambda name: COMPONENTS.index(name) if name in COMPONENTS else len(COMPONENTS))
    }
