# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed lists of names that controls use: references, conditions and places."""

from __future__ import annotations

from collections.abc import Mapping

# What a value may refer to; refs.py resolves each against what was observed.
KNOWN_REFS: Mapping[str, str] = {
    "cluster.ca_file": "CA file that the apiserver verifies client certificates with; the cluster's signer signs with it",
    "etcd.ca_file": "CA file of etcd's own PKI",
    "kubelet.serving_cert": "certificate that the kubelet made for itself",
    "kubelet.serving_key": "key to the certificate that the kubelet made for itself",
    "pki.apiserver_cert": "the apiserver's serving certificate",
    "pki.apiserver_etcd_client_cert": "client certificate that the apiserver shows etcd",
    "pki.apiserver_etcd_client_key": "key to the client certificate that the apiserver shows etcd",
    "pki.apiserver_key": "key to the apiserver's serving certificate",
    "pki.apiserver_kubelet_client_cert": "client certificate that the apiserver shows kubelets",
    "pki.apiserver_kubelet_client_key": "key to the client certificate that the apiserver shows kubelets",
    "pki.etcd_peer_cert": "certificate of an etcd member for its peers",
    "pki.etcd_peer_key": "key to the certificate of an etcd member for its peers",
    "pki.etcd_server_cert": "certificate that etcd serves its clients",
    "pki.etcd_server_key": "key to the certificate that etcd serves its clients",
    "pki.service_account_private_key": "key that service account tokens are signed with",
    "pki.service_account_public_key": "key that service account tokens are verified with",
}

# What `needs` and `undo.until` may name. planning/conditions.py and planning/serving.py judge those of `needs`, rollback/limits.py those
# of `undo.until`, against what was observed.
KNOWN_CONDITIONS: Mapping[str, str] = {
    "ciphers-fit-serving-key": "what the cipher list will hold can serve the type of the component's serving key",
    "audit-log-limited": "no audit log is kept without a limit today (an override lifts this condition)",
    "cluster-ca-key": "the controller manager holds the key that it signs certificate requests with",
    "document-unset-or-ours": "the document's flag is not set, or names a file of ours under /etc/kubernetes/ninepaths",
    "encrypted-data": "something in etcd is encrypted (an undo limit)",
    "kubelet-serving-certificates": "every kubelet of the Node objects serves a certificate that the cluster's CA verifies for its address",
    "kubelet-verification": "the apiserver verifies kubelets' serving certificates (an undo limit)",
    "no-stale-tokens": "no pod has used a service account token beyond its expiry since the apiserver started, an hour ago or earlier "
    "(or the cluster is younger than that)",
    "probes-without-anonymous": "no probe of the apiserver relies on anonymous access",
    "serving-csr-approver": "something approves the kubelets' requests for serving certificates, now and at renewal",
    "tls12-allowed": "the component's TLS floor, as planned, is below 1.3",
}

# The conditions that `undo.until` may name: while one holds, what it limits is not taken back. What to do instead.
UNDO_LIMITS: Mapping[str, str] = {
    "encrypted-data": "put the provider identity first in the encryption configuration, restart every apiserver, write all Secrets again "
    "(kubectl get secrets -A -o json | kubectl replace -f -), then run the rollback again",
    "kubelet-verification": "take back the control planes in the same rollback (leave --limit out, or name every control plane in it), or take "
    "--kubelet-certificate-authority out of every apiserver first",
}

# Conditions that protect what an operator has not spoken about: an override of the control's value lifts them.
YIELDING = frozenset({"audit-log-limited"})

# Files and directories that a running process names, for `files.paths`; observation/places.py finds them on the host.
KNOWN_PLACES: Mapping[str, str] = {
    "cluster.pki": "directory of the apiserver's CA file and serving key",
    "controller_manager.kubeconfig": "kubeconfigs that the controller manager's flags name",
    "etcd.data_dir": "directory that etcd keeps its data in",
    "kubelet.client_ca": "CA file that the kubelet verifies its callers with",
    "kubelet.config": "configuration file that the kubelet reads",
    "kubelet.dropins": "files in the kubelet's drop-in directory",
    "kubelet.environment_files": "files that the kubelet's unit takes flags from",
    "kubelet.kubeconfig": "kubeconfig that the kubelet's flag names",
    "kubelet.manifests": "directory that the kubelet reads static pods from",
    "kubelet.unit_files": "the kubelet's unit and the drop-ins that systemd has read",
    "scheduler.kubeconfig": "kubeconfigs that the scheduler's flags name",
}
