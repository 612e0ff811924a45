# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Performs a pod's HTTP probes as the kubelet does: same scheme, host, port and path, no credentials, no verification."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import tls

ORDER = ("startup", "liveness", "readiness")


class Answer(NamedTuple):
    """What a probe gave: success as the kubelet counts it (200 to 399), a sentence fragment for a person, and the HTTP status if there is one."""

    passed: bool
    detail: str
    status: int | None = None


def require_form(probe: Mapping[str, Any]) -> None:
    """Raise TypeError, ValueError or KeyError for what is no probe."""
    if not isinstance(probe, Mapping):
        raise TypeError("a probe is no object")
    int(probe["port"])
    float(probe.get("timeout_s") or 1)


def perform(probe: Mapping[str, Any]) -> Answer:
    """Perform one probe. Never raises for what the other side does; a redirect counts as success and is not followed."""
    host, port, path = str(probe.get("host") or "127.0.0.1"), int(probe["port"]), str(probe.get("path") or "/")
    try:
        with contextlib.closing(_connection(str(probe.get("scheme", "HTTP")).upper(), host, port, float(probe.get("timeout_s") or 1))) as connection:
            connection.request("GET", path, headers={"User-Agent": "kube-probe/ninepaths", "Accept": "*/*", "Connection": "close"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:  # the last two: a host or port that is none
        return Answer(False, f"{path} on port {port}: {_reason(error)}")
    return Answer(200 <= status < 400, f"{path} on port {port}: {status}", status)


def _connection(scheme: str, host: str, port: int, timeout: float) -> http.client.HTTPConnection:
    if scheme == "HTTPS":
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls.unverified())
    return http.client.HTTPConnection(host, port, timeout=timeout)


def all_pass(probes: Mapping[str, Mapping[str, Any]]) -> Answer:
    """Perform all probes of a pod; the first that fails is the answer. A pod without probes passes."""
    seen: list[Mapping[str, Any]] = []
    for kind in ORDER:
        probe = probes.get(kind)
        if not probe or probe in seen:
            continue
        seen.append(probe)
        answer = perform(probe)
        if not answer.passed:
            return Answer(False, f"{kind} probe {answer.detail}", answer.status)
    return Answer(True, "all probes pass")


def _reason(error: BaseException) -> str:
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or type(error).__name__
