# SPDX-License-Identifier: GPL-3.0-or-later
"""kubectl on a control plane, as administrator, and the checks that make a bed usable."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tests.testbed.bed import Bed, Node
from tests.testbed.errors import CommandError
from tests.testbed.podman import Podman

CHECK_NAMESPACE = "testbed-check"


@dataclass(frozen=True)
class Kubectl:
    podman: Podman
    control_plane: Node

    def __call__(self, *arguments: str, stdin: bytes = b"", timeout: float = 300.0) -> str:
        argv = ["env", "KUBECONFIG=/etc/kubernetes/admin.conf", "kubectl", *arguments]
        return self.podman.execute(self.control_plane.container, argv, stdin=stdin, timeout=timeout)


def eventually(kubectl: Kubectl, *arguments: str, seconds: float = 180.0) -> str:
    """A command again and again until it succeeds: an apiserver that is going refuses, and one that was started a moment ago forbids everything."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return kubectl(*arguments)
        except CommandError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def wait_until_ready(kubectl: Kubectl) -> None:
    kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s")
    for workload in ("daemonset/kube-proxy", "deployment/coredns"):
        kubectl("--namespace=kube-system", "rollout", "status", workload, "--timeout=180s")


def check_pod(node: Node, image: str) -> dict[str, Any]:
    """A pod on this very node that answers HTTP on port 8080."""
    command = ["sh", "-c", "mkdir /tmp/w && echo ok > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"]
    probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    server = {"name": "tool", "image": image, "command": command, "readinessProbe": probe}
    spec = {"nodeName": node.name, "containers": [server], "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node.name, "namespace": CHECK_NAMESPACE}, "spec": spec}


def check_network(kubectl: Kubectl, bed: Bed) -> None:
    """From a pod of every node: the cluster's DNS, and the pods of all nodes."""
    nodes = [node for node in bed.nodes if node.joined]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CHECK_NAMESPACE}}
    items = [namespace, *(check_pod(node, bed.tool_image) for node in nodes)]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode())
    inside = f"--namespace={CHECK_NAMESPACE}"
    kubectl(inside, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s")
    addresses = kubectl(inside, "get", "pods", "--output=jsonpath={.items[*].status.podIP}").split()
    fetches = " && ".join(f"curl --silent --show-error --fail --max-time 5 http://{address}:8080/ >/dev/null" for address in addresses)
    for node in nodes:
        kubectl(inside, "exec", node.name, "--", "sh", "-c", f"nslookup kubernetes.default.svc.cluster.local >/dev/null && {fetches}")
    kubectl("delete", "namespace", CHECK_NAMESPACE, "--wait=false")
