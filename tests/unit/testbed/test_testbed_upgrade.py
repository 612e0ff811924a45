# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade goes in kubeadm's order, one node after the other; no podman involved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.testbed import bed as beds
from tests.testbed import cluster, image, imagestore, provider, upgrade, versions
from tests.testbed.bed import CONTROL_PLANE, WORKER, Bed
from tests.testbed.errors import BedError
from tests.testbed.host import Host
from tests.testbed.imagestore import ImageStore
from tests.testbed.provider import Binaries
from tests.testbed.versions import Upstream

MACHINE = Host("amd64", "debian", "trixie", cgroup_v2=True, systemd=True, file_limit=None, modules=True, swap=False)
NEW = {"kubernetes": "1.37.1", "etcd": "3.7.1"}


def running(control_planes: int, workers: int) -> Bed:
    bed = Bed("t1", "10.89.7.0/24", "1.36.4", {}, "localhost/node:1", "localhost/tool:1", "/cache/1.36", control_planes > 1, state="running", release="trixie")
    for role in [CONTROL_PLANE] * control_planes + [WORKER] * workers:
        bed = bed.with_node(dataclasses.replace(beds.new_node(bed, role), joined=True))
    return bed


@dataclasses.dataclass
class RecordingPodman:
    calls: list[tuple[str, ...]]

    def __call__(self, *arguments, **_options):
        self.calls.append(arguments)
        return ""

    def execute(self, container, argv, **_options):
        self.calls.append((container.rsplit("-", 1)[1], *argv))
        return ""


@pytest.fixture
def upgraded(monkeypatch, tmp_path):
    """Upgrades a bed of 3+1 to 1.37; returns the bed that was saved, and what podman was asked."""
    saved = [running(3, 1)]
    monkeypatch.setattr(beds, "directory", lambda _name: tmp_path)
    monkeypatch.setattr(beds, "existing", lambda _name: saved[-1])
    monkeypatch.setattr(beds, "save", saved.append)
    monkeypatch.setattr(versions, "release", lambda _minor: ())
    binaries = {name: Binaries(Upstream(name, Path(), version), Path(f"/bin/{name}"), "d") for name, version in NEW.items()}
    monkeypatch.setattr(provider, "provide", lambda *_arguments: binaries)
    monkeypatch.setattr(imagestore, "provide", lambda *_arguments: ImageStore(Path("/cache/1.37"), {"pause": "pause:3.10.2"}))
    monkeypatch.setattr(image, "node_image", lambda *_arguments: "localhost/node:2")
    podman = RecordingPodman([])
    upgrade.upgrade(cluster.Machine(MACHINE, podman), "t1", "1.37", "auto")
    return saved[-1], podman.calls


def at(calls, *words):
    """Where in the calls the first one stands that has all these words."""
    return next(index for index, call in enumerate(calls) if all(any(word in part for part in call) for word in words))


def test_apply_on_the_first_then_node_by_node(upgraded):
    _, calls = upgraded
    kubeadm = [(call[0], call[1:4]) for call in calls if call[1] == "kubeadm"]
    assert kubeadm == [("cp1", ("kubeadm", "upgrade", "apply")), *((node, ("kubeadm", "upgrade", "node")) for node in ("cp2", "cp3", "w1"))]
    assert "v1.37.1" in calls[at(calls, "cp1", "kubeadm", "apply")]


@pytest.mark.parametrize("node", ["cp1", "w1"])
def test_the_order_on_a_node(upgraded, node):
    _, calls = upgraded
    steps = [
        at(calls, node, "load-images"),
        at(calls, node, "mv /usr/bin/.kubeadm.new"),
        at(calls, node, "kubeadm", "upgrade"),
        at(calls, "kubectl", "drain", node),
        at(calls, node, "mv /usr/bin/.kubelet.new"),
        at(calls, node, "systemctl restart kubelet"),
        at(calls, "kubectl", "uncordon", node),
    ]
    assert steps == sorted(steps)


def test_images_are_everywhere_before_kubeadm_starts(upgraded):
    _, calls = upgraded
    assert at(calls, "w1", "load-images") < at(calls, "cp1", "kubeadm", "upgrade")


def test_a_worker_needs_no_images_of_the_control_plane(upgraded):
    _, calls = upgraded
    copies = {call[2].split(":")[0].rsplit("-", 1)[1]: [] for call in calls if call[0] == "cp"}
    for call in calls:
        if call[0] == "cp" and call[1].startswith("/cache"):
            copies[call[2].split(":")[0].rsplit("-", 1)[1]].append(call[1])
    assert copies["w1"] == ["/cache/1.37/node"]
    assert copies["cp2"] == ["/cache/1.37/node", "/cache/1.37/control-plane"]


def test_nodes_that_join_later_are_of_the_new_release(upgraded):
    bed, _ = upgraded
    assert (bed.kubernetes, bed.image, bed.image_store) == ("1.37.1", "localhost/node:2", "/cache/1.37")
    assert bed.versions == NEW


@pytest.mark.parametrize("minor", ["1.35", "1.38"])
def test_only_to_the_next_minor(minor):
    upgrade.check(running(1, 1), "1.37")
    with pytest.raises(BedError, match=f"does not upgrade Kubernetes 1.36.4 to {minor}"):
        upgrade.check(running(1, 1), minor)


def test_half_a_bed_is_not_upgraded():
    with pytest.raises(BedError, match="did not come up"):
        upgrade.check(dataclasses.replace(running(1, 1), state="starting"), "1.37")
