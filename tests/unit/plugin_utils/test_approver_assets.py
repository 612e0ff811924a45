# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import configparser
import json

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver

NODES = {"w1": {"dns": ["w1", "b", "b"], "ip": ["10.0.0.7"]}}


def unit(text: bytes) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text.decode())
    return parser


def test_assets() -> None:
    found = {asset.path: asset for asset in approver.assets(b"program", NODES)}
    assert set(found) == {
        approver.PROGRAM,
        approver.CONFIG,
        "/etc/systemd/system/ninepaths-approver.service",
        "/etc/systemd/system/ninepaths-approver.timer",
    }
    assert (found[approver.PROGRAM].content, found[approver.PROGRAM].mode) == (b"program", "0600")
    assert json.loads(found[approver.CONFIG].content) == {"schema": 1, "nodes": {"w1": {"dns": ["b", "w1"], "ip": ["10.0.0.7"]}}}
    assert approver.assets(b"program", NODES) == list(found.values())


def test_units_fit_together() -> None:
    found = {asset.path.rpartition("/")[2]: asset.content for asset in approver.assets(b"", {}, python="/opt/python/bin/python3.12")}
    service, timer = unit(found[approver.SERVICE]), unit(found[approver.TIMER])
    assert service["Service"]["ExecStart"] == "/opt/python/bin/python3.12 -I -S /usr/local/lib/ninepaths/approver.py"
    assert service["Service"]["Type"] == "oneshot"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "MemoryDenyWriteExecute"):
        assert service["Service"][key] == "yes"
    assert service["Service"]["CapabilityBoundingSet"] == ""
    assert "/etc/kubernetes/pki/ca.key" in service["Service"]["InaccessiblePaths"]
    assert timer["Timer"]["Unit"] == approver.SERVICE
    assert timer["Timer"]["OnUnitInactiveSec"] == "60s"
    assert timer["Timer"]["RandomizedDelaySec"]


@pytest.mark.parametrize("python", ["python3", "/usr/bin/python3 -c x", "/usr/bin/%i", "/a\nExecStart=/b", ""])
def test_an_interpreter_that_would_change_the_unit_is_refused(python: str) -> None:
    with pytest.raises(ValueError, match="interpreter"):
        approver.assets(b"", {}, python=python)


def test_the_program_can_be_built() -> None:
    assert approver.CONFIG.encode() in bundle.build(approver.ENTRY, approver.REQUEST)
