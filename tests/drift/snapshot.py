# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bed as it is at one moment, in parts that can be compared: files, processes, kernel settings and the cluster's ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import yaml

from tests.integration.bed import FINGERPRINT, Bed

CONFIGMAPS = ("kubeadm-config", "kubelet-config", "kube-proxy")
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
MANIFESTS = "/etc/kubernetes/manifests/"
# Manifests and the kubelet's configuration, whose meaning is compared as well.
TEXTS = f"""
for file in {MANIFESTS}*.yaml {KUBELET_CONFIG}; do [ -e $file ] && echo "=== $file" && cat $file && echo; done; true
"""


@dataclass(frozen=True)
class File:
    """One path. digest: of a regular file; target: of a link, else empty."""

    mode: str
    owner: str
    target: str
    digest: str | None


@dataclass(frozen=True)
class Node:
    """One node. processes: process id and start of each component's processes; command_lines: their digests."""

    files: Mapping[str, File]
    processes: Mapping[str, tuple[str, ...]]
    command_lines: Mapping[str, tuple[str, ...]]
    sysctls: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """A whole bed. objects: the data of its ConfigMaps."""

    nodes: Mapping[str, Node]
    objects: Mapping[str, Mapping[str, str]]


def take(bed: Bed) -> Snapshot:
    """Look at everything that a run may touch."""
    with ThreadPoolExecutor() as pool:
        objects = pool.submit(bed.kubectl, "-n", "kube-system", "get", "configmap", *CONFIGMAPS, "-o", "json")
        nodes = _nodes(bed, pool)
        return Snapshot(nodes, {item["metadata"]["name"]: item["data"] for item in json.loads(objects.result())["items"]})


def take_nodes(bed: Bed) -> Snapshot:
    """The same where no apiserver answers."""
    with ThreadPoolExecutor() as pool:
        return Snapshot(_nodes(bed, pool), {})


def _nodes(bed: Bed, pool: ThreadPoolExecutor) -> dict[str, Node]:
    found = pool.map(lambda name: bed.root(name, FINGERPRINT + TEXTS), bed.nodes)
    return {name: _node(text) for name, text in zip(bed.nodes, found, strict=True)}


def _node(text: str) -> Node:
    fingerprint, *parts = text.split("=== ")
    texts = {head.strip(): body for part in parts for head, _newline, body in [part.partition("\n")]}
    lines = [line.split(" ") for line in fingerprint.splitlines()]
    digests = {" ".join(rest[1:]).strip(): rest[0] for kind, *rest in lines if kind == "D"}
    files = {path: File(mode.zfill(4), owner, target, digests.get(path)) for kind, path, mode, owner, target in _padded(lines) if kind == "F"}
    processes: dict[str, tuple[str, ...]] = {}
    command_lines: dict[str, tuple[str, ...]] = {}
    for kind, name, *rest in lines:
        if kind == "P":
            processes[name] = (*processes.get(name, ()), f"{rest[0]} {rest[1]}")
            command_lines[name] = (*command_lines.get(name, ()), rest[2])
    return Node(files, processes, command_lines, {rest[0]: rest[1] for kind, *rest in lines if kind == "S"}, texts)


def _padded(lines: Iterable[list[str]]) -> Iterator[tuple[str, ...]]:
    """Lines with five words: what is no link has no target."""
    for line in lines:
        yield (*line, "", "", "", "")[:5]


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    """What is another one: `w1 /path`, `cp1 process etcd`, `w1 sysctl kernel.panic`, `ConfigMap kubelet-config`."""
    found: set[str] = set()
    for name, old in before.nodes.items():
        new = after.nodes[name]
        found |= {f"{name} {path}" for path in _differing(old.files, new.files)}
        found |= {f"{name} process {process}" for process in _differing(old.processes, new.processes)}
        found |= {f"{name} sysctl {sysctl}" for sysctl in _differing(old.sysctls, new.sysctls)}
    return found | {f"ConfigMap {name}" for name in _differing(before.objects, after.objects)}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    return {key for key in {*old, *new} if old.get(key) != new.get(key)}


def meaning(snapshot: Snapshot) -> dict[str, Any]:
    """What documents say, whatever the order of flags and lists; and everything else that has no text, as it is."""
    found: dict[str, Any] = {f"ConfigMap {name} {key}": _plain(text) for name, data in snapshot.objects.items() for key, text in data.items()}
    for name, node in snapshot.nodes.items():
        found.update({f"{name} sysctl {key}": value for key, value in node.sysctls.items()})
        for path, file in node.files.items():
            text = node.texts.get(path)
            found[f"{name} {path}"] = (file.mode, file.owner, file.target, _plain(text) if text else file.digest)
    return found


def _plain(text: str) -> str:
    """A document in a form in which the same meaning is the same text. Only the flags of a manifest count: a restart leaves a mark there."""
    document = yaml.safe_load(text)
    if isinstance(document, dict) and document.get("kind") == "Pod":
        document = {flag: value for item in document["spec"]["containers"][0]["command"] for flag, _equals, value in [item.partition("=")]}
    return json.dumps(_sorted(document), sort_keys=True)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return ",".join(sorted(value.split(","))) if isinstance(value, str) else value
