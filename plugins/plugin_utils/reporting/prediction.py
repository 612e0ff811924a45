# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of a plan leaves behind, in a form that anybody can compare with the hosts: digests, modes, owners, values. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Plan = Mapping[str, Any]


def predicted(plan: Plan) -> dict[str, Any]:
    """`{hosts: {host: …}, objects: {name: {key: sha256}}, certificates: [node]}`; empty where nothing changes.

    Nothing is in it that could be a secret: contents and command lines are digests.
    """
    objects: dict[str, dict[str, str | None]] = {}
    certificates: set[str] = set()
    for _name, step in _steps(plan):
        if step["op"] == "configmap":
            name = f"ConfigMap {step['namespace']}/{step['name']}"
            objects[name] = {key: None if text is None else _sha256(text.encode()) for key, text in sorted(step["data"].items())}
        elif step["op"] == "approve":
            certificates |= set(step["nodes"])
    return {
        "hosts": {host: _host(plan, host) for host in sorted(plan.get("predicted") or {})},
        "objects": dict(sorted(objects.items())),
        "certificates": sorted(certificates),
    }


def _host(plan: Plan, host: str) -> dict[str, Any]:
    seen = plan["predicted"][host]
    steps = [step for name, step in _steps(plan) if name == host]
    return {
        "files": seen["files"],
        "command_lines": {component: command_line(argv) for component, argv in seen["argv"].items()},
        "sysctls": seen["sysctls"],
        "units": sorted({unit for step in steps if step["op"] == "units" for unit in step.get("enable", ())}),
        "accounts": sorted({step["name"] for step in steps if step["op"] == "account"}),
    }


def command_line(argv: Sequence[str]) -> str:
    """SHA-256 of a process's command line as it stands in /proc/<pid>/cmdline."""
    return _sha256(b"".join(argument.encode() + b"\0" for argument in argv))


def _steps(plan: Plan) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for host, waves in (plan.get("jobs") or {}).items():
        for job in waves.values():
            yield from ((host, step) for step in job["steps"])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
