# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real helpers of a transaction's steps: pre-validation, etcd, the local apiserver as administrator, the API as the kubelet sees it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api, csr, etcd_gateway
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, port, segment, text
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, kubelet, layout_kubeadm, processes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import PreconditionError, TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine, Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.cluster import DEFAULT_ADDRESS_TYPES, KUBELET_PORT, preferred
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import drain, pairs, prevalidate
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import LOUD, Running, harmless
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json, tls

REPORT_S = 40.0  # a kubelet renews its Lease every 10 s
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
PODS_LIMIT = 1 << 26  # bytes; a busy node's list has several megabytes
PODS_SECONDS = 15.0
MIRRORED = "kubernetes.io/config.hash"
SERVER = re.compile(r"""^[ \t]*server:[ \t]*["']?(https://[^\s"']+)""", re.MULTILINE)


class Toolbox:
    """Helpers that reach out of the transaction; connections are made when they are first needed."""

    def __init__(self, machine: Machine, node: str) -> None:
        self.machine, self.node = machine, node
        self.host = files.Host(machine.root or "/")
        self._as_kubelet: api.Api | None = None

    def validate(self, context: Context, component: str, change: Mapping[str, Any], old: Running) -> str:
        """Pre-validate a component's new argv; see prevalidate.py."""
        candidate = prevalidate.Candidate(self.machine, component, change["argv"], old.argv, old.pid, change.get("mounts"))
        verdict = prevalidate.validate(candidate, context.directory)
        if component == "kube-apiserver" and {name for name, _path in candidate.changed_paths()} & {pairs.SERVING.certificate, pairs.SERVING.key}:
            self._check_serving(candidate)
        return verdict

    def _check_serving(self, candidate: prevalidate.Candidate) -> None:
        """Another serving certificate has to be one that this node's kubelet accepts: its probes would not tell, they verify nothing."""
        try:
            endpoint, trusted = self._kubelet_server(), api.credential(self.host, layout_kubeadm.KUBELET_KUBECONFIG).ca
        except api.ApiError as error:
            raise TransactionError(f"what the kubelet trusts is not known: {error}", "look at its kubeconfig") from error
        pairs.check_server(candidate.argv, candidate.place, trusted, endpoint.address)

    def hand_over_leadership(self, context: Context, argv: tuple[str, ...]) -> str:
        """Move etcd's leadership to another member; says what was done."""
        return etcd_gateway.hand_over(etcd_gateway.Gateway(self.machine, argv))

    def drain(self, context: Context, argv: tuple[str, ...]) -> str:
        """Take this apiserver out of its load balancer where it is one of several and would go too suddenly; says what was done."""
        if not drain.needed(argv):
            return ""
        client = self.administrator(context)
        controller_manager = next((one.argv for one in context.node.running("kube-controller-manager")), ())
        try:
            others = drain.other_apiservers(client)
            inside = drain.inside(client, controller_manager) if others else []
        except api.ApiError as error:
            raise TransactionError(
                f"the apiservers of the cluster cannot be counted: {error}", "make the local apiserver healthy first, then run again"
            ) from error
        return drain.begin(self.machine, argv, inside) if others else ""

    def rejoin(self, context: Context) -> None:
        """Undo `drain`, whether it was done or not."""
        drain.end(self.machine)

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
        if self._as_kubelet is None:
            self._as_kubelet = api.Api(self._kubelet_server(), api.credential(self.host, layout_kubeadm.KUBELET_KUBECONFIG))
        return self._as_kubelet

    def _kubelet_server(self) -> api.Endpoint:
        """The server that the kubelet dials. Raises ApiError."""
        path = layout_kubeadm.KUBELET_KUBECONFIG
        servers = SERVER.findall(files.read_bytes(self.host.real(path)).decode("utf-8", "replace"))
        if len(servers) != 1:
            raise api.ApiError(0, "NoEndpoint", f"{path} names {len(servers)} servers, one is expected")
        return _endpoint(path, servers[0])

    def forget_kubelet_api(self) -> None:
        """After a restart the kubelet may have another certificate."""
        if self._as_kubelet is not None:
            self._as_kubelet.close()
        self._as_kubelet = None

    def check_pressure(self) -> None:
        """Raises PreconditionError unless this host's kubelet is in a state to replace a static pod.

        Short of disk, memory or process numbers it removes images that no container uses, also that of a static pod in the moment between
        its old and its new process. One that does not run, or that has not yet reported since it was started, may miss that a manifest
        was replaced and leave the pod without a process (kubernetes/kubernetes#105543).
        """
        service = kubelet.service(self.machine)
        process = processes.process(self.host, service.pid, processes.boot_time(self.host))
        if not service.active or process is None:
            raise PreconditionError("the kubelet does not run on this host", "mend it first: journalctl -u kubelet")
        try:
            node = self._reported_soon(process.started + 1.0)  # both are exact to one second
        except Waiting as waiting:
            raise PreconditionError(
                f"the kubelet of {self.node} is in no state to replace a static pod: {waiting}",
                "make kubelet and apiserver healthy first (kubectl get nodes; journalctl -u kubelet), then run again",
            ) from waiting
        for condition in mappings(mapping(node, "status").get("conditions")):
            if condition.get("type") in PRESSURES and condition.get("status") == "True":
                raise PreconditionError(
                    f"node {self.node} reports {condition['type']}: the kubelet may remove the image of a component while it restarts",
                    "free what it is short of (df -h; crictl images), wait until the condition is gone, then run again",
                )

    def _reported_soon(self, since: float) -> dict[str, Any]:
        """The Node of a kubelet that has reported since then; one that was started a moment ago does so every 10 s. Raises Waiting."""
        deadline = self.machine.clock() + REPORT_S
        while True:
            try:
                return self._reported(since)
            except Waiting:
                if self.machine.clock() >= deadline:
                    raise
            self.machine.sleep(1.0)

    def pod_is_ready(self, context: Context, component: str, uid: str) -> bool:
        """Does the kubelet report our pod of this UID as started and ready? Raises Waiting with what is missing.

        It is asked itself where this host has the certificate for that; its reports to the API can lag by more than a minute.
        """
        pods = self._kubelet_pods([component])
        if pods is None:
            pods = [self._mirror_pod(component)]
        for pod in pods:
            metadata = mapping(pod, "metadata")
            if uid in (metadata.get("uid"), mapping(metadata, "annotations").get(MIRRORED)):
                if not _all_ready(pod):
                    raise Waiting("not started and ready yet")
                return True
        raise Waiting("it does not report the new pod yet")

    def _mirror_pod(self, component: str) -> dict[str, Any]:
        try:
            return self.kubelet_api().get(f"/api/v1/namespaces/kube-system/pods/{segment(f'{component}-{self.node}')}")
        except (api.ApiError, OSError) as error:
            self.forget_kubelet_api()
            raise Waiting(str(error)) from error

    def _kubelet_pods(self, components: Sequence[str]) -> list[dict[str, Any]] | None:
        """The pods that this host's kubelet knows, by its own port; None without a certificate to ask with. Raises Waiting.

        Where its port cannot be dialled from here, what it reported to the API about these components.
        """
        certificate, key = (f"{layout_kubeadm.PKI}/apiserver-kubelet-client.{end}" for end in ("crt", "key"))
        if not (self.machine.exists(certificate) and self.machine.exists(key)):
            return None
        address, number = kubelet.dial(self.machine, self.argv_of(kubelet.service(self.machine).pid), kubelet.API)
        try:
            # The kubelet's certificate may still be self-signed; nothing is sent but a GET to this host's own port.
            context = tls.with_client(tls.unverified(), self.host.real(certificate), self.host.real(key))
        except tls.TlsError as error:  # renewed in this moment: certificate and key are two files
            raise Waiting(str(error)) from error
        outcome = tls.attempt(address, number, context, "/pods", timeout=PODS_SECONDS, limit=PODS_LIMIT)
        if outcome.stage == tls.CONNECT:
            return [self._mirror_pod(component) for component in components]
        if outcome.status != 200 or outcome.refusal:
            raise Waiting(f"/pods on port {number}: {outcome.refusal or outcome.status}")
        try:
            return mappings(mapping(strict_json.parse(outcome.body)).get("items"))
        except ValueError as error:
            raise Waiting(f"/pods on port {number}: {error}") from error

    # --- kubelet ------------------------------------------------------------------------------------------------------------

    def validate_kubelet(self, context: Context, pid: int, argv: Sequence[str] | None) -> str:
        """Pre-validate the kubelet's command line and configuration; see prevalidate.py."""
        old = self.argv_of(pid)
        return prevalidate.validate_kubelet(prevalidate.Candidate(self.machine, "kubelet", argv or old, old, pid, None), context.directory)

    def argv_of(self, pid: int) -> Sequence[str]:
        """Command line of a process; empty when it is gone."""
        found = processes.process(self.host, pid, 0.0)
        return found.argv if found else []

    def unit_words(self, unit: str) -> str:
        """The last line of a unit's log that looks like an error."""
        found = self.machine.command(["journalctl", "--unit", unit, "--lines=40", "--output=cat", "--no-pager"])
        loud = [line for line in str(found.stdout).splitlines() if LOUD.match(line)]
        return harmless(loud[-1]) if loud else ""

    def node_is_back(self, since: float) -> bool:
        """Did this kubelet renew its Lease after `since` (unix seconds, by this host's clock), and is the Node Ready? Raises Waiting."""
        return bool(self._reported(since))

    def _reported(self, since: float) -> dict[str, Any]:
        """The Node object, Ready, of a kubelet that renewed its Lease after `since`. Raises Waiting."""
        try:
            lease = self.kubelet_api().get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{segment(self.node)}")
            node = self.kubelet_api().get(f"/api/v1/nodes/{segment(self.node)}")
        except (api.ApiError, OSError) as error:
            self.forget_kubelet_api()
            raise Waiting(str(error)) from error
        if csr.seconds(mapping(lease, "spec").get("renewTime")) <= since:
            raise Waiting("Lease not renewed yet")
        conditions = {text(one.get("type")): one.get("status") for one in mappings(mapping(node, "status").get("conditions"))}
        if conditions.get("Ready") != "True":
            raise Waiting("Node not Ready")
        return node

    def static_pods_known(self) -> bool:
        """Does the kubelet list each of our static pods as ready? Raises Waiting. True without static pods or a certificate to ask with."""
        here = [name for name in layout_kubeadm.COMPONENTS if self.machine.exists(layout_kubeadm.manifest(name))]
        pods = self._kubelet_pods(here) if here else None
        if pods is None:
            return True
        missing = {f"{name}-{self.node}" for name in here} - {text(mapping(pod, "metadata").get("name")) for pod in pods if _all_ready(pod)}
        if missing:
            raise Waiting(f"not yet ready: {', '.join(sorted(missing))}")
        return True

    # --- certificates -------------------------------------------------------------------------------------------------------

    def signed_kubelets(self, context: Context, nodes: Sequence[str]) -> list[str]:
        """Those of these nodes whose kubelet serves a certificate that the apiserver will accept, at the address it will dial."""
        running = context.node.running("kube-apiserver")
        if not running:
            raise TransactionError("no kube-apiserver runs on this host", "look at its log, then run again")
        argv = running[0].argv
        trusted = self._kubelet_ca(argv)
        types = (layout_kubeadm.flag(argv, "kubelet-preferred-address-types") or DEFAULT_ADDRESS_TYPES).split(",")
        client = self.administrator(context)
        found = []
        for name in nodes:
            try:
                status = mapping(client.get(f"/api/v1/nodes/{segment(name)}"), "status")
            except api.ApiError:  # not there (yet), so not signed
                continue
            address = preferred(mappings(status.get("addresses")), types)
            number = port(mapping(status, "daemonEndpoints", "kubeletEndpoint").get("Port"), KUBELET_PORT)
            if address and not tls.look(address, number, trusted, "/healthz")[1]:
                found.append(name)
        return found

    def _kubelet_ca(self, argv: Sequence[str]) -> Any:
        path = (
            layout_kubeadm.flag(argv, "kubelet-certificate-authority")
            or layout_kubeadm.flag(argv, "client-ca-file")
            or f"{layout_kubeadm.PKI}/ca.crt"
        )
        try:
            return tls.verified(files.read_bytes(layout_kubeadm.real_target(self.host, path)).decode("ascii"))
        except (OSError, UnicodeDecodeError, tls.TlsError) as error:
            raise TransactionError(f"the CA for kubelets, {path}, cannot be used: {error}", "correct the file") from error


def _endpoint(path: str, server: str) -> api.Endpoint:
    """Where the server of a kubeconfig is. Raises ApiError."""
    try:
        url = urllib.parse.urlsplit(server)
        return api.Endpoint(str(url.hostname), url.port or 443)
    except ValueError as error:  # brackets without an address, a port that is none
        raise api.ApiError(0, "NoEndpoint", f"{path} names a server that is no URL") from error


def _all_ready(pod: Mapping[str, Any]) -> bool:
    statuses = mappings(mapping(pod, "status").get("containerStatuses"))
    return bool(statuses) and all(one.get("started") and one.get("ready") for one in statuses)
