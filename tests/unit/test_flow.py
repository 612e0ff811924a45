# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook and the role carry out every wave, in the planner's order: one that is left out would be planned and never done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import WAVES

ROOT = Path(__file__).resolve().parents[2]
APPLY = "ninepaths.kubernetes.apply"


def tasks(document: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tasks of a playbook or of a file of tasks."""
    return [task for entry in document for task in entry.get("tasks", [entry])]


@pytest.mark.parametrize("path", ["playbooks/harden.yml", "roles/harden/tasks/act.yml"])
def test_every_wave_is_carried_out_in_its_order(path: str) -> None:
    found = tasks(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))
    assert [task[APPLY]["wave"] for task in found if APPLY in task] == list(WAVES)
