# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the references of controls stand for on a host: files that exist there, found by the flags that name them today."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import APISERVER, KUBELET_PKI, Host

PKI = "/etc/kubernetes/pki"
# Component and flag that name the file today, the first that is set counts.
_NAMED_BY: Mapping[str, tuple[tuple[str, str], ...]] = {
    "cluster.ca_file": ((APISERVER, "client-ca-file"), ("kube-controller-manager", "root-ca-file")),
    "etcd.ca_file": ((APISERVER, "etcd-cafile"), ("etcd", "trusted-ca-file"), ("etcd", "peer-trusted-ca-file")),
}
# kubeadm's names, below the directory of the cluster's CA file.
_BELOW_PKI: Mapping[str, str] = {
    "cluster.ca_file": "ca.crt",
    "etcd.ca_file": "etcd/ca.crt",
    "pki.apiserver_cert": "apiserver.crt",
    "pki.apiserver_etcd_client_cert": "apiserver-etcd-client.crt",
    "pki.apiserver_etcd_client_key": "apiserver-etcd-client.key",
    "pki.apiserver_key": "apiserver.key",
    "pki.apiserver_kubelet_client_cert": "apiserver-kubelet-client.crt",
    "pki.apiserver_kubelet_client_key": "apiserver-kubelet-client.key",
    "pki.etcd_peer_cert": "etcd/peer.crt",
    "pki.etcd_peer_key": "etcd/peer.key",
    "pki.etcd_server_cert": "etcd/server.crt",
    "pki.etcd_server_key": "etcd/server.key",
    "pki.service_account_private_key": "sa.key",
    "pki.service_account_public_key": "sa.pub",
}
_ELSEWHERE: Mapping[str, str] = {"kubelet.serving_cert": f"{KUBELET_PKI}/kubelet.crt", "kubelet.serving_key": f"{KUBELET_PKI}/kubelet.key"}


def resolve(name: str, host: Host) -> str | None:
    """The file that a reference stands for; None where the host has no such file."""
    for component, flag in _NAMED_BY.get(name, ()):
        found = host.components[component].argv.value(flag) if component in host.components else None
        if found:
            return found
    path = _ELSEWHERE.get(name) or posixpath.join(_pki(host), _BELOW_PKI[name])
    return path if host.exists(path) else None


def _pki(host: Host) -> str:
    apiserver = host.components.get(APISERVER)
    ca_file = apiserver.argv.value("client-ca-file") if apiserver else None
    return posixpath.dirname(ca_file) if ca_file else PKI
