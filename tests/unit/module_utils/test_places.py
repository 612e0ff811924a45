# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that processes name: where they lie on the host, and what is looked at there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import mounts
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import places
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection

OURS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:2 / /data rw - ext4 /dev/sdb1 rw\n31 22 0:30 / /tmp rw - tmpfs tmpfs rw\n"
THEIRS = (
    "100 90 0:99 / / rw - overlay overlay rw\n"
    "101 100 8:2 /etcd /var/lib/etcd rw - ext4 /dev/sdb1 rw\n"
    "102 100 8:1 /etc/kubernetes/pki /etc/kubernetes/pki ro - ext4 /dev/sda1 rw\n"
    "103 100 8:1 /etc/kubernetes/scheduler.conf//deleted /etc/kubernetes/scheduler.conf ro - ext4 /dev/sda1 rw\n"
    "104 100 8:1 /srv/a\\040b /with/space rw - ext4 /dev/sda1 rw\n"
    "105 100 0:77 / /scratch rw - tmpfs tmpfs rw\n"
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, text in (("self", OURS), ("7", THEIRS)):
        (tmp_path / "proc" / name).mkdir(parents=True)
        (tmp_path / "proc" / name / "mountinfo").write_text(text)
    return Host(str(tmp_path))


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/var/lib/etcd", "/data/etcd"),
        ("/var/lib/etcd/member/", "/data/etcd/member"),
        ("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.crt"),
        ("/etc/kubernetes/scheduler.conf", "/etc/kubernetes/scheduler.conf"),
        ("/with/space/x", "/srv/a b/x"),
        ("/scratch/x", None),
        ("/var/lib/etcdother", None),
    ],
)
def test_where_a_containers_path_lies(host: Host, inside: str, outside: str | None) -> None:
    assert mounts.on_host(host, 7, inside) == outside


def test_without_a_process_nobody_knows(host: Host) -> None:
    assert mounts.on_host(host, None, "/var/lib/etcd") is None
    assert mounts.on_host(host, 8, "/var/lib/etcd") is None


def kubelet(**more: Any) -> dict[str, Any]:
    return {"argv": [], "config": None, "dropins": [], "environment_files": [], "unit_files": [], **more}


def write(host: Host, path: str, text: str = "x\n") -> None:
    os.makedirs(os.path.dirname(host.real(path)), exist_ok=True)
    Path(host.real(path)).write_text(text)


class TestFind:
    def test_etcds_data_is_looked_at_where_it_lies(self, host: Host) -> None:
        write(host, "/data/etcd/member/x")
        seen = Collection(host)
        components = {"etcd": {"argv": ["etcd", "--data-dir=/var/lib/etcd"], "pid": 7}}
        found = places.find(seen, {"etcd.data_dir": ["", "*"]}, kubelet(), components, "/etc/kubernetes/manifests")
        assert found == {"etcd.data_dir": ["/data/etcd"]}
        assert seen.files["/data/etcd"]["type"] == seen.files["/data/etcd/member"]["type"] == "dir"
        assert "/data/etcd/member/x" not in seen.files

    def test_a_directory_with_the_ca_and_the_key_is_a_pki(self, host: Host) -> None:
        argv = ["kube-apiserver", "--client-ca-file=/etc/kubernetes/pki/ca.crt", "--tls-private-key-file=/etc/kubernetes/pki/apiserver.key"]
        for words, wanted in ((argv, ["/etc/kubernetes/pki"]), (argv[:2], []), ([*argv[:2], "--tls-private-key-file=/with/space/k"], [])):
            components = {"kube-apiserver": {"argv": words, "pid": 7}}
            assert places.find(Collection(host), {"cluster.pki": [""]}, kubelet(), components, "/m")["cluster.pki"] == wanted

    def test_the_kubelets_files(self, host: Host) -> None:
        write(host, "/srv/kubelet.yaml", "authentication:\n  x509:\n    clientCAFile: /srv/ca.crt\n")
        seen = kubelet(argv=["kubelet", "--kubeconfig=/srv/k.conf", "--config=/srv/kubelet.yaml"], config="/srv/kubelet.yaml", dropins=["/srv/d/1.conf"])
        found = places.find(Collection(host), {name: [""] for name in places.NAMES}, seen, {}, "/srv/pods")
        assert {name: found[name] for name in found if found[name]} == {
            "kubelet.client_ca": ["/srv/ca.crt"],
            "kubelet.config": ["/srv/kubelet.yaml"],
            "kubelet.dropins": ["/srv/d/1.conf"],
            "kubelet.kubeconfig": ["/srv/k.conf"],
        }
        assert set(found) == set(places.NAMES)

    def test_a_file_has_one_name_and_links_are_followed(self, host: Host) -> None:
        write(host, "/usr/lib/systemd/kubelet.service")
        os.symlink("usr/lib", host.real("/lib"))
        write(host, "/opt/kept/real.yaml")
        os.makedirs(host.real("/srv"))
        os.symlink("/opt/kept/real.yaml", host.real("/srv/kubelet.yaml"))
        seen = Collection(host)
        view = kubelet(unit_files=["/lib/systemd/kubelet.service", "/usr/lib/systemd/kubelet.service"], config="/srv/kubelet.yaml")
        found = places.find(seen, {"kubelet.unit_files": [""], "kubelet.config": [""]}, view, {}, "/m")
        assert found == {"kubelet.unit_files": ["/usr/lib/systemd/kubelet.service"], "kubelet.config": ["/srv/kubelet.yaml"]}
        assert seen.files["/srv/kubelet.yaml"]["resolved"] == "/opt/kept/real.yaml"
        assert seen.files["/opt/kept/real.yaml"]["type"] == "file"

    def test_a_place_that_nobody_knows_is_left_out(self, host: Host) -> None:
        assert places.find(Collection(host), {"moon.dust": [""]}, None, {}, "/m") == {}
