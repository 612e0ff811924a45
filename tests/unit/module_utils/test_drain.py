# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An apiserver leaves its load balancer only where it has to, and comes back whatever happens."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.api import ApiError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import drain
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.toolbox import Toolbox

INSIDE = [ipaddress.ip_network(text) for text in ("10.244.0.0/16", "10.244.3.0/24", "10.0.0.1/32", "fd00::/64")]


class Host(Machine):
    """Records the nft scripts, and answers with one result."""

    def __init__(self, result: RunResult) -> None:
        super().__init__(self.nft)
        self.result, self.scripts, self.slept = result, [], 0.0

    def nft(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> RunResult:
        assert argv == ["nft", "-f", "-"]
        self.scripts.append(stdin.decode())
        return self.result

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class Service:
    """The API as `other_apiservers` asks it."""

    def __init__(self, addresses: list[list[str]] | None) -> None:
        self.addresses = addresses

    def find(self, path: str) -> dict[str, Any] | None:
        assert path.endswith("/endpointslices/kubernetes")
        return None if self.addresses is None else {"endpoints": [{"addresses": addresses} for addresses in self.addresses]}

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        assert path == "/api/v1/nodes"
        yield {"status": {"addresses": [{"type": "Hostname", "address": "cp1"}, {"type": "InternalIP", "address": "10.0.0.1"}]}}
        yield {"spec": {"podCIDRs": [*self.pods]}, "status": {"addresses": [{"type": "InternalIP", "address": "fd00::2"}]}}

    pods: Sequence[str] = ("10.244.1.0/24",)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["kube-apiserver"], True),
        (["kube-apiserver", "--shutdown-delay-duration=0s"], True),
        (["kube-apiserver", "--shutdown-delay-duration=0"], True),
        (["kube-apiserver", "--shutdown-delay-duration=5s"], False),
        (["kube-apiserver", "--shutdown-delay-duration=10s"], False),
        (["kube-apiserver", "--shutdown-delay-duration=1m0s"], False),
    ],
)
def test_only_an_apiserver_without_a_delay_is_drained(argv: list[str], expected: bool) -> None:
    assert drain.needed(argv) is expected


@pytest.mark.parametrize(("addresses", "others"), [(None, 0), ([["10.0.0.1"]], 0), ([["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]], 2), ([["a", "b"]], 1)])
def test_other_apiservers_are_those_of_the_kubernetes_service(addresses: list[list[str]] | None, others: int) -> None:
    assert drain.other_apiservers(Service(addresses)) == others


def test_the_refusal_ends_by_itself_and_spares_the_node() -> None:
    host = Host(RunResult(0, "", ""))
    assert "refused" in drain.begin(host, ["kube-apiserver", "--secure-port=7443"], INSIDE)
    script = host.scripts[0]
    assert f"{{ 7443 timeout {drain.REFUSED_SECONDS}s }}" in script
    assert 'iifname != "lo"' in script
    assert drain.SECONDS == host.slept < drain.REFUSED_SECONDS


def test_nodes_and_pods_are_let_in() -> None:
    host = Host(RunResult(0, "", ""))
    drain.begin(host, ["kube-apiserver"], INSIDE)
    lines = host.scripts[0].splitlines()
    assert "add element inet ninepaths_drain inside4 { 10.0.0.1/32, 10.244.0.0/16 }" in lines  # overlapping intervals would be refused
    assert "add element inet ninepaths_drain inside6 { fd00::/64 }" in lines
    rules = [line for line in lines if line.startswith("add rule")]
    assert [("accept" in rule, "reject" in rule) for rule in rules] == [(True, False), (True, False), (False, True)]


def test_inside_are_the_nodes_and_the_pods() -> None:
    found = {str(network) for network in drain.inside(Service(None), ["kube-controller-manager", "--cluster-cidr=10.200.0.0/16,fd01::/48"])}
    assert found == {"10.0.0.1/32", "fd00::2/128", "10.244.1.0/24", "10.200.0.0/16", "fd01::/48"}


def test_where_nothing_says_what_the_pods_have_nobody_is_refused() -> None:
    service, host = Service(None), Host(RunResult(0, "", ""))
    service.pods = ()
    assert drain.inside(service, ["kube-controller-manager"]) == []
    assert "stays in the load balancer" in drain.begin(host, ["kube-apiserver"], [])
    assert (host.scripts, host.slept) == ([], 0.0)


def test_without_nft_it_says_so_and_goes_on_at_once() -> None:
    host = Host(RunResult(127, "", "nft: No such file or directory"))
    assert "No such file" in drain.begin(host, ["kube-apiserver"], INSIDE)
    assert host.slept == 0.0


def test_the_end_removes_the_table_even_when_there_is_none() -> None:
    host = Host(RunResult(0, "", ""))
    drain.end(host)
    assert host.scripts == ["add table inet ninepaths_drain\ndelete table inet ninepaths_drain\n"]


CONTEXT: Any = SimpleNamespace(node=SimpleNamespace(running=lambda component: []))


class TestToolbox:
    """When the step is taken, as the transaction asks for it."""

    def toolbox(self, monkeypatch: pytest.MonkeyPatch, service: Any) -> tuple[Host, Toolbox]:
        host = Host(RunResult(0, "", ""))
        toolbox = Toolbox(host, "cp1")
        monkeypatch.setattr(toolbox, "administrator", lambda _context: service)
        return host, toolbox

    @pytest.mark.parametrize(("addresses", "drained"), [([["a"]], False), ([["a"], ["b"]], True)])
    def test_a_single_apiserver_is_not_kept_from_its_clients_any_longer(
        self, monkeypatch: pytest.MonkeyPatch, addresses: list[list[str]], drained: bool
    ) -> None:
        host, toolbox = self.toolbox(monkeypatch, Service(addresses))
        assert bool(toolbox.drain(CONTEXT, ("kube-apiserver",))) is drained
        assert bool(host.scripts) is drained

    def test_an_api_that_does_not_answer_is_a_named_cause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken:
            def find(self, path: str) -> None:
                raise ApiError(503, "ServiceUnavailable", "not now")

        _host, toolbox = self.toolbox(monkeypatch, Broken())
        with pytest.raises(TransactionError, match="cannot be counted"):
            toolbox.drain(CONTEXT, ("kube-apiserver",))
