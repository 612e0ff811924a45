# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a target's programs may answer (docs/development/interfaces.md), as checks: whoever reads an answer afterwards can rely on its types.

A host may be in anybody's hands, so an answer may also say nothing in the name of another host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.shapes import (
    Check,
    ShapeError,
    anything,
    by,
    flag,
    list_of,
    map_of,
    number,
    one_of,
    optional,
    record,
    text,
    whole,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, STATIC_PODS

WORD = text(most=4096)
LINE = text(most=1 << 16)
WORDS = list_of(LINE)
PATH = text(r"/[^\0]*", 4096)
PATHS = list_of(PATH)
SHA256 = text("[0-9a-f]{64}")
MODE = text("[0-7]{4}")
PORT = whole(1, (1 << 16) - 1)
PID = whole(1, 1 << 22)
STATES = one_of("open", "committed", "undone", "failed")
# The one proof that a host without an apiserver or an etcd can make.
OF_A_NODE = "kubelet_to_apiserver"

CERTIFICATE = record(
    {
        "subject": record({"cn": WORD, "o": list_of(WORD, 1000)}), "issuer": WORD, "serial": text("-?[0-9a-f]{1,256}"), "not_before": number,
        "not_after": number, "dns": list_of(WORD, 10_000), "ip": list_of(WORD, 10_000), "sha256": SHA256, "key": text(most=256),
        "usages": list_of(text(most=256), 1000), "ca": flag,
    }
)  # fmt: skip
ABSENT = record({"type": anything})
ATTRIBUTES = {"type": anything, "mode": MODE, "uid": whole(), "gid": whole(), "owner": WORD, "group": WORD, "size": whole(), "mtime": number}
CONTENT = {"sha256": SHA256, "text": text(), "withheld": WORD, "exposed": PATH}
FILE = by(
    "type",
    {
        "absent": ABSENT,
        "file": record(ATTRIBUTES, CONTENT),
        "dir": record(ATTRIBUTES, {"exposed": PATH}),
        "link": record({**ATTRIBUTES, "target": WORD}, {"resolved": PATH, "exposed": PATH}),
        "other": record(ATTRIBUTES, {"exposed": PATH}),
    },
)
KUBELET = record(
    {
        "unit": WORD, "active": flag, "pid": optional(PID), "started": optional(number), "argv": WORDS, "version": optional(text(most=256)),
        "config": optional(PATH), "config_dir": optional(WORD), "dropins": PATHS, "flags_env": optional(PATH), "environment_files": PATHS,
        "unit_files": PATHS, "kubeconfig": WORD,
    }
)  # fmt: skip
COMPONENT = record(
    {
        "manifest": PATH, "uid": optional(WORD), "pid": optional(PID), "started": optional(number), "argv": WORDS,
        "version": optional(text(most=256)), "processes": whole(),
    }
)  # fmt: skip
NODE = record(
    {
        "name": text(most=253), "uid": WORD, "addresses": list_of(record({"type": WORD, "address": WORD}), 1000), "kubelet_port": PORT,
        "ready": flag, "version": optional(text(most=256)), "lease_renewed": optional(number), "control_plane": flag, "os": optional(WORD),
    }
)  # fmt: skip
REQUEST = record(
    {"name": WORD, "node": text(most=253), "state": one_of("pending", "approved", "denied", "failed"), "created": number, "verdict": LINE}
)
MEMBER = record({"id": WORD, "name": WORD, "peer_urls": list_of(WORD, 100), "client_urls": list_of(WORD, 100), "healthy": flag, "leader": flag})
SERVED = record(
    {
        "node": text(most=253), "address": optional(WORD), "port": PORT, "verified": flag, "error": optional(LINE),
        "certificate": optional(CERTIFICATE), "configz": optional(map_of(anything)), "configz_error": optional(LINE),
    }
)  # fmt: skip
CLUSTER = record(
    {
        "readyz": flag, "detail": LINE, "version": optional(text(most=256)), "endpoint": WORD, "nodes": list_of(NODE), "serving_csrs": list_of(REQUEST),
        "configmaps": map_of(optional(record({"resource_version": WORD, "data": map_of(text())})), most=10),
        "etcd": optional(record({"members": list_of(MEMBER, 100), "error": optional(LINE)})), "stale_tokens": optional(whole()),
        "approvers": list_of(WORD, 1000), "kubelets": list_of(SERVED),
        "lease": optional(record({"holder": WORD, "renewed": number, "seconds": whole()})),
    }
)  # fmt: skip
PROOF = record(
    {
        "id": text("[a-z0-9_]{1,64}"), "path": whole(1, 9), "aspect": text("[a-z0-9-]{1,64}"), "kind": one_of("allowed", "forbidden"), "from": text(most=253),
        "to": WORD, "passed": flag, "at": number, "evidence": map_of(anything, most=50), "fingerprint": SHA256,
    }
)  # fmt: skip
JOURNAL = record(
    {
        "id": text(most=255), "run": WORD, "state": STATES, "step": WORD, "at": number, "cause": optional(text()), "advice": optional(text()),
    }
)  # fmt: skip
PROBLEM = record({"file": optional(text()), "cause": LINE, "advice": LINE})
LISTENER = record({"address": WORD, "port": whole(0, (1 << 16) - 1), "pid": optional(PID), "component": optional(WORD)})
HOST = record(
    {"hostname": text(most=253), "boot_id": WORD, "python": WORD, "node": optional(text(most=253)), "addresses": list_of(text(most=64), 10_000)}
)

SCHEMA = one_of(1)
OBSERVATION_PARTS: Mapping[str, Check] = {
    "schema": SCHEMA, "at": number, "took_ms": whole(), "host": HOST, "layout": one_of("kubeadm", "none"), "problems": list_of(PROBLEM, 1000),
    "kubelet": optional(KUBELET), "components": map_of(COMPONENT, one_of(*STATIC_PODS)), "manifests_foreign": PATHS, "places": map_of(PATHS, most=100),
    "files": map_of(FILE, PATH), "manifest_shapes": map_of(text(most=1 << 16), PATH, most=100), "certificates": map_of(list_of(CERTIFICATE, 5000), PATH),
    "listening": list_of(LISTENER), "sysctls": map_of(optional(WORD), most=1000),
    "accounts": map_of(optional(record({"uid": whole(), "gid": whole()})), most=1000), "journals": list_of(JOURNAL, 1000),
    "cluster": optional(CLUSTER), "proofs": list_of(PROOF),
}  # fmt: skip
OBSERVATION = record(OBSERVATION_PARTS)
RECOVERED = record(
    {
        "id": WORD, "run": optional(WORD), "state": one_of("open", "committed", "undone", "failed", "running"), "healthy": optional(flag),
        "cause": optional(text()), "advice": optional(text()),
    }
)  # fmt: skip
# What stands in it is read, and named where it is not right, by rollback/past.py.
HISTORY = record(
    {
        "schema": SCHEMA, "transactions": list_of(map_of(anything)), "removed": list_of(map_of(anything)), "texts": map_of(text(), SHA256),
        "now": record({"files": map_of(anything, PATH), "accounts": map_of(anything), "units": map_of(anything), "sysctls": map_of(optional(text()))}),
    }
)  # fmt: skip
EVENTS = ("begin", "step", "wait", "done", "undo", "end")
LINE_OF_JOURNAL = {
    "seq": whole(1), "at": number, "event": one_of(*EVENTS), "step": WORD, "message": text(), "data": map_of(anything),
}  # fmt: skip
END = record({"state": one_of("committed", "undone", "failed")}, {"cause": text(), "advice": text(), "healthy": flag, "ill": list_of(text(), 1000)})
JOURNAL_LINE = by(
    "event", {event: record({**LINE_OF_JOURNAL, "data": END} if event == "end" else LINE_OF_JOURNAL) for event in EVENTS}
)

ANSWERS: Mapping[str, Check] = {
    "observe": OBSERVATION,
    "visit": record({**OBSERVATION_PARTS, "recovered": list_of(RECOVERED, 1000)}),
    "launch": record({"schema": SCHEMA, "id": WORD, "unit": WORD, "directory": PATH}),
    "follow": record({"schema": SCHEMA, "id": WORD, "lines": list_of(JOURNAL_LINE), "offset": whole(), "alive": flag, "state": STATES}),
    "history": HISTORY,
    "recover": record({"schema": SCHEMA, "transactions": list_of(RECOVERED, 1000)}),
}


def check(entry: str, answer: Mapping[str, Any]) -> None:
    """Raise ShapeError for an answer of an entry that is not as it has to be."""
    ANSWERS[entry](answer)
    if entry in ("observe", "visit"):
        _speaks_for_itself(answer)


def _speaks_for_itself(observation: Mapping[str, Any]) -> None:
    """What a host proves it proves as itself, a host without a control plane proves nothing about one, and a text is what its digest says."""
    node, plane = observation["host"]["node"], bool(observation["components"])
    for index, proof in enumerate(observation["proofs"]):
        if proof["from"] != str(node):
            raise ShapeError("is in the name of another node").within(f".proofs[{index}].from")
        if not plane and proof["id"] != OF_A_NODE:
            raise ShapeError("is a proof that only a control plane makes").within(f".proofs[{index}].id")
    for path, entry in observation["files"].items():
        if "text" in entry and hashlib.sha256(entry["text"].encode("utf-8")).hexdigest() != entry.get("sha256"):
            raise ShapeError("is not the digest of its text").within(f".files[{path!r}].sha256")
    if observation["cluster"] is not None and APISERVER not in observation["components"]:
        raise ShapeError("is there, though no apiserver runs here").within(".cluster")
