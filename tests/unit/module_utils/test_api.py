# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import api as apis
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import Api, ApiError, Credential, Endpoint
from fake_node import FakeNode
from tls_material import Authority, Pair, Server, answer, kubeconfig, read_request, server_context


class FakeApiserver:
    """Serves objects by path to clients that have a certificate; `drop_after` closes connections early."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.objects: dict[str, Any] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.drop_after = 10**9
        self.server = Server(self._serve, context)

    def _serve(self, channel: socket.socket) -> None:
        for _number in range(self.drop_after):
            line, headers, body = read_request(channel)
            if not line:
                return
            method, target, _version = line.split(" ")
            self.seen.append((method, target, (headers, json.loads(body) if body else None)))
            status, document = self._answer(target)
            channel.sendall(answer(status, document if isinstance(document, bytes) else json.dumps(document).encode()))

    def _answer(self, target: str) -> tuple[int, Any]:
        url = urlsplit(target)
        found = self.objects.get(url.path, (404, {"kind": "Status", "reason": "NotFound", "message": "not found"}))
        if callable(found):
            return found({key: values[0] for key, values in parse_qs(url.query).items()})
        return found


@pytest.fixture
def apiserver(authority: Authority, server_pair: Pair) -> Iterator[FakeApiserver]:
    """An apiserver on the loopback address."""
    fake = FakeApiserver(server_context(server_pair, authority.pair, demand=True))
    yield fake
    fake.server.close()


@pytest.fixture
def client(apiserver: FakeApiserver, authority: Authority, client_pair: Pair) -> Api:
    """Its administrator."""
    return Api(Endpoint("127.0.0.1", apiserver.server.port), Credential(authority.pair.pem.decode(), client_pair.pem, client_pair.key_pem))


def test_one_connection_serves_many_requests(apiserver: FakeApiserver, client: Api) -> None:
    apiserver.objects["/version"] = (200, {"gitVersion": "v1.36.4"})
    assert [client.get("/version")["gitVersion"] for _ in range(3)] == ["v1.36.4"] * 3
    assert apiserver.server.connections == 1
    client.another().get("/version")
    assert apiserver.server.connections == 2


def test_another_one_may_be_kept_short(apiserver: FakeApiserver, client: Api) -> None:
    apiserver.objects["/configz"] = (200, {"kubeletconfig": "x" * 1000})
    client.another(10.0, 2000).get("/configz")
    with pytest.raises(ApiError, match="more than 500 bytes"):
        client.another(10.0, 500).get("/configz")


def test_a_dropped_connection_is_opened_again_for_reads_only(apiserver: FakeApiserver, client: Api) -> None:
    apiserver.drop_after = 1
    apiserver.objects["/version"] = (200, {})
    client.get("/version")
    client.get("/version")
    assert apiserver.server.connections == 2
    with pytest.raises(ApiError) as failure:
        client.post("/version", {})
    assert failure.value.status == 0
    assert len(apiserver.seen) == 2


def test_writes_carry_json(apiserver: FakeApiserver, client: Api) -> None:
    apiserver.objects["/a"] = (200, {"done": True})
    client.post("/a", {"x": 1})
    client.put("/a", {"x": 2})
    client.patch("/a", {"x": 3})
    client.delete("/a", {"preconditions": {}})
    assert [(method, body) for method, _path, (_headers, body) in apiserver.seen] == [
        ("POST", {"x": 1}),
        ("PUT", {"x": 2}),
        ("PATCH", {"x": 3}),
        ("DELETE", {"preconditions": {}}),
    ]
    assert apiserver.seen[2][2][0]["content-type"] == "application/merge-patch+json"


def test_lists_are_read_page_by_page(apiserver: FakeApiserver, client: Api) -> None:
    def page(query: dict[str, str]) -> tuple[int, Any]:
        assert (query["limit"], query["fieldSelector"]) == ("500", "a=b c")
        start = int(query.get("continue", "0").strip("=&/"))
        follow = f"/{start + 1}&=" if start < 2 else ""
        return 200, {"items": [{"n": start}], "metadata": {"continue": follow}}

    apiserver.objects["/things"] = page
    assert [item["n"] for item in client.list("/things", fieldSelector="a=b c")] == [0, 1, 2]


def test_errors_have_status_and_reason(apiserver: FakeApiserver, client: Api) -> None:
    apiserver.objects["/conflict"] = (409, {"reason": "Conflict", "message": "the object has been modified"})
    apiserver.objects["/text"] = (200, b"ok")
    apiserver.objects["/list"] = (200, b"[]")
    with pytest.raises(ApiError, match="has been modified") as failure:
        client.put("/conflict", {})
    assert (failure.value.status, failure.value.reason) == (409, "Conflict")
    for path in ("/text", "/list"):
        with pytest.raises(ApiError, match=r"cannot be read|no JSON object"):
            client.get(path)
    assert client.raw("/text") == (200, "ok")
    assert client.find("/none") is None
    with pytest.raises(ApiError):
        client.find("/conflict")


def test_the_server_is_always_verified(apiserver: FakeApiserver, stranger: Authority, client_pair: Pair) -> None:
    api = Api(Endpoint("127.0.0.1", apiserver.server.port), Credential(stranger.pair.pem.decode(), client_pair.pem, client_pair.key_pem))
    with pytest.raises(ApiError, match=r"self-signed certificate in certificate chain|unable to get local issuer"):
        api.get("/version")
    assert apiserver.seen == []


def test_nobody_there(authority: Authority, client_pair: Pair) -> None:
    api = Api(Endpoint("127.0.0.1", 1), Credential(authority.pair.pem.decode(), client_pair.pem, client_pair.key_pem))
    with pytest.raises(ApiError, match=r"https://127.0.0.1:1/version: connection refused"):
        api.get("/version")


@pytest.mark.parametrize(
    ("argv", "url"),
    [
        (["x", "--advertise-address=10.0.0.1", "--secure-port=6444"], "https://10.0.0.1:6444"),
        (["x", "--advertise-address=fd00::1"], "https://[fd00::1]:6443"),
        (["x", "--bind-address=10.0.0.2"], "https://10.0.0.2:6443"),
    ],
)
def test_endpoint(argv: list[str], url: str) -> None:
    assert apis.endpoint(argv).url == url


@pytest.mark.parametrize(
    "argv",
    [
        ["x"],
        ["x", "--bind-address=0.0.0.0"],
        ["x", "--advertise-address=1.2.3.4", "--secure-port=x"],
        ["x", "--advertise-address=1.2.3.4", "--secure-port=71979"],
    ],
)
def test_no_endpoint(argv: list[str]) -> None:
    with pytest.raises(ApiError, match="advertise-address"):
        apis.endpoint(argv)


def test_credential_inline_and_in_files(root: Path, authority: Authority, client_pair: Pair) -> None:
    node = FakeNode(root)
    node.write("/inline.conf", kubeconfig(authority.pair, client_pair))
    node.write("/files.conf", "certificate-authority: /ca\nclient-certificate: '/both.pem'\nclient-key: \"/both.pem\"\n")
    node.write("/ca", authority.pair.pem)
    node.write("/real.pem", client_pair.pem + client_pair.key_pem)
    (root / "both.pem").symlink_to("/real.pem")
    inline = apis.credential(node.host, "/inline.conf")
    assert (inline.ca, inline.certificate, inline.key) == (authority.pair.pem.decode(), client_pair.pem, client_pair.key_pem)
    assert apis.credential(node.host, "/files.conf").key == client_pair.pem + client_pair.key_pem
    assert "PRIVATE" not in repr(inline)


@pytest.mark.parametrize(
    "change", [("client-key-data", "other-data"), ("client-key-data: ", "client-key-data: QUJ"), ("kind: Config", "client-key: /etc/x")]
)
def test_a_credential_that_is_not_clear_is_refused(root: Path, authority: Authority, client_pair: Pair, change: tuple[str, str]) -> None:
    node = FakeNode(root)
    node.write("/a.conf", kubeconfig(authority.pair, client_pair).replace(*change))
    with pytest.raises(ApiError, match=r"/a.conf: .*client-key") as failure:
        apis.credential(node.host, "/a.conf")
    assert client_pair.key_pem.decode().splitlines()[1] not in str(failure.value)


def test_the_administrator_may_be_in_either_file(root: Path, authority: Authority, client_pair: Pair) -> None:
    node = FakeNode(root)
    with pytest.raises(ApiError, match=r"super-admin\.conf"):
        apis.admin(node.host)
    node.write("/etc/kubernetes/super-admin.conf", kubeconfig(authority.pair, client_pair))
    assert apis.admin(node.host).certificate == client_pair.pem
