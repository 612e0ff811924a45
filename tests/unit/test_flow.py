# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook and the role carry out every wave, in the planner's order: one that is left out would be planned and never done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ninepaths.kubernetes.plugins.action import rollback
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import ROLLBACK_WAVES, WAVES

ROOT = Path(__file__).resolve().parents[2]
APPLY = "ninepaths.kubernetes.apply"


def tasks(document: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tasks of a playbook or of a file of tasks."""
    return [task for entry in document for task in entry.get("tasks", [entry])]


FLOWS = {"playbooks/harden.yml": WAVES, "roles/harden/tasks/act.yml": WAVES, "playbooks/rollback.yml": ROLLBACK_WAVES}


@pytest.mark.parametrize("path", FLOWS)
def test_every_wave_is_carried_out_in_its_order(path: str) -> None:
    found = tasks(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))
    assert [task[APPLY]["wave"] for task in found if APPLY in task] == list(FLOWS[path])


@pytest.mark.parametrize("path", ["playbooks/harden.yml", "playbooks/rollback.yml"])
def test_the_first_failure_stops_every_wave_and_control_planes_go_one_at_a_time(path: str) -> None:
    plays = [play for play in yaml.safe_load((ROOT / path).read_text(encoding="utf-8")) if any(APPLY in task for task in play["tasks"])]
    assert all(play["any_errors_fatal"] and play["become"] for play in plays)
    for play in plays:
        (wave,) = (task[APPLY]["wave"] for task in play["tasks"] if APPLY in task)
        assert wave in play["hosts"], "a play's hosts are those of its wave"
        serial = 1 if "control_plane" in wave else [1, "10%", "25%", "100%"] if wave.endswith("kubelets") else None
        assert play.get("serial") == serial
        assert any("ninepaths.kubernetes.verify" in task for task in play["tasks"]) is wave.endswith("kubelets")


def test_a_rollback_is_judged_again_where_its_direction_turns() -> None:
    """The gates stand before the first wave that they hold back."""
    plays = yaml.safe_load((ROOT / "playbooks" / "rollback.yml").read_text(encoding="utf-8"))
    order = [play["hosts"] for play in plays]
    for gate, first in rollback.GATES.items():
        at = next(number for number, hosts in enumerate(order) if gate in hosts)
        following = [hosts for hosts in order[at + 1 :] if "wave" in hosts]
        assert f"'{first}'" in following[0]
