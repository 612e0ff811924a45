# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry `visit`: observe, and where a run left a transaction unfinished, finish or undo it first. One round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import observe
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.states import UNFINISHED


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Return an observation with `recovered`: the transactions of `recover`, none on a host that was left in order."""
    observation = observe.main(request, run)
    if not any(journal["state"] in UNFINISHED for journal in observation["journals"]):
        return {**observation, "recovered": []}
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils import recover  # compiled only where there is something to mend

    recovered = recover.main({"schema": 1, "id": None}, run)["transactions"]
    return {**observe.main(request, run), "recovered": recovered}
