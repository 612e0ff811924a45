# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on cluster objects, over the apiserver of this node: ConfigMaps, and the kubelets' serving certificates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import approval, csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, string, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import (
    HealthError,
    JobError,
    PreconditionError,
    TransactionError,
    UndoError,
)
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, after
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.system_steps import Plain
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json

ANNOTATION = "ninepaths.io/configuration"
# Seconds: what a DaemonSet's rollout may take, and what each node adds, since it goes node by node.
ROLLOUT, ROLLOUT_PER_NODE = 120.0, 30.0
UNDO = 120.0  # for which an undo asks again: its apiserver may be restarting, and nobody else puts the values back
KUBE_PROXY = ("kube-system", "kube-proxy")

Thing = TypeVar("Thing")


def ask(what: str, question: Callable[[], Thing]) -> Thing:
    """Ask the apiserver; an ApiError becomes a TransactionError that says what it was about."""
    try:
        return question()
    except ApiError as error:
        if error.status == 409:
            raise PreconditionError(f"{what}: somebody changed it in this moment", changes.AGAIN) from error
        raise TransactionError(f"{what}: {error}", "look at the local apiserver's health") from error


class ConfigMap(Plain):
    """Replaces keys of a ConfigMap if nobody changed it since the plan; for kube-proxy also rolls its DaemonSet."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        self.namespace, self.object, self.data = str(step["namespace"]), str(step["name"]), dict(step["data"])
        for word in (self.namespace, self.object):
            if not word.replace("-", "").replace(".", "").isalnum():
                raise JobError(f"configmap: {word!r} is no name")
        self.path = f"/api/v1/namespaces/{self.namespace}/configmaps/{self.object}"
        self.what = f"ConfigMap {self.namespace}/{self.object}"
        self.daemon_set = (
            f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets/{self.object}" if (self.namespace, self.object) == KUBE_PROXY else None
        )

    def _read(self) -> dict[str, Any]:
        return ask(self.what, lambda: self.context.tools.administrator(self.context).get(self.path))

    def _read_as_planned(self) -> dict[str, Any]:
        found = self._read()
        now, seen = mapping(found, "metadata").get("resourceVersion"), self.step["resource_version"]
        if now != seen:
            raise PreconditionError(f"{self.what} was changed since it was observed (resourceVersion {seen} → {now})", changes.AGAIN)
        return found

    def check(self) -> None:
        """It is the revision that the plan saw."""
        self._read_as_planned()

    def apply(self) -> None:
        """Back up, replace, roll; another step of the job may have taken minutes since `check`."""
        found = self._read_as_planned()
        before = {key: string(mapping(found, "data").get(key)) for key in self.data}
        saved = {"data": before, "annotation": self._annotation()}
        files = self.context.machine.files
        backup = self._backup()
        files.write_new(self.context.machine.at(backup), json.dumps(saved).encode("utf-8"), 0o600)
        files.sync_directory(self.context.machine.at(self.context.directory))
        self.record(f"{self.what}: replacing {', '.join(sorted(self.data))}", {"configmap": backup})
        self._put(found, self.data)
        self.context.say(self.name, f"{self.what}: {', '.join(sorted(self.data))} replaced")
        if self.daemon_set:
            self._roll(self._mark(saved["annotation"]))
            self._wait_for_rollout()

    def _mark(self, now: object) -> str | None:
        """What the DaemonSet's pods are annotated with: the job's own word (null: nothing) where that makes other pods, else the data's digest."""
        if "annotation" in self.step and self.step["annotation"] != now:
            given = self.step["annotation"]
            return None if given is None else str(given)
        return changes.digest(json.dumps(self.data, sort_keys=True).encode("utf-8"))

    def _put(self, found: dict[str, Any], data: Mapping[str, Any]) -> None:
        merged = {**mapping(found, "data"), **data}
        document = {**found, "data": {key: value for key, value in merged.items() if value is not None}}
        ask(self.what, lambda: self.context.tools.administrator(self.context).put(self.path, document))

    def revive(self) -> None:
        """Put the old values back, unless somebody else has changed them since. Raises UndoError."""
        saved = self._saved()
        if saved is None:
            return

        def put_back() -> bool:
            try:
                self._put_back(saved)
            except UndoError:
                raise
            except TransactionError as error:
                raise Waiting(error.cause) from error
            return True

        try:
            self.context.wait(self.name, f"{self.what}: putting back what it was", put_back, UNDO)
        except HealthError as error:
            raise UndoError(error.cause, "make this node's apiserver healthy") from error

    def _put_back(self, saved: Mapping[str, Any]) -> None:
        found = self._read()
        now = {key: string(mapping(found, "data").get(key)) for key in self.data}
        foreign = sorted(key for key in now if now[key] not in (self.data[key], saved["data"][key]))
        if foreign:
            raise UndoError(
                f"{self.what}: {', '.join(foreign)} was changed by somebody else meanwhile",
                f"the values before are in {self._backup()}",
            )
        if now != saved["data"]:
            self._put(found, saved["data"])
            self.context.say(self.name, f"{self.what} is as before")
        if self.daemon_set and self._annotation() != saved["annotation"]:
            self._roll(saved["annotation"])

    def settle(self) -> None:
        """Wait until kube-proxy runs everywhere with its old configuration."""
        if self.daemon_set and self._saved() is not None:
            self._wait_for_rollout()

    def _saved(self) -> Any:
        if not self.recorded("configmap"):
            return None
        try:
            saved = strict_json.parse(self.context.machine.read(self._backup()))
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise UndoError(f"{self._backup()} cannot be read: {cause}", f"put {self.what} right by hand") from error
        if not isinstance(saved, dict) or not isinstance(saved.get("data"), dict) or set(saved["data"]) != set(self.data):
            raise UndoError(f"{self._backup()} is not what this transaction wrote", f"put {self.what} right by hand")
        return {"annotation": None, **saved}

    def _backup(self) -> str:
        """Where the values before are kept."""
        return f"{self.context.directory}/{self.name.replace(':', '-')}.json"

    def _daemon_set(self) -> dict[str, Any]:
        return ask(f"DaemonSet {self.object}", lambda: self.context.tools.administrator(self.context).get(str(self.daemon_set)))

    def _annotation(self) -> str | None:
        if not self.daemon_set:
            return None
        return string(mapping(self._daemon_set(), "spec", "template", "metadata", "annotations").get(ANNOTATION))

    def _roll(self, value: str | None) -> None:
        patch = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: value}}}}}
        ask(f"DaemonSet {self.object}", lambda: self.context.tools.administrator(self.context).patch(str(self.daemon_set), patch))

    def _wait_for_rollout(self) -> None:
        nodes = whole(mapping(self._daemon_set(), "status").get("desiredNumberScheduled"))

        def rolled_out() -> bool:
            found = self._daemon_set()
            status, generation = mapping(found, "status"), whole(mapping(found, "metadata").get("generation"))
            wanted = whole(status.get("desiredNumberScheduled"))
            done = min(whole(status.get("updatedNumberScheduled")), whole(status.get("numberAvailable")))
            if whole(status.get("observedGeneration")) < generation or done < wanted:
                raise Waiting(f"{done} of {wanted} nodes")
            return True

        _found, took = self.context.wait(
            self.name, f"{self.object}: waiting until it is rolled out", rolled_out, ROLLOUT + ROLLOUT_PER_NODE * nodes
        )
        self.context.say(self.name, f"{self.object}: rolled out on {nodes} nodes{after(took)}")


class Approve(Plain):
    """Approves the kubelets' requests for serving certificates, and waits until the expected nodes serve one. What was signed stays."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        super().__init__(step, context, name)
        try:
            self.nodes = approval.parse_nodes(step["nodes"])
        except (ValueError, KeyError, TypeError) as error:
            raise JobError("approve: `nodes` is not {name: {dns: [], ip: []}}") from error
        self.expected = list(step.get("expect", ()))

    def apply(self) -> None:
        """Approve what is good, again and again, until every expected node serves a certificate that the cluster's CA signed."""
        client = self.context.tools.administrator(self.context)
        missing = set(self.expected)

        def all_signed() -> bool:
            found = ask("certificate requests", lambda: approval.approve_pending(client, self.nodes))
            for entry in found["approved"]:
                self.context.say(self.name, f"{entry['node']}: serving certificate approved ({entry['name']})")
            refused = [f"{entry['node']}: {entry['reason']}" for entry in found["refused"] if entry["reason"] != csr.NEWER]
            missing.difference_update(self.context.tools.signed_kubelets(self.context, sorted(missing)))
            if missing:
                raise Waiting(f"without a signed certificate: {', '.join(sorted(missing))}; " + "; ".join(refused))
            return True

        _found, took = self.context.wait(
            self.name, "waiting until every kubelet serves a signed certificate", all_signed, float(self.step.get("wait_s") or 120)
        )
        self.context.say(self.name, f"{len(self.expected)} kubelets serve a signed certificate{after(took)}")

    def revive(self) -> None:
        """Approvals are not taken back; the journal says so."""
        self.context.say(
            self.name, "approved certificates stay approved: a kubelet that serves one is verified or not, as the apiserver is configured"
        )
