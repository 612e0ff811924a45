# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a result of tests/oracles/load.py means: what was promised and not kept, and the table for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from tests.oracles.clients import REQUESTS_PER_SECOND
from tests.oracles.watches import WRITES_PER_SECOND

# Shares of what should have been sent and written; with less the result would say little. A writer also waits for each answer.
ENOUGH_SENT, ENOUGH_WRITTEN = 0.9, 0.5

Result = dict[str, Any]


def complaints(result: Result) -> list[str]:
    """What the clients lost that they must not lose behind a load balancer; empty where everything was kept."""
    return list(chain(_requests(result), *(_watch(watch, result) for watch in result["watches"]), *(_stream(stream) for stream in result["streams"])))


def _requests(result: Result) -> Iterator[str]:
    found = result["requests"]
    if found["lost"]:
        yield f"{found['lost']} of {found['sent']} reads and writes were lost, first {found['losses'][0]}"
    if found["sent"] != found["answered"] + found["lost"]:
        yield f"of {found['sent']} reads and writes {found['answered']} were answered and {found['lost']} lost: the rest is not accounted for"
    if found["sent"] < ENOUGH_SENT * REQUESTS_PER_SECOND * result["seconds"]:
        yield f"only {found['sent']} reads and writes were sent in {result['seconds']} s"


def _watch(watch: dict[str, Any], result: Result) -> Iterator[str]:
    if watch["missing"]:
        yield f"watch of {watch['kind']}: {watch['missing']} revisions were not seen, first {watch['missing_first'][0]}"
    if watch["disordered"]:
        yield f"watch of {watch['kind']}: {watch['disordered']} revisions came twice or out of order"
    if watch["relists"]:
        yield f"watch of {watch['kind']}: had to list again at {watch['relists']} s"
    if watch["revisions"] < ENOUGH_WRITTEN * WRITES_PER_SECOND * result["seconds"]:
        yield f"watch of {watch['kind']}: only {watch['revisions']} revisions were written in {result['seconds']} s"


def _stream(stream: dict[str, Any]) -> Iterator[str]:
    name = f"{stream['kind']} on {stream['node']}"
    for cut in stream["cuts"]:
        if cut["restart"] is None:
            yield f"{name}: cut at {cut['at']} s without a restart of its own: {cut['cause']}"
        if cut["away_s"] is None:
            yield f"{name}: cut at {cut['at']} s and not opened again"
    if stream.get("missing"):
        yield f"{name}: {stream['missing']} lines are missing"
    if not stream["lines"]:
        yield f"{name}: no line was read"
    if stream["disordered"]:
        yield f"{name}: {stream['disordered']} lines out of order within a session"


def lines(result: Result) -> str:
    """The result as a table for the terminal."""
    requests = result["requests"]
    rows = [
        f"clients  {result['seconds']:.0f} s on Kubernetes {result['kubernetes']}",
        f"  reads and writes   {requests['sent']} sent   {requests['lost']} lost   longest time without an answer {requests['longest_gap_s']} s",
    ]
    for watch in result["watches"]:
        again = f"{len(watch['cuts'])} reconnections   {len(watch['relists'])} lists anew"
        rows.append(f"  watch {watch['kind']:<12} {watch['revisions']} revisions   {watch['missing']} missing   {again}")
    for stream in result["streams"]:
        missing = f"   {stream['missing']} missing" if "missing" in stream else ""
        rows.append(f"  {stream['kind']:<5} on {stream['node']:<9} {len(stream['cuts'])} cuts   {stream['lines']} lines{missing}")
        rows += [f"    +{cut['at']:.0f} s   {cut['restart'] or 'no restart'}   away {cut['away_s']} s" for cut in stream["cuts"]]
    rows += [f"  not kept: {one}" for one in complaints(result)]
    return "\n".join(rows)
