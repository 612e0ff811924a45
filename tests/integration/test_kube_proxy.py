# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy's configuration is a ConfigMap that it reads at its start: a change has to reach a new process on every node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from .bed import ROOT, Bed
from .live import NAMESPACE, example, read_report, start_pods

pytestmark = pytest.mark.changes_cluster

ONLY_PATH_9 = ("-e", '{"ninepaths_paths": [9]}')
OBJECT = ("-n", "kube-system")
EXPOSE = """
set -e
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl -n kube-system get configmap kube-proxy -o yaml | sed 's/metricsBindAddress: .*/metricsBindAddress: 0.0.0.0:10249/' | kubectl replace -f -
kubectl -n kube-system rollout restart daemonset/kube-proxy
kubectl -n kube-system rollout status daemonset/kube-proxy --timeout=120s
"""
# kube-proxy of the node as it runs: its process, when that was started, and where it listens for metrics.
PROCESS = """
pid=$(pgrep -x kube-proxy)
echo "$pid $(awk '{print $22}' /proc/$pid/stat) $(ss -Hltn 'sport = :10249' | awk '{print $4}' | paste -sd,)"
"""


def configuration(bed: Bed) -> dict[str, Any]:
    """What the ConfigMap says."""
    found = json.loads(bed.kubectl(*OBJECT, "get", "configmap", "kube-proxy", "-o", "json"))
    configuration: dict[str, Any] = yaml.safe_load(found["data"]["config.conf"])
    return configuration


def state(bed: Bed) -> dict[str, str]:
    """Everything of kube-proxy that a run could touch: ConfigMap, DaemonSet, and the process of every node."""
    versions = bed.kubectl(*OBJECT, "get", "configmap/kube-proxy", "daemonset/kube-proxy", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    return {"objects": versions, **{node: bed.root(node, PROCESS) for node in bed.nodes}}


def metrics(bed: Bed, node: str) -> str:
    """Whether the node's kube-proxy gives its metrics to another machine: the HTTP status, 000 for none."""
    other = next(name for name in bed.nodes if name != node)
    address = next(entry["address"] for entry in bed.facts["nodes"] if entry["name"] == node)
    command = f"curl --silent --output /dev/null --max-time 5 --retry 10 --retry-connrefused --retry-delay 1 --write-out '%{{http_code}}' http://{address}:10249/metrics"
    return bed.ssh(other, command, check=False)


def service_answer(bed: Bed, node: str) -> str:
    """A pod of the node resolves a name by the DNS Service and asks the kubernetes Service for its version."""
    script = (
        "nslookup kubernetes.default.svc.cluster.local >/dev/null && "
        "curl --silent --show-error --max-time 10 --output /dev/null --write-out '%{http_code}' "
        "--cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://kubernetes.default.svc.cluster.local/readyz"
    )
    return bed.kubectl("-n", NAMESPACE, "exec", f"tool-{node}", "--", "sh", "-c", script)


@pytest.fixture(scope="module")
def exposed(bed: Bed) -> dict[str, str]:
    """A cluster whose kube-proxies tell everybody their metrics, as an operator has set them to; its state."""
    start_pods(bed)
    bed.root(bed.facts["nodes"][0]["name"], EXPOSE)
    assert {node: metrics(bed, node) for node in bed.nodes} == dict.fromkeys(bed.nodes, "200")
    return state(bed)


@pytest.fixture(scope="module")
def checked(bed: Bed, exposed: dict[str, str]) -> str:
    """`--check --diff` before anything is changed."""
    run = bed.playbook("harden", "--check", "--diff", *ONLY_PATH_9)
    assert run.rc == 2, run.output
    assert state(bed) == exposed
    return run.output


@pytest.fixture(scope="module")
def corrected(bed: Bed, checked: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that corrects it; its report."""
    folder = tmp_path_factory.mktemp("report")
    run = bed.playbook("harden", *ONLY_PATH_9, "-e", f"ninepaths_report_dir={folder}")
    assert run.rc == 0, run.output
    return read_report(folder)


def test_check_shows_the_change(checked: str) -> None:
    for shown in ("ConfigMap kube-system/kube-proxy", "-metricsBindAddress: 0.0.0.0:10249", "+metricsBindAddress: 127.0.0.1:10249", "restarts: kube-proxy 1"):
        assert shown in checked, f"not shown: {shown}\n{checked}"


def test_every_node_has_a_new_process_with_the_new_configuration(bed: Bed, exposed: dict[str, str], corrected: dict[str, Any]) -> None:
    assert configuration(bed)["metricsBindAddress"] == "127.0.0.1:10249"
    assert corrected["restarts"] == {"kube-proxy": 1}
    for node in bed.nodes:
        bed.root(node, "for try in 1 2 3 4 5 6 7 8 9 10; do ss -Hltn 'sport = :10249' | grep -q . && exit; sleep 1; done; exit 1")
        old, new = exposed[node].split(), bed.root(node, PROCESS).split()
        assert new[:2] != old[:2], f"{node}: still the process of before"
        assert new[2:] == ["127.0.0.1:10249"], f"{node}: listens at {new[2:]}"
        assert metrics(bed, node) == "000"


def test_services_are_still_routed_on_every_node(bed: Bed, corrected: dict[str, Any]) -> None:
    assert corrected
    assert {node: service_answer(bed, node) for node in bed.nodes} == dict.fromkeys(bed.nodes, "200")


def test_a_second_run_changes_nothing(bed: Bed, corrected: dict[str, Any]) -> None:
    assert corrected
    before = state(bed)
    run = bed.playbook("harden", *ONLY_PATH_9)
    assert run.rc == 0, run.output
    assert "nothing to change" in run.output and run.changed == 0, run.output
    assert state(bed) == before


def test_the_role_corrects_it_too(bed: Bed, corrected: dict[str, Any], tmp_path: Path) -> None:
    assert corrected
    bed.root(bed.facts["nodes"][0]["name"], EXPOSE)
    assert configuration(bed)["metricsBindAddress"] == "0.0.0.0:10249"
    (tmp_path / "role.yml").write_text(example(ROOT / "roles" / "harden" / "README.md", "roles:"), encoding="utf-8")
    run = bed.play(tmp_path / "role.yml", *ONLY_PATH_9)
    assert run.rc == 0 and run.changed == 1, run.output
    assert configuration(bed)["metricsBindAddress"] == "127.0.0.1:10249"
