# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing counts as set that is not: the shipped controls against clusters that look hardened and are not."""

from __future__ import annotations

import copy
from functools import lru_cache

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, Plan
from factories import (
    KUBELET_CONFIG,
    MANIFESTS,
    Cluster,
    all_controls,
    argv,
    carried_out,
    cluster,
    file,
    planned,
)

APISERVER, ETCD = "kube-apiserver", "etcd"


@lru_cache(maxsize=8)
def _hardened(profile: str, enable: tuple[str, ...]) -> Cluster:
    hosts = cluster()
    return carried_out(hosts, planned(hosts, profile=profile, enable=list(enable)))


def hardened(profile: str = "recommended", enable: tuple[str, ...] = ()) -> Cluster:
    """A cluster after one run."""
    return copy.deepcopy(_hardened(profile, enable))


def with_flags(hosts: Cluster, component: str, *flags: str, without: tuple[str, ...] = ()) -> Cluster:
    """The cluster with flags added to a manifest and its process, in place of others."""
    path = f"{MANIFESTS}/{component}.yaml"
    lines = hosts["cp1"]["files"][path]["text"].splitlines(keepends=True)
    gone = tuple(f"- --{name}=" for name in without)
    text = "".join(line for line in lines if not (gone and line.strip().startswith(gone)))
    marker = f"    - {component}\n"
    text = text.replace(marker, marker + "".join(f"    - {flag}\n" for flag in flags))
    hosts["cp1"]["files"][path] = file(text)
    hosts["cp1"]["components"][component]["argv"] = argv(text)
    return hosts


def outcome(done: Plan, name: str, host: str | None = "cp1") -> Outcome:
    found = [entry for entry in done.controls if entry.id == name and entry.host == host]
    assert len(found) == 1, found
    return found[0]


def written(done: Plan, name: str) -> str:
    """What a ConfigMap is to hold; "" where it stays."""
    steps = done.jobs.get("cp1", {}).get("cluster", {"steps": []})["steps"]
    return next((str(step["data"]) for step in steps if step["name"] == name), "")


class TestHeld:
    @pytest.mark.parametrize("name", ["encryption-at-rest", "encryption-providers"])
    def test_encryption_is_not_judged_by_a_file_that_is_named(self, name: str) -> None:
        hosts = with_flags(hardened(), APISERVER, "--encryption-provider-config=/e.yaml", "--encryption-provider-config-automatic-reload=true")
        found = outcome(planned(hosts), name)
        assert found.status == "held" and found.reason.endswith("What is set is not judged."), found

    def test_what_is_held_never_goes_to_the_sources_of_truth(self) -> None:
        hosts = with_flags(hardened(), APISERVER, "--encryption-provider-config=/e.yaml", "--encryption-provider-config-automatic-reload=true")
        assert "encryption" not in written(planned(hosts), "kubeadm-config")
        hosts = hardened("cis-level-1")
        for host in hosts.values():
            text = host["files"][KUBELET_CONFIG]["text"].replace("serverTLSBootstrap: true\n", "") + "tlsCertFile: /etc/ssl/node.crt\n"
            host["files"][KUBELET_CONFIG] = file(text)
        done = planned(hosts, profile="cis-level-1")
        assert outcome(done, "kubelet-serving-cert-file").status == "ok"
        assert "tlsCertFile" not in written(done, "kubelet-config")

    def test_the_limits_of_events_are_no_pod_security(self) -> None:
        hosts = hardened("stig", ("event-rate-limit",))
        done = planned(hosts, profile="stig", enable=["event-rate-limit"])
        assert outcome(done, "event-rate-limit-configuration").status == "ok"
        assert outcome(done, "pod-security-default").status == "held"

    def test_a_held_control_that_any_value_settles_says_so(self) -> None:
        settled = {control.id for control in all_controls() if control.held and control.merge == "present" and not control.unjudged}
        assert settled == {"kubelet-serving-cert-file", "kubelet-serving-key-file"}
