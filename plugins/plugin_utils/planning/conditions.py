# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `needs` names: conditions that must hold before a control is applied. A condition that cannot be judged does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Optional, Protocol

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import Value, integer, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import OWN_DIRECTORY, Host

# Reasons why a condition of the whole cluster does not hold; None: it does.
ClusterConditions = Mapping[str, Optional[str]]

# HTTP/2 servers refuse to start without one of these, unless TLS 1.3 is the floor.
_HTTP2 = frozenset({"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"})
_AUDIT_LOG = "audit-log-path"
_TLS13 = ("VersionTLS13", "TLS1.3")


class View(Protocol):
    """A component as it would be."""

    @property
    def seen(self) -> Host: ...

    def current(self, name: str) -> Value | None:
        """A flag or field as it is."""

    def planned(self, name: str) -> Value | None:
        """A flag or field as it would be."""

    def default(self, name: str) -> str | None:
        """A flag where nobody sets it."""

    def tls_floor(self) -> Value | None:
        """The TLS floor as it would be."""

    def serving_keys(self) -> tuple[str, ...]:
        """Key types that it serves with, like "RSA-2048"; empty where they are not known."""

    def anonymous_probes(self) -> tuple[str, ...]:
        """Probes that ask without credentials."""


def unmet(name: str, key: str, view: View, cluster: ClusterConditions) -> str | None:
    """Why a condition does not hold for what is planned for `key`; None where it does."""
    if name in _LOCAL:
        return _LOCAL[name](key, view)
    if name in cluster:
        return cluster[name]
    return f"the condition {name} cannot be judged"


def _ciphers_fit(key: str, view: View) -> str | None:
    suites = view.planned(key)
    if view.tls_floor() in _TLS13 or suites is None:
        return None
    names = suites if isinstance(suites, tuple) else (show(suites),)
    if not _HTTP2 & set(names):
        return f"the list would hold none of {' and '.join(sorted(_HTTP2))}, and HTTP/2 does not start without"
    for kind in view.serving_keys() or ("RSA", "ECDSA"):
        family = "_ECDSA_" if kind.startswith(("ECDSA", "Ed25519")) else "_RSA_"
        if not any(family in name for name in names):
            return f"the list would hold no cipher for the serving key ({kind})"
    return None


def _tls12_allowed(key: str, view: View) -> str | None:
    return "TLS 1.3 is the floor, and etcd does not start with both" if view.tls_floor() in _TLS13 else None


def _document_unset_or_ours(key: str, view: View) -> str | None:
    current = view.current(key)
    if current is None or show(current).startswith(f"{OWN_DIRECTORY}/"):
        return None
    return f"--{key} names {show(current)}, which is yours; put what you want of our document into it"


def _probes_without_anonymous(key: str, view: View) -> str | None:
    probes = view.anonymous_probes()
    return f"the {' and '.join(probes)} probe of kubelet asks without credentials, and would fail" if probes else None


def _audit_log_limited(key: str, view: View) -> str | None:
    """0 keeps every file, and is the default of Kubernetes up to 1.35."""
    current = view.current(key)
    kept = view.default(key) if current is None else show(current)
    if kept is None or integer(kept) != 0 or not view.current(_AUDIT_LOG):
        return None
    return f"every audit log is kept today, and a limit would delete old ones; set --{key} yourself, or override this control with your number"


_LOCAL: Mapping[str, Callable[[str, View], str | None]] = {
    "audit-log-limited": _audit_log_limited,
    "ciphers-fit-serving-key": _ciphers_fit,
    "tls12-allowed": _tls12_allowed,
    "document-unset-or-ours": _document_unset_or_ours,
    "probes-without-anonymous": _probes_without_anonymous,
}
