# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands below a path: what deviates, which connections failed, what changes from what to what, and what is held. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import NOT_OFFERED
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.line import Line, clean, labelled

SHOWN = 5  # lines below a path; the report has all
HOSTS = 3  # names of hosts in a line
NAMES = 3  # ids of controls in a line
WIDTH = 48  # of a value
UNOBSERVED = "could not be observed: "

Row = Mapping[str, Any]


def lines(path: Row, failed: Iterable[Row], held: Collection[str]) -> list[Line]:
    """Below one path of a report, the worst first. `failed`: its proofs that failed; `held`: ids of which nothing else is to be told."""
    rows = path["controls"]
    found = [
        *_deviating(row for row in rows if row["status"] == "deviation"),
        *(Line(proof_text(proof), "bad") for proof in failed),
        *_changing([row for row in rows if row["status"] == "change"], "notice"),
        *_changing([row for row in rows if row["status"] == "ok" and row.get("changed")], "plain"),
        *_held([row for row in rows if row["status"] == "held"], held),
    ]
    distinct = list(dict.fromkeys(found))
    shown = [Line(labelled("", f"  {line.text}"), line.tone) for line in distinct[:SHOWN]]
    if len(distinct) > SHOWN:
        shown.append(Line(labelled("", f"  … and {len(distinct) - SHOWN} more, see the report"), "notice"))
    return shown


def _deviating(rows: Iterable[Row]) -> list[Line]:
    return [Line(f"{row['id']}  {hosts_text(row['hosts'])}  deviates: {clean(str(row['reason']))}", "bad") for row in rows]


def _changing(rows: Sequence[Row], tone: str) -> list[Line]:
    """The same change of several hosts is one line."""
    by_text: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        by_text.setdefault((str(row["id"]), change_text(row)), []).extend(row["hosts"])
    return [Line(f"{name}  {hosts_text(hosts)}  {text}", tone) for (name, text), hosts in by_text.items()]


def _held(rows: Sequence[Row], only: Collection[str]) -> list[Line]:
    """One line per reason. What is held on some hosts, while others are told about above, is counted apart."""
    groups: dict[tuple[bool, str, str], tuple[dict[str, None], list[Any]]] = {}
    for row in rows:
        key = (row["id"] in only, str(row["held_by"]), str(row["reason"]))
        names, hosts = groups.setdefault(key, ({}, []))
        names[row["id"]] = None
        hosts.extend(row["hosts"])
    found = []
    for (everywhere, held_by, reason), (names, hosts) in groups.items():
        where, whom = ("", hosts_text(hosts)) if everywhere else (f" on {hosts_text(hosts)} only", "it")
        found.append(Line(f"{len(names)} held{where}: {_why_held(held_by, reason, whom)}{_named(names)}", "notice"))
    return found


def _why_held(held_by: str, reason: str, whom: str) -> str:
    said = clean(reason)
    if held_by == NOT_OFFERED:
        first = said.partition(", ")[0] if len(said) > 2 * WIDTH else said
        return f"not offered by this version: {first[:1].lower()}{first[1:].rstrip('.')}"
    if said.startswith(UNOBSERVED):
        return f"{whom} could not be observed ({said[len(UNOBSERVED) :]})"
    return said


def _named(names: Collection[str]) -> str:
    return f" ({', '.join(names)})" if len(names) <= NAMES else ""


def proof_text(proof: Row) -> str:
    """What happened to a connection that did not behave, and what was expected."""
    evidence = proof["evidence"]
    where = f"{clean(str(proof['from']))} → {clean(str(proof['to']))}"
    request = f" {clean(str(evidence['request']))}:" if evidence.get("request") else ""
    expected = f", expected: {clean(str(evidence['expected']))}" if evidence.get("expected") else ""
    return f"{proof['id']}  {where} failed:{request} {_answer(evidence)}{expected}"


def _answer(evidence: Row) -> str:
    if evidence.get("answer") or evidence.get("refusal"):
        return clean(str(evidence.get("answer") or evidence["refusal"]))
    if evidence.get("status") is not None:
        return f"answered with {evidence['status']}"
    return "TLS was spoken" if evidence.get("tls") else "it was answered"


def change_text(row: Row) -> str:
    """`--profiling: unset → false`, `/var/lib/etcd: 0755 → 0700`."""
    before, after, setting = row["before"], row["after"], row.get("setting")
    if setting is None and isinstance(before, str) and isinstance(after, str):  # of files, which name themselves
        setting, _mark, before = before.rpartition(": ")
        after = after.rpartition(": ")[2]
    name = f"{clean(str(setting))}: " if setting else ""
    if before == after:
        return f"{name}{value_text(after)}, what belongs to it is not in place"
    return f"{name}{value_text(before)} → {value_text(after)}"


def value_text(value: Any) -> str:
    """A value in short: nothing is `unset`, a long list its first element and a number."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        items = [clean(str(item)) for item in value]
        joined = ", ".join(items) or "an empty list"
        return joined if len(joined) <= WIDTH else f"{items[0]} and {len(items) - 1} more"
    text = clean(str(value)) or '""'
    return text if len(text) <= 2 * WIDTH else f"{text[: 2 * WIDTH]}…"


def hosts_text(hosts: Iterable[Any]) -> str:
    """`cp1`, `w1, w2`, `12 hosts: w1, w2, w3 …`; the cluster as a whole, where it is about no host."""
    names = list(dict.fromkeys(clean(str(host)) for host in hosts if host is not None)) or ["the cluster"]
    if len(names) <= HOSTS:
        return ", ".join(names)
    return f"{len(names)} hosts: {', '.join(names[:HOSTS])} …"
