# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions share that plan a run: demanding the plan that was agreed on, and leaving the waves where the plays find them. Private."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.cluster import ClusterAction

SHORTEST_DIGEST = 12


class PublishingAction(ClusterAction):
    """An action that plans a run."""

    @abstractmethod
    def tell(self, made: Mapping[str, Any], task_vars: dict[str, Any]) -> None:
        """Print what will be done."""

    def publish(self, made: Mapping[str, Any], waves: dict[str, list[str]]) -> dict[str, Any]:
        """Leave the waves where the lookup `wave` finds them, and return them with the plan's figures."""
        self.spool().put("run", "waves", waves)
        counts = {"changes": len(made["changes"]), "held": len(made["held"])}
        return {"digest": made["digest"], "waves": waves, "counts": counts, "restarts": made["restarts"]}

    def demand(self, digest: str | None, made: Mapping[str, Any], task_vars: dict[str, Any]) -> None:
        """With `ninepaths_plan` it is that plan or nothing."""
        if not digest:
            return
        if len(digest) < SHORTEST_DIGEST or set(digest) - set("0123456789abcdef"):
            raise ActionError("", f"{digest!r} is no plan digest", f"give at least {SHORTEST_DIGEST} of its hexadecimal digits")
        if not made["digest"].startswith(digest):
            self.tell(made, task_vars)
            cause = f"the plan is now {made['digest'][:16]}, not {digest[:16]}: the cluster or the settings have changed since"
            raise self.failed(task_vars, [{"host": None, "file": None, "cause": cause, "advice": "look at the new plan with --check --diff"}])
