# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the waves: whether a kubelet runs with what was written, and what a job restarts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import stages


class Control:
    def __init__(self, name: str, field: str | None, component: str = "kubelet") -> None:
        self.id, self.field, self.component = name, field, component


CONTROLS = [
    Control("anon", "authentication.anonymous.enabled"),
    Control("idle", "streamingConnectionIdleTimeout"),
    Control("ciphers", "tlsCipherSuites"),
    Control("port", "readOnlyPort"),
    Control("flag", None),
]


def outcome(name: str, after: Any, status: str = "change", host: str = "w1") -> dict[str, Any]:
    return {"id": name, "host": host, "status": status, "after": after}


@pytest.mark.parametrize(
    ("outcomes", "configz", "differences"),
    [
        ([outcome("anon", False)], {"authentication": {"anonymous": {"enabled": False}}}, 0),
        ([outcome("anon", "false")], {"authentication": {"anonymous": {"enabled": False}}}, 0),
        ([outcome("anon", False)], {"authentication": {"anonymous": {"enabled": True}}}, 1),
        ([outcome("anon", False)], {"authentication": {}}, 1),
        ([outcome("idle", "4h")], {"streamingConnectionIdleTimeout": "4h0m0s"}, 0),
        ([outcome("idle", "4h")], {"streamingConnectionIdleTimeout": "0s"}, 1),
        ([outcome("port", 0)], {}, 0),
        ([outcome("port", 0)], {"readOnlyPort": 10255}, 1),
        ([outcome("port", 10255)], {}, 1),
        ([outcome("ciphers", ["A", "B"])], {"tlsCipherSuites": ["A", "B"]}, 0),
        ([outcome("ciphers", "A,B")], {"tlsCipherSuites": ["A"]}, 1),
        ([outcome("flag", "x"), outcome("anon", False, "held"), outcome("anon", False, host="w2")], {}, 0),
        ([], None, 1),
    ],
)
def test_a_kubelet_runs_with_what_was_written(outcomes, configz, differences):
    kubelet = {"error": None, "configz": configz, "configz_error": None}
    found = stages.kubelet_differences({"controls": outcomes}, CONTROLS, "w1", kubelet)
    assert len(found) == differences and all(surprise.host == "w1" for surprise in found)


@pytest.mark.parametrize(
    ("fields", "configz", "differences"),
    [
        ({"serverTLSBootstrap": False, "tlsMinVersion": ""}, {}, 0),  # what is false or empty is left out of /configz
        ({"serverTLSBootstrap": False}, {"serverTLSBootstrap": True}, 1),
        ({"streamingConnectionIdleTimeout": "4h"}, {"streamingConnectionIdleTimeout": "4h0m0s"}, 0),
        ({"podPidsLimit": 100}, {}, 1),
        ({}, {"serverTLSBootstrap": True}, 0),
    ],
)
def test_a_rollback_says_itself_what_a_kubelet_is_to_run_with(fields, configz, differences):
    plan = {"controls": [{"id": "x", "host": "w1", "status": "change", "after": None}], "predicted": {"w1": {"fields": fields}}}
    kubelet = {"error": None, "configz": configz, "configz_error": None}
    assert len(stages.kubelet_differences(plan, CONTROLS, "w1", kubelet)) == differences


def test_a_kubelet_that_says_nothing_is_named_with_the_reason():
    silent = {"error": "connection refused", "configz": None, "configz_error": None}
    (found,) = stages.kubelet_differences({"controls": []}, CONTROLS, "w1", silent)
    assert found.cause.endswith("connection refused")
    (found,) = stages.kubelet_differences({"controls": []}, CONTROLS, "w1", None)
    assert "no control plane has observed" in found.cause


def test_restarts_of_a_job():
    steps = [
        {"op": "files"},
        {"op": "kubelet"},
        {"op": "static_pods", "changes": {"etcd": {}, "kube-apiserver": {}}},
        {"op": "configmap", "name": "kubeadm-config"},
    ]
    assert stages.restarts_of({"steps": steps}) == {"kubelet": 1, "etcd": 1, "kube-apiserver": 1}
    assert stages.restarts_of({"steps": [{"op": "configmap", "name": "kube-proxy"}]}) == {"kube-proxy": 1}
