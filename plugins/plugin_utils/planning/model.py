# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = 1
# The order in which a run goes through a cluster.
WAVES = ("files", "kubelets", "control_plane_kubelets", "certificates", "kube_proxy", "control_planes", "cluster")
# That of a rollback: what others need comes back first, then dependants go before what they depend on. The waves of kubelets and objects
# are on one side of the control planes or on the other, see rollback/waves.py.
ROLLBACK_WAVES = (
    "files", "kubelets", "control_plane_kubelets", "certificates", "cluster", "control_planes", "late_cluster",
    "late_control_plane_kubelets", "late_kubelets", "late_files",
)  # fmt: skip
# What can become of a control.
Status = Literal["ok", "change", "held", "waived", "disabled", "not-applicable", "deviation"]
NAMESPACE = "kube-system"
LEASE_SECONDS = 600
NOT_PART = "not part of this run"  # why a host outside --limit has no observation
UNDO_AFTER_S = 900

Observation = Mapping[str, Any]
Job = dict[str, Any]


class PlanError(Exception):
    """Nothing may be touched. host, file: None where the cause is not about one."""

    def __init__(self, host: str | None, file: str | None, cause: str, advice: str) -> None:
        where = ": ".join(part for part in (host, file) if part)
        super().__init__(f"{where}: {cause}; {advice}" if where else f"{cause}; {advice}")
        self.host = host
        self.file = file
        self.cause = cause
        self.advice = advice


class PlanErrors(Exception):  # noqa: N818 (several PlanError)
    """Everything that is in the way, so that an operator sees all of it at once."""

    def __init__(self, errors: Sequence[PlanError]) -> None:
        self.errors = tuple({str(error): error for error in errors}.values())
        super().__init__("\n".join(str(error) for error in self.errors))


@dataclass(frozen=True)
class Inventory:
    """The operator's hosts, by group; `unreachable` are those without an observation, with the reason."""

    control_plane: tuple[str, ...] = ()
    etcd: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts, control planes first."""
        return tuple(dict.fromkeys((*self.control_plane, *self.etcd, *self.node)))


@dataclass(frozen=True)
class Outcome:
    """What became of one control on one host; host None: in the cluster as a whole."""

    id: str
    path: int
    host: str | None
    status: Status
    before: object = None
    after: object = None
    reason: str = ""
    held_by: str | None = None


@dataclass(frozen=True)
class Change:
    """One file or object that a wave changes."""

    host: str
    wave: str
    controls: tuple[str, ...]
    target: str
    is_object: bool
    before_sha256: str | None
    after_sha256: str | None
    diff: str
    restarts: str | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        target = found.pop("target")
        found["object" if found.pop("is_object") else "file"] = target
        found["controls"] = list(self.controls)
        return found


@dataclass(frozen=True)
class Plan:
    """All that a run will do. The same input makes the same plan, byte for byte."""

    cluster: Mapping[str, Any]
    controls: tuple[Outcome, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    waves: Mapping[str, tuple[str, ...]]
    jobs: Mapping[str, Mapping[str, Job]]
    restarts: Mapping[str, int]
    predicted: Mapping[str, Any] = field(default_factory=dict)
    order: tuple[str, ...] = WAVES

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(self.waves.values())

    @property
    def held(self) -> list[dict[str, Any]]:
        """What is held, by control and reason; host None stands for the cluster."""
        found: dict[tuple[str, str], list[str | None]] = {}
        for outcome in self.controls:
            if outcome.status == "held":
                found.setdefault((outcome.id, outcome.reason), []).append(outcome.host)
        return [{"control": control, "hosts": hosts, "reason": reason} for (control, reason), hosts in found.items()]

    def body(self) -> dict[str, Any]:
        """The plan as plain data, without its digest."""
        return {
            "schema": SCHEMA,
            "cluster": dict(self.cluster),
            "controls": [vars(outcome) for outcome in self.controls],
            "changes": [change.as_dict() for change in self.changes],
            "held": self.held,
            "warnings": list(self.warnings),
            "waves": {wave: list(self.waves.get(wave, ())) for wave in self.order},
            "jobs": {host: dict(jobs) for host, jobs in self.jobs.items()},
            "restarts": dict(self.restarts),
            "predicted": dict(self.predicted),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over what the plan does: the waves and their jobs, but for what names the processes and objects it found, and why."""
        body = self.body()
        done = {"waves": body["waves"], "jobs": _without(body["jobs"], frozenset({"id", "old", "resource_version", "controls"}))}
        return sha256(json.dumps(done, sort_keys=True, separators=(",", ":")).encode())

    def as_dict(self) -> dict[str, Any]:
        return {**self.body(), "digest": self.digest}


def _without(data: Any, keys: frozenset[str]) -> Any:
    if isinstance(data, dict):
        return {key: _without(value, keys) for key, value in data.items() if key not in keys}
    return [_without(item, keys) for item in data] if isinstance(data, list) else data


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bind(job: Job, run: str) -> Job:
    """The job of a plan as a certain run performs it. A plan's jobs name no run, so that the same plan has the same digest."""
    bound = {**job, "id": f"{run}-{job['wave'].replace('_', '-')}", "run": run}
    if bound["lease"] is not None:
        bound["lease"] = {**bound["lease"], "holder": run}
    return bound
