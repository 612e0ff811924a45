# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing counts as set that is not: the shipped controls against clusters that look hardened and are not."""

from __future__ import annotations

import copy
from functools import lru_cache

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, Plan
from factories import (
    FLAGS_ENV,
    KUBELET_CONFIG,
    MANIFESTS,
    NOW,
    Cluster,
    all_controls,
    argv,
    carried_out,
    certificate,
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


CA = "/etc/kubernetes/pki/ca.crt"


class TestEtcd:
    @pytest.mark.parametrize(("name", "flag"), [("etcd-client-ca", "trusted-ca-file"), ("etcd-peer-ca", "peer-trusted-ca-file")])
    def test_the_cluster_s_ca_opens_etcd_to_every_kubelet(self, name: str, flag: str) -> None:
        assert outcome(planned(hardened()), name).status == "ok"
        for path in (CA, "/etc/kubernetes/pki/../pki/ca.crt"):
            done = planned(with_flags(hardened(), ETCD, f"--{flag}={path}", without=(flag,)))
            assert outcome(done, name).status == "deviation" and "a CA of its own" in outcome(done, name).reason
            assert not done.waves["control_planes"]

    def test_a_copy_of_the_cluster_s_ca_is_no_ca_of_its_own(self) -> None:
        hosts = hardened()
        hosts["cp1"]["certificates"]["/etc/kubernetes/pki/etcd/ca.crt"] = [{**certificate(), "sha256": "11" * 32}]
        assert outcome(planned(hosts), "etcd-client-ca").status == "ok"
        hosts["cp1"]["certificates"]["/etc/kubernetes/pki/etcd/ca.crt"].append(hosts["cp1"]["certificates"][CA][0])
        assert outcome(planned(hosts), "etcd-client-ca").status == "deviation"

    def test_a_ca_that_would_be_set_must_differ_too(self) -> None:
        hosts = with_flags(cluster(), ETCD, without=("trusted-ca-file",))
        with_flags(hosts, APISERVER, f"--etcd-cafile={CA}", without=("etcd-cafile",))
        done = planned(hosts)
        assert outcome(done, "etcd-client-ca").status == "deviation"
        assert not any("trusted-ca-file=/etc/kubernetes/pki/ca.crt" in str(change.diff) for change in done.changes)

    @pytest.mark.parametrize(
        ("name", "component", "flag", "good", "bad"),
        [
            ("etcd-client-urls", ETCD, "listen-client-urls", "https://127.0.0.1:2379,unix://127.0.0.1:1", "https://127.0.0.1:2379,http://0.0.0.0:2378"),
            ("etcd-client-urls", ETCD, "listen-client-urls", "https://10.0.0.1:2379", None),
            ("etcd-client-http-urls", ETCD, "listen-client-http-urls", None, "http://127.0.0.1:2382"),
            ("etcd-peer-urls", ETCD, "listen-peer-urls", "https://10.0.0.1:2380", "http://10.0.0.1:2380"),
            ("etcd-metrics-urls", ETCD, "listen-metrics-urls", None, "http://127.0.0.1:2381,http://0.0.0.0:2381"),
            ("etcd-metrics-urls", ETCD, "listen-metrics-urls", "http://[::1]:2381", "http://127.0.0.10.example:2381"),
            ("apiserver-etcd-urls", APISERVER, "etcd-servers", "https://127.0.0.1:2379", "https://127.0.0.1:2379,http://10.0.0.9:2379"),
        ],
    )
    def test_every_url_is_encrypted_or_stays_on_the_machine(self, name: str, component: str, flag: str, good: str | None, bad: str | None) -> None:
        for value, status in ((good, "ok"), (bad, "deviation")):
            hosts = with_flags(hardened(), component, *([f"--{flag}={value}"] if value else []), without=(flag,))
            done = planned(hosts)
            assert outcome(done, name).status == status, value
            assert flag not in written(done, "kubeadm-config") and not done.waves["control_planes"]

    def test_what_is_never_edited_says_what_to_do(self) -> None:
        done = planned(with_flags(hardened(), ETCD, "--listen-peer-urls=http://0.0.0.0:2380", without=("listen-peer-urls",)))
        assert "one at a time" in outcome(done, "etcd-peer-urls").reason


class TestConflicts:
    def test_a_scheduler_with_a_configuration_file_ignores_the_flag(self) -> None:
        done = planned(with_flags(hardened(), "kube-scheduler", "--config=/etc/kubernetes/scheduler.yaml"))
        found = outcome(done, "scheduler-profiling-off")
        assert (found.status, found.held_by, found.before) == ("held", "config", False)

    @pytest.mark.parametrize("name", ["apiserver-no-always-allow", "apiserver-rbac", "apiserver-node-authorization"])
    def test_an_authorization_configuration_decides_in_place_of_the_flag(self, name: str) -> None:
        done = planned(with_flags(hardened(), APISERVER, "--authorization-config=/etc/kubernetes/a.yaml", without=("authorization-mode",)))
        assert outcome(done, name).status == "held"
        assert not done.waves["control_planes"]

    def test_servers_of_single_resources_are_not_judged(self) -> None:
        done = planned(with_flags(hardened(), APISERVER, "--etcd-servers-overrides=/events#http://10.0.0.9:2379"))
        assert outcome(done, "apiserver-etcd-urls").held_by == "etcd-servers-overrides"


def with_kubelet_flags(hosts: Cluster, *flags: str, env: str = "") -> Cluster:
    hosts["w1"]["kubelet"]["argv"] += flags
    if env:
        hosts["w1"]["files"][FLAGS_ENV] = file(f'KUBELET_KUBEADM_ARGS="{env}"\n')
    return hosts


class TestKubeletFlags:
    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            ("kubelet-rotation-gate", ["--feature-gates=RotateKubeletServerCertificate=false"]),
            ("kubelet-rotation-gate", ["--feature-gates=RotateKubeletServerCertificate=true,A=true", "--feature-gates=RotateKubeletServerCertificate=0"]),
            ("kubelet-serving-bootstrap", ["--rotate-server-certificates=false"]),
            ("kubelet-serving-bootstrap", ["--tls-cert-file=/etc/corp/k.crt"]),
            ("kubelet-ciphers", ["--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA", "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
        ],
    )
    def test_a_flag_that_beats_the_file_is_seen(self, name: str, flags: list[str]) -> None:
        found = outcome(planned(with_kubelet_flags(hardened(), *flags)), name, "w1")
        assert found.status == "held" and flags[0].partition("=")[0].strip("-") in found.reason

    @pytest.mark.parametrize("gates", ["RotateKubeletServerCertificate=true", "Other=false", "Other=true,RotateKubeletServerCertificate=true"])
    def test_gates_that_do_no_harm_are_the_operator_s(self, gates: str) -> None:
        assert outcome(planned(with_kubelet_flags(hardened(), f"--feature-gates={gates}")), "kubelet-rotation-gate", "w1").status == "ok"

    def test_a_gate_alone_is_taken_out_and_among_others_it_is_not_ours(self) -> None:
        flag = "--feature-gates=RotateKubeletServerCertificate=false"
        done = planned(with_kubelet_flags(hardened(), flag, env=flag))
        assert outcome(done, "kubelet-rotation-gate", "w1").status == "change"
        assert flag not in done.jobs["w1"]["kubelets"]["steps"][0]["expect"]["argv"]
        found = outcome(planned(with_kubelet_flags(hardened(), f"{flag},Other=true", env=f"{flag},Other=true")), "kubelet-rotation-gate", "w1")
        assert found.status == "held" and FLAGS_ENV in found.reason


class TestSwitchedOff:
    @pytest.mark.parametrize("value", [0, -1])
    def test_a_limit_of_nothing_is_no_limit(self, value: int) -> None:
        flag = "terminated-pod-gc-threshold"
        done = planned(with_flags(hardened(), "kube-controller-manager", f"--{flag}={value}", without=(flag,)))
        assert (outcome(done, flag).status, outcome(done, flag).after) == ("change", 12500)
        hosts = hardened("cis-level-1")
        hosts["w1"]["files"][KUBELET_CONFIG] = file(hosts["w1"]["files"][KUBELET_CONFIG]["text"].replace("podPidsLimit: 4096", f"podPidsLimit: {value}"))
        assert outcome(planned(hosts, profile="cis-level-1"), "pod-pids-limit", "w1").status == "change"

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/dev/null", "change"),
            ("/nowhere/audit.log", "deviation"),
            ("/etc/kubernetes/pki/audit.log", "deviation"),  # mounted, but read-only
            ("/var/log/kubernetes/audit/mine.log", "ok"),
            ("-", "ok"),
        ],
    )
    def test_an_audit_log_is_kept(self, path: str, status: str) -> None:
        done = planned(with_flags(hardened(), APISERVER, f"--audit-log-path={path}", without=("audit-log-path",)))
        assert outcome(done, "audit-log-path").status == status

    def test_a_path_that_an_override_names_needs_its_mount(self) -> None:
        assert outcome(planned(cluster(), overrides={"audit-log-path": "/srv/audit.log"}), "audit-log-path").status == "deviation"
        assert outcome(planned(cluster(), overrides={"audit-log-path": "/var/log/kubernetes/audit/x.log"}), "audit-log-path").status == "change"

    def test_a_policy_of_the_operator_is_there_but_not_judged(self) -> None:
        done = planned(with_flags(hardened(), APISERVER, "--audit-policy-file=/etc/kubernetes/mine.yaml", without=("audit-policy-file",)))
        assert outcome(done, "audit-policy").status == "ok"
        assert outcome(done, "audit-policy-coverage").status == "held" and "not judged" in outcome(done, "audit-policy-coverage").reason
        assert outcome(planned(hardened()), "audit-policy-coverage").status == "ok"
        assert outcome(planned(cluster()), "audit-policy-coverage").status == "change"
        cited = {control.id for control in all_controls() if "3.2.2" in control.cited("cis")}
        assert cited == {"audit-policy-coverage"}


class TestStig:
    @pytest.mark.parametrize(
        ("name", "flag"),
        [
            ("kubelet-anonymous-off", "--anonymous-auth=false"),
            ("kubelet-read-only-port", "--read-only-port=0"),
            ("kubelet-webhook-authorization", "--authorization-mode=Webhook"),
            ("kubelet-client-ca", "--client-ca-file=/etc/kubernetes/pki/ca.crt"),
            ("kubelet-feature-gates-flag", "--feature-gates=Any=true"),
        ],
    )
    def test_a_kubelet_flag_is_a_finding_even_where_it_agrees(self, name: str, flag: str) -> None:
        assert outcome(planned(hardened("stig"), profile="stig"), name, "w1").status == "ok"
        found = outcome(planned(with_kubelet_flags(hardened("stig"), flag), profile="stig"), name, "w1")
        assert found.status == "held" and flag.partition("=")[0] in found.reason
        if name != "kubelet-feature-gates-flag":
            assert outcome(planned(with_kubelet_flags(hardened(), flag)), name, "w1").status == "ok"

    def test_where_kubeadm_keeps_flags_it_is_taken_out(self) -> None:
        hosts = with_kubelet_flags(hardened("stig"), "--anonymous-auth=false", env="--anonymous-auth=false")
        done = planned(hosts, profile="stig")
        assert outcome(done, "kubelet-anonymous-off", "w1").status == "change"
        assert planned(carried_out(hosts, done), profile="stig").empty

    def test_all_four_ciphers_have_to_be_there(self) -> None:
        flags = ("--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA",)
        hosts = with_flags(hardened("stig"), APISERVER, *flags, without=("tls-cipher-suites",))
        done = planned(hosts, profile="stig")
        after = outcome(done, "apiserver-ciphers-complete").after
        assert isinstance(after, list) and len(after) == 4 and outcome(done, "apiserver-ciphers").after == after
        assert planned(carried_out(hosts, done), profile="stig").empty


class TestStaleTokens:
    name = "service-account-token-expiration"

    def count(self, hosts: Cluster, count: int | None, uptime: float, host: str = "cp1") -> Cluster:
        hosts[host]["cluster"]["stale_tokens"] = count
        hosts[host]["components"][APISERVER]["started"] = NOW - uptime
        return hosts

    @pytest.mark.parametrize(("count", "uptime", "status"), [(0, 3600, "change"), (0, 3599, "held"), (3, 9000, "held"), (None, 9000, "held")])
    def test_a_count_of_zero_means_something_after_an_hour(self, count: int | None, uptime: float, status: str) -> None:
        assert outcome(planned(self.count(cluster(), count, uptime)), self.name).status == status

    def test_every_apiserver_has_to_have_counted(self) -> None:
        hosts = self.count(cluster(planes=3), 0, 20, "cp2")
        assert "the apiserver of cp2" in outcome(planned(hosts), self.name).reason
        flag = "--service-account-extend-token-expiration=false"
        path = f"{MANIFESTS}/{APISERVER}.yaml"
        text = hosts["cp2"]["files"][path]["text"].replace("    - kube-apiserver\n", f"    - kube-apiserver\n    - {flag}\n")
        hosts["cp2"]["files"][path] = file(text)
        hosts["cp2"]["components"][APISERVER]["argv"] = argv(text)
        # The run that was interrupted there goes on.
        assert outcome(planned(hosts), self.name).status == "change"

    @pytest.mark.parametrize(("age", "status"), [(3800, "change"), (4000, "held")])
    def test_a_cluster_that_is_younger_than_a_token_relies_on_no_old_one(self, age: float, status: str) -> None:
        hosts = self.count(cluster(), 0, 60)
        hosts["cp1"]["certificates"][CA] = [{**certificate(), "not_before": NOW - age}]
        assert outcome(planned(hosts), self.name).status == status

    def test_the_reason_says_how_it_ends(self) -> None:
        reason = outcome(planned(self.count(cluster(), 41, 9000)), self.name).reason
        assert reason.startswith("held while pods use tokens past their hour: 41 uses") and "an hour later" in reason


class TestAnonymousOff:
    def test_our_own_document_is_in_nobody_s_way(self) -> None:
        hosts = hardened()
        done = planned(hosts, profile="cis-level-2")
        assert outcome(done, "anonymous-auth-off").held_by == "probes-without-anonymous"
        path = f"{MANIFESTS}/{APISERVER}.yaml"
        hosts["cp1"]["files"][path] = file(hosts["cp1"]["files"][path]["text"].replace("scheme: HTTPS", "scheme: HTTP"))
        done = planned(hosts, profile="cis-level-2")
        assert outcome(done, "anonymous-auth-off").status == "change"
        after = carried_out(hosts, done)
        assert not any("authentication-config" in item for item in after["cp1"]["components"][APISERVER]["argv"])
        # kubeadm would write its own probes beside it.
        assert "anonymous-auth" not in written(done, "kubeadm-config")
        assert planned(after, profile="cis-level-2").empty

    def test_a_document_of_the_operator_is(self) -> None:
        hosts = with_flags(hardened(), APISERVER, "--authentication-config=/etc/kubernetes/mine.yaml", without=("authentication-config",))
        path = f"{MANIFESTS}/{APISERVER}.yaml"
        hosts["cp1"]["files"][path] = file(hosts["cp1"]["files"][path]["text"].replace("scheme: HTTPS", "scheme: HTTP"))
        assert outcome(planned(hosts, profile="cis-level-2"), "anonymous-auth-off").held_by == "authentication-config"


def test_who_may_talk_to_whom_is_never_silently_left_out() -> None:
    for done in (planned(cluster()), planned(hardened()), planned({"cp1": hardened()["cp1"]}, unreachable={"w1": "no route"})):
        found = outcome(done, "pod-network-default-deny", None)
        assert found.status == "held" and "Nobody has judged who may talk to whom" in found.reason


def test_a_flag_that_no_version_knows_is_not_set() -> None:
    found = outcome(planned(cluster()), "no-static-passwords")
    assert found.status == "ok" and "does not know --basic-auth-file" in found.reason
