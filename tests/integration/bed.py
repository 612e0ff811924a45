# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running test bed as the tests use it: ssh, playbooks, and a fingerprint of everything that a run could touch."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

# Everything a run may write (F: mode, owner and target of a path, D: digest of a file, S: kernel setting), and every process that it may
# restart (P: process id, start, digest of its command line).
FINGERPRINT = r"""
kubelet='/var/lib/kubelet/config.yaml /var/lib/kubelet/instance-config.yaml /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /var/lib/kubelet/pki'
units='/etc/systemd/system /usr/lib/systemd/system/kubelet.service /usr/lib/systemd/system/kubelet.service.d'
find /etc/kubernetes /etc/cni/net.d $kubelet $units /usr/local/lib/ninepaths /var/lib/etcd \
  -maxdepth 3 \( -type f -o -type l -o -type d \) -not -path '*/member/*' -not -path '*/.wal*' -printf 'F %p %m %u:%g %l\n' 2>/dev/null | sort
find /etc/kubernetes /etc/cni/net.d $kubelet $units /usr/local/lib/ninepaths -type f -exec sha256sum {} + 2>/dev/null | sort -k2 | sed 's/^/D /'
for name in kubelet kube-apiserver kube-controller-manager kube-scheduler etcd; do
  for pid in $(pgrep -x "$(echo $name | cut -c1-15)"); do
    echo "P $name $pid $(awk '{print $22}' /proc/$pid/stat) $(sha256sum </proc/$pid/cmdline | cut -c1-64)"
  done
done
for name in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes; do
  echo "S $name $(sysctl -n $name)"
done
"""


@dataclass(frozen=True)
class Playbook:
    """What one ansible-playbook run said."""

    rc: int
    output: str

    @property
    def changed(self) -> int:
        """Number of changes over all hosts, as the recap counts them."""
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))


@dataclass(frozen=True)
class Bed:
    """A bed by its folder (`.testbed`)."""

    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        """bed.json as written by `make testbed-up`."""
        facts: dict[str, Any] = json.loads((self.folder / "bed.json").read_text(encoding="utf-8"))
        return facts

    @property
    def inventory(self) -> dict[str, Any]:
        """A copy of the bed's inventory, to be changed and written with `write_inventory`."""
        inventory: dict[str, Any] = copy.deepcopy(yaml.safe_load((self.folder / "inventory.yml").read_text(encoding="utf-8")))
        return inventory

    @property
    def nodes(self) -> list[str]:
        """Host names of all nodes, control planes first."""
        return [node["name"] for node in self.facts["nodes"]]

    def ssh(self, node: str, command: str, check: bool = True, stdin: str = "") -> str:
        """Run a shell command on a node as the unprivileged user."""
        argv = ["ssh", "-F", str(self.folder / "ssh_config"), node, command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, input=stdin)
        if check and done.returncode:
            raise RuntimeError(f"{node}: {command!r} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def root(self, node: str, script: str, check: bool = True) -> str:
        """Run a shell script on a node as root."""
        return self.ssh(node, "sudo sh -s", check=check, stdin=script)

    def kubectl(self, *arguments: str, check: bool = True, timeout: float = 120) -> str:
        """kubectl from a control plane, with its admin.conf."""
        control_plane = self.facts["nodes"][0]["name"]
        quoted = " ".join("'" + argument.replace("'", "'\\''") + "'" for argument in arguments)
        argv = ["ssh", "-F", str(self.folder / "ssh_config"), control_plane, f"sudo kubectl --kubeconfig /etc/kubernetes/admin.conf {quoted}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {quoted}: {done.stderr}")
        return done.stdout

    def fingerprint(self) -> dict[str, str]:
        """Per node: modes, owners and digests of all files in reach of a run, and the identity of the running processes."""
        return {node: self.root(node, FINGERPRINT) for node in self.nodes}

    def write_inventory(self, target: Path, inventory: dict[str, Any]) -> Path:
        """Write a changed inventory beside the test."""
        target.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        return target

    def playbook(
        self, name: str, *arguments: str, inventory: Path | None = None, timeout: float = 1800, environment: Mapping[str, str] | None = None
    ) -> Playbook:
        """Run one of the collection's playbooks; never raises for a failed play."""
        return self.play(ROOT / "playbooks" / f"{name}.yml", *arguments, inventory=inventory, timeout=timeout, environment=environment)

    def play(
        self, file: Path, *arguments: str, inventory: Path | None = None, timeout: float = 1800, environment: Mapping[str, str] | None = None
    ) -> Playbook:
        """Run any playbook; never raises for a failed play."""
        argv = ["ansible-playbook", "-i", str(inventory or self.folder / "inventory.yml"), str(file), *arguments]
        variables = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", **(environment or {})}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, env=variables)
        return Playbook(done.returncode, done.stdout + done.stderr)
