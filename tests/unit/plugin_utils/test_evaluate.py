# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls against one host: statuses, values, and what speaks against a control."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, Document, Files, Mount, Undo
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import globs
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, Plan, PlanErrors
from factories import (
    FLAGS_ENV,
    KUBELET_CONFIG,
    MANIFESTS,
    STARTED,
    Cluster,
    argv,
    certificate,
    cluster,
    directory,
    document,
    file,
    planned,
)

MOUNTS = (Mount("ninepaths", "/etc/kubernetes/ninepaths", "/etc/kubernetes/ninepaths", True, "DirectoryOrCreate"),)
STRONG = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")


def control(name: str, component: str = "kube-apiserver", **keys: Any) -> Control:
    """A control that the default profile chooses."""
    return Control(
        path=3,
        id=name,
        title="A title of it",
        component=component,
        why=f"Why {name}.",
        undo=Undo(True),
        profiles=("recommended",),
        references=(),
        **keys,
    )


def with_flags(hosts: Cluster, component: str, *flags: str, without: str = "", host: str = "cp1") -> Cluster:
    """The cluster with flags added to (or taken from) a manifest and its process."""
    path = f"{MANIFESTS}/{component}.yaml"
    text = hosts[host]["files"][path]["text"]
    if without:
        text = "".join(line for line in text.splitlines(keepends=True) if not line.strip().startswith(f"- --{without}="))
    marker = f"    - {component}\n"
    text = text.replace(marker, marker + "".join(f"    - {flag}\n" for flag in flags))
    hosts[host]["files"][path] = file(text)
    hosts[host]["components"][component]["argv"] = argv(text)
    return hosts


def with_exec_probes(hosts: Cluster, host: str = "cp1") -> Cluster:
    """The apiserver's probes run a command, as after a patch; nothing asks it anonymously."""
    path = f"{MANIFESTS}/kube-apiserver.yaml"
    text = re.sub(r"      httpGet:\n(        .*\n)+", "      exec:\n        command: [/healthy]\n", hosts[host]["files"][path]["text"])
    hosts[host]["files"][path] = file(text)
    return hosts


def with_config(hosts: Cluster, text: str, host: str = "w1", path: str = KUBELET_CONFIG) -> Cluster:
    hosts[host]["files"][path] = file(text)
    return hosts


def outcome(plan: Plan, name: str, host: str | None = "cp1") -> Outcome:
    found = [entry for entry in plan.controls if entry.id == name and entry.host == host]
    assert len(found) == 1, found
    return found[0]


def new_argv(plan: Plan, component: str, host: str = "cp1") -> list[str]:
    step = plan.jobs[host]["control_planes"]["steps"][0]
    found: list[str] = step["changes"][component]["argv"]
    return found


PROFILING = control("profiling-off", flag="profiling", value=False, merge="exact")


class TestFlags:
    def test_an_unset_flag_is_appended(self) -> None:
        plan = planned(cluster(), chosen=[PROFILING])
        assert (outcome(plan, "profiling-off").status, outcome(plan, "profiling-off").after) == ("change", False)
        assert new_argv(plan, "kube-apiserver")[-1] == "--profiling=false"

    def test_the_last_occurrence_counts(self) -> None:
        assert planned(with_flags(cluster(), "kube-apiserver", "--profiling=true", "--profiling=false"), chosen=[PROFILING]).waves["control_planes"] == ()
        plan = planned(with_flags(cluster(), "kube-apiserver", "--profiling=false", "--profiling=true"), chosen=[PROFILING])
        assert new_argv(plan, "kube-apiserver").count("--profiling=false") == 1
        assert "--profiling=true" not in new_argv(plan, "kube-apiserver")

    def test_a_flag_without_value_is_true(self) -> None:
        assert outcome(planned(with_flags(cluster(), "kube-apiserver", "--profiling"), chosen=[PROFILING]), "profiling-off").before is True

    def test_underscores_name_the_same_flag(self) -> None:
        plan = planned(
            with_flags(cluster(), "kube-apiserver", "--audit_log_maxage=7"),
            chosen=[control("age", flag="audit-log-maxage", value=30, merge="at_least")],
        )
        assert "--audit_log_maxage=7" not in new_argv(plan, "kube-apiserver")
        assert "--audit-log-maxage=30" in new_argv(plan, "kube-apiserver")

    def test_etcd_reads_one_dash_too(self) -> None:
        hosts = with_flags(cluster(), "etcd", "-auto-tls=true")
        plan = planned(hosts, chosen=[control("auto", "etcd", flag="auto-tls", value=False, merge="exact")])
        assert "-auto-tls=true" not in new_argv(plan, "etcd") and "--auto-tls=false" in new_argv(plan, "etcd")

    def test_values_of_a_collecting_flag_add_up(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--enable-admission-plugins=PodNodeSelector")
        plan = planned(hosts, chosen=[control("add", flag="enable-admission-plugins", value=("AlwaysPullImages",), merge="append")])
        assert "--enable-admission-plugins=PodNodeSelector,NodeRestriction,AlwaysPullImages" in new_argv(plan, "kube-apiserver")
        assert outcome(plan, "add").before == ["PodNodeSelector", "NodeRestriction"]

    def test_what_an_operator_added_stays(self) -> None:
        chosen = [
            control("node", flag="authorization-mode", value=("Node",), merge="superset"),
            control("no", flag="authorization-mode", value=("AlwaysAllow",), merge="absent"),
        ]
        hosts = with_flags(cluster(), "kube-apiserver", "--authorization-mode=AlwaysAllow,Webhook", without="authorization-mode")
        plan = planned(hosts, chosen=chosen)
        assert "--authorization-mode=Webhook,Node" in new_argv(plan, "kube-apiserver")

    def test_a_repeated_flag_that_serves_is_kept(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--service-account-key-file=/old.pub")
        plan = planned(hosts, chosen=[control("key", flag="service-account-key-file", value="/x", merge="present"), PROFILING])
        assert outcome(plan, "key").status == "ok"
        assert [item for item in new_argv(plan, "kube-apiserver") if "account-key-file" in item] == [
            "--service-account-key-file=/old.pub", "--service-account-key-file=/etc/kubernetes/pki/sa.pub",
        ]  # fmt: skip

    def test_a_flag_that_the_version_does_not_know_is_never_written(self) -> None:
        plan = planned(cluster(), chosen=[control("gone", flag="insecure-port", value=0, merge="exact")])
        assert outcome(plan, "gone").status == "not-applicable" and plan.empty

    def test_versions_are_heeded(self) -> None:
        from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange

        old = control("old", flag="profiling", value=False, merge="exact", versions=VersionRange.parse("<1.36"))
        assert outcome(planned(cluster("1.36"), chosen=[old]), "old").status == "not-applicable"
        assert outcome(planned(cluster("1.35"), chosen=[old]), "old").status == "change"

    def test_a_flag_that_must_go_goes(self) -> None:
        plan = planned(
            with_flags(cluster(), "kube-apiserver", "--token-auth-file=/t.csv"),
            chosen=[control("no-tokens", flag="token-auth-file", merge="absent")],
        )
        assert not any(item.startswith("--token-auth-file") for item in new_argv(plan, "kube-apiserver"))
        assert outcome(plan, "no-tokens").after is None

    def test_a_conflict_holds(self) -> None:
        own = control("mine", flag="profiling", value=False, merge="exact", conflicts=("egress-selector-config-file",))
        plan = planned(with_flags(cluster(), "kube-apiserver", "--egress-selector-config-file=/e"), chosen=[own])
        assert (outcome(plan, "mine").status, outcome(plan, "mine").held_by) == ("held", "egress-selector-config-file")
        assert plan.empty

    def test_unless_is_enough(self) -> None:
        own = control("mine", flag="profiling", value=False, merge="exact", unless=(("anonymous-auth", False),))
        assert outcome(planned(with_flags(cluster(), "kube-apiserver", "--anonymous-auth=false"), chosen=[own]), "mine").status == "ok"
        assert outcome(planned(cluster(), chosen=[own]), "mine").status == "change"

    def test_one_that_gives_way_stands_in_while_the_other_is_held(self) -> None:
        """The two exclude each other: exactly one of them is applied, whatever is in the way of the other."""
        done = planned(cluster(), profile="cis-level-2")
        assert (outcome(done, "anonymous-auth-off").status, outcome(done, "anonymous-auth-off").held_by) == ("held", "probes-without-anonymous")
        assert outcome(done, "anonymous-only-on-health").status == "change"
        assert any(item.startswith("--authentication-config=") for item in new_argv(done, "kube-apiserver"))
        other = planned(with_exec_probes(cluster()), profile="cis-level-2")
        assert (outcome(other, "anonymous-auth-off").status, outcome(other, "anonymous-only-on-health").status) == ("change", "ok")
        assert "--anonymous-auth=false" in new_argv(other, "kube-apiserver")
        assert not any(item.startswith("--authentication-config=") for item in new_argv(other, "kube-apiserver"))

    def test_a_flag_that_is_dropped_goes_although_the_value_is_right(self) -> None:
        own = control("mine", flag="profiling", value=False, merge="exact", drops=("v",))
        hosts = with_flags(cluster(), "kube-apiserver", "--profiling=false", "--v=4")
        assert "--v=4" not in new_argv(planned(hosts, chosen=[own]), "kube-apiserver")

    @pytest.mark.parametrize(("add", "take"), [("a", "z"), ("z", "a")])
    def test_names_do_not_decide_between_two_that_disagree(self, add: str, take: str) -> None:
        adding = control(add, flag="enable-admission-plugins", value=("AlwaysAdmit",), merge="append")
        taking = control(take, flag="enable-admission-plugins", value=("AlwaysAdmit",), merge="absent")
        hosts = with_flags(cluster(), "kube-apiserver", "--enable-admission-plugins=AlwaysAdmit")
        assert planned(hosts, chosen=[adding]).waves["control_planes"] == ()
        plan = planned(hosts, chosen=[taking, adding])
        assert (outcome(plan, add).status, outcome(plan, take).status) == ("ok", "held")

    def test_held_is_held_unless_it_is_so_already(self) -> None:
        own = control("later", flag="profiling", value=False, merge="exact", held="It comes later.")
        assert outcome(planned(cluster(), chosen=[own]), "later").reason == "It comes later."
        assert outcome(planned(with_flags(cluster(), "kube-apiserver", "--profiling=false"), chosen=[own]), "later").status == "ok"

    def test_a_requirement_that_is_held_holds(self) -> None:
        first = control("first", flag="profiling", value=False, merge="exact", held="It comes later.")
        second = control("second", flag="audit-log-maxage", value=30, merge="at_least", requires=("first",))
        third = control("third", flag="audit-log-maxbackup", value=10, merge="at_least", requires=("second",))
        plan = planned(cluster(), chosen=[third, second, first])
        assert [outcome(plan, name).status for name in ("first", "second", "third")] == ["held"] * 3
        assert outcome(plan, "third").held_by == "second"

    def test_a_condition_that_nobody_knows_holds(self) -> None:
        assert (
            outcome(planned(cluster(), chosen=[control("c", flag="profiling", value=False, merge="exact", needs=("moon-is-full",))]), "c").held_by
            == "moon-is-full"
        )

    def test_a_reference_to_a_file_that_is_not_there_holds(self) -> None:
        from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Ref

        own = control("peer", "etcd", flag="client-crl-file", value=Ref("pki.etcd_peer_key"), merge="present")
        assert (outcome(planned(cluster(), chosen=[own]), "peer").status, outcome(planned(cluster(), chosen=[own]), "peer").held_by) == (
            "held",
            "pki.etcd_peer_key",
        )
        kept = control("cert", "etcd", flag="peer-key-file", value=Ref("pki.etcd_peer_key"), merge="present")
        assert outcome(planned(cluster(), chosen=[kept]), "cert").status == "ok"

    def test_a_bind_address_takes_its_probes_along(self) -> None:
        hosts = with_flags(cluster(), "kube-scheduler", "--bind-address=10.89.0.11", without="bind-address")
        path = f"{MANIFESTS}/kube-scheduler.yaml"
        hosts["cp1"]["files"][path] = file(hosts["cp1"]["files"][path]["text"].replace("host: 127.0.0.1", "host: 10.89.0.11"))
        plan = planned(hosts, chosen=[control("bind", "kube-scheduler", flag="bind-address", value="127.0.0.1", merge="exact")])
        change = plan.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-scheduler"]
        assert {probe["host"] for probe in change["probes"].values()} == {"127.0.0.1"}

    def test_a_value_that_makes_no_sense_is_named(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--audit-log-maxage=soon")
        with pytest.raises(PlanErrors, match=r"cp1: /etc/kubernetes/manifests/kube-apiserver.yaml: 'soon' is no whole number"):
            planned(hosts, chosen=[control("age", flag="audit-log-maxage", value=30, merge="at_least")])


class TestCiphers:
    own = control("ciphers", flag="tls-cipher-suites", value=STRONG, merge="subset", needs=("ciphers-fit-serving-key",))

    def test_what_remains_is_enough_to_start_with(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
        assert outcome(planned(hosts, chosen=[self.own]), "ciphers").after == list(STRONG)

    def test_what_remains_is_kept_where_it_is_enough(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
        assert outcome(planned(hosts, chosen=[self.own]), "ciphers").after == ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]

    @pytest.mark.parametrize(("key", "status"), [("RSA-2048", "held"), ("ECDSA-P256", "change")])
    def test_a_list_that_does_not_fit_the_key_is_held(self, key: str, status: str) -> None:
        hosts = cluster()
        hosts["cp1"]["certificates"]["/etc/kubernetes/pki/apiserver.crt"] = [certificate(key)]
        only_ecdsa = control("ciphers", flag="tls-cipher-suites", value=STRONG[:1], merge="subset", needs=("ciphers-fit-serving-key",))
        assert outcome(planned(hosts, chosen=[only_ecdsa]), "ciphers").status == status

    def test_etcd_gets_no_list_with_tls_13_as_floor(self) -> None:
        chosen = [
            control("floor", "etcd", flag="tls-min-version", value="TLS1.3", merge="at_least"),
            control("ciphers", "etcd", flag="cipher-suites", value=STRONG, merge="subset", needs=("tls12-allowed", "ciphers-fit-serving-key")),
        ]
        plan = planned(cluster(), chosen=chosen)
        assert (outcome(plan, "floor").status, outcome(plan, "ciphers").status) == ("change", "held")
        later = planned(with_flags(cluster(), "etcd", f"--cipher-suites={','.join(STRONG)}"), chosen=chosen)
        assert "--tls-min-version=TLS1.3" in new_argv(later, "etcd")
        assert not any(item.startswith("--cipher-suites") for item in new_argv(later, "etcd"))


class TestDocuments:
    def own(self, merge: str = "present", text: str = "kind: Policy\n", needs: tuple[str, ...] = ()) -> Control:
        return control("audit", document=Document("audit-policy-file", "audit-policy", ((None, text),)), merge=merge, mounts=MOUNTS, needs=needs)

    def test_content_decides_the_name(self) -> None:
        one, other = planned(cluster(), chosen=[self.own()]), planned(cluster(), chosen=[self.own(text="kind: Policy # 2\n")])
        paths = [change.target for plan in (one, other) for change in plan.changes if "audit-policy-" in change.target]
        assert len(set(paths)) == 2 and all(path.startswith("/etc/kubernetes/ninepaths/audit-policy-") for path in paths)
        assert f"--audit-policy-file={paths[0]}" in new_argv(one, "kube-apiserver")
        assert {"host_path": "/etc/kubernetes/ninepaths", "path": "/etc/kubernetes/ninepaths", "read_only": True} in one.jobs["cp1"]["control_planes"]["steps"][
            0
        ]["changes"]["kube-apiserver"]["mounts"]

    def test_one_of_the_operator_is_kept(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--audit-policy-file=/etc/kubernetes/mine.yaml")
        assert outcome(planned(hosts, chosen=[self.own()]), "audit").status == "ok"
        assert outcome(planned(hosts, chosen=[self.own("exact")]), "audit").status == "change"
        assert outcome(planned(hosts, chosen=[self.own("exact", needs=("document-unset-or-ours",))]), "audit").held_by == "document-unset-or-ours"

    def test_an_old_one_of_ours_is_renewed(self) -> None:
        hosts = with_flags(cluster(), "kube-apiserver", "--audit-policy-file=/etc/kubernetes/ninepaths/audit-policy-00000000.yaml")
        plan = planned(hosts, chosen=[self.own(needs=("document-unset-or-ours",))])
        assert outcome(plan, "audit").status == "change"
        assert len([item for item in new_argv(plan, "kube-apiserver") if item.startswith("--audit-policy-file")]) == 1

    def test_one_that_somebody_changed_is_written_again(self) -> None:
        hosts = cluster()
        plan = planned(hosts, chosen=[self.own()])
        path = next(change.target for change in plan.changes if "audit-policy-" in change.target)
        hosts = with_flags(hosts, "kube-apiserver", f"--audit-policy-file={path}")
        hosts["cp1"]["files"][path] = file("kind: Policy # weakened\n")
        again = planned(hosts, chosen=[self.own()])
        assert [change.target for change in again.changes if change.wave == "files" and change.target == path] == [path]


class TestKubelet:
    own = control("webhook", "kubelet", field="authorization.mode", value="Webhook", merge="exact", drops=("authorization-mode",))
    floor = control("floor", "kubelet", field="tlsMinVersion", value="VersionTLS12", merge="at_least", drops=("tls-min-version",))

    def config(self, plan: Plan, path: str = KUBELET_CONFIG) -> str:
        return next(change.diff for change in plan.changes if change.target == path and change.wave == "kubelets")

    def test_the_file_named_by_config_is_edited(self) -> None:
        plan = planned(cluster(), chosen=[self.floor])
        assert "+tlsMinVersion: VersionTLS12" in self.config(plan)
        assert plan.jobs["w1"]["kubelets"]["steps"][0]["expect"] == {"argv": None}
        assert plan.restarts == {"kubelet": 2}

    def test_a_drop_in_that_says_less_is_edited_too(self) -> None:
        hosts = cluster()
        dropin = "/etc/kubernetes/kubelet.conf.d/10.conf"
        hosts["w1"]["kubelet"]["dropins"] = [dropin]
        head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        plan = planned(with_config(hosts, head + "tlsMinVersion: VersionTLS10 # old\n", path=dropin), chosen=[self.floor])
        assert outcome(plan, "floor", "w1").before == "VersionTLS10"
        assert "+tlsMinVersion: VersionTLS12 # old" in self.config(plan, dropin)
        assert "+tlsMinVersion: VersionTLS12" in self.config(plan)

    def test_a_stronger_drop_in_is_kept_and_the_file_says_the_same(self) -> None:
        hosts = cluster()
        dropin = "/etc/kubernetes/kubelet.conf.d/10.conf"
        hosts["w1"]["kubelet"]["dropins"] = [dropin]
        head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        plan = planned(with_config(hosts, head + "tlsMinVersion: VersionTLS13\n", path=dropin), chosen=[self.floor])
        assert "+tlsMinVersion: VersionTLS13" in self.config(plan)
        assert not [change for change in plan.changes if change.target == dropin]

    def test_a_flag_that_weakens_is_taken_out_of_the_flags_file(self) -> None:
        hosts = cluster()
        hosts["w1"]["kubelet"]["argv"] += ["--authorization-mode=AlwaysAllow", "--node-ip=10.89.1.1"]
        hosts["w1"]["files"][FLAGS_ENV] = file('KUBELET_KUBEADM_ARGS="--authorization-mode=AlwaysAllow --node-ip=10.89.1.1"\n')
        plan = planned(hosts, chosen=[self.own])
        assert outcome(plan, "webhook", "w1").before == "AlwaysAllow"
        assert '+KUBELET_KUBEADM_ARGS="--node-ip=10.89.1.1"' in self.config(plan, FLAGS_ENV)
        assert plan.jobs["w1"]["kubelets"]["steps"][0]["expect"]["argv"][-1] == "--node-ip=10.89.1.1"
        assert not any("AlwaysAllow" in item for item in plan.jobs["w1"]["kubelets"]["steps"][0]["expect"]["argv"])

    def test_a_flag_that_weakens_in_a_place_that_is_not_ours_is_named(self) -> None:
        hosts = cluster()
        hosts["w1"]["kubelet"]["argv"].append("--authorization-mode=AlwaysAllow")
        hosts["w1"]["kubelet"]["environment_files"] = ["/etc/default/kubelet"]
        hosts["w1"]["files"]["/etc/default/kubelet"] = file("KUBELET_EXTRA_ARGS=--authorization-mode=AlwaysAllow\n")
        found = outcome(planned(hosts, chosen=[self.own]), "webhook", "w1")
        assert (found.status, found.held_by) == ("held", "--authorization-mode") and "/etc/default/kubelet" in found.reason

    def test_a_flag_that_serves_stays(self) -> None:
        hosts = cluster()
        hosts["w1"]["kubelet"]["argv"].append("--tls-min-version=VersionTLS13")
        plan = planned(hosts, chosen=[self.floor])
        assert outcome(plan, "floor", "w1").before == "VersionTLS13"
        assert plan.jobs["w1"]["kubelets"]["steps"][0]["expect"] == {"argv": None}

    def test_a_misspelt_field_is_named(self) -> None:
        text = document("1.36", "kubelet") + "readonlyPort: 0\n"
        with pytest.raises(PlanErrors, match=f"w1: {KUBELET_CONFIG}: the kubelet 1.36 does not know readonlyPort"):
            planned(with_config(cluster(), text))

    def test_a_misspelt_inner_field_is_named(self) -> None:
        text = document("1.36", "kubelet").replace("    enabled: false\n", "    enable: false\n")
        with pytest.raises(PlanErrors, match=r"authentication\.anonymous\.enable"):
            planned(with_config(cluster(), text))

    def test_maps_may_hold_any_key(self) -> None:
        text = document("1.36", "kubelet") + "evictionHard: {memory.available: 100Mi}\nfeatureGates: {Whatever: true}\n"
        planned(with_config(cluster(), text), chosen=[self.floor])

    def test_a_value_of_another_kind_is_named(self) -> None:
        text = document("1.36", "kubelet") + "seccompDefault: 'yes'\n"
        with pytest.raises(PlanErrors, match=r"w1: .*seccompDefault"):
            planned(with_config(cluster(), text), chosen=[control("s", "kubelet", field="seccompDefault", value=True, merge="exact")])

    def test_a_link_in_place_of_the_file_is_refused(self) -> None:
        hosts = cluster()
        hosts["w1"]["files"][KUBELET_CONFIG] = {**file(), "type": "link", "target": "/srv/kubelet.yaml"}
        with pytest.raises(PlanErrors, match="symbolic link"):
            planned(hosts)

    def test_the_version_is_the_nodes_where_no_process_runs(self) -> None:
        hosts = cluster()
        hosts["w1"]["kubelet"].update(active=False, pid=None, version=None, argv=[])
        with pytest.raises(PlanErrors, match="w1: its kubelet does not run"):
            planned(hosts, chosen=[self.floor])


class TestFiles:
    def own(self, *paths: str, mode: str | None = "0600", owner: str | None = "root", component: str = "host") -> Control:
        return control("modes", component, files=Files(paths, mode, owner, owner))

    def one(self, entry: dict[str, Any], own: Control, path: str = "/etc/kubernetes/admin.conf") -> dict[str, Any] | None:
        hosts = cluster()
        hosts["cp1"]["files"][path] = entry
        plan = planned(hosts, chosen=[own])
        steps = plan.jobs.get("cp1", {}).get("files", {"steps": []})["steps"]
        return next((change for step in steps if step["op"] == "files" for change in step["files"] if change["path"] == path), None)

    @pytest.mark.parametrize(("mode", "after"), [("0644", "0600"), ("0777", "0600"), ("4755", "0600"), ("0400", None), ("0600", None), ("0000", None)])
    def test_bits_are_only_taken_away(self, mode: str, after: str | None) -> None:
        change = self.one(file(mode=mode), self.own("/etc/kubernetes/admin.conf"))
        assert (change["mode"] if change else None) == after

    def test_who_may_read_a_directory_may_enter_it(self) -> None:
        change = self.one(directory("0755"), self.own("/etc/kubernetes/*"))
        assert change is not None and change["mode"] == "0700" and change["content"] is None

    def test_links_are_not_followed(self) -> None:
        assert self.one({**file(mode="0777"), "type": "link"}, self.own("/etc/kubernetes/admin.conf")) is None

    def test_an_account_that_is_missing_is_made(self) -> None:
        hosts = cluster()
        plan = planned(hosts, chosen=[self.own("/var/lib/etcd", mode="0700", owner="etcd", component="etcd")])
        steps = plan.jobs["cp1"]["files"]["steps"]
        assert steps[0] == {"op": "account", "name": "etcd", "home": "/var/lib/etcd", "controls": ["modes"]}
        assert (steps[1]["files"][0]["owner"], steps[1]["files"][0]["mode"]) == ("etcd", "0700")
        assert "w1" not in plan.jobs

    def test_several_controls_on_one_file_are_joined(self) -> None:
        hosts = cluster()
        hosts["cp1"]["files"]["/x"] = file(mode="0666", owner="kim")
        chosen = [
            control("a", "host", files=Files(("/x",), "0640", None, None)),
            control("b", "host", files=Files(("/x",), "0604", "root", "root")),
        ]
        for order in (chosen, chosen[::-1]):
            change = planned(hosts, chosen=order).jobs["cp1"]["files"]["steps"][0]["files"][0]
            assert (change["mode"], change["owner"]) == ("0600", "root")

    @pytest.mark.parametrize(
        ("pattern", "yes", "no"),
        [
            ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab"]),
            ("/a/**/*.crt", ["/a/x.crt", "/a/b/c/.x.crt"], ["/a/x.key", "/x.crt"]),
            ("/a/[0-9]*.pem", ["/a/1.pem"], ["/a/x.pem", "/a/1/2.pem"]),
            ("/a/[!0-9]?", ["/a/xy"], ["/a/1y", "/a/x", "/a//x"]),
            ("/a/b.c", ["/a/b.c"], ["/a/bxc"]),
        ],
    )
    def test_patterns(self, pattern: str, yes: list[str], no: list[str]) -> None:
        assert globs.matching((pattern,), tuple(yes + no)) == tuple(yes)


class TestSysctls:
    own = control("memory", "host", sysctl="vm.overcommit_memory", value=1, merge="exact")

    def test_a_setting_is_changed(self) -> None:
        hosts = cluster()
        hosts["w1"]["sysctls"] = {"vm.overcommit_memory": "0\n"}
        plan = planned(hosts, chosen=[self.own])
        assert plan.jobs["w1"]["files"]["steps"] == [{"op": "sysctls", "values": {"vm.overcommit_memory": "1"}, "controls": ["memory"]}]
        assert outcome(plan, "memory").status == "not-applicable"

    def test_a_kubelet_control_waits_for_what_it_requires(self) -> None:
        strict = control("strict", "kubelet", field="protectKernelDefaults", value=True, merge="exact", requires=("memory",))
        hosts = cluster()
        hosts["w1"]["sysctls"] = {"vm.overcommit_memory": "0"}
        plan = planned(hosts, chosen=[strict, self.own])
        assert (outcome(plan, "strict", "w1").status, outcome(plan, "strict", "cp1").status) == ("change", "held")


def test_a_process_that_runs_with_something_else_is_a_deviation() -> None:
    hosts = with_flags(cluster(), "kube-apiserver", "--profiling=false")
    hosts["cp1"]["components"]["kube-apiserver"]["argv"].remove("--profiling=false")
    plan = planned(hosts, chosen=[PROFILING])
    assert outcome(plan, "profiling-off").status == "deviation" and not plan.waves["control_planes"]


def test_a_process_older_than_a_file_it_reads_at_start_is_a_deviation() -> None:
    own = control("audit", flag="audit-policy-file", value="/x", merge="present")
    hosts = with_flags(cluster(), "kube-apiserver", "--audit-policy-file=/etc/kubernetes/mine.yaml")
    hosts["cp1"]["files"]["/etc/kubernetes/mine.yaml"] = file("a: 1\n", mtime=STARTED + 1)
    assert outcome(planned(hosts, chosen=[own]), "audit").status == "ok"
    hosts["cp1"]["files"]["/etc/kubernetes/mine.yaml"] = file("a: 1\n", mtime=STARTED + 60)
    assert "older than /etc/kubernetes/mine.yaml" in outcome(planned(hosts, chosen=[own]), "audit").reason


def test_a_kubelet_older_than_its_configuration_is_a_deviation() -> None:
    hosts = cluster()
    hosts["w1"]["files"][KUBELET_CONFIG] = file(document("1.36", "kubelet"), mtime=STARTED + 60)
    plan = planned(hosts, chosen=[TestKubelet.own])
    assert (outcome(plan, "webhook", "w1").status, outcome(plan, "webhook", "cp1").status) == ("deviation", "ok")
