# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client for the apiserver of this very node: never a load balancer, always verified, one kept-alive connection."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.reading import mapping, mappings, text
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import PORTS, number, one_line
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import http1, strict_json, tls

PAGE, MAX_PAGES = 500, 100
MAX_LISTED = 2 * http1.MAX_BODY  # bytes of all pages of a collection
JSON = "application/json"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
NO_ANSWER = (OSError, ValueError, http1.HttpError)  # ValueError: an address that is none
MERGE_PATCH = "application/merge-patch+json"
SAID = 500  # characters of an answer's own words


class ApiError(Exception):
    """A request that did not succeed.

    `status` is 0 when there was no answer, `reason` is Kubernetes' word (`Conflict`, `NotFound`) or ours.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status, self.reason, self.message = status, reason, message


class Endpoint(NamedTuple):
    """Where an apiserver listens."""

    address: str
    port: int

    @property
    def url(self) -> str:
        """As a kubeconfig has it."""
        return f"https://{http1.authority(self.address, self.port)}"


class Credential(NamedTuple):
    """What a kubeconfig with one user holds: PEM of the CA, and of the client's certificate and key."""

    ca: str
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credential(…)"


def endpoint(argv: Sequence[str]) -> Endpoint:
    """The apiserver's own address and port, from its flags; raises ApiError when it has no address."""
    address = layout.flag(argv, "advertise-address") or layout.flag(argv, "bind-address")
    port = number(layout.flag(argv, "secure-port") or "6443", PORTS)
    if not address or address in EVERYWHERE or not port:
        raise ApiError(0, "NoEndpoint", "the apiserver's flags name no address and port: set advertise-address")
    return Endpoint(address, port)


def credential(host: Host, path: str) -> Credential:
    """Read a kubeconfig of one cluster and one user, data inline or in files; raises ApiError naming the file."""
    try:
        content = files.read_bytes(host.real(path)).decode("utf-8")
        found = {key: _inline(host, content, key) for key in ("certificate-authority", "client-certificate", "client-key")}
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or ("not UTF-8 text" if isinstance(error, UnicodeError) else str(error))
        raise ApiError(0, "NoCredential", f"{path}: {cause}") from error
    return Credential(found["certificate-authority"].decode("ascii", "replace"), found["client-certificate"], found["client-key"])


def _inline(host: Host, content: str, key: str) -> bytes:
    """A value of a kubeconfig without a YAML reader: kubeadm writes one line per value. Raises ValueError or OSError."""
    data = re.findall(rf"""["']?\b{key}-data["']?\s*:\s*["']?([A-Za-z0-9+/=]+)""", content)
    paths = re.findall(rf"""["']?\b{key}["']?\s*:\s*["']?(/[^\s"']+)""", content)
    if len(data) + len(paths) != 1:
        raise ValueError(f"{len(data) + len(paths)} values for {key} where there has to be one")
    if paths:
        return files.read_bytes(layout.real_target(host, paths[0]))
    try:
        return base64.b64decode(data[0], validate=True)
    except binascii.Error:
        raise ValueError(f"{key}-data is not base64") from None


def admin(host: Host) -> Credential:
    """kubeadm's administrator; raises ApiError when neither of its kubeconfigs can be used."""
    failures = []
    for path in layout.ADMIN_KUBECONFIGS:
        try:
            return credential(host, path)
        except ApiError as error:
            failures.append(error.message)
    raise ApiError(0, "NoCredential", "; ".join(failures))


def local(host: Host, argv: Sequence[str], timeout: float = 10.0) -> Api:
    """The API of this node's own apiserver, whose flags these are, as kubeadm's administrator; raises ApiError."""
    return Api(endpoint(argv), admin(host), timeout)


class Api:
    """Requests with JSON. All methods raise ApiError."""

    def __init__(self, where: Endpoint, who: Credential, timeout: float = 10.0) -> None:
        self.where, self._timeout = where, timeout
        self._seconds, self._limit = http1.ANSWER, http1.MAX_BODY
        self.received = 0  # bytes of all answers
        try:
            self.context = tls.with_client_data(tls.verified(who.ca), who.certificate, who.key)
        except tls.TlsError as error:
            raise ApiError(0, "NoCredential", str(error)) from error
        self._channel: ssl.SSLSocket | None = None
        self._connection: http1.Connection | None = None

    def get(self, path: str) -> dict[str, Any]:
        """Read an object."""
        return self._json("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """Read an object, or None when there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def another(self, seconds: float = http1.ANSWER, limit: int = http1.MAX_BODY) -> Api:
        """A client of its own connection and the same identity, for another thread; an answer takes at most so many seconds and bytes."""
        twin = copy.copy(self)
        twin._channel = twin._connection = None
        twin._seconds, twin._limit = seconds, limit
        return twin

    def list(self, path: str, *, accept: str = JSON, **query: str) -> Iterator[dict[str, Any]]:
        """Objects of a collection, page by page; `query` may hold fieldSelector and labelSelector."""
        wanted, began = {**query, "limit": str(PAGE)}, self.received
        for _page in range(MAX_PAGES):
            page = self._json("GET", f"{path}?{urlencode(wanted)}", accept=accept)
            yield from mappings(page.get("items"))
            follow = text(mapping(page, "metadata").get("continue"))
            if not follow:
                return
            if self.received - began > MAX_LISTED:
                break
            wanted["continue"] = follow
        raise ApiError(0, "TooMany", f"GET {path}: more than {MAX_PAGES * PAGE} objects, or {MAX_LISTED} bytes of them")

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""
        return self._json("POST", path, document)

    def put(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object; with a resourceVersion in it only if nobody changed it meanwhile."""
        return self._json("PUT", path, document)

    def patch(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into an object."""
        return self._json("PATCH", path, document, MERGE_PATCH)

    def delete(self, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Delete an object; `document` are DeleteOptions, for instance preconditions."""
        return self._json("DELETE", path, document)

    def raw(self, path: str) -> tuple[int, str]:
        """Status and text of a GET, whatever the status is."""
        answer = self._exchange("GET", path, {"Accept": "*/*"}, b"")
        return answer.status, answer.body.decode("utf-8", "replace")

    def close(self) -> None:
        """End the connection; the next request opens another one."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._connection = None

    def _json(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, kind: str = JSON, accept: str = JSON
    ) -> dict[str, Any]:
        body = b"" if document is None else json.dumps(document, separators=(",", ":")).encode("utf-8")
        headers = {"Accept": accept, **({"Content-Type": kind} if body else {})}
        answer = self._exchange(method, path, headers, body)
        where = f"{method} {path.partition('?')[0]}"
        try:
            found = strict_json.parse(answer.body)
        except ValueError as error:
            raise ApiError(answer.status, "NotJson", f"{where}: the answer cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise ApiError(answer.status, "NotJson", f"{where}: the answer is no JSON object")
        if answer.status >= 400:
            said = one_line(text(found.get("message")) or "no reason is given")[:SAID]
            raise ApiError(answer.status, one_line(text(found.get("reason")) or "")[:SAID], f"{where}: {said}")
        return found

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> http1.Response:
        """Send and receive; a kept-alive connection that the server has closed since is opened again, for reads only."""
        kept = self._connection is not None
        try:
            return self._once(method, path, headers, body)
        except NO_ANSWER as error:
            self.close()
            if not kept or method != "GET":
                raise self._failed(method, path, error) from error
        try:
            return self._once(method, path, headers, body)
        except NO_ANSWER as error:
            self.close()
            raise self._failed(method, path, error) from error

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> http1.Response:
        connection = self._connection or self._open()
        connection.send(method, path, headers, body)
        answer = connection.receive(self._limit)
        self.received += len(answer.body)
        if not answer.reusable:
            self.close()
        return answer

    def _open(self) -> http1.Connection:
        raw = socket.create_connection(self.where, self._timeout)
        try:
            self._channel = self.context.wrap_socket(raw, server_hostname=self.where.address)
        except BaseException:
            raw.close()
            raise
        self._connection = http1.Connection(self._channel, http1.authority(*self.where), self._seconds)
        return self._connection

    def _failed(self, method: str, path: str, error: Exception) -> ApiError:
        return ApiError(0, "NoAnswer", f"{method} {self.where.url}{path.partition('?')[0]}: {tls.reason(error)}")
