# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubeadm writes at the next upgrade is what the plan has set."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils import _yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import kubeadm_config
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Plan, PlanErrors
from factories import MANIFESTS, Cluster, argv, carried_out, cluster, file, planned


def configmap(done: Plan, name: str) -> dict[str, str] | None:
    """The data that a ConfigMap is to have; None where it stays."""
    waves = done.jobs.get("cp1", {})
    steps = [step for wave in ("kube_proxy", "cluster") for step in waves.get(wave, {"steps": []})["steps"]]
    return next((step["data"] for step in steps if step["name"] == name), None)


def arguments(done: Plan) -> kubeadm_config.ClusterConfiguration:
    data = configmap(done, "kubeadm-config")
    assert data is not None
    return kubeadm_config.parse(data["ClusterConfiguration"])


def with_data(hosts: Cluster, name: str, key: str, text: str) -> Cluster:
    for host in hosts.values():
        if host["cluster"]:
            host["cluster"]["configmaps"][name]["data"][key] = text
    return hosts


def with_flag(hosts: Cluster, component: str, flag: str) -> Cluster:
    for name in [name for name in hosts if name.startswith("cp")]:
        path = f"{MANIFESTS}/{component}.yaml"
        text = hosts[name]["files"][path]["text"].replace(f"    - {component}\n", f"    - {component}\n    - {flag}\n")
        hosts[name]["files"][path] = file(text)
        hosts[name]["components"][component]["argv"] = argv(text)
    return hosts


@pytest.mark.parametrize("form", ["v1beta3", "v1beta4"])
def test_what_the_manifests_get_goes_to_kubeadm_config(form: str) -> None:
    done = planned(cluster("1.36", 3, 1, form))
    config = arguments(done)
    argv_after = done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        new = [item for item in argv_after[component]["argv"] if item not in cluster("1.36", 3, 1)["cp1"]["components"][component]["argv"]]
        assert new
        for item in new:
            name, _equals, value = item[2:].partition("=")
            assert config.values(component, name) == (value,)
    assert config.mount_paths("kube-apiserver") == {path: path for path in ("/etc/kubernetes/ninepaths", "/var/log/kubernetes/audit")}


def test_what_kubeadm_writes_by_itself_is_left_out() -> None:
    config = arguments(planned(cluster()))
    for flag in ("authorization-mode", "enable-admission-plugins", "client-ca-file", "secure-port", "tls-cert-file"):
        assert config.values("kube-apiserver", flag) == ()
    assert config.values("kube-controller-manager", "bind-address") == ()
    assert config.values("etcd", "client-cert-auth") == ()


def test_an_extended_default_is_written_whole() -> None:
    config = arguments(planned(cluster(), enable=["always-pull-images"]))
    assert config.values("kube-apiserver", "enable-admission-plugins") == ("NodeRestriction,AlwaysPullImages",)


def test_a_config_map_that_lacks_what_the_hosts_have_is_a_change() -> None:
    hosts = carried_out(cluster(), planned(cluster()))
    text = hosts["cp1"]["cluster"]["configmaps"]["kubeadm-config"]["data"]["ClusterConfiguration"]
    with_data(
        hosts,
        "kubeadm-config",
        "ClusterConfiguration",
        "".join(line for line in text.splitlines(keepends=True) if "366" not in line and "maxage" not in line),
    )
    done = planned(hosts)
    assert {wave for wave, names in done.waves.items() if names} == {"cluster"}
    assert ("audit-log-maxage", None, "change") in {(one.id, one.host, one.status) for one in done.controls}
    assert planned(carried_out(hosts, done)).empty


def test_a_weak_extra_argument_is_corrected_and_others_stay() -> None:
    text = """\
# Kim's
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  certSANs: [a.example]   # the load balancer
  extraArgs:
  - name: profiling
    value: "true"
  - name: v
    value: "4"
  - name: audit-log-maxage
    value: "90"
"""
    after = arguments(planned(with_data(cluster(), "kubeadm-config", "ClusterConfiguration", text)))
    assert after.values("kube-apiserver", "profiling") == ("false",)
    assert after.values("kube-apiserver", "v") == ("4",)
    assert after.values("kube-apiserver", "audit-log-maxage") == ("90",)
    assert after.text.startswith(text.partition("  - name: profiling")[0])


def test_dropped_flags_leave_kubeadm_config_too() -> None:
    head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
    text = head + "apiServer:\n  extraArgs:\n  - {name: anonymous-auth, value: 'true'}\n"
    hosts = with_flag(with_data(cluster(), "kubeadm-config", "ClusterConfiguration", text), "kube-apiserver", "--anonymous-auth=true")
    assert arguments(planned(hosts)).values("kube-apiserver", "anonymous-auth") == ()


def test_a_value_of_the_operator_with_volumes_is_named_and_not_overwritten() -> None:
    hosts = with_flag(cluster(), "kube-apiserver", "--audit-policy-file=/etc/kubernetes/mine.yaml")
    done = planned(hosts)
    assert arguments(done).values("kube-apiserver", "audit-policy-file") == ()
    assert [warning for warning in done.warnings if "--audit-policy-file is /etc/kubernetes/mine.yaml" in warning and "lost at the next upgrade" in warning]


def test_a_number_of_the_operator_goes_there_as_it_is() -> None:
    hosts = with_flag(cluster(), "kube-apiserver", "--audit-log-maxage=90")
    assert arguments(planned(hosts)).values("kube-apiserver", "audit-log-maxage") == ("90",)


def test_values_that_differ_between_control_planes_are_named() -> None:
    hosts = cluster("1.36", 3, 1)
    one = {"cp1": hosts["cp1"]}
    with_flag(one, "kube-apiserver", "--audit-log-maxage=90")
    done = planned(hosts)
    assert arguments(done).values("kube-apiserver", "audit-log-maxage") == ()
    assert [warning for warning in done.warnings if "--audit-log-maxage differs" in warning]


def test_ciphers_that_go_for_tls_1_3_go_from_kubeadm_config_too() -> None:
    """etcd does not start with a cipher list and TLS 1.3 as its floor, so the next member would not join."""
    hosts = carried_out(cluster(), planned(cluster()))
    done = planned(hosts, overrides={"tls-floor": "VersionTLS13"})
    assert not any(item.startswith("--cipher-suites") for item in done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["etcd"]["argv"])
    assert arguments(done).values("etcd", "tls-min-version") == ("TLS1.3",)
    assert arguments(done).values("etcd", "cipher-suites") == ()
    assert planned(carried_out(hosts, done), overrides={"tls-floor": "VersionTLS13"}).empty


def test_a_flag_that_the_next_minor_does_not_know_is_left_out() -> None:
    """No control names such a flag today, so the data is made to lack one."""
    import dataclasses

    from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
    from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.plan import plan
    from factories import ASSETS, NOW, all_controls, all_flags, inventory

    known: dict[str, Any] = {minor: dict(entry) for minor, entry in all_flags().kubernetes.items()}
    later = {name: dict(flags) for name, flags in known["1.36"]["flags"].items()}
    del later["kube-apiserver"]["request-timeout"]
    known["1.36"] = {**known["1.36"], "flags": later}
    hosts = cluster("1.35")
    done = plan(hosts, all_controls(), Settings(), inventory(hosts), NOW, flags=dataclasses.replace(all_flags(), kubernetes=known), assets=ASSETS)
    assert "--request-timeout=1m0s" in done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-apiserver"]["argv"]
    assert arguments(done).values("kube-apiserver", "request-timeout") == ()
    assert [warning for warning in done.warnings if "--request-timeout is unknown to kube-apiserver 1.36" in warning]


def test_what_works_only_with_patched_probes_is_left_to_a_patch() -> None:
    """kubeadm would write its anonymous probes beside it, and kubelet would kill the apiserver after the upgrade."""
    hosts = cluster()
    path = f"{MANIFESTS}/kube-apiserver.yaml"
    text = re.sub(r"      httpGet:\n(        .*\n)+", "      exec:\n        command: [/healthy]\n", hosts["cp1"]["files"][path]["text"])
    hosts["cp1"]["files"][path] = file(text)
    done = planned(hosts, profile="cis-level-2")
    assert "--anonymous-auth=false" in done.jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-apiserver"]["argv"]
    assert arguments(done).values("kube-apiserver", "anonymous-auth") == ()
    assert [warning for warning in done.warnings if "--anonymous-auth works only with probes" in warning and "lost at the next upgrade" in warning]


def test_an_external_etcd_is_not_configured_by_kubeadm() -> None:
    text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd: {external: {endpoints: [https://10.0.0.9:2379]}}\n"
    assert arguments(planned(with_data(cluster(), "kubeadm-config", "ClusterConfiguration", text))).data["etcd"] == {
        "external": {"endpoints": ["https://10.0.0.9:2379"]}
    }


def test_kubelet_config_gets_what_the_kubelets_have() -> None:
    done = planned(cluster())
    data = configmap(done, "kubelet-config")
    assert data is not None
    found: Any = _yaml.load(data["kubelet"])
    assert (found["serverTLSBootstrap"], found["tlsMinVersion"], found["streamingConnectionIdleTimeout"]) == (True, "VersionTLS12", "5m0s")


def test_kube_proxy_is_one_for_the_cluster() -> None:
    hosts = cluster()
    text = hosts["cp1"]["cluster"]["configmaps"]["kube-proxy"]["data"]["config.conf"]
    assert configmap(planned(hosts), "kube-proxy") is None
    done = planned(with_data(hosts, "kube-proxy", "config.conf", text.replace('metricsBindAddress: ""', "metricsBindAddress: 0.0.0.0:10249  # old")))
    data = configmap(done, "kube-proxy")
    assert data is not None and set(data) == {"config.conf"}
    assert "metricsBindAddress: 127.0.0.1:10249  # old\n" in data["config.conf"]
    assert done.restarts["kube-proxy"] == 1
    assert done.waves["kube_proxy"] == ("cp1",)  # before AlwaysPullImages can be in force
    (change,) = [change for change in done.changes if change.target == "ConfigMap kube-system/kube-proxy"]
    assert "Upgrades" not in change.reason  # kubeadm writes nothing there at an upgrade


def test_a_cluster_without_these_config_maps() -> None:
    hosts = cluster()
    for host in hosts.values():
        if host["cluster"]:
            host["cluster"]["configmaps"] = dict.fromkeys(("kubeadm-config", "kubelet-config", "kube-proxy"))
    done = planned(hosts)
    assert not done.waves["cluster"]
    assert [outcome.status for outcome in done.controls if outcome.id == "kube-proxy-metrics-loopback"] == ["not-applicable"]


@pytest.mark.parametrize(
    ("name", "key", "text", "words"),
    [
        ("kubeadm-config", "ClusterConfiguration", "a: [", "YAML"),
        ("kubeadm-config", "ClusterConfiguration", "kind: ClusterConfiguration\napiVersion: kubeadm.k8s.io/v1beta1\n", "v1beta1"),
        ("kubelet-config", "kubelet", "a: &a [*a]", "alias"),
        ("kube-proxy", "config.conf", "[]", "no mapping"),
    ],
)
def test_a_config_map_that_cannot_be_judged_is_named(name: str, key: str, text: str, words: str) -> None:
    with pytest.raises(PlanErrors, match=f"cp1: ConfigMap kube-system/{name}: .*{words}"):
        planned(with_data(cluster(), name, key, text))


def test_an_unknown_field_in_kubelet_config_is_a_warning() -> None:
    hosts = cluster()
    text = hosts["cp1"]["cluster"]["configmaps"]["kubelet-config"]["data"]["kubelet"]
    done = planned(with_data(hosts, "kubelet-config", "kubelet", text + "readonlyPort: 0\n"))
    assert [warning for warning in done.warnings if "readonlyPort" in warning]
