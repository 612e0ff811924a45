# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain client of the API: requests with a new connection each, and answers that are read line by line as they come."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import yaml

TIMEOUT_S = 10.0
# Bytes of an answer that are kept: a Status says what the apiserver met at the kubelet only after its kind and the whole URL.
EXCERPT = 400


class StatusError(HTTPException):
    """An answer with a status of 400 or more."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Talks to the API with the credential of a kubeconfig, a new connection for each request."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.server = urlsplit(cluster["server"])
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile("wb") as pair:  # 0600, gone as soon as it was read
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self.context.load_cert_chain(pair.name)

    def request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> bytes:
        """One request; raises StatusError on a status of 400 or more, OSError or HTTPException on a broken connection."""
        with self._connection() as connection:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": content_type})
            return _checked(connection, method, path).read()

    def lines(self, path: str, silence: float) -> Iterator[bytes]:
        """The lines of an answer that has no end of its own; raises as `request` does, and TimeoutError after so many seconds without a byte."""
        with self._connection() as connection:
            connection.request("GET", path)
            answer = _checked(connection, "GET", path)
            if connection.sock is not None:
                connection.sock.settimeout(silence)
            while line := answer.readline():
                yield line

    @contextmanager
    def _connection(self) -> Iterator[HTTPSConnection]:
        if self.server.hostname is None:
            raise HTTPException("the kubeconfig names no server")
        connection = HTTPSConnection(self.server.hostname, self.server.port, timeout=TIMEOUT_S, context=self.context)
        try:
            yield connection
        finally:
            connection.close()


def _checked(connection: HTTPSConnection, method: str, path: str) -> HTTPResponse:
    answer = connection.getresponse()
    if answer.status >= 400:
        raise StatusError(answer.status, f"{method} {path}: {answer.status} {answer.read()[:EXCERPT]!r}")
    return answer
