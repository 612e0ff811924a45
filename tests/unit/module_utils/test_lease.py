# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One holder at a time, guarded by resourceVersion; an expired Lease is free, a lost one stops the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.lease import Lease, stamp
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HeldError

WANTED = {"namespace": "kube-system", "name": "ninepaths", "holder": "run-1", "seconds": 600}


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
    Lease(machine, api, WANTED, "cp1").acquire()
    machine.sleep(5)
    with pytest.raises(HeldError, match=r"being changed by run-1@cp1 .*renewed 5 s ago"):
        Lease(machine, api, {**WANTED, "holder": "run-2"}, "cp1").acquire()
    with pytest.raises(HeldError, match="run-1@cp1"):
        Lease(machine, api, WANTED, "cp2").acquire()


def test_the_same_host_of_the_same_run_may_take_it_again(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    Lease(machine, api, WANTED, "cp1").acquire()
    Lease(machine, api, WANTED, "cp1").acquire()
    assert api.stored is not None and api.stored["spec"]["leaseTransitions"] == 0


def test_an_expired_or_released_lease_is_free(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    first = Lease(machine, api, WANTED, "cp1")
    first.acquire()
    machine.sleep(601)
    second = Lease(machine, api, WANTED, "cp2")
    second.acquire()
    assert api.stored is not None and api.stored["spec"]["holderIdentity"] == "run-1@cp2"
    first.release()
    assert api.stored["spec"]["holderIdentity"] == "run-1@cp2"
    second.release()
    Lease(machine, api, {**WANTED, "holder": "other"}, "cp1").acquire()


@pytest.mark.parametrize("exists", [True, False])
def test_of_two_at_the_same_moment_one_loses(machine: bed.FakeMachine, exists: bool) -> None:
    api = FakeApi()
    if exists:
        api._store({"metadata": {}, "spec": {"holderIdentity": ""}})
    api.race = True
    with pytest.raises(HeldError, match="in this moment"):
        Lease(machine, api, WANTED, "cp1").acquire()


def test_keep_renews_after_a_third_and_bears_an_apiserver_that_is_away(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    lease = Lease(machine, api, WANTED, "cp1")
    lease.acquire()
    lease.keep()
    assert api.version == 1
    machine.sleep(201)
    lease.keep()
    assert api.version == 2
    api.down = True
    machine.sleep(400)
    lease.keep()
    machine.sleep(201)
    with pytest.raises(HeldError, match="could not be renewed"):
        lease.keep()


def test_keep_notices_that_somebody_else_took_it(machine: bed.FakeMachine) -> None:
    api = FakeApi()
    lease = Lease(machine, api, WANTED, "cp1")
    lease.acquire()
    assert api.stored is not None
    api.stored["spec"]["holderIdentity"] = "thief@cp9"
    machine.sleep(201)
    with pytest.raises(HeldError, match="taken away"):
        lease.keep()


def test_times_are_microtimes() -> None:
    assert stamp(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
