# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bed leaves for Ansible and for people."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tests.testbed import ssh
from tests.testbed.bed import CONTROL_PLANE, WORKER, Bed, Node, write_private
from tests.testbed.image import SSH_USER
from tests.testbed.podman import Podman


def _variables(node: Node) -> dict[str, Any]:
    return {"ansible_host": node.address}


def document(bed: Bed) -> dict[str, Any]:
    """Only nodes that have joined: one that is merely prepared stands in `prepared`, outside k8s_cluster."""
    joined = [node for node in bed.nodes if node.joined]
    control_planes = {node.name: _variables(node) for node in joined if node.role == CONTROL_PLANE}
    workers = {node.name: _variables(node) for node in joined if node.role == WORKER}
    prepared = {node.name: _variables(node) for node in bed.nodes if not node.joined}
    common = [f"-o {name}={shlex.quote(value)}" for name, value in ssh.options(bed).items() if name != "IdentityFile"]
    variables = {
        "ansible_user": SSH_USER,
        "ansible_ssh_private_key_file": ssh.options(bed)["IdentityFile"],
        "ansible_ssh_common_args": " ".join(common),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    groups: dict[str, Any] = {
        "kube_control_plane": {"hosts": control_planes},
        "etcd": {"hosts": {name: {} for name in control_planes}},
        "kube_node": {"hosts": workers},
        "k8s_cluster": {"children": {"kube_control_plane": {}, "kube_node": {}}},
    }
    if prepared:
        groups["prepared"] = {"hosts": prepared}
    return {"all": {"vars": variables, "children": groups}}


def _yaml(value: dict[str, Any], indent: int = 0) -> str:
    """Block style for mappings, JSON for scalars: all that an inventory needs."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{' ' * indent}{key}:\n{_yaml(item, indent + 2)}")
        else:
            lines.append(f"{' ' * indent}{key}: {json.dumps(item)}\n")
    return "".join(lines)


def render(bed: Bed) -> str:
    return "---\n# Written by the test bed.\n" + _yaml(document(bed))


def write(podman: Podman, bed: Bed) -> None:
    ssh.write(podman, bed)
    write_private(bed.directory / "inventory.yml", render(bed))


def write_kubeconfig(podman: Podman, bed: Bed, first: Node) -> None:
    """The administrator's kubeconfig as kubeadm wrote it: its server is the control-plane endpoint, which the machine reaches."""
    write_private(bed.directory / "kubeconfig", podman.execute(first.container, ["cat", "/etc/kubernetes/admin.conf"]))
