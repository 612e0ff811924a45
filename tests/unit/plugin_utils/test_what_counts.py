# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process really reads counts, not what a file that looks the same says: no control is met by something nobody reads."""

from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Inventory, Outcome, Plan, PlanErrors
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import plan
from factories import (
    ASSETS,
    MANIFESTS,
    NOW,
    STARTED,
    all_controls,
    all_flags,
    carried_out,
    cluster,
    directory,
    document,
    file,
    hardened,
    planned,
    with_flags,
)

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
DROPIN = "/etc/kubernetes/kubelet.conf.d/90.conf"


def outcome(done: Plan, name: str, host: str | None = "cp1") -> Outcome:
    return next(entry for entry in done.controls if entry.id == name and entry.host == host)


class TestKubeletWithoutConfig:
    """1.36: anonymous access, AlwaysAllow and port 10255 are the defaults of the flags."""

    def done(self, *flags: str) -> Plan:
        hosts = hardened()
        hosts["w1"]["kubelet"].update(config=None, argv=["/usr/bin/kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf", *flags])
        return planned(hosts)

    @pytest.mark.parametrize(
        ("name", "value"), [("kubelet-anonymous-off", True), ("kubelet-webhook-authorization", "AlwaysAllow"), ("kubelet-read-only-port", 10255)]
    )
    def test_the_defaults_of_its_flags_count(self, name: str, value: object) -> None:
        found = outcome(self.done(), name, "w1")
        assert (found.status, found.before, found.held_by) == ("deviation", value, "--config")
        assert "runs without --config" in found.reason

    def test_unset_is_not_fine(self) -> None:
        assert outcome(self.done(), "kubelet-rotation-gate", "w1").status == "deviation"

    def test_a_default_that_serves_does(self) -> None:
        assert outcome(self.done(), "kubelet-iptables-chains", "w1").status == "ok"

    def test_a_flag_that_serves_does(self) -> None:
        assert outcome(self.done("--anonymous-auth=false"), "kubelet-anonymous-off", "w1").status == "ok"


def test_a_gate_on_the_command_line_beats_the_configuration() -> None:
    hosts = hardened()
    hosts["w1"]["kubelet"]["argv"].append("--feature-gates=RotateKubeletServerCertificate=F")
    assert outcome(planned(hosts), "kubelet-rotation-gate", "w1").status == "held"


class TestEtcdWithAConfigFile:
    @pytest.mark.parametrize(
        ("flags", "environment"), [(("--config-file=/etc/etcd/etcd.yml",), {}), ((), {"ETCD_CONFIG_FILE": "/etc/etcd/etcd.yml"})]
    )
    def test_nothing_on_its_command_line_counts(self, flags: tuple[str, ...], environment: dict[str, str]) -> None:
        done = planned(with_flags(hardened(), "etcd", *flags, environment=environment))
        names = {control.id for control in all_controls() if control.component == "etcd" and control.flag and not isinstance(control.value, Ref)}
        found = [entry for entry in done.controls if entry.id in names]
        assert {(entry.status, entry.held_by, entry.before) for entry in found} == {("held", "config-file", None)}
        assert all("/etc/etcd/etcd.yml" in entry.reason for entry in found)


class TestEtcdEnvironment:
    def test_a_variable_is_the_flags_value(self) -> None:
        hosts = with_flags(cluster(), "etcd", without=["trusted-ca-file"], environment={"ETCD_TRUSTED_CA_FILE": "/etc/corp/ca.crt"})
        done = planned(hosts)
        assert (outcome(done, "etcd-client-ca").status, outcome(done, "etcd-client-ca").before) == ("ok", "/etc/corp/ca.crt")
        assert not any(item.startswith("--trusted-ca-file") for item in done.predicted["cp1"]["argv"]["etcd"])

    def test_a_flag_beats_it(self) -> None:
        done = planned(with_flags(hardened(), "etcd", environment={"ETCD_CLIENT_CERT_AUTH": "false"}))
        assert outcome(done, "etcd-client-cert-auth").status == "ok"

    def test_one_that_weakens_is_beaten_by_a_flag(self) -> None:
        hosts = with_flags(cluster(), "etcd", without=["client-cert-auth"], environment={"ETCD_CLIENT_CERT_AUTH": "false"})
        done = planned(hosts)
        assert outcome(done, "etcd-client-cert-auth").before is False
        assert "--client-cert-auth=true" in done.predicted["cp1"]["argv"]["etcd"]
        assert planned(carried_out(hosts, done)).empty

    def test_one_that_has_to_go_is_named(self) -> None:
        suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        with pytest.raises(PlanErrors, match="cipher-suites has to go, but a variable of the container sets it"):
            planned(with_flags(cluster(), "etcd", environment={"ETCD_CIPHER_SUITES": suites}), overrides={"tls-floor": "VersionTLS13"})


class TestVariables:
    def test_a_literal_one_is_filled_in(self) -> None:
        hosts = with_flags(hardened(), "kube-apiserver", "--authorization-mode=$(MODES)", without=["authorization-mode"], environment={"MODES": "AlwaysAllow"})
        done = planned(hosts)
        assert (outcome(done, "apiserver-no-always-allow").status, outcome(done, "apiserver-no-always-allow").before) == ("change", ["AlwaysAllow"])
        assert "--authorization-mode=Node,RBAC" in done.predicted["cp1"]["argv"]["kube-apiserver"]

    def test_one_from_elsewhere_is_what_the_process_has(self) -> None:
        hosts = with_flags(hardened(), "kube-apiserver", "--authorization-mode=$(MODES)", without=["authorization-mode"])
        running = hosts["cp1"]["components"]["kube-apiserver"]["argv"]
        running[running.index("--authorization-mode=$(MODES)")] = "--authorization-mode=Node,RBAC"
        done = planned(hosts)
        assert outcome(done, "apiserver-rbac").status == "ok"

    def test_one_that_nobody_tells_holds(self) -> None:
        hosts = with_flags(hardened(), "kube-apiserver", "--authorization-mode=$(MODES)", without=["authorization-mode"])
        hosts["cp1"]["components"]["kube-apiserver"]["argv"] = []
        found = outcome(planned(hosts), "apiserver-no-always-allow")
        assert found.status == "held" and "$(MODES)" in found.reason

    @pytest.mark.parametrize(
        ("item", "after"), [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "1,2"), ("$(C)", "$(C)"), ("$(A", "$(A"), ("x$$y$(A)", "x$y1"), ("$(E)", "$(A)")]
    )
    def test_they_are_read_as_the_kubelet_reads_them(self, item: str, after: str) -> None:
        text = document("1.36", "kube-scheduler").replace("    - kube-scheduler\n", f"    - kube-scheduler\n    - '{item}'\n")
        pairs = [("A", "1"), ("B", "$(A),2"), ("E", "$$(A)")]
        entries = "".join(f"    - name: {name}\n      value: '{value}'\n" for name, value in pairs)
        pod = static_pod.parse(text.replace("    image: ", f"    env:\n{entries}    image: ", 1), "kube-scheduler")
        assert pod.running()[1] == after


@pytest.mark.parametrize("value", ["AllAlpha=True", "AllAlpha=1", "AllAlpha=t", "X=false,AllAlpha=TRUE", "kube:AllAlpha=true"])
def test_gates_are_spelled_in_many_ways(value: str) -> None:
    hosts = with_flags(hardened(profile="stig"), "kube-apiserver", f"--feature-gates={value}")
    done = planned(hosts, profile="stig")
    assert outcome(done, "apiserver-no-alpha-features").status == "change"
    assert not any("AllAlpha" in item for item in done.predicted["cp1"]["argv"]["kube-apiserver"])


class TestNoProcess:
    def test_a_manifest_alone_proves_nothing(self) -> None:
        hosts = hardened()
        hosts["cp1"]["components"]["etcd"].update(argv=[], pid=None, uid=None, started=None)
        done = planned(hosts)
        found = [entry for entry in done.controls if entry.id in ("etcd-client-cert-auth", "etcd-tls-floor")]
        assert {entry.status for entry in found} == {"deviation"} and all("proves nothing" in entry.reason for entry in found)

    def test_nor_do_files_of_a_kubelet(self) -> None:
        hosts = hardened()
        hosts["w1"]["kubelet"].update(active=False, pid=None, started=None, argv=[])
        assert outcome(planned(hosts), "kubelet-anonymous-off", "w1").status == "deviation"


class TestAnonymous:
    def test_an_old_version_holds_and_says_what_to_do(self) -> None:
        found = outcome(planned(cluster("1.31")), "anonymous-only-on-health")
        assert found.status == "held" and "1.32" in found.reason and "anonymous-auth-off" in found.reason

    def test_switched_off_altogether_it_is_fine(self) -> None:
        done = planned(with_flags(cluster("1.31"), "kube-apiserver", "--anonymous-auth=false"))
        assert outcome(done, "anonymous-only-on-health").status == "ok"

    @pytest.mark.parametrize("profile", ["recommended", "stig"])
    @pytest.mark.parametrize("flag", ["--anonymous-auth=true", "--anonymous-auth=T", "--anonymous-auth"])
    def test_written_down_it_is_taken_out(self, flag: str, profile: str) -> None:
        hosts = with_flags(cluster("1.31"), "kube-apiserver", flag)
        done = planned(hosts, profile=profile)
        assert outcome(done, "anonymous-auth-not-forced").status == "change"
        assert not any(item.startswith("--anonymous-auth") for item in done.predicted["cp1"]["argv"]["kube-apiserver"])


class TestAuditRetention:
    NAMES = ("audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize")

    def argv(self, done: Plan) -> list[str]:
        return [item for item in done.predicted["cp1"]["argv"]["kube-apiserver"] if item.startswith("--audit-log-max")]

    @pytest.mark.parametrize(("minor", "values"), [("1.35", (30, 10, 100)), ("1.36", (366, 100, 100))])
    def test_where_nothing_was_recorded_no_less_than_the_default_is_written(self, minor: str, values: tuple[int, ...]) -> None:
        assert self.argv(planned(cluster(minor))) == [f"--{name}={value}" for name, value in zip(self.NAMES, values)]

    def test_a_log_that_is_there_keeps_what_it_keeps(self) -> None:
        hosts = with_flags(cluster("1.36"), "kube-apiserver", "--audit-log-path=/var/log/a.log")
        assert outcome(planned(hosts), "audit-log-maxage").after == 366

    @pytest.mark.parametrize("given", [(), ("--audit-log-maxage=0", "--audit-log-maxbackup=0")])
    @pytest.mark.parametrize("minor", ["1.31", "1.35"])
    def test_one_without_a_limit_gets_none(self, minor: str, given: tuple[str, ...]) -> None:
        done = planned(with_flags(cluster(minor), "kube-apiserver", "--audit-log-path=/var/log/a.log", *given))
        for name in self.NAMES[:2]:
            found = outcome(done, name)
            assert (found.status, found.held_by) == ("held", "audit-log-limited") and "override" in found.reason
        assert outcome(done, "audit-log-maxsize").status == "change"
        assert "--audit-log-maxsize=100" in self.argv(done)

    def test_an_explicit_zero_is_unlimited_in_every_version(self) -> None:
        hosts = with_flags(cluster("1.36"), "kube-apiserver", "--audit-log-path=/var/log/a.log", "--audit-log-maxage=0")
        assert outcome(planned(hosts), "audit-log-maxage").status == "held"

    @pytest.mark.parametrize("days", [30, 90])
    def test_an_override_decides(self, days: int) -> None:
        hosts = with_flags(cluster("1.35"), "kube-apiserver", "--audit-log-path=/var/log/a.log")
        done = planned(hosts, overrides={"audit-log-maxage": days})
        assert f"--audit-log-maxage={days}" in self.argv(done)

    def test_a_number_that_is_enough_stays(self) -> None:
        hosts = with_flags(cluster("1.36"), "kube-apiserver", "--audit-log-path=/var/log/a.log", "--audit-log-maxage=45")
        assert outcome(planned(hosts), "audit-log-maxage").status == "ok"


class TestWhatDoesNotWeakenStays:
    def test_another_loopback_address(self) -> None:
        hosts = with_flags(hardened(), "kube-scheduler", "--bind-address=::1", without=["bind-address"])
        assert outcome(planned(hosts), "scheduler-bind-address").status == "ok"

    def test_another_port_of_kube_proxy(self) -> None:
        hosts = hardened()
        data = hosts["cp1"]["cluster"]["configmaps"]["kube-proxy"]["data"]
        data["config.conf"] = data["config.conf"].replace('metricsBindAddress: ""', "metricsBindAddress: 127.0.0.1:9249")
        assert "9249" in data["config.conf"]
        assert outcome(planned(hosts), "kube-proxy-metrics-loopback", None).status == "ok"

    def test_chacha20(self) -> None:
        suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        hosts = with_flags(hardened(), "kube-apiserver", f"--tls-cipher-suites={suites}", without=["tls-cipher-suites"])
        assert outcome(planned(hosts), "apiserver-ciphers").status == "ok"
        weak = with_flags(hardened(), "kube-apiserver", f"--tls-cipher-suites={suites},TLS_RSA_WITH_AES_128_CBC_SHA", without=["tls-cipher-suites"])
        assert outcome(planned(weak), "apiserver-ciphers").after == suites.split(",")


class TestNullInADropIn:
    def hosts(self, text: str) -> dict[str, dict[str, object]]:
        hosts = hardened()
        hosts["w1"]["files"][DROPIN] = file(HEAD + text)
        hosts["w1"]["kubelet"]["dropins"] = [DROPIN]
        return hosts

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("tlsMinVersion: null\n", "kubelet-tls-floor"),
            ("authentication: null\n", "kubelet-client-ca"),
            ("authentication:\n  x509: null\n", "kubelet-client-ca"),
        ],
    )
    def test_it_deletes_and_is_mended_where_it_stands(self, text: str, name: str) -> None:
        hosts = self.hosts(text)
        done = planned(hosts)
        assert (outcome(done, name, "w1").status, outcome(done, name, "w1").before) == ("change", None)
        assert DROPIN in [change.target for change in done.changes if change.wave == "kubelets"]
        again = planned(carried_out(hosts, done))
        assert outcome(again, name, "w1").status == "ok" and again.empty

    def test_what_a_later_one_sets_again_is_not_deleted(self) -> None:
        hosts = self.hosts("tlsMinVersion: null\n")
        later = DROPIN.replace("90", "91")
        hosts["w1"]["files"][later] = file(HEAD + "tlsMinVersion: VersionTLS13\n")
        hosts["w1"]["kubelet"]["dropins"] = [DROPIN, later]
        assert planned(hosts).empty


class TestOurDocuments:
    PATH = "/etc/kubernetes/ninepaths/audit-policy-"

    def test_one_that_somebody_changed_is_put_right_and_read_again_in_one_run(self) -> None:
        hosts = hardened()
        path = next(name for name in hosts["cp1"]["files"] if name.startswith(self.PATH))
        argv = list(hosts["cp1"]["components"]["kube-apiserver"]["argv"])
        hosts["cp1"]["files"][path] = file("kind: Policy # records nothing\n", mtime=STARTED + 500)
        done = planned(hosts)
        assert "restarted" in outcome(done, "audit-policy").reason
        assert path in [change.target for change in done.changes if change.wave == "files"]
        assert done.restarts == {"kube-apiserver": 1}
        assert done.predicted["cp1"]["argv"]["kube-apiserver"] == argv
        again = planned(carried_out(hosts, done))
        assert again.empty and outcome(again, "audit-policy").status == "ok"

    def test_twice_is_two_restarts(self) -> None:
        hosts = hardened()
        path = next(name for name in hosts["cp1"]["files"] if name.startswith(self.PATH))
        for number in (1, 2):
            hosts["cp1"]["files"][path] = file("kind: Policy # records nothing\n", mtime=STARTED + 500 * number)
            done = planned(hosts)
            assert done.restarts == {"kube-apiserver": 1}
            hosts = carried_out(hosts, done)

    def test_a_process_older_than_it_is_restarted(self) -> None:
        hosts = hardened()
        path = next(name for name in hosts["cp1"]["files"] if name.startswith(self.PATH))
        hosts["cp1"]["files"][path]["mtime"] = STARTED + 500
        done = planned(hosts)
        assert done.restarts == {"kube-apiserver": 1} and not done.waves["files"]


class TestWithoutAControlPlane:
    def test_an_inventory_without_one_is_refused(self) -> None:
        hosts = {"w1": cluster()["w1"]}
        with pytest.raises(PlanErrors, match="no host in the group kube_control_plane"):
            plan(hosts, all_controls(), Settings(), Inventory((), (), ("w1",), {}), NOW, flags=all_flags(), assets=ASSETS)

    def test_conditions_of_the_cluster_do_not_hold_unseen(self) -> None:
        from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import serving

        found = serving.conditions(Inventory((), (), ("w1",), {}), {}, ASSETS)
        assert set(found.values()) == {"no control plane was observed"}


class TestWhatGivesCertificates:
    def test_an_approver_that_somebody_changed_is_a_change(self) -> None:
        hosts = hardened()
        program = next(iter(ASSETS))
        hosts["cp1"]["files"][program] = file("evil", hosts["cp1"]["files"][program]["mode"])
        found = outcome(planned(hosts), "kubelet-serving-bootstrap")
        assert found.status == "change" and program in found.reason

    def test_one_that_was_stopped_too(self) -> None:
        hosts = hardened()
        hosts["cp1"]["cluster"]["approvers"] = []
        found = outcome(planned(hosts), "kubelet-serving-bootstrap")
        assert found.status == "change" and "does not run" in found.reason

    def test_so_is_a_request_that_waits(self) -> None:
        hosts = hardened()
        hosts["cp1"]["cluster"]["serving_csrs"] = [{"name": "csr-9", "node": "w1", "state": "pending", "created": NOW, "verdict": "ok"}]
        done = planned(hosts)
        assert outcome(done, "kubelet-serving-bootstrap", "w1").status == "change"
        assert outcome(done, "kubelet-serving-bootstrap").status == "ok"

    def test_and_a_node_without_a_certificate(self) -> None:
        hosts = hardened()
        for entry in hosts["cp1"]["cluster"]["kubelets"]:
            entry.update(verified=entry["node"] != "w1")
        assert outcome(planned(hosts), "kubelet-serving-bootstrap", "w1").status == "change"


def test_a_machine_that_has_not_joined_is_told_what_to_do() -> None:
    hosts = cluster()
    hosts["w1"].update(layout="none")
    hosts["w1"]["kubelet"].update(version=None, active=False, pid=None, argv=[])
    for host in hosts.values():
        if host["cluster"]:
            host["cluster"]["nodes"].pop()
    with pytest.raises(PlanErrors, match="w1: it has not joined a cluster; run the prepare playbook and kubeadm join") as caught:
        planned(hosts)
    assert len(caught.value.errors) == 1


def test_a_manifest_elsewhere_is_judged() -> None:
    hosts = hardened()
    folder = "/srv/pods"
    hosts["cp1"]["places"]["kubelet.manifests"] = [folder]
    hosts["cp1"]["files"][folder] = directory()
    hosts["cp1"]["files"][f"{folder}/kube-apiserver.yaml"] = file(hosts["cp1"]["files"][f"{MANIFESTS}/kube-apiserver.yaml"]["text"], "0644")
    assert outcome(planned(hosts), "apiserver-manifest").status == "change"


