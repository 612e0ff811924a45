# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.apply: starts one host's transaction of a wave and follows its journal to the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import stages
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.following import AFTER, FollowingAction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import ROLLBACK_WAVES, WAVES, bind


class ActionModule(FollowingAction):
    """`ninepaths.kubernetes.apply`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "wave": {"type": "str", "required": True, "choices": list(dict.fromkeys((*WAVES, *ROLLBACK_WAVES)))},
        "reconnect_s": {"type": "int", "default": 300},
    }

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run this host's job of the wave; without one nothing happens."""
        wave, host, spool = str(options["wave"]), self.host(task_vars), self.spool()
        plan = spool.find("plan", "second") or spool.get("plan", "first")
        job = plan["jobs"].get(host, {}).get(wave)
        if job is None:
            return {"changed": False, "state": "nothing-to-do", "restarts": {}, "duration_s": 0.0}
        changes = [change for change in plan["changes"] if (change["host"], change["wave"]) == (host, wave)]
        shown = {"diff": [{"prepared": change["diff"]} for change in changes if change["diff"]]} if self.diff_mode else {}
        if self.check_mode:
            return {"changed": True, "state": "predicted", "restarts": stages.restarts_of(job), "duration_s": 0.0, **shown}
        if spool.all("error"):
            raise ActionError(host, "not touched, since an earlier host of this run failed", "see that host's error")
        started, bound = time.monotonic(), bind(job, spool.run_id())
        try:
            end = self.carry_out(bound, task_vars, float(options["reconnect_s"]))
        except AnsibleConnectionFailure as error:
            lost = {
                "host": host,
                "file": None,
                "cause": str(error).removeprefix(f"{host}: "),
                "advice": "the host finishes or undoes its transaction by itself; run again",
            }
            raise self.failed(task_vars, [lost]) from error
        except ActionError as error:
            raise self.failed(task_vars, [{"host": error.host, "file": None, "cause": error.cause, "advice": error.advice}]) from error
        result = {
            "host": host,
            "wave": wave,
            "changed": end["state"] == "committed",
            "state": end["state"],
            "restarts": stages.restarts_of(job),
            "duration_s": round(time.monotonic() - started, 1),
            "transaction": bound["id"],
        }
        spool.put("result", f"{host} {wave}", result)
        if end["state"] != "committed":
            raise self.failed(task_vars, [_error(host, wave, end)])
        return {**result, **shown}


def _error(host: str, wave: str, end: Mapping[str, Any]) -> dict[str, Any]:
    after = AFTER.get(str(end["state"]), str(end["state"]))
    return {
        "host": host,
        "file": None,
        "cause": f"{wave.replace('_', ' ')}: {end.get('cause') or 'unknown cause'}; {after}",
        "advice": end.get("advice"),
    }
