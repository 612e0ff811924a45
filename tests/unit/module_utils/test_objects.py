# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ConfigMaps are replaced only as they were observed, and put back only where nobody else has changed them since."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import approval
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal

MAP = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
SET = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"


class Api:
    """An apiserver with a ConfigMap and a DaemonSet whose rollout never ends while its annotation is in `stuck`."""

    def __init__(self) -> None:
        self.stuck: set[str] = set()
        self.objects: dict[str, Any] = {
            MAP: {"metadata": {"name": "kube-proxy", "resourceVersion": "7"}, "data": {"config.conf": "old", "kubeconfig.conf": "kept"}},
            SET: {
                "metadata": {"generation": 1},
                "spec": {"template": {"metadata": {}}},
                "status": {"desiredNumberScheduled": 2, "observedGeneration": 1},
            },
        }
        self.patches: list[Any] = []

    def get(self, path: str) -> Any:
        found = copy.deepcopy(self.objects[path])
        if path == SET:
            done = 0 if str(self.annotation) in self.stuck else 2
            found["status"].update(updatedNumberScheduled=done, numberAvailable=done, observedGeneration=found["metadata"]["generation"])
        return found

    def find(self, path: str) -> Any:
        return None

    @property
    def annotation(self) -> str | None:
        value = self.objects[SET]["spec"]["template"]["metadata"].get("annotations", {}).get("ninepaths.io/configuration")
        return None if value is None else str(value)

    def put(self, path: str, document: Any) -> Any:
        if document["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "changed")
        document = copy.deepcopy(document)
        document["metadata"]["resourceVersion"] += "1"
        self.objects[path] = document
        return document

    def patch(self, path: str, document: Any) -> Any:
        value = document["spec"]["template"]["metadata"]["annotations"]
        self.objects[path]["spec"]["template"]["metadata"]["annotations"] = {key: text for key, text in value.items() if text is not None}
        self.objects[path]["metadata"]["generation"] += 1
        self.patches.append(value)
        return document


class Tools(bed.FakeTools):
    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api, self.signed = api, ["cp1"]

    def administrator(self, context: Any) -> Api:
        return self.api

    def signed_kubelets(self, context: Any, nodes: Any) -> list[str]:
        return [node for node in nodes if node in self.signed]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bed.make_tree(tmp_path)
    return tmp_path


def lay(root: Path, version: str = "7") -> str:
    data = {"config.conf": "new"}
    return bed.lay(root, [{"op": "configmap", "namespace": "kube-system", "name": "kube-proxy", "resource_version": version, "data": data}])


def act(root: Path, directory: str, tools: Tools, mode: str = "run", files: Any = None) -> str:
    machine = bed.FakeMachine(root, files)
    action = {"run": transaction.run_job, "recover": transaction.recover_job}[mode]
    return action(machine, directory, node=bed.FakeNode(machine), tools=tools)


def end(root: Path, directory: str) -> Any:
    return Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines[-1]


def test_keys_are_replaced_others_are_kept_and_kube_proxy_rolls(root: Path) -> None:
    tools = Tools(Api())
    assert act(root, lay(root), tools) == "committed"
    assert tools.api.objects[MAP]["data"] == {"config.conf": "new", "kubeconfig.conf": "kept"}
    assert len(tools.api.patches) == 1 and tools.api.annotation


@pytest.mark.parametrize("annotation", [None, "of before"])
def test_kube_proxy_is_annotated_as_the_job_says(root: Path, annotation: str | None) -> None:
    """Taking a change back gives pods of the same template as before."""
    tools = Tools(Api())
    tools.api.patch(SET, {"spec": {"template": {"metadata": {"annotations": {"ninepaths.io/configuration": "now"}}}}})
    directory = lay(root)
    job = json.loads((root / directory[1:] / "job.json").read_text())
    job["steps"][0]["annotation"] = annotation
    (root / directory[1:] / "job.json").write_text(json.dumps(job))
    assert act(root, directory, tools) == "committed" and tools.api.annotation == annotation
    assert len(tools.api.patches) == 2


def test_kube_proxy_rolls_also_where_its_annotation_is_that_of_before_already(root: Path) -> None:
    tools, directory = Tools(Api()), lay(root)
    job = json.loads((root / directory[1:] / "job.json").read_text())
    job["steps"][0]["annotation"] = None
    (root / directory[1:] / "job.json").write_text(json.dumps(job))
    assert act(root, directory, tools) == "committed" and tools.api.annotation


def test_another_revision_than_the_planned_one_is_refused(root: Path) -> None:
    tools, directory = Tools(Api()), lay(root, "6")
    assert act(root, directory, tools) == "undone"
    assert "was changed since it was observed" in end(root, directory)["data"]["cause"]
    assert tools.api.objects[MAP]["data"]["config.conf"] == "old"


def test_an_edit_between_check_and_apply_is_not_overwritten(root: Path) -> None:
    """kube-proxy rolls for minutes before kubeadm-config has its turn."""
    tools, kubeadm = Tools(Api()), "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
    tools.api.objects[kubeadm] = {"metadata": {"name": "kubeadm-config", "resourceVersion": "3"}, "data": {"ClusterConfiguration": "old"}}
    real = tools.api.patch

    def patch(path: str, document: Any) -> Any:
        tools.api.objects[kubeadm] = {"metadata": {"resourceVersion": "4"}, "data": {"ClusterConfiguration": "an operator's"}}
        return real(path, document)

    tools.api.patch = patch  # type: ignore[method-assign]
    steps = [
        {"op": "configmap", "namespace": "kube-system", "name": name, "resource_version": version, "data": {key: "new"}}
        for name, version, key in (("kube-proxy", "7", "config.conf"), ("kubeadm-config", "3", "ClusterConfiguration"))
    ]
    directory = bed.lay(root, steps)
    assert act(root, directory, tools) == "undone"
    assert "kubeadm-config was changed since it was observed" in end(root, directory)["data"]["cause"]
    assert tools.api.objects[kubeadm]["data"] == {"ClusterConfiguration": "an operator's"}
    assert tools.api.objects[MAP]["data"]["config.conf"] == "old"


class Cut(bed.QuickFiles):
    """The power goes before the line is written that the object was replaced."""

    def append(self, path: str, data: bytes) -> None:
        if b"replaced" in data:
            raise bed.Killed
        super().append(path, data)


def cut_once_replaced(root: Path, directory: str, tools: Tools) -> None:
    with pytest.raises(bed.Killed):
        act(root, directory, tools, files=Cut())


def test_an_undo_asks_again_while_the_apiserver_starts(root: Path) -> None:
    """After a power cut, or where the apiserver restarts in the same moment."""
    tools, directory = Tools(Api()), lay(root)
    cut_once_replaced(root, directory, tools)
    assert tools.api.objects[MAP]["data"]["config.conf"] == "new"
    real, refused = tools.api.get, iter(range(30))

    def get(path: str) -> Any:
        if next(refused, None) is not None:
            raise ApiError(0, "NoAnswer", "connection refused")
        return real(path)

    tools.api.get = get  # type: ignore[method-assign]
    assert act(root, directory, tools, "recover") == "undone"
    assert tools.api.objects[MAP]["data"] == {"config.conf": "old", "kubeconfig.conf": "kept"}


def test_an_undo_whose_apiserver_stays_away_fails_with_the_cause(root: Path) -> None:
    tools, directory = Tools(Api()), lay(root)
    cut_once_replaced(root, directory, tools)

    def get(path: str) -> Any:
        raise ApiError(0, "NoAnswer", "connection refused")

    tools.api.get = get  # type: ignore[method-assign]
    assert act(root, directory, tools, "recover") == "failed"
    assert "connection refused" in end(root, directory)["data"]["cause"] and "make this node's apiserver healthy" in end(root, directory)["data"]["advice"]


def test_a_rollout_that_does_not_end_is_put_back(root: Path) -> None:
    tools, directory = Tools(Api()), lay(root)
    real = tools.api.patch

    def patch(path: str, document: Any) -> Any:
        tools.api.stuck.add(str(next(iter(document["spec"]["template"]["metadata"]["annotations"].values()))))
        tools.api.patch = real  # type: ignore[method-assign]
        return real(path, document)

    tools.api.patch = patch  # type: ignore[method-assign]
    assert act(root, directory, tools) == "undone"
    assert tools.api.objects[MAP]["data"] == {"config.conf": "old", "kubeconfig.conf": "kept"}
    assert tools.api.annotation is None and end(root, directory)["data"]["healthy"] is True
    assert "0 of 2 nodes" in end(root, directory)["data"]["cause"]


def test_what_somebody_else_changed_since_is_not_overwritten(root: Path) -> None:
    tools, directory = Tools(Api()), lay(root)
    real = tools.api.patch

    def killed(path: str, document: Any) -> Any:
        raise bed.Killed

    tools.api.patch = killed  # type: ignore[method-assign]
    with pytest.raises(bed.Killed):
        act(root, directory, tools)
    tools.api.patch = real  # type: ignore[method-assign]
    assert tools.api.objects[MAP]["data"]["config.conf"] == "new"
    tools.api.objects[MAP]["data"]["config.conf"] = "a third"
    assert act(root, directory, tools, "recover") == "failed"
    assert "changed by somebody else" in end(root, directory)["data"]["cause"]
    assert tools.api.objects[MAP]["data"]["config.conf"] == "a third"


def test_killed_at_any_call_the_object_is_old_or_new(tmp_path: Path) -> None:
    for at in range(1, 26):
        root = tmp_path / str(at)
        bed.make_tree(root)
        tools, directory = Tools(Api()), lay(root)
        with contextlib.suppress(bed.Killed):
            act(root, directory, tools, files=bed.FaultyFiles(at, "after"))
        state = act(root, directory, tools, "recover")
        assert tools.api.objects[MAP]["data"]["config.conf"] == ("new" if state == "committed" else "old"), f"call {at}"


def test_approving_waits_until_every_kubelet_serves_a_signed_certificate(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools(Api())
    asked: list[int] = []

    def approve(api: Any, nodes: Any) -> Any:
        asked.append(1)
        tools.signed = ["cp1", "w1"] if len(asked) > 3 else ["cp1"]
        return {"approved": [{"name": "csr-1", "node": "w1"}] if len(asked) == 3 else [], "refused": []}

    monkeypatch.setattr(approval, "approve_pending", approve)
    step = {"op": "approve", "nodes": {"w1": {"dns": ["w1"], "ip": ["10.0.0.2"]}}, "wait_s": 60, "expect": ["cp1", "w1"]}
    directory = bed.lay(root, [step])
    assert act(root, directory, tools) == "committed"
    messages = [line["message"] for line in Journal(bed.FakeMachine(root), f"{directory}/journal.jsonl").lines]
    assert "w1: serving certificate approved (csr-1)" in messages


def test_a_refused_request_is_named_in_the_cause(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"approved": [], "refused": [{"name": "csr-2", "node": "w1", "reason": "asks for 10.9.9.9"}]}
    monkeypatch.setattr(approval, "approve_pending", lambda api, nodes: refused)
    step = {"op": "approve", "nodes": {"w1": {"dns": [], "ip": ["10.0.0.2"]}}, "wait_s": 5, "expect": ["w1"]}
    directory = bed.lay(root, [step])
    assert act(root, directory, Tools(Api())) == "undone"
    cause = end(root, directory)["data"]["cause"]
    assert "without a signed certificate: w1" in cause and "w1: asks for 10.9.9.9" in cause
