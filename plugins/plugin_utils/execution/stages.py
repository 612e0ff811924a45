# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is what we see now what was predicted? Compared between the waves of a run; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LATE_WAVES = ("control_planes", "cluster")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
NOTHING: tuple[object, ...] = (None, False, 0, "", "0", "0s", [])
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)")
DURATION = re.compile(f"(?:{PART.pattern})+")
Key = tuple[str, str, str]


class Surprise(NamedTuple):
    """What is not as predicted, on which host."""

    host: str
    cause: str

    def as_error(self, advice: str) -> dict[str, Any]:
        """For the report's `errors`."""
        return {"host": self.host, "file": None, "cause": self.cause, "advice": advice}


def surprises(predicted: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[Surprise]:
    """Changes of the late waves that a fresh plan has and the predicted one had not.

    A change that serves fewer controls than predicted is no surprise: the others are held by now. The same controls must lead to
    the same bytes from the same bytes.
    """
    known = _changes(predicted)
    found = []
    for key, change in _changes(fresh).items():
        host, _wave, target = key
        before = known.get(key)
        if before is None:
            found.append(Surprise(host, f"{target} is to change ({_controls(change)}), which was not planned when this run began"))
        elif not set(change["controls"]) <= set(before["controls"]):
            new = sorted(set(change["controls"]) - set(before["controls"]))
            found.append(Surprise(host, f"{target} is now to change for {', '.join(new)} as well, which was not planned"))
        elif _sides(change) != _sides(before) and set(change["controls"]) == set(before["controls"]):
            found.append(Surprise(host, f"{target} is no longer what this run planned for; somebody else has changed it"))
    return found


def given_up(predicted: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[str]:
    """Controls of the late waves that were to change and are held by now, each with its reason."""
    held = {(entry["control"], host): entry["reason"] for entry in fresh["held"] for host in entry["hosts"]}
    planned = {(control, host) for (host, _wave, _target), change in _changes(predicted).items() for control in change["controls"]}
    return sorted({f"{control}: {held[(control, host)]}" for control, host in planned if (control, host) in held})


def kubelet_differences(plan: Mapping[str, Any], controls: Iterable[Any], host: str, kubelet: Mapping[str, Any] | None) -> list[Surprise]:
    """Where the running configuration of a kubelet, as a control plane observed it, is not what the plan wrote for its host."""
    fields = {control.id: control.field for control in controls if control.component == "kubelet" and control.field}
    changing = [entry for entry in plan["controls"] if entry["host"] == host and entry["status"] == "change" and entry["id"] in fields]
    wanted = {fields[entry["id"]]: entry["after"] for entry in changing}
    back = plan.get("predicted", {}).get(host, {}).get("fields")  # a rollback says itself what it brings back
    if kubelet is None:
        return [Surprise(host, "no control plane has observed its kubelet")]
    configz = kubelet["configz"]
    if configz is None:
        why = kubelet["configz_error"] or kubelet["error"] or "nothing was answered"
        return [Surprise(host, f"the kubelet's /configz could not be read through the apiserver: {why}")]
    if back is not None:  # much of it is nothing, and many fields that are false, zero or empty are left out of /configz
        wanted = {name: value for name, value in back.items() if not (value in NOTHING and field_value(configz, name) is None)}
    running = {name: field_value(configz, name) for name in wanted}
    return [
        Surprise(host, f"kubelet runs with {name} = {running[name]!r}, planned was {value!r}")
        for name, value in wanted.items()
        if not _same(running[name], value)
    ]


def field_value(document: Mapping[str, Any], dotted: str) -> Any:
    """Value at a dotted path; None where there is none."""
    value: Any = document
    for name in dotted.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def restarts_of(job: Mapping[str, Any]) -> dict[str, int]:
    """Components that a job restarts, each once."""
    found: dict[str, int] = {}
    for step in job["steps"]:
        if step["op"] == "kubelet":
            found["kubelet"] = 1
        elif step["op"] == "static_pods":
            found.update(dict.fromkeys(step["changes"], 1))
        elif step["op"] == "configmap" and step["name"] == "kube-proxy":
            found["kube-proxy"] = 1
    return found


def _changes(plan: Mapping[str, Any]) -> dict[Key, Mapping[str, Any]]:
    return {
        (change["host"], change["wave"], change.get("file") or change.get("object")): change
        for change in plan["changes"]
        if change["wave"] in LATE_WAVES
    }


def _sides(change: Mapping[str, Any]) -> tuple[Any, Any]:
    return change["before_sha256"], change["after_sha256"]


def _controls(change: Mapping[str, Any]) -> str:
    return ", ".join(change["controls"])


def _same(running: Any, planned: Any) -> bool:
    """Whether two values mean the same; the kubelet writes a duration of 4h as 4h0m0s."""
    left, right = _shown(running), _shown(planned)
    return left == right or (_seconds(left) is not None and _seconds(left) == _seconds(right))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(_shown(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def _seconds(text: str) -> float | None:
    if not DURATION.fullmatch(text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
