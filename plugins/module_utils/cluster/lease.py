# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's Lease: one disruptive change of a control plane at a time, whoever makes it. Every write is guarded by resourceVersion.

The clocks of two hosts may differ. So a Lease of somebody else counts as expired only after nobody has renewed it while it was watched by
this host's own monotonic clock, for longer than a holder takes to renew it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api, csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, text, whole
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line

GROUP = "/apis/coordination.k8s.io/v1/namespaces"
# Seconds.
LOOK = 15.0  # between two looks at a Lease that is held
MARGIN = 30.0  # that a renewal may be late
SKEW = 30.0  # that clocks of a cluster may differ; where they differ more, only watching tells
OWN_RUN = 60.0  # that another host of this run may take to give it back after its end
POLL = 1.0
LONGEST = 86400


class Lease:
    """A Lease that this transaction holds, or wants to. `connect` gives a client of the API, or raises TransactionError."""

    def __init__(self, machine: Machine, connect: Callable[[], Any], wanted: Mapping[str, Any], host: str) -> None:
        self.machine, self.connect = machine, connect
        self.namespace, self.name, self.seconds = str(wanted["namespace"]), str(wanted["name"]), int(wanted["seconds"])
        self.run = str(wanted["holder"])
        self.holder = f"{self.run}@{host}"
        self._client: Any = None
        # Whoever takes up the Lease of a process that was killed renews it at the first look.
        self.looked, self.renewed = machine.clock() - LOOK, machine.clock() - self.seconds / 3

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"{GROUP}/{self.namespace}/leases/{self.name}"

    @property
    def client(self) -> Any:
        """Connected when it is first needed."""
        if self._client is None:
            self._client = self.connect()
        return self._client

    def acquire(self, say: Callable[[str], None]) -> None:
        """Take it; `say` is told when that has to be waited for.

        Raises HeldError naming who has it, TransactionError when the apiserver does not answer as expected.
        """
        try:
            found = self._wait_until_free(say)
            if found is None:
                self.client.post(f"{GROUP}/{self.namespace}/leases", self._document({}, 0))
            else:
                self._put(found)
        except api.ApiError as error:
            if error.status == 409:
                raise HeldError("another run took the cluster's Lease in this moment", "wait until it has ended, then run again") from error
            raise TransactionError(
                f"the cluster's Lease {self.namespace}/{self.name} cannot be taken: {error}", "make the local apiserver healthy first"
            ) from error
        self.looked = self.renewed = self.machine.clock()

    def _wait_until_free(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The Lease as it can be taken. Raises HeldError, ApiError."""
        found: dict[str, Any] | None = self.client.find(self.path)
        holder = self._other_holder(found)
        if not found or not holder:
            return found
        # Another host of this run is about to give it back. Of anybody else's only watching tells whether it is alive.
        own = holder.rpartition("@")[0] == self.run
        patience = OWN_RUN if own else _seconds(found) / 3 + MARGIN
        if not own and self._looks_fresh(found):
            raise self._held(found)
        say(f"waiting for the cluster's Lease, which {holder} has not given back (at most {patience:.0f} s)")
        version, start = _version(found), self.machine.clock()
        while found and self._other_holder(found):
            renewed, over = _version(found) != version, self.machine.clock() - start >= patience
            held = over if own else renewed
            if held:
                raise self._held(found)
            if over:
                return found
            self.machine.sleep(POLL)
            found = self.client.find(self.path)
        return found

    def _other_holder(self, found: Mapping[str, Any] | None) -> str:
        """Who else has it; nobody is an empty string."""
        holder = _holder(found)
        return "" if holder == self.holder else holder

    def _age(self, found: Mapping[str, Any]) -> float:
        """Seconds since it was renewed, as far as the clocks of two hosts can tell."""
        return self.machine.now() - csr.seconds(mapping(found, "spec").get("renewTime"))

    def _looks_fresh(self, found: Mapping[str, Any]) -> bool:
        return -SKEW < self._age(found) < _seconds(found)

    def _held(self, found: Mapping[str, Any]) -> HeldError:
        seen = f"Lease {self.namespace}/{self.name}, renewed {max(0.0, self._age(found)):.0f} s ago"
        return HeldError(
            f"the cluster is being changed by {_holder(found)} ({seen})",
            "wait until that run has ended; if it is dead, its Lease ends by itself",
        )

    def _put(self, found: Mapping[str, Any]) -> None:
        change = 0 if _holder(found) == self.holder else 1
        self.client.put(self.path, self._document(_guarded(found), _transitions(found) + change))

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
        """Look at it now and then, and renew it when a third of its time is over. Never takes it again.

        An apiserver that does not answer is borne until the Lease has run out. Raises HeldError when somebody else has it, or it ran out.
        """
        if self.machine.clock() - self.looked < LOOK:
            return
        age = self.machine.clock() - self.renewed
        try:
            found = self.client.find(self.path)
            if _holder(found) != self.holder:
                other = self._other_holder(found)
                raise HeldError(
                    f"the cluster's Lease was taken away from this run{f' by {other}' if other else ''}",
                    "find out who did it: kubectl -n kube-system get lease ninepaths -o yaml",
                )
            if found is not None and age >= self.seconds / 3:
                self._put(found)
                self.renewed = self.machine.clock()
        except HeldError:
            raise
        except (api.ApiError, TransactionError) as error:  # it does not answer, or does not even run
            if age >= self.seconds:
                raise HeldError(
                    f"the cluster's Lease could not be renewed for {age:.0f} s: {error}", "make the apiserver healthy, then run again"
                ) from error
        finally:
            self.looked = self.machine.clock()

    def release(self) -> None:
        """Give it back if it is still ours. Raises ApiError or TransactionError; unless it is tried again, it ends by itself."""
        found = self.client.find(self.path)
        if found is not None and _holder(found) == self.holder:
            document = self._document(_guarded(found), _transitions(found))
            document["spec"]["holderIdentity"] = ""
            self.client.put(self.path, document)


def _holder(found: Mapping[str, Any] | None) -> str:
    """Who has a Lease, on one line; nobody is an empty string."""
    return one_line(text(mapping(found, "spec").get("holderIdentity")) or "")[:253]


def _seconds(found: Mapping[str, Any]) -> float:
    """How long it lasts after a renewal. What is longer than a day is nobody's: a Lease that nobody could wait for would block every run."""
    return float(min(max(whole(mapping(found, "spec").get("leaseDurationSeconds")), 0), LONGEST))


def _transitions(found: Mapping[str, Any]) -> int:
    return whole(mapping(found, "spec").get("leaseTransitions")) % (1 << 31)


def _version(found: Mapping[str, Any]) -> str | None:
    return text(mapping(found, "metadata").get("resourceVersion"))


def _guarded(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its metadata. Raises ApiError where nothing would guard a write."""
    if _version(found) is None:
        raise api.ApiError(0, "NotAsExpected", "the cluster's Lease has no resourceVersion, so it cannot be written safely")
    return mapping(found, "metadata")


def stamp(seconds: float) -> str:
    """A moment as the API writes it (MicroTime)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
