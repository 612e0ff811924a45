# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison as a page: what clients lost while a cluster was hardened, and while the same files were written everywhere at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tests.oracles import verdict
from tests.oracles.verdict import Result

LEGS = {"ninepaths": "hardened with ninepaths", "at_once": "the same files, all nodes at once"}
COMMAND = "make bench-requests"

PAGE = """<!-- Written by `{command}`; do not edit. -->
# Requests during a run

What clients of a cluster with three control planes behind a load balancer lost while it was hardened, and what the same clients lost, in the same
run of the benchmark, when the very same manifests and kubelet configurations were written onto all nodes at once and all kubelets restarted, as a role
without `serial` does.

{table}

{notes}

Measured on {date} with `{command}`: {versions}.

---
Next: [how a run stays safe](safety.md), [harden a cluster](harden.md).
"""
NOTES = """* The clients came through the load balancer (haproxy, TCP, a check of `/readyz` every 500 ms).
* Reads and writes were 20 a second, each with a connection of its own and without a second try.
* A watch is a reflector as client-go has it: list, watch with bookmarks, go on from the last revision, list again only where the apiserver says
  that it is too old.
* `exec` and `logs -f` are kubectl's own, one each on a control plane and on a worker; they were opened again when they were cut, `logs -f` with
  `--since-time` of its last line.
* A restart cuts what it carries: a stream through an apiserver ends with that apiserver, a stream from a node ends with that node's kubelet. So it
  can be cut once per restart of these, and not more often.
* With all nodes at once the requests for serving certificates were approved every 2 s, so that what is compared are the restarts."""


def _gap(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def _streams(result: Result, kind: str) -> str:
    streams = [stream for stream in result["streams"] if stream["kind"] == kind]
    return "; ".join(f"{stream['node']}: {len(stream['cuts'])}" for stream in streams)


def _longest_away(result: Result) -> str:
    away = [cut["away_s"] for stream in result["streams"] for cut in stream["cuts"]]
    if None in away:
        return "not opened again"
    return f"{max(away):.1f} s" if away else "–"


def _missing_lines(result: Result) -> str:
    return str(sum(stream.get("missing", 0) for stream in result["streams"]))


def _total(result: Result, key: str) -> int:
    values = [watch[key] for watch in result["watches"]]
    return sum(len(value) if isinstance(value, list) else value for value in values)


def rows(result: Result) -> list[tuple[str, str]]:
    """What stands in a leg's column, with its name."""
    requests = result["requests"]
    restarted = [one for one in result["restarts"] if one["what"] != "kubelet"]
    unexplained = [cut for stream in result["streams"] for cut in stream["cuts"] if cut["restart"] is None]
    return [
        ("from the first change until the cluster was healthy", _gap(result["healthy_s"])),
        ("restarts of the control planes' components, of kubelets", f"{len(restarted)}, {len(result['restarts']) - len(restarted)}"),
        ("reads and writes sent", f"{requests['sent']:,}"),
        ("**reads and writes lost**", f"**{requests['lost']:,}**"),
        ("longest time without an answer", _gap(requests["longest_gap_s"])),
        ("watches of three kinds: revisions written", f"{_total(result, 'revisions'):,}"),
        ("**watches: revisions not seen**", f"**{_total(result, 'missing')}**"),
        ("watches: had to list again, the revision being too old (410)", str(_total(result, "relists"))),
        ("`exec`: cuts", _streams(result, "exec")),
        ("`logs -f`: cuts", _streams(result, "logs")),
        ("**`logs -f`: lines missing**", f"**{_missing_lines(result)}**"),
        ("cuts that belong to no restart of what carries the stream", str(len(unexplained))),
        ("longest time until a stream was open again", _longest_away(result)),
    ]


def table(results: Mapping[str, Result]) -> str:
    """The comparison as a Markdown table; another page may include it."""
    columns = [dict(rows(results[leg])) for leg in LEGS]
    head = ["| | " + " | ".join(LEGS.values()) + " |", "| --- |" + " --- |" * len(LEGS)]
    return "\n".join(chain(head, (f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0])))


def page(results: Mapping[str, Result], versions: Sequence[str], date: str) -> str:
    """docs/reliability-requests.md."""
    return PAGE.format(table=table(results), notes=NOTES, versions=", ".join(versions), date=date, command=COMMAND)


def terminal(results: Mapping[str, Result]) -> str:
    """Both legs for the terminal."""
    return "\n".join(f"{LEGS[leg]}: healthy after {_gap(result['healthy_s'])}\n{verdict.lines(result)}" for leg, result in results.items())


def broken(results: Mapping[str, Any]) -> list[str]:
    """What ninepaths promised and did not keep; the other leg promises nothing."""
    return verdict.complaints(results["ninepaths"])
