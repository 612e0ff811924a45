# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the edits on a bed, as a person with a shell and kubectl would, and waits until the cluster has taken them up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import singledispatchmethod
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control

from tests.integration.bed import Bed

from . import edits
from .snapshot import KUBELET_CONFIG, MANIFESTS
from .texts import dropin, with_arguments, with_fields, with_flags

FLAGS_ENV = "/var/lib/kubelet/kubeadm-flags.env"
DROPINS = "/etc/kubernetes/kubelet.conf.d"
# The drop-in directory is the operator's own; it is there before anything is hardened.
PREPARE = f"install -d -m 0755 {DROPINS} && echo 'KUBELET_EXTRA_ARGS=--config-dir={DROPINS}' >/etc/default/kubelet && chmod 0600 /etc/default/kubelet"
PLACES = {
    "cluster.pki": "/etc/kubernetes/pki",
    "controller_manager.kubeconfig": "/etc/kubernetes/controller-manager.conf",
    "etcd.data_dir": "/var/lib/etcd",
    "kubelet.client_ca": "/etc/kubernetes/pki/ca.crt",
    "kubelet.config": KUBELET_CONFIG,
    "kubelet.dropins": f"{DROPINS}/*",
    "kubelet.environment_files": FLAGS_ENV,
    "kubelet.kubeconfig": "/etc/kubernetes/kubelet.conf",
    "kubelet.manifests": MANIFESTS.rstrip("/"),
    "kubelet.unit_files": "/usr/lib/systemd/system/kubelet.service",
    "scheduler.kubeconfig": "/etc/kubernetes/scheduler.conf",
}
FIRST_FILE = 'import glob, sys; print(next((path for pattern in sys.argv[1:] for path in sorted(glob.glob(pattern, recursive=True))), ""))'
# The component's only process runs with what its manifest says.
TAKEN_UP = """
want=$(grep -E '^    - (--|{name}$)' {manifest} | sed 's/^    - //')
for try in $(seq 480); do
  pid=$(pgrep -x "$(echo {name} | cut -c1-15)")
  [ "$(echo $pid | wc -w)" = 1 ] && [ "$(tr '\\0' '\\n' </proc/$pid/cmdline)" = "$want" ] && exit 0
  sleep 0.25
done
echo "{name}: not taken up"; exit 1
"""
# Each component answers that it is well, three times in a row: one that has lost its lease meanwhile needs a moment to end.
WELL = """
ask() { curl --silent --insecure --max-time 3 --output /dev/null --fail "$1"; }
good=0
for try in $(seq 360); do
  if ask https://127.0.0.1:6443/readyz && ask http://127.0.0.1:2381/health &&
    { grep -q -- --secure-port=0 {manifests}kube-controller-manager.yaml || ask https://127.0.0.1:10257/healthz; } &&
    { grep -q -- --secure-port=0 {manifests}kube-scheduler.yaml || ask https://127.0.0.1:10259/readyz; }
  then good=$((good + 1)); else good=0; fi
  [ $good = 3 ] && exit 0
  sleep 0.5
done
echo 'the control plane did not become well'; exit 1
""".replace("{manifests}", MANIFESTS)


class Hand:
    """A person at work on the bed's first control plane and first worker."""

    def __init__(self, bed: Bed, controls: Iterable[Control]) -> None:
        self.bed = bed
        self.controls = {control.id: control for control in controls}
        self.plane = bed.nodes[0]
        self.worker = next(node["name"] for node in bed.facts["nodes"] if node["role"] == "worker")
        self._kept: dict[str, str] = {}

    # --- what is done ----------------------------------------------------------------------------------------------------------

    @singledispatchmethod
    def make(self, edit: Any) -> None:
        """Make an edit, and wait until it counts."""
        raise TypeError(f"nobody has said how a person makes {edit!r}")

    @make.register
    def _(self, edit: edits.Flags) -> None:
        self.write_manifest(edit)
        self.settled(edit.component)

    @make.register
    def _(self, edit: edits.Fields) -> None:
        self._in_place(self.worker, KUBELET_CONFIG, lambda text: with_fields(text, edit.ops))
        self.restart_kubelet()

    @make.register
    def _(self, edit: edits.DropIn) -> None:
        base = self._read(self.worker, KUBELET_CONFIG)
        for dotted, op in edit.ops.items():
            self.bed.ssh(self.worker, f"sudo install -m 0600 /dev/stdin {DROPINS}/{dotted}.conf", stdin=dropin(base, dotted, op))
        self.restart_kubelet()

    @make.register
    def _(self, edit: edits.KubeletFlags) -> None:
        given = " ".join(f"--{name}={edits.on_text(op, None)}" for name, op in edit.ops.items())
        self._in_place(self.worker, FLAGS_ENV, lambda text: text.replace('ARGS="', f'ARGS="{given} '))
        self.restart_kubelet()

    @make.register
    def _(self, edit: edits.Rights) -> None:
        node, path = self.file(edit)
        self.bed.root(node, f"chmod {edit.mode} '{path}'" if edit.mode else f"chown {edit.owner}:nogroup '{path}'")

    @make.register
    def _(self, edit: edits.Document) -> None:
        path = self.document(edit)
        self.bed.root(self.plane, f"rm {path}" if edit.act == "delete" else f"echo '# by hand' >>{path}")

    @make.register
    def _(self, edit: edits.Sysctl) -> None:
        self.bed.root(self.worker, f"sysctl -w {edit.name}={edit.value}")

    @make.register
    def _(self, edit: edits.ProxyFields) -> None:
        self.edit_object("kube-proxy", "config.conf", lambda text: with_fields(text, edit.ops))

    @make.register
    def _(self, edit: edits.ClusterFields) -> None:
        self.edit_object("kubelet-config", "kubelet", lambda text: with_fields(text, edit.ops))

    @make.register
    def _(self, edit: edits.Arguments) -> None:
        self.edit_object("kubeadm-config", "ClusterConfiguration", lambda text: with_arguments(text, edit))

    def write_manifest(self, edit: edits.Flags) -> None:
        """Without waiting for anything. What the manifest was before is remembered."""
        for path, text in edit.files.items():
            self.bed.ssh(self.plane, f"sudo install -m 0600 /dev/stdin {path}", stdin=text)
        path = f"{MANIFESTS}{edit.component}.yaml"
        text = self._read(self.plane, path)
        self._kept[edit.component] = text
        self._rename(path, with_flags(text, edit))

    def take_back(self, component: str) -> None:
        """Put the manifest back as it was before the last edit."""
        self._rename(f"{MANIFESTS}{component}.yaml", self._kept.pop(component))
        self.settled(component)

    def mend(self, edit: edits.Edit) -> None:
        """Before a run mends the rest: what would keep the cluster from being well."""
        for component in list(self._kept):
            self._rename(f"{MANIFESTS}{component}.yaml", self._kept.pop(component))
        if isinstance(edit, edits.Sysctl):
            wanted = next(control.value for control in self.controls.values() if control.sysctl == edit.name)
            self.bed.root(self.worker, f"sysctl -w {edit.name}={wanted}")
        self.well()

    def clean(self, edit: edits.Edit) -> None:
        """Remove what a person left lying about."""
        if isinstance(edit, edits.Flags) and edit.files:
            self.bed.root(self.plane, f"rm -f {' '.join(edit.files)}")
        if isinstance(edit, edits.DropIn):
            self.bed.root(self.worker, f"rm -f {DROPINS}/*.conf")
            self.restart_kubelet()

    def leave(self, control: str) -> None:
        """Take away by hand what a run keeps although it is no longer asked for."""
        if control == "always-pull-images":
            self.make(edits.Flags("kube-apiserver", {"enable-admission-plugins": edits.Drop(("AlwaysPullImages",))}))
            self.make(edits.Arguments("kube-apiserver", {"enable-admission-plugins": edits.Drop(("AlwaysPullImages",))}))

    # --- where -----------------------------------------------------------------------------------------------------------------

    def touched(self, edit: edits.Edit) -> set[str | None]:
        """The hosts on which an edit breaks something; None for the cluster's own objects. Nodes of a bed share their machine's kernel."""
        if isinstance(edit, edits.Sysctl):
            return {*self.bed.nodes}
        if isinstance(edit, (edits.ProxyFields, edits.Arguments, edits.ClusterFields)):
            return {None}
        if isinstance(edit, edits.Rights):
            return {self.file(edit)[0]}
        return {self.plane if isinstance(edit, (edits.Flags, edits.Document)) else self.worker}

    def file(self, edit: edits.Rights) -> tuple[str, str]:
        """Host and path of the first file that a control speaks about; on the worker, unless it has none or it is about the cluster's PKI."""
        files = self.controls[edit.control].files
        assert files is not None
        patterns = [*files.paths, *(f"{PLACES[place.name]}/{place.below}".rstrip("/") for place in files.places)]
        for node in (self.plane,) if "pki" in edit.control else (self.worker, self.plane):
            words = " ".join(f"'{pattern}'" for pattern in patterns)
            if path := self.bed.root(node, f"python3 -c '{FIRST_FILE}' {words}").strip():
                return node, path
        raise LookupError(f"{edit.control}: no host has such a file")

    def document(self, edit: edits.Document) -> str:
        """Path of the document that a flag names."""
        text = self._read(self.plane, f"{MANIFESTS}{edit.component}.yaml")
        return next(line.partition("=")[2] for line in text.splitlines() if line.startswith(f"    - --{edit.flag}="))

    # --- waiting ---------------------------------------------------------------------------------------------------------------

    def settled(self, component: str) -> None:
        """The kubelet has taken the manifest up, and the control plane is well."""
        self.bed.root(self.plane, TAKEN_UP.format(name=component, manifest=f"{MANIFESTS}{component}.yaml"))
        self.well()

    def well(self) -> None:
        """Every component answers, and every node is Ready."""
        self.bed.root(self.plane, WELL)
        self.bed.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s", timeout=150)

    def restart_kubelet(self) -> None:
        """The worker's, until its Lease is renewed by the new process."""
        restarted = datetime.now(timezone.utc)
        self.bed.root(self.worker, "systemctl reset-failed kubelet; systemctl restart kubelet")
        for _try in range(240):
            lease = self.bed.kubectl("-n", "kube-node-lease", "get", "lease", self.worker, "-o", "jsonpath={.spec.renewTime}")
            if datetime.fromisoformat(lease) > restarted:
                return
            time.sleep(0.5)
        raise TimeoutError(f"{self.worker}: the kubelet did not renew its Lease: {self.bed.root(self.worker, 'journalctl -u kubelet -n 20')}")

    # --- how -------------------------------------------------------------------------------------------------------------------

    def edit_object(self, name: str, key: str, change: Callable[[str], str]) -> None:
        """kubectl edit."""
        found = json.loads(self.bed.kubectl("-n", "kube-system", "get", "configmap", name, "-o", "json"))
        found["data"][key] = change(found["data"][key])
        command = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf replace -f -"
        self.bed.ssh(self.plane, command, stdin=json.dumps(found))

    def _read(self, node: str, path: str) -> str:
        return self.bed.root(node, f"cat {path}")

    def _in_place(self, node: str, path: str, change: Callable[[str], str]) -> None:
        self.bed.ssh(node, f"sudo tee {path} >/dev/null", stdin=change(self._read(node, path)))

    def _rename(self, path: str, text: str) -> None:
        """Not in place: the kubelet might read half of it, and would read a temporary file beside it as well."""
        script = f"cp -p {path} /etc/kubernetes/.by-hand && cat >/etc/kubernetes/.by-hand && mv /etc/kubernetes/.by-hand {path}"
        self.bed.ssh(self.plane, f"sudo sh -c '{script}'", stdin=text)
