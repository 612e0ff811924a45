# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One holder at a time, guarded by resourceVersion; an expired Lease is free, a lost one stops the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.lease import Lease, stamp
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError

WANTED = {"namespace": "kube-system", "name": "ninepaths", "holder": "run-1", "seconds": 600}


def quiet(message: str) -> None:
    """What is waited for is of no interest here."""


class FakeApi:
    """One object, with resourceVersions as the apiserver keeps them."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version, self.down, self.race = 0, False, False

    def find(self, path: str) -> dict[str, Any] | None:
        if self.down:
            raise ApiError(0, "NoAnswer", "connection refused")
        return self.stored

    def post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        if self.stored is not None or self.race:
            raise ApiError(409, "AlreadyExists", "exists")
        return self._store(document)

    def put(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        assert self.stored is not None
        if document["metadata"].get("resourceVersion") != self.stored["metadata"]["resourceVersion"] or self.race:
            raise ApiError(409, "Conflict", "changed")
        return self._store(document)

    def _store(self, document: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.stored = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.version)}}
        return self.stored


@pytest.fixture
def machine(tmp_path: Path) -> bed.FakeMachine:
    return bed.FakeMachine(tmp_path)


def test_a_second_run_stops_and_says_who_holds_it(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    Lease(machine, lambda: api, WANTED, "cp1").acquire(quiet)
    machine.sleep(5)
    with pytest.raises(HeldError, match=r"being changed by run-1@cp1 .*renewed 5 s ago"):
        Lease(machine, lambda: api, {**WANTED, "holder": "run-2"}, "cp1").acquire(quiet)
    start = machine.time
    with pytest.raises(HeldError, match="run-1@cp1"):
        Lease(machine, lambda: api, WANTED, "cp2").acquire(quiet)
    assert machine.time - start == 60


def test_the_same_host_of_the_same_run_may_take_it_again(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    Lease(machine, lambda: api, WANTED, "cp1").acquire(quiet)
    Lease(machine, lambda: api, WANTED, "cp1").acquire(quiet)
    assert api.stored is not None and api.stored["spec"]["leaseTransitions"] == 0


def test_an_expired_or_released_lease_is_free(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    first = Lease(machine, lambda: api, WANTED, "cp1")
    first.acquire(quiet)
    machine.sleep(601)
    second, start, said = Lease(machine, lambda: api, {**WANTED, "holder": "run-2"}, "cp2"), machine.time, []
    second.acquire(said.append)
    assert api.stored is not None and api.stored["spec"]["holderIdentity"] == "run-2@cp2"
    assert machine.time - start == 230 and said == ["waiting for the cluster's Lease, which run-1@cp1 has not given back (at most 230 s)"]
    first.release()
    assert api.stored["spec"]["holderIdentity"] == "run-2@cp2"
    second.release()
    Lease(machine, lambda: api, {**WANTED, "holder": "other"}, "cp1").acquire(quiet)


@pytest.mark.parametrize("exists", [True, False])
def test_of_two_at_the_same_moment_one_loses(machine: bed.FakeMachine, exists: bool) -> None:
    api = FakeApi()
    if exists:
        api._store({"metadata": {}, "spec": {"holderIdentity": ""}})
    api.race = True
    with pytest.raises(HeldError, match="in this moment"):
        Lease(machine, lambda: api, WANTED, "cp1").acquire(quiet)


class Busy(FakeApi):
    """Every few questions somebody else does something to the Lease."""

    def __init__(self, act: Callable[[], None], after: int) -> None:
        super().__init__()
        self.act, self.after, self.asked = act, after, 0

    def find(self, path: str) -> dict[str, Any] | None:
        self.asked += 1
        if self.asked == self.after:
            self.act()
        return super().find(path)


@pytest.mark.parametrize("skew", [700.0, -5000.0])
def test_a_clock_that_is_wrong_takes_no_lease_from_a_holder_that_is_alive(machine: bed.FakeMachine, skew: float) -> None:
    api = Busy(lambda: holder._put(api.stored or {}), after=100)
    holder = Lease(machine, lambda: api, WANTED, "cp1")
    holder.acquire(quiet)
    machine.time += 5
    real = machine.now
    machine.now = lambda: real() + skew  # type: ignore[method-assign]
    with pytest.raises(HeldError, match="run-1@cp1"):
        Lease(machine, lambda: api, {**WANTED, "holder": "run-2"}, "cp2").acquire(quiet)
    assert api.stored is not None and api.stored["spec"]["holderIdentity"] == "run-1@cp1"


def test_a_lease_from_the_future_whose_holder_is_dead_is_taken_in_the_end(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    Lease(machine, lambda: api, WANTED, "cp1").acquire(quiet)
    machine.now = lambda: 1_600_000_000.0 + machine.time  # type: ignore[method-assign]
    Lease(machine, lambda: api, {**WANTED, "holder": "run-2"}, "cp2").acquire(quiet)
    assert api.stored is not None and api.stored["spec"]["holderIdentity"] == "run-2@cp2"


def test_another_host_of_the_same_run_is_given_time_to_let_go(machine: bed.FakeMachine) -> None:
    first = Lease(machine, lambda: api, WANTED, "cp1")
    api = Busy(first.release, after=10)
    first.acquire(quiet)
    start = machine.time
    Lease(machine, lambda: api, WANTED, "cp2").acquire(quiet)
    assert api.stored is not None and api.stored["spec"]["holderIdentity"] == "run-1@cp2" and machine.time - start < 10


def test_keep_renews_after_a_third_and_bears_an_apiserver_that_is_away(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    lease = Lease(machine, lambda: api, WANTED, "cp1")
    lease.acquire(quiet)
    lease.keep()
    assert api.version == 1
    machine.sleep(201)
    lease.keep()
    assert api.version == 2
    machine.sleep(190)
    lease.keep()
    assert api.version == 2
    api.down = True
    machine.sleep(210)
    lease.keep()
    machine.sleep(201)
    with pytest.raises(HeldError, match="could not be renewed"):
        lease.keep()


def test_keep_notices_that_somebody_else_took_it(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    lease = Lease(machine, lambda: api, WANTED, "cp1")
    lease.acquire(quiet)
    assert api.stored is not None
    api.stored["spec"]["holderIdentity"] = "thief@cp9"
    lease.keep()
    machine.sleep(15)
    with pytest.raises(HeldError, match="taken away"):
        lease.keep()


def test_times_are_microtimes() -> None:
    assert stamp(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
