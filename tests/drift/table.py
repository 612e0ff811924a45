# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls/ cannot say about how a person breaks a control: other values, several controls at once, and what cannot be broken here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .edits import Add, Drop, Edit, Flags, Op, Put, Take

APISERVER, ETCD = "kube-apiserver", "etcd"

# Other than what the kind says: a value that the program takes and that stands for something.
OPS: Mapping[str, Op] = {
    "kubelet-webhook-authorization": Put("AlwaysAllow"),
    "kubelet-read-only-port": Put(10255),
    "apiserver-shutdown-delay": Put("1s"),
    "apiserver-ciphers-complete": Drop(("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",)),
    "apiserver-no-alpha-features": Add("AllAlpha=true"),
    # It takes TLS1.2 and TLS1.3 only.
    "etcd-tls-floor": Take(),
    # Listeners beside those that are there, so that nobody loses his own.
    "apiserver-etcd-urls": Add("http://127.0.0.1:12379"),
    "etcd-client-urls": Add("http://127.0.0.1:12379"),
    "etcd-client-http-urls": Add("http://127.0.0.1:12380"),
    "etcd-metrics-urls": Add("http://0.0.0.0:12381"),
    "etcd-peer-urls": Add("http://127.0.0.1:12382"),
}


class Several(NamedTuple):
    """One edit that breaks more than one control: `also` besides its own, and why they cannot be broken one by one."""

    edit: Edit | None
    also: tuple[str, ...]
    why: str


_MODE = "who takes one of the modes away and keeps the nodes at work puts AlwaysAllow in its place"
# edit None: what the kind says.
SEVERAL: Mapping[str, Several] = {
    "apiserver-node-authorization": Several(
        Flags(APISERVER, {"authorization-mode": Put("AlwaysAllow,RBAC")}), ("apiserver-no-always-allow",), _MODE
    ),
    "apiserver-rbac": Several(Flags(APISERVER, {"authorization-mode": Put("Node,AlwaysAllow")}), ("apiserver-no-always-allow",), _MODE),
    "anonymous-auth-not-forced": Several(
        Flags(APISERVER, {"authentication-config": Take(), "anonymous-auth": Put(True)}),
        ("anonymous-only-on-health",),
        "the apiserver does not start with both flags",
    ),
    "apiserver-kubelet-client-certificate": Several(
        Flags(APISERVER, {"kubelet-client-certificate": Take(), "kubelet-client-key": Take()}),
        ("apiserver-kubelet-client-key",),
        "the apiserver does not start with one half of a pair",
    ),
    "etcd-client-ca": Several(
        Flags(ETCD, {"trusted-ca-file": Take(), "client-cert-auth": Put(False)}),
        ("etcd-client-cert-auth",),
        "who asks for certificates and trusts no CA lets nobody in",
    ),
    "etcd-peer-cert": Several(
        Flags(ETCD, {"peer-cert-file": Take(), "peer-key-file": Take(), "peer-auto-tls": Put(True)}),
        ("etcd-peer-key", "etcd-peer-auto-tls-off"),
        "etcd does not listen without a pair, given or made by itself",
    ),
    "kubelet-client-ca-file": Several(None, ("pki-certificates",), "the cluster's CA file is one of the certificates as well"),
}

# Variants that break more than the first way does.
MORE_BY_VARIANT: Mapping[str, tuple[str, ...]] = {
    "audit-policy:flag": ("audit-policy-coverage",),
    "audit-policy-stig:flag": ("audit-policy-coverage",),
    "kubelet-client-ca-file:owner": ("pki-ownership",),
}
LESS_BY_VARIANT: Mapping[str, tuple[str, ...]] = {"kubelet-client-ca-file:owner": ("pki-certificates",)}

# In kubeadm-config, where an argument that kubeadm writes by itself is not there to be edited, but can be given.
SOURCE_OPS: Mapping[str, Op] = {"apiserver-node-authorization": Put("RBAC"), "apiserver-rbac": Put("Node")}

# Controls that only an edit of SEVERAL breaks, so that they have no case of their own.
ALONG: Mapping[str, str] = {"apiserver-kubelet-client-key": "apiserver-kubelet-client-certificate", "etcd-peer-key": "etcd-peer-cert"}

_NO_START = "the component does not start, and the cluster is refused as unwell"
# What a person breaks here is an outage at once: nothing is changed until the cluster is well, and the run says what is not.
OUTAGES: Mapping[str, str] = {
    "apiserver-client-ca": "nobody's certificate is known any more, so every node is lost",
    "apiserver-serving-cert": _NO_START,
    "apiserver-serving-key": _NO_START,
    "apiserver-etcd-ca": _NO_START,
    "apiserver-etcd-client-cert": _NO_START,
    "apiserver-etcd-client-key": _NO_START,
    "etcd-server-cert": _NO_START,
    "etcd-server-key": _NO_START,
}

_HELD = "held: nothing is ever edited for it"
_ANY = "any value will do, and none as well"
# What cannot be broken on this bed.
NOT_HERE: Mapping[str, str] = {
    "kubelet-serving-cert-file": _HELD,
    "kubelet-serving-key-file": _HELD,
    "kubelet-hostname-override": _HELD,
    "kubelet-static-pod-path": _HELD,
    "encryption-at-rest": _HELD,
    "encryption-providers": _HELD,
    "pod-network-default-deny": _HELD,
    "pod-security-default": _HELD,
    "kubelet-event-rate": _ANY,
    "audit-policy-coverage": "a policy of the operator's own is kept and held, never a deviation",
    "kubelet-feature-gates-flag": "a flag of the operator's own is held, and stays",
    "anonymous-auth-off": "held: kubeadm's probes ask without credentials",
    "no-static-passwords": "no supported version knows the flag any more",
    "kube-proxy-kubeconfig": "kubeadm runs kube-proxy as a pod, and there is no such file",
}

# Controls that are in force for their own case only, with the reason; and what has to be waived meanwhile.
ALONE: Mapping[str, str] = {
    "always-pull-images": "the bed has no registry: with it in force no new pod starts, and kube-proxy could not be rolled",
    "audit-policy-stig": "it names another file by the flag of audit-policy",
}
WAIVED: Mapping[str, str] = {"audit-policy-stig": "audit-policy"}
# More than one edit by a run: the kubelet's configuration, and the request that it makes then.
CHANGES: Mapping[str, int] = {"kubelet-serving-bootstrap": 2}
# Cases that cannot wait for the others.
FIRST: Mapping[str, str] = {
    "service-account-token-expiration": "it waits for an hour of an apiserver's count, unless the cluster is younger than that",
}
