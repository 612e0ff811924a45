# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's Lease: one disruptive change of a control plane at a time, whoever makes it. Every write is guarded by resourceVersion."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api, csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

GROUP = "/apis/coordination.k8s.io/v1/namespaces"


class Lease:
    """A Lease that this transaction holds, or wants to."""

    def __init__(self, machine: Machine, client: Any, wanted: Mapping[str, Any], host: str) -> None:
        self.machine, self.client = machine, client
        self.namespace, self.name, self.seconds = str(wanted["namespace"]), str(wanted["name"]), int(wanted["seconds"])
        self.holder = f"{wanted['holder']}@{host}"
        self.renewed = 0.0

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"{GROUP}/{self.namespace}/leases/{self.name}"

    def acquire(self) -> None:
        """Take it. Raises HeldError naming who has it, TransactionError when the apiserver does not answer as expected."""
        try:
            found = self.client.find(self.path)
            if found is None:
                self.client.post(f"{GROUP}/{self.namespace}/leases", self._document({}, 0))
            else:
                self._refuse_if_held(found["spec"])
                self._put(found)
        except api.ApiError as error:
            if error.status == 409:
                raise HeldError("another run took the cluster's Lease in this moment", "wait until it has ended, then run again") from error
            raise TransactionError(
                f"the cluster's Lease {self.namespace}/{self.name} cannot be taken: {error}", "make the local apiserver healthy first"
            ) from error
        self.renewed = self.machine.clock()

    def _refuse_if_held(self, spec: Mapping[str, Any]) -> None:
        holder, renewed = spec.get("holderIdentity") or "", csr.seconds(spec.get("renewTime"))
        age = self.machine.now() - renewed
        if holder and holder != self.holder and age < float(spec.get("leaseDurationSeconds") or 0):
            raise HeldError(
                f"the cluster is being changed by {holder} (Lease {self.namespace}/{self.name}, renewed {max(0.0, age):.0f} s ago)",
                "wait until that run has ended; if it is dead, its Lease ends by itself",
            )

    def _put(self, found: Mapping[str, Any]) -> None:
        transitions = int(found["spec"].get("leaseTransitions") or 0)
        change = 0 if found["spec"].get("holderIdentity") == self.holder else 1
        self.client.put(self.path, self._document(found["metadata"], transitions + change))

    def _document(self, metadata: Mapping[str, Any], transitions: int) -> dict[str, Any]:
        now = stamp(self.machine.now())
        kept = {key: metadata[key] for key in ("resourceVersion", "uid", "labels", "annotations") if key in metadata}
        return {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {**kept, "name": self.name, "namespace": self.namespace},
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": self.seconds, "leaseTransitions": transitions,
                "acquireTime": now, "renewTime": now,
            },
        }  # fmt: skip

    def keep(self) -> None:
        """Renew it when a third of its time is over. An apiserver that does not answer is borne until the Lease has run out.

        Raises HeldError when somebody else has it, or it ran out.
        """
        age = self.machine.clock() - self.renewed
        if age < self.seconds / 3:
            return
        try:
            found = self.client.find(self.path)
            if found is None or found["spec"].get("holderIdentity") != self.holder:
                raise HeldError(
                    "the cluster's Lease was taken away from this run",
                    "find out who did it: kubectl -n kube-system get lease ninepaths -o yaml",
                )
            self._put(found)
            self.renewed = self.machine.clock()
        except api.ApiError as error:
            if age >= self.seconds:
                raise HeldError(
                    f"the cluster's Lease could not be renewed for {age:.0f} s: {error}", "make the apiserver healthy, then run again"
                ) from error

    def release(self) -> None:
        """Give it back if it is still ours. Raises ApiError; it then ends by itself."""
        found = self.client.find(self.path)
        if found is not None and found["spec"].get("holderIdentity") == self.holder:
            document = self._document(found["metadata"], int(found["spec"].get("leaseTransitions") or 0))
            document["spec"]["holderIdentity"] = ""
            self.client.put(self.path, document)


def stamp(seconds: float) -> str:
    """A moment as the API writes it (MicroTime)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
