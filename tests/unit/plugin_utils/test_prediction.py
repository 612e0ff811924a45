# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What report.json says a run would leave is what its jobs leave."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.prediction import command_line, predicted
from drifting import broken, hardened
from factories import Cluster, carried_out, cluster, planned

from tests.drift import edits

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
PROFILING = {"profiling": edits.Put(True)}
STARTS: dict[str, Cluster] = {
    "default": cluster(),
    "three control planes": cluster("1.36", 3, 2),
    "hardened": hardened(),
    "a manifest edited": broken(hardened(), edits.Flags("kube-scheduler", PROFILING)),
    "a source edited": broken(hardened(), edits.Arguments("kube-scheduler", PROFILING)),
    "a sysctl set": broken(hardened(), edits.Sysctl("kernel.panic", 5)),
}


def seen(after: Cluster) -> dict[str, Any]:
    """A cluster in the words of a prediction, as far as it is of observed files, processes and objects."""
    hosts = {
        name: {
            "files": {path: {key: entry.get(key) for key in ("type", "mode", "owner", "group", "sha256", "target")} for path, entry in host["files"].items()},
            "command_lines": {component: command_line(one["argv"]) for component, one in host["components"].items()},
            "sysctls": {key: int(value) for key, value in host["sysctls"].items()},
        }
        for name, host in after.items()
    }
    maps = after["cp1"]["cluster"]["configmaps"].items()
    objects = {f"ConfigMap kube-system/{name}": {key: digest(text) for key, text in one["data"].items()} for name, one in maps}
    return {"hosts": hosts, "objects": objects}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changed(before: Any, after: Any) -> Any:
    """What of a tree is new or another one."""
    if not (isinstance(before, dict) and isinstance(after, dict)) or "sha256" in after:
        return after
    found = {key: changed(before.get(key, {}), value) for key, value in after.items() if before.get(key) != value}
    return {key: value for key, value in found.items() if value != {}}


@pytest.mark.parametrize("start", STARTS)
def test_what_is_predicted_is_what_is_left_and_nothing_else(start: str) -> None:
    before = STARTS[start]
    plan = planned(before, profile="stig" if "sysctl" in start else "recommended", enable=["sysctl-panic"] if "sysctl" in start else [])
    found = predicted(plan.as_dict())
    jsonschema.validate(found, SCHEMA["properties"]["predicted"])
    left = changed(seen(before), seen(carried_out(before, plan)))
    told = {
        "hosts": {
            name: {key: value for key, value in host.items() if value and key in ("files", "command_lines", "sysctls")}
            for name, host in found["hosts"].items()
        },
        "objects": found["objects"],
    }
    assert {key: value for key, value in told.items() if value} == left


def test_what_is_no_file_is_predicted_by_name() -> None:
    found = predicted(planned(cluster()).as_dict())
    assert found["certificates"] == ["cp1", "w1"]
    assert found["hosts"]["cp1"]["units"] == ["ninepaths-approver.timer"] and found["hosts"]["cp1"]["accounts"] == ["etcd"]
    assert found["hosts"]["w1"]["units"] == found["hosts"]["w1"]["accounts"] == []


def test_without_a_plan_nothing_is_predicted() -> None:
    assert predicted({}) == {"hosts": {}, "objects": {}, "certificates": []}


def test_no_value_of_a_command_line_or_document_is_told() -> None:
    text = json.dumps(predicted(planned(cluster()).as_dict()))
    assert "--" not in text and "apiVersion" not in text


def test_a_command_line_is_what_proc_shows() -> None:
    mine = Path("/proc/self/cmdline").read_bytes()
    assert command_line(mine.decode().split("\0")[:-1]) == hashlib.sha256(mine).hexdigest()
