# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and task options of an operator, with anything in them: one sentence for each problem, or a plan."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.action import kubelet_config, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import variables
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import FlagDataError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import select
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings, SettingsError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.jobs import HostJobs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError, PlanErrors
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import hosts_of
from effort import examples
from factories import NOW, all_controls, all_flags, cluster, inventory, plan
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import changed_data, hostile_text, hostile_values

GOOD = {
    "ninepaths_profile": "recommended",
    "ninepaths_paths": [1, 2, 3],
    "ninepaths_overrides": {"tls-floor": "VersionTLS13", "audit-log-maxage": 60, "apiserver-verifies-kubelet": "/etc/kubernetes/pki/ca.crt"},
    "ninepaths_enable": ["always-pull-images"],
    "ninepaths_waivers": [{"control": "event-rate-limit", "reason": "because", "until": "2027-03-01"}],
    "ninepaths_node_addresses": {"w1": ["10.0.0.1", "w1.example.com"]},
    "ninepaths_fail_on": "never",
}
# What Ansible makes of bytes that are no UTF-8.
BROKEN = "a\udcff"
KNOWLEDGE = Knowledge(all_flags())
HOST = hosts_of(cluster(), KNOWLEDGE)["cp1"]


@examples(60)
@given(changed_data([GOOD]))
@example({"ninepaths_overrides": {"audit-log-path": "a\nb"}})
@example({"ninepaths_overrides": {"audit-log-path": "/a\x00b"}})
@example({"ninepaths_overrides": {"audit-log-path": "\ud800"}})
@example({"ninepaths_overrides": {"audit-log-maxage": 1 << 70}})
def test_settings_are_read_and_planned_with_or_refused(given_: Any) -> None:
    if not isinstance(given_, dict):
        return
    variables.unknown(given_)
    hosts = cluster()
    try:
        settings = Settings.parse(given_)
        select(settings, all_controls(), NOW)
        made = plan(hosts, all_controls(), settings, inventory(hosts), NOW, flags=all_flags())
    except SettingsError as error:
        assert error.problems and all(problem.startswith("ninepaths_") or " and " in problem for problem in error.problems), error.problems
        assert len(str(error)) < 100_000
        return
    except PlanErrors as errors:
        assert all(error.cause and error.advice for error in errors.errors)
        return
    json.dumps(made.as_dict()).encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overrides", {"audit-log-path": BROKEN}),
        ("overrides", {BROKEN: "x"}),
        ("enable", ["always-pull-images", BROKEN]),
        ("profile", BROKEN),
        ("waivers", [{"control": "event-rate-limit", "reason": BROKEN}]),
        ("node_addresses", {"w1": [BROKEN]}),
    ],
)
def test_a_setting_that_is_no_unicode_is_named_and_not_quoted(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.parse({**GOOD, f"ninepaths_{name}": value})
    assert refusal.value.problems == (f"ninepaths_{name}: holds a text that is not valid UTF-8; write it again, as UTF-8",)


@pytest.mark.parametrize("text", [BROKEN, "\ud800"])
def test_a_text_of_a_task_that_is_no_unicode_is_refused(text: str) -> None:
    wished(static_pod.ActionModule, {"component": "kube-apiserver", "flags": {"audit-log-path": text}, "absent": [], "mounts": []})
    wished(kubelet_config.ActionModule, {"fields": {"clusterDomain": text}, "absent": []})


@examples(150)
@given(st.one_of(
    st.dictionaries(st.sampled_from(["v", "profiling", "feature-gates", "audit-log-maxage", "tls-cipher-suites", "etcd-servers"]), hostile_values, max_size=3),
    st.dictionaries(hostile_text, hostile_values, max_size=3),
), st.lists(hostile_text, max_size=2), hostile_text)  # fmt: skip
def test_flags_of_a_task_are_set_or_refused(flags: Any, absent: list[str], path: str) -> None:
    mount = {"name": "extra", "host_path": path, "path": path, "read_only": True, "type": "Directory"}
    for mounts in ([], [mount]):
        wished(static_pod.ActionModule, {"component": "kube-apiserver", "flags": flags, "absent": absent, "mounts": mounts})


@examples(150)
@given(st.one_of(
    st.dictionaries(
        st.sampled_from(["eventRecordQPS", "featureGates", "evictionHard", "evictionHard.imagefs.available", "clusterDNS", "authentication.x509.clientCAFile"]),
        hostile_values, max_size=3,
    ),
    st.dictionaries(hostile_text, hostile_values, max_size=3),
), st.lists(hostile_text, max_size=2))  # fmt: skip
def test_fields_of_a_task_are_set_or_refused(fields: Any, absent: list[str]) -> None:
    wished(kubelet_config.ActionModule, {"fields": fields, "absent": absent})


def wished(kind: Any, options: dict[str, Any]) -> None:
    """What a task wants, as a job; or an error that names host and cause."""
    try:
        wish = kind.wish(SimpleNamespace(), copy.deepcopy(options), HOST)
        made = HostJobs(HOST, wish.draft)
    except (PlanError, ActionError, FlagDataError) as error:
        assert "cp1" in str(error) or isinstance(error, FlagDataError)
        return
    json.dumps([made.jobs, wish.returned]).encode()
