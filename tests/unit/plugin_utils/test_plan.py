# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a whole cluster: waves, jobs, what is held, what is refused; and that carrying it out leaves nothing to do."""

from __future__ import annotations

import base64
import copy
import json
import random
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver, proxy
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import NOT_PART, WAVES, Inventory, Plan, PlanErrors, bind
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import CONTROL_PLANES, plan
from factories import (
    ASSETS,
    FIXTURES,
    MANIFESTS,
    NOW,
    Cluster,
    all_controls,
    all_flags,
    carried_out,
    cluster,
    document,
    file,
    inventory,
    minors,
    planned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PROFILES = ["recommended", "cis-level-1", "cis-level-2", "stig"]
EXTRA = [
    "--profiling=true",
    "--audit-log-maxage=7",
    "--audit-log-maxage=90",
    "--tls-min-version=VersionTLS10",
    "--tls-min-version=VersionTLS13",
    "--enable-admission-plugins=AlwaysPullImages",
    "--anonymous-auth=false",
    "--anonymous-auth=true",
    "--token-auth-file=/etc/kubernetes/t.csv",
    "--audit-policy-file=/etc/kubernetes/mine.yaml",
    "--oidc-issuer-url=https://login.example",
    "--request-timeout=0s",
    "--v=4",
    "--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA",
]
ENABLE = [
    "always-pull-images",
    "event-rate-limit",
    "deny-service-external-ips",
    "seccomp-default",
    "pod-pids-limit",
    "protect-kernel-defaults",
]


def statuses(done: Plan, name: str) -> dict[str | None, str]:
    return {outcome.host: outcome.status for outcome in done.controls if outcome.id == name}


def reasons(done: Plan, name: str) -> str:
    return " ".join(outcome.reason for outcome in done.controls if outcome.id == name)


def _only(done: Plan, *waves: str) -> dict[str, dict[str, Any]]:
    return {name: {wave: job for wave, job in jobs.items() if wave in waves} for name, jobs in done.jobs.items()}


def every_cluster(hosts: Cluster) -> list[dict[str, Any]]:
    return [host["cluster"] for host in hosts.values() if host["cluster"]]


@pytest.mark.parametrize("minor", minors())
@pytest.mark.parametrize("profile", PROFILES)
def test_after_a_plan_is_carried_out_nothing_is_left_to_do(minor: str, profile: str) -> None:
    for planes, form in ((1, "v1beta4"), (3, "v1beta3")):
        hosts = cluster(minor, planes, 2, form)
        done = planned(hosts, profile=profile, enable=ENABLE)
        assert done.waves["control_planes"] and done.waves["kubelets"] and done.waves["cluster"]
        after = carried_out(hosts, done)
        again = planned(after, profile=profile, enable=ENABLE)
        assert again.empty, [(change.host, change.target, change.diff) for change in again.changes]
        assert not again.changes and not again.restarts
        left = {outcome.id for outcome in again.controls if outcome.status in ("change", "deviation")}
        assert not left


@settings(deadline=None, max_examples=25)
@given(
    minor=st.sampled_from(minors()),
    planes=st.sampled_from([1, 3]),
    workers=st.integers(0, 3),
    extra=st.lists(st.sampled_from(EXTRA), max_size=4),
    profile=st.sampled_from(PROFILES),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_any_cluster(minor: str, planes: int, workers: int, extra: list[str], profile: str, seed: int) -> None:
    """Order never matters, the same input gives the same bytes, and one run is enough."""
    hosts = cluster(minor, planes, workers)
    for name in [name for name in hosts if name.startswith("cp")]:
        path = f"{MANIFESTS}/kube-apiserver.yaml"
        text = hosts[name]["files"][path]["text"]
        text = text.replace("    - kube-apiserver\n", "    - kube-apiserver\n" + "".join(f"    - {flag}\n" for flag in extra))
        hosts[name]["files"][path] = file(text)
        hosts[name]["components"]["kube-apiserver"]["argv"][1:1] = extra
    before = json.dumps(hosts, sort_keys=True)
    done = planned(hosts, profile=profile)
    assert json.dumps(hosts, sort_keys=True) == before
    shuffled = list(all_controls())
    random.Random(seed).shuffle(shuffled)
    reordered = dict(sorted(hosts.items(), reverse=True))
    other = planned(copy.deepcopy(reordered), chosen=shuffled, profile=profile)
    # The inventory's order decides who goes first, so both are compared with the same one.
    assert json.dumps({**done.as_dict(), "waves": 0, "digest": 0}) == json.dumps({**other.as_dict(), "waves": 0, "digest": 0}) or planes > 1
    assert planned(hosts, chosen=shuffled, profile=profile).as_dict() == done.as_dict()
    again = planned(carried_out(hosts, done), profile=profile)
    assert again.empty, [(change.host, change.target, change.diff) for change in again.changes]


def test_the_plan_is_plain_data_and_its_digest_is_its_own() -> None:
    one, other = planned(cluster()), planned(cluster())
    assert json.loads(json.dumps(one.as_dict())) == one.as_dict()
    assert one.digest == other.digest == one.as_dict()["digest"]
    assert planned(cluster(), overrides={"tls-floor": "VersionTLS13"}).digest != one.digest


def test_a_restart_alone_does_not_change_the_digest() -> None:
    hosts = cluster()
    hosts["cp1"]["components"]["etcd"]["pid"] += 1
    assert planned(hosts).digest == planned(cluster()).digest


def test_planning_imports_no_yaml_round_trip_no_cryptography_and_no_ansible() -> None:
    code = (
        "import sys, conftest, factories\n"
        "hosts = factories.cluster()\n"
        "assert not factories.planned(hosts).empty\n"
        "bad = {name.partition('.')[0] for name in sys.modules} & {'ruamel', 'cryptography', 'ansible', 'jinja2'}\n"
        "assert not bad, bad\n"
    )
    root = FIXTURES.parent
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": f"{root}:{root / 'plugin_utils'}", "PATH": "/usr/bin"})


def test_waves_and_their_order() -> None:
    done = planned(cluster("1.36", 3, 2))
    # cp1 leads etcd, so it comes last.
    assert done.waves["control_planes"] == ("cp2", "cp3", "cp1")
    assert done.waves["control_plane_kubelets"] == ("cp2", "cp3", "cp1")
    assert done.waves["kubelets"] == ("w1", "w2")
    assert done.waves["certificates"] == done.waves["cluster"] == ("cp1",)
    assert done.restarts == {"etcd": 3, "kube-apiserver": 3, "kube-controller-manager": 3, "kube-scheduler": 3, "kubelet": 5}
    for jobs in done.jobs.values():
        assert list(jobs) == [wave for wave in WAVES if wave in jobs]
        for job in jobs.values():
            operations = {step["op"] for step in job["steps"]}
            assert not {"kubelet", "static_pods"} <= operations
            assert (job["lease"] is not None) == (job["wave"] in ("control_plane_kubelets", "kube_proxy", "control_planes", "cluster"))


def test_jobs_name_no_run_until_they_are_bound() -> None:
    job = planned(cluster()).jobs["cp1"]["control_planes"]
    assert job["run"] == job["lease"]["holder"] == ""
    bound = bind(job, "run7")
    assert (bound["id"], bound["run"], bound["lease"]["holder"]) == ("run7-control-planes", "run7", "run7")
    assert job["run"] == job["lease"]["holder"] == ""


def test_every_file_of_a_job_has_its_precondition() -> None:
    hosts = cluster()
    done = planned(hosts)
    for name, jobs in done.jobs.items():
        for job in jobs.values():
            for step in job["steps"]:
                changes = step.get("files", [entry["file"] for entry in step.get("changes", {}).values()])
                for change in changes:
                    seen = hosts[name]["files"].get(change["path"], {"type": "absent"})
                    assert change["before"]["type"] == seen["type"]
                    assert change["before"]["sha256"] == seen.get("sha256")
    # The kubelet's configuration loses bits in one wave and gets content in a later one, which expects the new mode.
    change = done.jobs["w1"]["kubelets"]["steps"][0]["files"][0]
    assert (hosts["w1"]["files"][change["path"]]["mode"], change["before"]["mode"], change["mode"]) == ("0644", "0600", "0600")


def test_the_diff_is_what_is_written() -> None:
    hosts = cluster()
    done = planned(hosts)
    change = done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["etcd"]["file"]
    shown = next(entry for entry in done.changes if entry.target == change["path"] and entry.wave == "control_planes")
    new = base64.b64decode(change["content"]).decode()
    added = [line[1:] for line in shown.diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert added and all(line in new for line in added)
    assert shown.restarts == "etcd" and "etcd-tls-floor" in shown.controls


class TestKubeletCertificates:
    def test_a_kubelet_that_waits_serves_its_own_certificate_meanwhile(self) -> None:
        files = planned(cluster()).jobs["w1"]["kubelets"]["steps"][0]["files"]
        links = {change["path"]: change["target"] for change in files if change["type"] == "link"}
        assert links == {"/var/lib/kubelet/pki/kubelet-server.crt": "kubelet.crt", "/var/lib/kubelet/pki/kubelet-server.key": "kubelet.key"}

    def test_no_links_where_a_signed_certificate_is_there(self) -> None:
        hosts = cluster()
        hosts["w1"]["files"]["/var/lib/kubelet/pki/kubelet-server-current.pem"] = {**file(), "type": "link"}
        files = planned(hosts).jobs["w1"]["kubelets"]["steps"][0]["files"]
        assert not [change for change in files if change["type"] == "link"]

    def test_requests_are_approved_for_what_the_hosts_have(self) -> None:
        step = planned(cluster(), node_addresses={"w1": ["192.0.2.7", "w1.example"]}).jobs["cp1"]["certificates"]["steps"][0]
        assert step["nodes"]["w1"] == {"dns": ["w1", "w1.example"], "ip": ["10.89.1.1", "192.0.2.7"]}
        assert step["expect"] == ["cp1", "w1"]

    def test_verification_waits_for_a_node_that_the_inventory_lacks(self) -> None:
        hosts = cluster()
        del hosts["w1"]
        done = planned(hosts)
        assert statuses(done, "apiserver-verifies-kubelet") == {"cp1": "held"}
        assert "w1: not in the inventory" in reasons(done, "apiserver-verifies-kubelet")
        assert "node w1 is in the cluster, but not in the inventory" in done.warnings
        assert done.jobs["cp1"]["certificates"]["steps"][0]["expect"] == ["cp1"]
        argv = done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-apiserver"]["argv"]
        assert not any(item.startswith("--kubelet-certificate-authority") for item in argv)
        assert "kubelet-certificate-authority" not in str(done.jobs["cp1"]["cluster"])

    def test_verification_waits_for_an_unreachable_node(self) -> None:
        hosts = cluster()
        del hosts["w1"]
        done = planned(hosts, unreachable={"w1": "ssh: no route"})
        assert statuses(done, "apiserver-verifies-kubelet") == {"cp1": "held"}
        assert "ssh: no route" in reasons(done, "apiserver-verifies-kubelet")
        assert (
            statuses(done, "kubelet-tls-floor") == {"cp1": "change", "w1": "held", None: "change"}
            or statuses(done, "kubelet-tls-floor")["w1"] == "held"
        )
        assert "kubelet-config is left as it is: w1 could not be observed" in done.warnings

    def test_verification_waits_for_a_control_plane_that_was_not_seen(self) -> None:
        hosts = cluster("1.36", 3, 1)
        del hosts["cp3"]
        done = planned(hosts, unreachable={"cp3": "not part of this run"})
        assert statuses(done, "apiserver-verifies-kubelet") == {"cp1": "held", "cp2": "held", "cp3": "held"}
        assert statuses(done, "kubelet-serving-bootstrap")["w1"] == "held"
        assert not [change for change in done.changes if "kubeadm-config" in change.target]

    def test_verification_waits_for_a_node_with_a_certificate_of_its_own(self) -> None:
        hosts = cluster()
        path = hosts["w1"]["kubelet"]["config"]
        hosts["w1"]["files"][path] = file(document("1.36", "kubelet") + "tlsCertFile: /etc/ssl/w1.crt\n")
        done = planned(hosts)
        assert statuses(done, "kubelet-serving-bootstrap")["w1"] == "held"
        assert "w1: kubelet-serving-bootstrap is held: tlsCertFile is set" in reasons(done, "apiserver-verifies-kubelet")
        # Nodes that join must not get what one of the nodes cannot have.
        assert "serverTLSBootstrap" not in json.dumps(done.jobs["cp1"]["cluster"])

    def test_one_control_plane_that_cannot_verify_is_enough_to_wait(self) -> None:
        hosts = carried_out(cluster("1.36", 3, 1), planned(cluster("1.36", 3, 1)))
        assert planned(hosts).empty
        hosts["cp2"]["cluster"]["kubelets"][-1].update(verified=False, error="certificate has expired")
        done = planned(hosts)
        assert done.waves["certificates"] == ("cp1",)
        assert done.jobs["cp1"]["certificates"]["steps"][0]["expect"] == ["w1"]

    def test_before_the_control_planes_only_what_was_seen_counts(self) -> None:
        hosts = cluster("1.36", 3, 1)
        assert statuses(planned(hosts), "apiserver-verifies-kubelet")["cp1"] == "change"
        after = carried_out(
            hosts,
            Plan(**{**vars(planned(hosts)), "jobs": _only(planned(hosts), "files", "kubelets", "control_plane_kubelets", "certificates")}),
        )
        again = planned(after, stage=CONTROL_PLANES)
        assert statuses(again, "apiserver-verifies-kubelet")["cp1"] == "change"
        assert again.waves["control_planes"] == ("cp2", "cp3", "cp1")
        after["cp2"]["cluster"]["kubelets"][-1].update(verified=False, error="no route to host")
        held = planned(after, stage=CONTROL_PLANES)
        assert set(statuses(held, "apiserver-verifies-kubelet").values()) == {"held"}
        assert "w1: cp2 cannot verify it (no route to host)" in reasons(held, "apiserver-verifies-kubelet")
        assert "kubelet-certificate-authority" not in json.dumps(
            [held.jobs[name]["control_planes"] for name in held.waves["control_planes"]]
        )

    def test_a_request_that_the_approver_refuses_is_a_deviation(self) -> None:
        hosts = cluster()
        request = {"name": "csr-1", "node": "w1", "state": "pending", "created": NOW, "verdict": "the address 8.8.8.8 is not w1's"}
        for seen in every_cluster(hosts):
            seen["serving_csrs"] = [request]
        done = planned(hosts)
        assert ("kubelet-serving-bootstrap", "w1", "deviation") in {(one.id, one.host, one.status) for one in done.controls}
        assert statuses(done, "apiserver-verifies-kubelet") == {"cp1": "held"}
        assert "8.8.8.8" in reasons(done, "apiserver-verifies-kubelet")

    def test_a_waiting_request_is_approved_although_nothing_else_changes(self) -> None:
        hosts = carried_out(cluster(), planned(cluster()))
        for seen in every_cluster(hosts):
            seen["serving_csrs"] = [{"name": "csr-9", "node": "w1", "state": "pending", "created": NOW, "verdict": "ok"}]
        done = planned(hosts)
        assert {wave for wave, names in done.waves.items() if names} == {"certificates"}
        assert planned(carried_out(hosts, done)).empty

    def test_an_external_ca_holds_bootstrap(self) -> None:
        hosts = cluster()
        del hosts["cp1"]["files"]["/etc/kubernetes/pki/ca.key"]
        done = planned(hosts)
        assert set(statuses(done, "kubelet-serving-bootstrap").values()) == {"held"}
        assert "/etc/kubernetes/pki/ca.key is not on cp1" in reasons(done, "kubelet-serving-bootstrap")
        assert not done.waves["certificates"]

    def test_our_approver_is_installed_on_every_control_plane(self) -> None:
        hosts = cluster("1.36", 3, 1)
        done = planned(hosts)
        for name in ("cp1", "cp2", "cp3"):
            steps = done.jobs[name]["files"]["steps"]
            units = {"op": "units", "daemon_reload": True, "enable": [approver.TIMER], "start": [approver.TIMER]}
            assert {**units, "controls": ["kubelet-serving-bootstrap"]} in steps
            paths = [change["path"] for step in steps if step["op"] == "files" for change in step["files"]]
            assert {approver.PROGRAM, approver.CONFIG} <= set(paths)
        assert "units" not in {step["op"] for step in done.jobs["w1"]["files"]["steps"]}

    def test_an_approver_of_somebody_else_is_enough(self) -> None:
        hosts = cluster()
        for seen in every_cluster(hosts):
            seen["approvers"] = ["kubelet-csr-approver"]
        done = planned(hosts)
        assert not [change for change in done.changes if approver.PROGRAM in change.target]
        assert statuses(done, "kubelet-serving-bootstrap")["w1"] == "change"

    def test_without_a_program_and_without_another_approver_bootstrap_is_held(self) -> None:
        hosts = cluster()
        found = plan(hosts, all_controls(), Settings(), inventory(hosts), NOW, flags=all_flags())
        assert statuses(found, "kubelet-serving-bootstrap") == {"cp1": "held", "w1": "held"}

    def test_the_approver_learns_of_a_new_node(self) -> None:
        hosts = carried_out(cluster(), planned(cluster()))
        bigger = cluster("1.36", 1, 2)
        hosts["w2"] = bigger["w2"]
        for seen, new in zip(every_cluster(hosts), every_cluster(bigger)):
            seen["nodes"] = new["nodes"]
            seen["kubelets"].append(new["kubelets"][-1])
        done = planned(hosts)
        assert [change.target for change in done.changes if change.host == "cp1" and change.wave == "files" and not change.is_object] == [
            approver.CONFIG
        ]
        assert planned(carried_out(hosts, done)).empty


class TestRefusals:
    def refused(self, hosts: Cluster, *words: str, **variables: Any) -> None:
        with pytest.raises(PlanErrors) as caught:
            planned(hosts, **variables)
        for word in words:
            assert word in str(caught.value)

    def test_a_node_that_is_not_ready(self) -> None:
        hosts = cluster()
        for seen in every_cluster(hosts):
            seen["nodes"][1]["ready"] = False
        self.refused(hosts, "w1", "not ready")

    def test_but_not_where_nothing_is_to_change(self) -> None:
        hosts = carried_out(cluster(), planned(cluster()))
        for seen in every_cluster(hosts):
            seen["nodes"][1]["ready"] = False
        assert planned(hosts).empty

    def test_an_apiserver_that_does_not_answer(self) -> None:
        hosts = cluster("1.36", 3, 1)
        hosts["cp2"]["cluster"] = None
        self.refused(hosts, "cp2", "apiserver is not ready")

    def test_a_control_plane_that_joined_without_its_documents(self) -> None:
        hosts = carried_out(cluster("1.36", 3, 1), planned(cluster("1.36", 3, 1)))
        document = next(path for path in hosts["cp2"]["files"] if "/ninepaths/audit-policy-" in path)
        hosts["cp2"]["files"][document] = {"type": "absent"}
        hosts["cp2"]["cluster"] = None
        hosts["cp2"]["components"]["kube-apiserver"].update(pid=None, argv=[])
        self.refused(hosts, f"cp2: {document}", "names this file, which is not there", "prepare")

    def test_an_etcd_member_that_is_not_healthy(self) -> None:
        hosts = cluster("1.36", 3, 1)
        hosts["cp1"]["cluster"]["etcd"]["members"][2]["healthy"] = False
        self.refused(hosts, "cp3", "etcd member cp3 is not healthy")

    def test_a_worker_among_the_control_planes(self) -> None:
        hosts = cluster()
        wrong = Inventory(("cp1", "w1"), ("cp1",), (), {})
        with pytest.raises(PlanErrors, match="w1: it is in the group kube_control_plane, but runs no kube-apiserver"):
            plan(hosts, all_controls(), Settings(), wrong, NOW, flags=all_flags(), assets=ASSETS)

    def test_a_control_plane_among_the_workers(self) -> None:
        hosts = cluster("1.36", 3, 0)
        wrong = Inventory(("cp1", "cp2"), ("cp1", "cp2", "cp3"), ("cp3",), {})
        with pytest.raises(PlanErrors, match="cp3: it runs a kube-apiserver"):
            plan(hosts, all_controls(), Settings(), wrong, NOW, flags=all_flags(), assets=ASSETS)

    def test_a_machine_that_is_no_node(self) -> None:
        hosts = cluster()
        for seen in every_cluster(hosts):
            seen["nodes"].pop()
        self.refused(hosts, "w1: the cluster has no node w1")

    def test_a_machine_without_kubelet(self) -> None:
        hosts = cluster()
        hosts["w1"].update(kubelet=None, layout="none")
        self.refused(hosts, "w1: it has no kubelet")

    def test_two_names_for_one_machine(self) -> None:
        hosts = cluster()
        hosts["w9"] = copy.deepcopy(hosts["w1"])
        self.refused(hosts, "w9: it is the same node (w1) as w1")

    def test_problems_of_the_observation(self) -> None:
        hosts = cluster()
        hosts["w1"]["problems"] = [{"file": "/etc/x", "cause": "cannot be read", "advice": "mend it"}]
        self.refused(hosts, "w1: /etc/x: cannot be read; mend it")

    def test_a_manifest_that_is_no_yaml(self) -> None:
        hosts = cluster()
        path = f"{MANIFESTS}/kube-scheduler.yaml"
        hosts["w1"]["files"][path] = file("a: [1,\n")
        hosts["w1"]["components"]["kube-scheduler"] = {**hosts["cp1"]["components"]["kube-scheduler"], "argv": []}
        self.refused(hosts, "w1", path, "YAML")

    def test_everything_is_said_at_once(self) -> None:
        hosts = cluster()
        hosts["cp1"]["files"][f"{MANIFESTS}/etcd.yaml"] = file("- x\n")
        hosts["w1"]["files"][hosts["w1"]["kubelet"]["config"]] = file("a: *b\n")
        self.refused(hosts, "cp1: /etc/kubernetes/manifests/etcd.yaml", "w1: /var/lib/kubelet/config.yaml")

    def test_a_copy_of_a_manifest_that_is_to_change(self) -> None:
        hosts = cluster()
        hosts["cp1"]["manifests_foreign"] = [f"{MANIFESTS}/kube-vip.yaml", f"{MANIFESTS}/kube-apiserver.yaml.bak"]
        self.refused(hosts, "kube-apiserver.yaml.bak", "move it out")
        hosts["cp1"]["manifests_foreign"].pop()
        assert planned(hosts).waves["control_planes"]

    def test_a_manifest_that_is_no_yaml_is_named_and_stops_nothing(self) -> None:
        hosts = cluster()
        hosts["cp1"]["manifest_shapes"] = {f"{MANIFESTS}/broken.yaml": "a: [1,\n", f"{MANIFESTS}/vip.yaml": 'aaaa: &a "\\a"\naa: *a\naaaa: 1\n'}
        assert [text for text in planned(hosts).warnings if "YAML" in text] == [
            "cp1: /etc/kubernetes/manifests/broken.yaml: cannot be read as YAML; kubelet ignores it, too"
        ]

    def test_what_is_not_offered_is_so_on_a_host_that_was_not_observed(self) -> None:
        hosts = cluster()
        del hosts["cp1"]
        made = planned(hosts, unreachable={"cp1": NOT_PART})
        held = {outcome.id: outcome for outcome in made.controls if outcome.host == "cp1"}
        assert held["encryption-at-rest"].held_by == "not-offered-yet" and "data-at-rest work" in held["encryption-at-rest"].reason
        assert held["apiserver-profiling-off"].held_by == "observation"
        assert not any(NOT_PART in text for text in made.warnings), "one line says it for all"

    def test_what_makes_room_for_tls_1_3_is_explained_by_that(self) -> None:
        hosts = cluster()
        hardened = carried_out(hosts, planned(hosts))
        (edit,) = [change for change in planned(hardened, overrides={"tls-floor": "VersionTLS13"}).changes if change.target.endswith("etcd.yaml")]
        assert "etcd-ciphers" in edit.controls and "TLS 1.3 becomes the floor" in edit.reason

    def test_a_version_without_data(self) -> None:
        hosts = cluster()
        hosts["w1"]["kubelet"]["version"] = "v1.99.0"
        self.refused(hosts, "w1", "1.99")

    def test_a_version_that_nobody_reports(self) -> None:
        hosts = cluster()
        path = f"{MANIFESTS}/etcd.yaml"
        hosts["cp1"]["files"][path] = file(hosts["cp1"]["files"][path]["text"].replace("etcd:3.6.8-0", "etcd:latest"))
        self.refused(hosts, "cp1", path, "version of etcd")


def test_an_etcd_that_is_no_static_pod_is_said_to_be_none() -> None:
    hosts = cluster()
    del hosts["cp1"]["components"]["etcd"]
    without = Inventory(("cp1",), (), ("w1",), {})
    done = plan(hosts, all_controls(), Settings(), without, NOW, flags=all_flags(), assets=ASSETS)
    assert statuses(done, "etcd-tls-floor") == {None: "not-applicable"}


def test_settings_decide_what_is_judged() -> None:
    done = planned(cluster(), waivers=[{"control": "apiserver-profiling-off", "reason": "we profile"}], paths=[3])
    assert statuses(done, "apiserver-profiling-off") == {None: "waived"}
    assert statuses(done, "etcd-tls-floor") == {None: "disabled"}
    assert not any(
        item == "--profiling=false" for item in done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-apiserver"]["argv"]
    )


def test_an_expired_waiver_is_a_deviation() -> None:
    done = planned(cluster(), waivers=[{"control": "apiserver-profiling-off", "reason": "we profile", "until": "2020-01-01"}])
    assert statuses(done, "apiserver-profiling-off") == {None: "deviation"}


def test_no_secret_is_shown() -> None:
    hosts = cluster()
    path = hosts["w1"]["kubelet"]["flags_env"]
    hosts["w1"]["kubelet"]["argv"].append("--anonymous-auth=true")
    hosts["w1"]["files"][path] = file('KUBELET_KUBEADM_ARGS="--anonymous-auth=true"\nREGISTRY_PASSWORD=hunter2secret\n')
    done = planned(hosts)
    assert "hunter2secret" not in json.dumps(done.as_dict()["changes"])
    change = next(entry for entry in done.changes if entry.target == path and entry.wave == "kubelets")
    assert "-KUBELET_KUBEADM_ARGS" in change.diff and "REGISTRY_PASSWORD=********" in change.diff


def test_real_observations() -> None:
    """What was observed on the test bed."""
    hosts = {name: json.loads((FIXTURES / f"observation-{name}.json").read_text()) for name in ("cp1", "w1")}
    done = planned(hosts)
    assert done.waves["kubelets"] == ("w1",) and done.waves["control_planes"] == ("cp1",)
    assert not [outcome for outcome in done.controls if outcome.status == "deviation"]
    assert planned(carried_out(hosts, done)).empty


class TestWhatOneRunMustNotForget:
    """A run that sees only a part of the cluster, or comes at the wrong moment."""

    def test_the_approver_keeps_a_node_that_was_not_observed(self) -> None:
        whole = carried_out(cluster("1.36", 1, 2), planned(cluster("1.36", 1, 2)))
        part = {name: host for name, host in whole.items() if name != "w2"}
        done = planned(part, unreachable={"w2": "not part of this run (--limit cp1,w1)"})
        assert [change.target for change in done.changes if change.target == approver.CONFIG] == []

    def test_the_approver_forgets_a_node_that_has_left_the_cluster(self) -> None:
        whole = carried_out(cluster("1.36", 1, 2), planned(cluster("1.36", 1, 2)))
        part = {name: host for name, host in whole.items() if name != "w2"}
        for seen in every_cluster(part):
            seen["nodes"] = [node for node in seen["nodes"] if node["name"] != "w2"]
            seen["kubelets"] = [entry for entry in seen["kubelets"] if entry["node"] != "w2"]
        done = planned(part)
        assert approver.CONFIG in [change.target for change in done.changes] and not done.restarts

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": 1}', '{"nodes": {"w1": {"dns": 1}}}'])
    def test_a_damaged_configuration_of_the_approver_is_written_anew(self, text: str) -> None:
        assert approver.read(text) == {}

    def test_a_transaction_at_work_is_named_as_the_cause(self) -> None:
        hosts = cluster()
        hosts["cp1"]["journals"] = [{"id": "20261121T000000Z-abc-control-planes", "run": "r", "state": "open", "step": "", "at": NOW}]
        hosts["cp1"]["cluster"]["readyz"] = False
        with pytest.raises(PlanErrors) as caught:
            planned(hosts)
        assert [error.host for error in caught.value.errors] == ["cp1"]
        assert "another run is at work" in str(caught.value)

    def test_an_undo_that_failed_stops_the_plan_with_its_own_cause(self) -> None:
        hosts = cluster()
        why = {"cause": "/etc/x was changed since its undo failed", "advice": "decide by hand"}
        hosts["w1"]["journals"] = [{"id": "20261121T000000Z-abc-kubelets", "run": "r", "state": "failed", "step": "", "at": NOW, **why}]
        with pytest.raises(PlanErrors, match=r"w1.*could not be undone: /etc/x was changed since its undo failed; decide by hand"):
            planned(hosts)

    def test_the_undo_timer_of_kube_proxy_leaves_time_for_its_rollout_and_back(self) -> None:
        from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import objects

        assert (proxy.ROLLOUT, proxy.ROLLOUT_PER_NODE) == (objects.ROLLOUT, objects.ROLLOUT_PER_NODE)
        roll = {"op": "configmap", "name": "kube-proxy"}
        assert proxy.undo_after([{"op": "approve"}, {"op": "configmap", "name": "kubelet-config"}], 100) == 900
        assert proxy.undo_after([roll], 100) == 900 + 2 * (120 + 30 * 100)
        hosts = cluster()
        data = hosts["cp1"]["cluster"]["configmaps"]["kube-proxy"]["data"]
        data["config.conf"] = data["config.conf"].replace('metricsBindAddress: ""', "metricsBindAddress: 0.0.0.0:10249")
        done = planned(hosts)
        assert done.jobs["cp1"]["kube_proxy"]["undo_after_s"] == 900 + 2 * (120 + 30 * done.cluster["nodes"])
        assert {job["undo_after_s"] for jobs in done.jobs.values() for wave, job in jobs.items() if wave != "kube_proxy"} == {900}

    def test_an_operators_value_decides_where_any_value_would_do(self) -> None:
        hosts = carried_out(cluster(), planned(cluster()))
        done = planned(hosts, overrides={"apiserver-request-timeout": "2m0s"})
        assert {change.target for change in done.changes if change.wave == "control_planes"} == {f"{MANIFESTS}/kube-apiserver.yaml"}
        assert "--request-timeout=2m0s" in "".join(change.diff for change in done.changes)
        assert planned(carried_out(hosts, done), overrides={"apiserver-request-timeout": "2m0s"}).empty

    def test_an_undo_is_judged_by_the_probes_of_the_old_manifest(self) -> None:
        hosts = cluster()
        path = f"{MANIFESTS}/kube-scheduler.yaml"
        text = hosts["cp1"]["files"][path]["text"].replace("127.0.0.1", "192.0.2.11")
        hosts["cp1"]["files"][path] = file(text)
        hosts["cp1"]["components"]["kube-scheduler"]["argv"] = [
            word.replace("127.0.0.1", "192.0.2.11") for word in hosts["cp1"]["components"]["kube-scheduler"]["argv"]
        ]
        step = next(step for step in planned(hosts).jobs["cp1"]["control_planes"]["steps"] if step["op"] == "static_pods")
        change = step["changes"]["kube-scheduler"]
        assert {probe["host"] for probe in change["probes"].values()} == {"127.0.0.1"}
        assert {probe["host"] for probe in change["old_probes"].values()} == {"192.0.2.11"}
