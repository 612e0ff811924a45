# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided from the machine's facts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.testbed import host, image, kubeadm, packages
from tests.testbed.errors import BedError

ORDINARY = host.Host("amd64", "debian", "trixie", cgroup_v2=True, systemd=True, file_limit=None, modules=True, swap=False)
RESTRICTED = host.Host("amd64", "debian", "bookworm", cgroup_v2=False, systemd=False, file_limit=20000, modules=False, swap=False)


def test_ordinary_machine_gets_podmans_defaults():
    text = host.containers_conf(ORDINARY)
    assert "default_ulimits" not in text
    assert 'cgroup_manager = "systemd"' in text


def test_without_cap_sys_resource_the_limits_are_named():
    text = host.containers_conf(RESTRICTED)
    assert 'default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]' in text
    assert 'cgroup_manager = "cgroupfs"' in text


@pytest.mark.parametrize(("bounding", "expected"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_capability_is_read_from_the_bounding_set(bounding, expected):
    assert host.has_capability(f"CapEff:\t0000000000000000\nCapBnd:\t{bounding}\n", host.CAP_SYS_RESOURCE) is expected


def test_no_bounding_set_is_no_capability():
    assert not host.has_capability("Name:\tx\n", host.CAP_SYS_RESOURCE)


def test_os_release():
    assert host.os_release('ID=debian\nVERSION_CODENAME="bookworm"\n\n') == {"ID": "debian", "VERSION_CODENAME": "bookworm"}


def test_apt_sources_prefers_the_deb822_file(tmp_path):
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    assert host.apt_sources("debian", "bookworm", tmp_path) == tmp_path / "etc/apt/sources.list"
    (folder / "debian.sources").write_text("Suites: bookworm\n")
    assert host.apt_sources("debian", "bookworm", tmp_path) == folder / "debian.sources"


def test_apt_sources_of_another_release_do_not_count(tmp_path):
    with pytest.raises(BedError, match="no apt sources for debian trixie"):
        host.apt_sources("debian", "trixie", tmp_path)


def test_another_release_comes_from_the_same_mirrors():
    text = "URIs: http://mirror.example/bookworms\nSuites: bookworm bookworm-updates\nSigned-By: /keys/debian-archive-keyring.gpg\n"
    assert host.sources_for("bullseye", "bookworm", text) == text.replace("bookworm bookworm-", "bullseye bullseye-")
    assert host.sources_for("bookworm", "bookworm", text) == text


def test_kubelet_configuration_deviates_only_where_the_machine_asks_for_it():
    assert kubeadm.kubelet_configuration(ORDINARY).keys() == {"apiVersion", "kind", "cgroupDriver", *kubeadm.DISK}
    assert kubeadm.kubelet_configuration(ORDINARY)["cgroupDriver"] == "systemd"
    assert kubeadm.kubelet_configuration(RESTRICTED)["failCgroupV1"] is False
    assert kubeadm.kubelet_configuration(dataclasses.replace(ORDINARY, swap=True))["failSwapOn"] is False


def test_containerd_configuration_follows_the_machine():
    restricted, ordinary = (image.containerd_config(machine, "registry.k8s.io/pause:3.10.2") for machine in (RESTRICTED, ORDINARY))
    assert "restrict_oom_score_adj = true" in restricted
    assert "SystemdCgroup = false" in restricted
    assert "restrict_oom_score_adj = false" in ordinary
    assert "SystemdCgroup = true" in ordinary
    assert "sandbox = 'registry.k8s.io/pause:3.10.2'" in ordinary


def test_missing_packages():
    listing = "podman installed\nrunc not-installed\nlibc6-dev:amd64 installed\n"
    assert packages.missing(listing, ["podman", "runc", "gcc", "libc6-dev"]) == ["runc", "gcc"]


def test_image_entry_writes_its_mode(tmp_path):
    image.Entry("ops ALL=(ALL) NOPASSWD: ALL\n", 0o440).write(tmp_path / "etc/sudoers.d/ops")
    assert (tmp_path / "etc/sudoers.d/ops").stat().st_mode & 0o777 == 0o440


def test_image_entry_fingerprint_sees_content_and_mode(tmp_path):
    source = tmp_path / "file"
    source.write_text("a")
    first = image.Entry(source).fingerprint()
    assert first != image.Entry(source, 0o600).fingerprint()
    source.write_text("b")
    assert first != image.Entry(source).fingerprint()


def test_every_file_of_the_node_exists():
    folder = Path(image.__file__).parent / "files" / "node"
    assert {"kubelet.service", "10-kubeadm.conf", "containerd.service", "config.toml", "prepare-node"} <= {
        path.name for path in folder.iterdir()
    }
