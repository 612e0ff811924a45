# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import processes
from fake_node import API_UID, BOOTED, SANDBOX, UID, FakeNode, cgroupfs, systemd
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("path", "uid"),
    [
        (cgroupfs(UID), UID),
        (systemd(UID), UID),
        (cgroupfs(API_UID), API_UID),
        (systemd(API_UID), API_UID),
        (f"/kubepods/pod{UID}/abc", UID),
        (f"/kubepods.slice/kubepods-pod{UID}.slice/crio-abc.scope", UID),
        (f"/libpod-0123/kubepods/burstable/pod{UID}/abc", UID),
        # A container may make cgroups below its own with any name; it stays in its pod.
        (f"{cgroupfs(API_UID)}/kubepods/burstable/pod{UID}/abc", API_UID),
        (f"{systemd(API_UID)}/kubepods-burstable-pod{UID}.slice/x", API_UID),
        (f"/user.slice/mypod{UID}/x", None),
        (f"/system.slice/pod{UID}0000000000/x", None),
        ("/system.slice/kubelet.service", None),
        ("/", None),
    ],
)
def test_pod_of(path: str, uid: str | None) -> None:
    assert processes.pod_of(f"0::{path}\n") == uid
    assert processes.pod_of(f"9:name=systemd:{path}\n4:memory:{path}\n") == uid


@given(st.text())
def test_pod_of_anything(text: str) -> None:
    processes.pod_of(text)


def test_process_with_a_hostile_name(root: Path) -> None:
    node = FakeNode(root)
    node.process(7, ["kube-apiserver", "--a=b c", "--d="], cgroupfs(UID), started=12.5)
    assert processes.boot_time(node.host) == BOOTED
    assert processes.process(node.host, 7, BOOTED) == (
        7,
        ["kube-apiserver", "--a=b c", "--d="],
        BOOTED + 12.5,
        "/usr/local/bin/kube-apiserver",
    )


def test_a_process_that_is_gone(root: Path) -> None:
    assert processes.process(FakeNode(root).host, 7, 0.0) is None


def test_in_pods_reads_both_cgroup_versions(root: Path) -> None:
    node = FakeNode(root)
    node.process(1, ["pause"], cgroupfs(UID, SANDBOX), version=1)
    node.process(2, ["kube-apiserver"], systemd(UID), version=2)
    node.process(3, ["kube-apiserver"], cgroupfs(API_UID))
    (root / "proc/4").mkdir()  # a process that ended between listing and reading
    assert processes.in_pods(node.host, {UID}) == {UID: [1, 2]}
    assert processes.in_pods(node.host, set()) == {}


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1BB1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0AC8590A:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0
   2: 0AC8590A:192B 0BC8590A:9999 01 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0
   3: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 114 1 0 100 0 0 10 0
"""
EVERYWHERE = "0" * 32
TCP6 = f"""  sl  local_address                         remote_address                        st
   0: {EVERYWHERE}:2712 {EVERYWHERE}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 115 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize("chunk", [7, 100, 1 << 14])
def test_listening_reads_up_to_the_first_other_socket(root: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(processes, "NETWORK_CHUNK", chunk)
    node = FakeNode(root)
    node.write("/proc/net/tcp", TCP)
    node.write("/proc/net/tcp6", TCP6)
    assert processes.listening(node.host) == [("10.89.200.10", 6443, 112), ("127.0.0.1", 7089, 111), ("::", 10002, 115)]


def test_socket_owners(root: Path) -> None:
    node = FakeNode(root)
    node.process(5, ["etcd"], "/", sockets=[111, 112])
    (root / "proc/5/fd/9").symlink_to("/dev/null")
    assert processes.socket_owners(node.host, [5, 6]) == {111: 5, 112: 5}


TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.89.200.0
        /24 link UNICAST
        |-- 10.89.200.10
           /32 host LOCAL
        |-- 10.89.200.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 169.254.3.4
        /32 host LOCAL
Local:
        |-- 10.89.200.10
           /32 host LOCAL
"""


def test_addresses(root: Path) -> None:
    node = FakeNode(root)
    assert processes.addresses(node.host) == []
    node.write("/proc/net/fib_trie", TRIE)
    rows = [
        "00000000000000000000000000000001 01 80 10 80 lo",
        "fd000000000000000000000000000007 02 40 00 80 eth0",
        "fe80000000000000208d00fffed80359 02 40 20 80 eth0",
    ]
    node.write("/proc/net/if_inet6", "\n".join(rows) + "\n")
    assert processes.addresses(node.host) == ["10.89.200.10", "fd00::7"]
