# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests of the target side."""

from __future__ import annotations

from pathlib import Path

import pytest
from tls_material import Authority, Pair


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of a cluster."""
    return Authority(tmp_path_factory.mktemp("pki"), "kubernetes")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that the cluster does not know."""
    return Authority(tmp_path_factory.mktemp("foreign"), "etcd-ca")


@pytest.fixture(scope="session")
def server_pair(authority: Authority) -> Pair:
    """A server on the loopback address."""
    return authority.sign("kube-apiserver", dns=["cp1"], ip=["127.0.0.1"])


@pytest.fixture(scope="session")
def client_pair(authority: Authority) -> Pair:
    """A client that the cluster knows."""
    return authority.sign("kubernetes-admin", "kubeadm:cluster-admins")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system of a target's own."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder
