# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job restarts, and whether a kubelet runs with what was planned for it; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
NOTHING: tuple[object, ...] = (None, False, 0, "", "0", "0s", [])
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)")
DURATION = re.compile(f"(?:{PART.pattern})+")


class Surprise(NamedTuple):
    """What is not as predicted: on which host, and in which file or object where it is about one."""

    host: str
    cause: str
    file: str | None = None

    def as_error(self, advice: str) -> dict[str, Any]:
        """For the report's `errors`."""
        return {"host": self.host, "file": self.file, "cause": self.cause, "advice": advice}


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


def _same(running: Any, planned: Any) -> bool:
    """Whether two values mean the same; the kubelet writes a duration of 4h as 4h0m0s, and leaves a number of 0 out."""
    if running is None and planned == 0 and not isinstance(planned, bool):
        return True
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
