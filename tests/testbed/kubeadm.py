# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's configuration and commands. Nothing is hardened: a bed starts as a user's cluster does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.testbed.bed import APISERVER_PORT, CONTROL_PLANE, POD_PREFIX, Bed, Node
from tests.testbed.errors import BedError
from tests.testbed.host import Host
from tests.testbed.podman import Podman

API = "kubeadm.k8s.io/v1beta4"
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
# A container shares the machine's kernel: what cannot be found out in it, and small machines, are no reason to stop.
IGNORED_CHECKS = ["SystemVerification", "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables", "NumCPU", "Mem"]
# What a bed with workers leaves on its control planes, and one without takes away.
CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True)
class JoinTicket:
    """What a node needs to join; `certificate_key` for control planes only. Never printed."""

    endpoint: str
    token: str
    ca_hash: str
    certificate_key: str | None = None

    def __repr__(self) -> str:
        return f"JoinTicket({self.endpoint})"


def _registration(node: Node) -> dict[str, Any]:
    return {"name": node.name, "criSocket": CRI_SOCKET, "imagePullPolicy": "Never", "ignorePreflightErrors": IGNORED_CHECKS}


def _local_endpoint(node: Node) -> dict[str, Any]:
    return {"advertiseAddress": node.address, "bindPort": APISERVER_PORT}


# The disk is the machine's, and full of other things, too: kubelet's percentages of it mean nothing here, and an image that
# its garbage collection removes cannot be pulled again.
DISK = {
    "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
    "imageGCHighThresholdPercent": 100,
}


def kubelet_configuration(machine: Host) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": machine.cgroup_driver,
        **DISK,
    }
    if not machine.cgroup_v2:
        document["failCgroupV1"] = False
    if machine.swap:
        document["failSwapOn"] = False
    return document


def kube_proxy_configuration() -> dict[str, Any]:
    # conntrack's sysctls belong to the machine; 0 leaves them alone.
    conntrack = {"maxPerCore": 0, "min": 0}
    return {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables", "conntrack": conntrack}


def init_configuration(bed: Bed, node: Node, machine: Host) -> str:
    """All documents of `kubeadm init`; JSON is YAML, too."""
    cluster: dict[str, Any] = {
        "apiVersion": API,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": f"v{bed.kubernetes}",
        "networking": {"podSubnet": f"{POD_PREFIX}.0.0/16"},
    }
    if bed.highly_available:
        cluster["controlPlaneEndpoint"] = bed.endpoint
    init = {
        "apiVersion": API,
        "kind": "InitConfiguration",
        "nodeRegistration": _registration(node),
        "localAPIEndpoint": _local_endpoint(node),
    }
    return "\n---\n".join(
        json.dumps(document, indent=1) for document in (init, cluster, kubelet_configuration(machine), kube_proxy_configuration())
    )


def join_configuration(node: Node, ticket: JoinTicket) -> str:
    token = {"apiServerEndpoint": ticket.endpoint, "token": ticket.token, "caCertHashes": [ticket.ca_hash]}
    join: dict[str, Any] = {
        "apiVersion": API,
        "kind": "JoinConfiguration",
        "nodeRegistration": _registration(node),
        "discovery": {"bootstrapToken": token},
    }
    if node.role == CONTROL_PLANE:
        join["controlPlane"] = {"localAPIEndpoint": _local_endpoint(node), "certificateKey": ticket.certificate_key}
    return json.dumps(join, indent=1)


def parse_join_command(text: str) -> JoinTicket:
    """Read what `kubeadm token create --print-join-command` prints."""
    found = re.search(r"kubeadm join (\S+) --token (\S+) --discovery-token-ca-cert-hash (\S+)", text)
    if not found:
        raise BedError("kubeadm printed no join command", "is the control plane healthy? python3 -m tests.testbed status")
    return JoinTicket(*found.groups())


def init(podman: Podman, bed: Bed, node: Node, machine: Host) -> None:
    # Older kubeadms look for a proxy by https://[10.96.0.1], which newer Go refuses to parse (golang/go#75678). The bed has no proxy.
    argv = ["kubeadm", "init", "--config=/dev/stdin", "--ignore-preflight-errors=HTTPProxyCIDR"]
    podman.execute(node.container, argv, stdin=init_configuration(bed, node, machine).encode(), timeout=300)


def ticket(podman: Podman, first: Node, role: str) -> JoinTicket:
    """A fresh token, and for control planes a fresh key for the certificates in the kubeadm-certs secret."""
    joining = parse_join_command(podman.execute(first.container, ["kubeadm", "token", "create", "--print-join-command"]))
    if role != CONTROL_PLANE:
        return joining
    lines = podman.execute(first.container, ["kubeadm", "init", "phase", "upload-certs", "--upload-certs"]).split()
    return JoinTicket(joining.endpoint, joining.token, joining.ca_hash, certificate_key=lines[-1])


def join(podman: Podman, node: Node, joining: JoinTicket) -> None:
    podman.execute(
        node.container, ["kubeadm", "join", "--config=/dev/stdin"], stdin=join_configuration(node, joining).encode(), timeout=300
    )
