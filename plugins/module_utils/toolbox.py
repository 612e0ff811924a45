# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real helpers of a transaction's steps: pre-validation, etcd, the local apiserver as administrator, the API as the kubelet sees it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils import api, etcd_gateway, files, layout_kubeadm, prevalidate
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.context import Context
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.failures import PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.machine import Machine, Waiting

PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
SERVER = re.compile(r"""^\s*server:\s*["']?(https://[^\s"']+)""", re.MULTILINE)


class Toolbox:
    """Helpers that reach out of the transaction; connections are made when they are first needed."""

    def __init__(self, machine: Machine, node: str) -> None:
        self.machine, self.node = machine, node
        self.host = files.Host(machine.root or "/")
        self._as_kubelet: api.Api | None = None

    def validate(self, context: Context, component: str, change: Mapping[str, Any], pid: int) -> str:
        """Pre-validate a component's new argv; see prevalidate.py."""
        old = next(iter(context.node.running(component))).argv
        candidate = prevalidate.Candidate(self.machine, component, change["argv"], old, pid, change.get("mounts"))
        return prevalidate.validate(candidate, context.directory)

    def hand_over_leadership(self, context: Context, argv: tuple[str, ...]) -> str:
        """Move etcd's leadership to another member; says what was done."""
        return etcd_gateway.hand_over(etcd_gateway.Gateway(self.machine, argv))

    def check_quorum(self, context: Context, argv: tuple[str, ...]) -> None:
        """Raises PreconditionError when etcd would lose its quorum without this member."""
        etcd_gateway.check_quorum(etcd_gateway.Gateway(self.machine, argv))

    def administrator(self, context: Context) -> api.Api:
        """The API of this node's own apiserver. Raises TransactionError when it does not run here."""
        running = context.node.running("kube-apiserver")
        if not running:
            raise TransactionError("no kube-apiserver runs on this host", "cluster objects are changed from a control-plane node")
        try:
            return api.local(self.host, running[-1].argv)
        except api.ApiError as error:
            raise TransactionError(f"the local apiserver cannot be asked: {error}", "look at /etc/kubernetes/admin.conf") from error

    def kubelet_api(self) -> api.Api:
        """The API with the kubelet's own certificate, at the server that the kubelet itself uses. Raises ApiError."""
        path = layout_kubeadm.KUBELET_KUBECONFIG
        if self._as_kubelet is None:
            text = files.read_bytes(self.host.real(path)).decode("utf-8", "replace")
            servers = SERVER.findall(text)
            if len(servers) != 1:
                raise api.ApiError(0, "NoEndpoint", f"{path} names {len(servers)} servers, one is expected")
            url = urllib.parse.urlsplit(servers[0])
            self._as_kubelet = api.Api(api.Endpoint(str(url.hostname), url.port or 443), api.credential(self.host, path))
        return self._as_kubelet

    def forget_kubelet_api(self) -> None:
        """After a restart the kubelet may have another certificate."""
        if self._as_kubelet is not None:
            self._as_kubelet.close()
        self._as_kubelet = None

    def check_pressure(self) -> None:
        """Raises PreconditionError while the kubelet is short of disk, memory or process numbers.

        It then removes images that no container uses, also that of a static pod in the moment between its old and its new process.
        """
        try:
            node = self.kubelet_api().get(f"/api/v1/nodes/{self.node}")
        except (api.ApiError, OSError) as error:
            raise PreconditionError(f"the Node object of {self.node} cannot be read: {error}", "make kubelet and apiserver healthy first") from error
        for condition in node.get("status", {}).get("conditions") or []:
            if condition.get("type") in PRESSURES and condition.get("status") == "True":
                raise PreconditionError(
                    f"node {self.node} reports {condition['type']}: the kubelet may remove the image of a component while it restarts",
                    "free what it is short of (df -h; crictl images), wait until the condition is gone, then run again",
                )

    def pod_is_ready(self, context: Context, component: str, uid: str) -> bool:
        """Does the kubelet report our pod of this UID as started and ready? Raises Waiting with what is missing."""
        try:
            pod = self.kubelet_api().get(f"/api/v1/namespaces/kube-system/pods/{component}-{self.node}")
        except (api.ApiError, OSError) as error:
            self.forget_kubelet_api()
            raise Waiting(str(error)) from error
        if (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.hash") != uid:
            raise Waiting("the kubelet still reports the old pod")
        statuses = pod.get("status", {}).get("containerStatuses") or []
        if not statuses or not all(status.get("started") and status.get("ready") for status in statuses):
            raise Waiting("not started and ready yet")
        return True
