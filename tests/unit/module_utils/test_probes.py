# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as the kubelet performs them: no credentials, 200 to 399 is success, redirects are not followed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import probes


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        assert "Authorization" not in self.headers
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/500")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def probe(port: int, status: int) -> dict[str, Any]:
    return {"scheme": "HTTP", "host": "127.0.0.1", "port": port, "path": f"/{status}", "timeout_s": 2}


@pytest.mark.parametrize(("status", "passed"), [(200, True), (302, True), (399, True), (400, False), (401, False), (500, False)])
def test_success_is_what_the_kubelet_calls_success(port: int, status: int, passed: bool) -> None:
    answer = probes.perform(probe(port, status))
    assert answer.passed is passed and str(status) in answer.detail


def test_nobody_there_is_a_failure_in_words() -> None:
    assert probes.perform({"scheme": "HTTPS", "port": 1, "path": "/"}) == (False, "/ on port 1: connection refused", None)


def test_http_where_tls_is_expected_is_a_failure(port: int) -> None:
    assert not probes.perform({**probe(port, 200), "scheme": "HTTPS"}).passed


def test_the_first_probe_that_fails_is_named(port: int) -> None:
    found = probes.all_pass({"liveness": probe(port, 200), "readiness": probe(port, 401)})
    assert found == (False, f"readiness probe /401 on port {port}: 401", 401)
    assert probes.all_pass({"liveness": probe(port, 200)}).passed and probes.all_pass({}).passed
