# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import approver
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.approver import ApproverError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import approval, csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from fake_node import FakeNode
from test_csr import document, with_names

NODES = {"w1": {"dns": ["w1.example.com"], "ip": ["10.0.0.7"]}}


class FakeApi:
    """Knows some requests and nodes; `trouble` is raised by approvals."""

    def __init__(self, requests: list[dict[str, Any]], nodes: tuple[str, ...] = ("w1",), trouble: ApiError | None = None) -> None:
        self.requests, self.nodes, self.trouble = requests, nodes, trouble
        self.approved: list[str] = []

    def list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        assert (path, query) == (csr.COLLECTION, {"fieldSelector": "spec.signerName=kubernetes.io/kubelet-serving"})
        return iter(self.requests)

    def find(self, path: str) -> dict[str, Any] | None:
        return {} if path.rpartition("/")[2] in self.nodes else None

    def put(self, path: str, body: Any) -> Any:
        if self.trouble:
            raise self.trouble
        self.approved.append(path.split("/")[-2])


def approve(api: FakeApi) -> dict[str, Any]:
    return approval.approve_pending(api, approval.parse_nodes(NODES))  # type: ignore[arg-type]


def test_good_requests_are_approved_and_others_left_alone() -> None:
    done = document(label="csr-done", created="2026-11-20T13:00:00Z")
    done["status"] = {"conditions": [{"type": "Approved"}]}
    api = FakeApi(
        [document(with_names(["w1"], ["10.9.9.9"]), label="csr-bad", created="2026-11-21T12:00:00Z"), document(label="csr-good"), done]
    )
    result = approve(api)
    assert api.approved == ["csr-good"]
    assert result["approved"] == [{"name": "csr-good", "node": "w1"}]
    assert [(entry["name"], "10.9.9.9" in entry["reason"]) for entry in result["refused"]] == [("csr-bad", True)]


def test_a_node_that_is_not_in_the_configuration_is_refused() -> None:
    api = FakeApi([document(username="system:node:w2")], nodes=("w1", "w2"))
    assert approve(api)["approved"] == api.approved == []


def test_a_node_without_an_object_is_refused() -> None:
    api = FakeApi([document()], nodes=())
    assert "there is no Node w1" in approve(api)["refused"][0]["reason"]
    assert api.approved == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ApiError(409, "Conflict", "modified"), "another approver"), (ApiError(403, "Forbidden", "no"), "no (403 Forbidden)")],
)
def test_one_failed_approval_does_not_stop_the_pass(error: ApiError, reason: str) -> None:
    assert reason in approve(FakeApi([document()], trouble=error))["refused"][0]["reason"]


def test_configuration(root: Path) -> None:
    node = FakeNode(root)
    node.write("/approver.json", json.dumps({"schema": 1, "nodes": NODES}))
    assert approver.configuration(node.host, "/approver.json") == {"w1": csr.allowed(["w1.example.com", "10.0.0.7"])}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"nodes": []}',
        '{"nodes": {"w1": {"dns": []}}}',
        '{"nodes": {"w1": {"dns": "w1", "ip": []}}}',
        '{"nodes": {"w1": {"dns": [], "ip": ["w1"]}}}',
        '{"nodes": {"w1": {"dns": [1], "ip": []}}}',
        '{"nodes": {"w1": null}}',
    ],
)
def test_a_configuration_of_another_form_is_named(root: Path, text: str) -> None:
    node = FakeNode(root)
    node.write("/approver.json", text)
    with pytest.raises(ApproverError, match=r"/approver\.json: not of the form"):
        approver.configuration(node.host, "/approver.json")


def test_a_missing_configuration_or_manifest_is_named(root: Path) -> None:
    node = FakeNode(root)
    with pytest.raises(ApproverError, match=r"/approver\.json: No such file"):
        approver.configuration(node.host, "/approver.json")
    with pytest.raises(ApproverError, match=r"kube-apiserver\.yaml"):
        approver.manifest_argv(node.host)
