# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to ask a host, derived from all controls once per run and shared through the spool, and the files that we may install there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import readable
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.spool import Spool
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import STAT


def approver_assets() -> dict[str, bytes]:
    """Program and units of our approver, by their path on a control plane. Its configuration is the plan's."""
    program = readable.build(approver.ENTRY, approver.REQUEST)
    return {asset.path: asset.content for asset in approver.assets(program, {}) if asset.path != approver.CONFIG}


def questions(controls: Iterable[Any]) -> dict[str, Any]:
    """Paths to stat, sysctls to read and accounts to look up, so that every control can be judged."""
    controls = tuple(controls)
    files = [control.files for control in controls if control.files]
    places: dict[str, set[str]] = {}
    for place in (place for entry in files for place in entry.places):
        places.setdefault(place.name, set()).add(place.below)
    accounts = {name for entry in files for name in (entry.owner, entry.group) if name and name != "root"}
    return {
        "stat": sorted({path for entry in files for path in entry.paths} | set(STAT) | set(approver_assets())),
        "places": {name: sorted(places[name]) for name in sorted(places)},
        "sysctls": sorted({control.sysctl for control in controls if control.sysctl}),
        "accounts": sorted(accounts),
    }


def observation_request(spool: Spool, node_addresses: Mapping[str, Any], prove: Iterable[str]) -> dict[str, Any]:
    """The request of the entry `observe`. The controls' files are read by the first worker of a run only."""
    with spool.locked("questions"):
        asked = spool.find("questions", "all")
        if asked is None:
            from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import load

            asked = questions(load())
            spool.put("questions", "all", asked)
    addresses = {str(node): [str(address) for address in found] for node, found in node_addresses.items()}
    return {"schema": 1, **asked, "addresses": addresses, "prove": list(prove)}
