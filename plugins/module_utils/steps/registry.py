# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that a job may have, built from its list, and what can be said of a job before it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import JobError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts, changes, kubelet_step, objects, static_pods, system_steps
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, Step
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import Writer, parse_all, stage_of

STEPS: dict[str, Callable[[Mapping[str, Any], Context, str], Step]] = {
    "account": accounts.Account,
    "remove_account": accounts.RemoveAccount,
    "files": system_steps.Files,
    "units": system_steps.Units,
    "sysctls": system_steps.Sysctls,
    "kubelet": kubelet_step.Kubelet,
    "static_pods": static_pods.StaticPods,
    "approve": objects.Approve,
    "configmap": objects.ConfigMap,
}


def build(context: Context) -> list[Step]:
    """The job's steps, in order. Raises JobError for an unknown one, and for a job that restarts the kubelet and changes a static pod."""
    operations = [str(step.get("op")) for step in context.job["steps"]]
    unknown = [op for op in operations if op not in STEPS]
    if unknown:
        raise JobError(f"step {unknown[0]!r} is none of {', '.join(STEPS)}")
    if "kubelet" in operations and "static_pods" in operations:
        raise JobError(
            "a kubelet restart and a static pod change are in one job",
            "they belong to different waves: a kubelet that has not reached the API since its start does not stop an old pod",
        )
    parse_all(item for step in context.job["steps"] for item in _files(step))
    return [_step(step, context, f"{number}:{step['op']}") for number, step in enumerate(context.job["steps"], 1)]


def _step(step: Mapping[str, Any], context: Context, name: str) -> Step:
    try:
        return STEPS[str(step["op"])](step, context, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(name, error) from error


def _malformed(name: str, error: Exception) -> JobError:
    return JobError(
        f"step {name} is not of the form that this version knows ({type(error).__name__}: {error})", "use one version of the collection"
    )


def _files(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All file changes of a step. Raises JobError."""
    try:
        return [*step.get("files", ()), *(change["file"] for change in (step.get("changes") or {}).values())]
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed("with files", error) from error


def manifest_directories(job: Mapping[str, Any]) -> set[str]:
    """Directories in which the job's static pods have their manifests. Raises JobError."""
    return {os.path.dirname(changes.parse(item).path) for step in job["steps"] if "changes" in step for item in _files(step)}


def removed_directories(job: Mapping[str, Any]) -> set[str]:
    """Directories that the job removes. Raises JobError."""
    parsed = ((item, changes.parse(item)) for step in job["steps"] for item in _files(step))
    return {change.path for item, change in parsed if change.type == "absent" and item["before"]["type"] == "dir"}


def stages(job: Mapping[str, Any], writer: Writer) -> list[str]:
    """All staging directories that the job may use."""
    found = {stage_of(changes.parse(item).path, writer.name, writer.watched) for step in job["steps"] for item in _files(step)}
    return sorted(found)
