# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider against a server that publishes releases as the projects do."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from pathlib import Path

import pytest

from tests.testbed import gobuild, provider, recipes, versions
from tests.testbed.errors import BedError, ChecksumError

KUBERNETES = versions.upstream("kubernetes", "1.37")
ETCD = versions.upstream("etcd", "3.7")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, remembers what was asked for, and can play a filtering proxy or a connection that breaks."""

    def do_HEAD(self):
        if self.server.refuses:
            self.send_error(403)
        else:
            super().do_HEAD()

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == self.server.breaks_at:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            super().do_GET()

    def log_message(self, *_):
        """Nothing on the terminal."""


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """A server with the releases of Kubernetes and etcd, in the place of the official ones."""
    root = tmp_path / "releases"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    server.asked, server.refuses, server.breaks_at, server.root = [], False, "", root
    publish(root)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("NINEPATHS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("KUBERNETES_HOST", "GITHUB_HOST"):
        monkeypatch.setattr(recipes, name, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def publish(root: Path) -> None:
    """dl.k8s.io: each binary with its .sha256. GitHub: an archive and one list of sums."""
    binaries = root / f"v{KUBERNETES.version}/bin/linux/amd64"
    binaries.mkdir(parents=True)
    for name in recipes.RECIPES["kubernetes"].packages:
        (binaries / name).write_bytes(name.encode())
        (binaries / f"{name}.sha256").write_text(hashlib.sha256(name.encode()).hexdigest())
    folder = f"etcd-v{ETCD.version}-linux-amd64"
    archive = root / f"etcd-io/etcd/releases/download/v{ETCD.version}/{folder}.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("README.md", *recipes.RECIPES["etcd"].packages):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode = len(name), 0o755
            tar.addfile(member, io.BytesIO(name.encode()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name("SHA256SUMS").write_text(f"{'0' * 64}  etcd-v{ETCD.version}-darwin-amd64.zip\n{digest}  {archive.name}\n")


def store(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/binaries").iterdir())


def test_releases_are_downloaded_once(releases, tmp_path):
    binaries = provider.provide([KUBERNETES, ETCD], "amd64", "auto")
    for upstream in (KUBERNETES, ETCD):
        for name in recipes.RECIPES[upstream.name].packages:
            found = binaries[upstream.name][name]
            assert found.read_bytes() == name.encode()
            assert found.stat().st_mode & 0o777 == 0o755
        marker = json.loads((binaries[upstream.name].folder / provider.MARKER).read_text())
        assert marker["source"] == "download"
        assert set(marker["files"]) == set(recipes.RECIPES[upstream.name].packages)
    assert store(tmp_path) == [str(ETCD), str(KUBERNETES)]
    releases.asked.clear()
    assert provider.provide([KUBERNETES, ETCD], "amd64", "auto") == binaries
    assert not releases.asked


def test_a_wrong_checksum_is_refused_and_leaves_nothing(releases, tmp_path):
    binary = releases.root / f"v{KUBERNETES.version}/bin/linux/amd64/kubelet"
    binary.write_bytes(b"tampered with")
    with pytest.raises(ChecksumError) as caught:
        provider.provide([KUBERNETES], "amd64", "auto")
    for part in (f"/v{KUBERNETES.version}/bin/linux/amd64/kubelet has SHA-256", hashlib.sha256(b"tampered with").hexdigest()):
        assert part in str(caught.value)
    assert hashlib.sha256(b"kubelet").hexdigest() in str(caught.value)
    assert "do not use the file" in caught.value.advice
    assert store(tmp_path) == []


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("<html>Not found</html>")])
def test_without_a_published_checksum_nothing_is_taken(releases, tmp_path, spoil):
    spoil(releases.root / f"v{KUBERNETES.version}/bin/linux/amd64/kubeadm.sha256")
    with pytest.raises(BedError, match=r"kubeadm"):
        provider.provide([KUBERNETES], "amd64", "auto")
    assert store(tmp_path) == []


def test_a_connection_that_breaks_leaves_nothing(releases, tmp_path):
    releases.breaks_at = f"/v{KUBERNETES.version}/bin/linux/amd64/kubectl"
    with pytest.raises(BedError, match=r"/kubectl"):
        provider.provide([KUBERNETES], "amd64", "auto")
    assert store(tmp_path) == []


def recorder(monkeypatch) -> list[str]:
    """In the place of builds: what would have been built."""
    built: list[str] = []

    def build(recipe, upstream, _go, target, _earlier):
        built.append(str(upstream))
        for name in recipe.packages:
            (target / name).write_bytes(b"built")

    monkeypatch.setattr(gobuild, "toolchain", lambda modules: "go")
    monkeypatch.setattr(gobuild, "build", build)
    return built


def test_unreachable_hosts_mean_a_build(releases, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "GITHUB_HOST", "http://127.0.0.1:9")
    built = recorder(monkeypatch)
    binaries = provider.provide([KUBERNETES, ETCD], "amd64", "auto")
    assert built == [str(KUBERNETES), str(ETCD)]
    assert json.loads((binaries["etcd"].folder / provider.MARKER).read_text())["source"] == "build"
    assert not releases.asked
    assert "release hosts are not reachable" in capsys.readouterr().err


def test_a_proxy_that_refuses_means_a_build(releases, monkeypatch):
    releases.refuses = True
    built = recorder(monkeypatch)
    provider.provide([KUBERNETES], "amd64", "auto")
    assert built == [str(KUBERNETES)]


def test_download_by_hand_never_builds(releases, monkeypatch):
    monkeypatch.setattr(recipes, "KUBERNETES_HOST", "http://127.0.0.1:9")
    built = recorder(monkeypatch)
    with pytest.raises(BedError, match=r"download of http://127\.0\.0\.1:9/") as caught:
        provider.provide([KUBERNETES], "amd64", "download")
    assert "--source build" in caught.value.advice
    assert not built
