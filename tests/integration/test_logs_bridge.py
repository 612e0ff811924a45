# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs while kubelets get their signed serving certificates: only the kubelet's own restart is seen.

A kubelet with serverTLSBootstrap serves nothing at all until its request is approved; two links let it serve the certificate of before.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

import pytest

from .bed import Bed
from .live import Hardened

pytestmark = pytest.mark.changes_cluster

# Seconds around the restart in which a request may meet a kubelet that does not listen, or that does not know its pods yet.
BEFORE, AFTER = 1.0, 5.0
HANDSHAKE = ("tls:", "certificate", "handshake")


@dataclass(frozen=True)
class Times:
    """When what happened to a node's kubelet, in unix seconds."""

    restarting: float
    well: float
    approved: float
    control_plane: float


def times(bed: Bed, hardened: Hardened, node: str) -> Times:
    """From the journals, and the approval from the request itself."""
    control_planes = [entry["name"] for entry in bed.facts["nodes"] if entry["role"] == "control-plane"]
    lines = hardened.journal(bed, node, "control-plane-kubelets" if node in control_planes else "kubelets")
    at = {line["message"].partition(" after ")[0]: line["at"] for line in lines}
    first = min(hardened.journal(bed, name, "control-planes")[0]["at"] for name in control_planes)
    return Times(at["kubelet: restarting"], at["committed"], approval(bed, node), first)


def approval(bed: Bed, node: str) -> float:
    """When the node's first request for a serving certificate was approved; the API says it in whole seconds."""
    found = json.loads(bed.kubectl("get", "certificatesigningrequests", "-o", "json"))["items"]
    stamps = [
        condition["lastUpdateTime"]
        for request in found
        if (request["spec"]["signerName"], request["spec"]["username"]) == ("kubernetes.io/kubelet-serving", f"system:node:{node}")
        for condition in request["status"].get("conditions", ())
        if condition["type"] == "Approved"
    ]
    return datetime.datetime.fromisoformat(min(stamps).replace("Z", "+00:00")).timestamp()


@pytest.fixture(scope="module", params=["control-plane", "worker"])
def node(request: pytest.FixtureRequest, bed: Bed) -> str:
    """One node of each role."""
    return next(str(entry["name"]) for entry in bed.facts["nodes"] if entry["role"] == request.param)


def test_no_handshake_fails(hardened: Hardened, node: str) -> None:
    """Also later: from the roll of the control plane on the apiserver verifies what the kubelet serves."""
    lost = [loss for loss in hardened.logs[node].lost if any(word in loss.cause for word in HANDSHAKE) and "10250" in loss.cause]
    assert not lost, f"{len(lost)} of {len(hardened.logs[node].sent)}: {lost[:3]}"


def test_logs_fail_only_around_the_restart(bed: Bed, hardened: Hardened, node: str) -> None:
    """Until the control plane rolls, which has its own gap on a cluster with one."""
    when, tally = times(bed, hardened, node), hardened.logs[node]
    lost = [(tally.started + loss.at, loss.cause) for loss in tally.lost if tally.started + loss.at < when.control_plane]
    outside = [(at - when.restarting, cause) for at, cause in lost if not when.restarting - BEFORE <= at <= when.well + AFTER]
    assert not outside, f"{len(outside)} of {len(tally.sent)} failed apart from the restart (seconds from it, cause): {outside[:3]}"


def test_logs_are_read_while_the_request_waits(bed: Bed, hardened: Hardened) -> None:
    """The worker's kubelet is restarted first and waits longest: without the bridge all these requests fail."""
    worker = next(entry["name"] for entry in bed.facts["nodes"] if entry["role"] == "worker")
    when, tally = times(bed, hardened, worker), hardened.logs[worker]
    waiting = [at for at in (tally.started + sent for sent in tally.sent) if when.well < at < when.approved]
    lost = [loss for loss in tally.lost if when.well < tally.started + loss.at < when.approved]
    assert len(waiting) >= 10, f"only {len(waiting)} requests between the restart's end and the approval, {when.approved - when.well:.1f} s"
    assert len(lost) <= len(waiting) // 4, f"{len(lost)} of {len(waiting)} lost: {lost[:3]}"
