# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses, configuration documents and what a bed leaves behind; no podman involved."""

from __future__ import annotations

import dataclasses
import io
import json
import stat
import tarfile

import pytest
import yaml

from tests.testbed import bed as beds
from tests.testbed import cluster, inventory, kubeadm, kubectl, loadbalancer, network, node, podman, ssh
from tests.testbed.bed import CONTROL_PLANE, WORKER, Bed
from tests.testbed.cli import parser
from tests.testbed.errors import BedError
from tests.testbed.host import Host

MACHINE = Host("amd64", "debian", "trixie", cgroup_v2=True, systemd=True, file_limit=None, modules=True, swap=False)


def make_bed(control_planes: int = 1, workers: int = 1) -> Bed:
    bed = Bed(
        "t1",
        "10.89.7.0/24",
        "1.36.4",
        {"kube-bench": "0.15.6"},
        "localhost/node:1",
        "localhost/tool:1",
        "/cache/images",
        control_planes > 1,
    )
    for role in [CONTROL_PLANE] * control_planes + [WORKER] * workers:
        bed = bed.with_node(dataclasses.replace(beds.new_node(bed, role), joined=True))
    return bed


def test_names_and_addresses():
    bed = make_bed(3, 2)
    assert [(one.name, one.address, one.container) for one in bed.nodes] == [
        ("cp1", "10.89.7.11", beds.object_name("t1", "cp1")),
        ("cp2", "10.89.7.12", beds.object_name("t1", "cp2")),
        ("cp3", "10.89.7.13", beds.object_name("t1", "cp3")),
        ("w1", "10.89.7.21", beds.object_name("t1", "w1")),
        ("w2", "10.89.7.22", beds.object_name("t1", "w2")),
    ]
    assert bed.endpoint == "10.89.7.5:6443"
    assert bed.load_balancer == beds.object_name("t1", "lb")


def test_checkouts_have_beds_of_one_name_side_by_side(monkeypatch):
    here = beds.object_name("t1", "cp1")
    monkeypatch.setattr(beds.paths, "CHECKOUT", beds.paths.CHECKOUT / "another")
    assert beds.object_name("t1", "cp1") != here


def test_a_single_control_plane_is_its_own_endpoint():
    assert make_bed().endpoint == "10.89.7.11:6443"
    assert make_bed().load_balancer is None


def test_new_node_takes_the_lowest_free_address():
    bed = make_bed(1, 3)
    without = dataclasses.replace(bed, nodes=tuple(one for one in bed.nodes if one.name != "w2"))
    assert beds.new_node(without, WORKER).address == "10.89.7.22"
    assert beds.new_node(bed, WORKER, "edge").name == "edge"


@pytest.mark.parametrize("name", ["w1", "lb", "W9", "a b", "-a", "a" * 21, ""])
def test_names_that_do_not_do(name):
    if name == "":
        with pytest.raises(BedError):
            beds.check_name(name)
        return
    with pytest.raises(BedError):
        beds.new_node(make_bed(), WORKER, name)


def test_addresses_run_out_with_a_message():
    bed = make_bed(9, 0)
    with pytest.raises(BedError, match="no address left"):
        beds.new_node(bed, CONTROL_PLANE)


def test_bed_survives_its_file():
    bed = make_bed(3, 2)
    assert beds.parse(beds.dump(bed)) == bed
    assert json.loads(beds.dump(bed))["endpoint"] == bed.endpoint


def test_a_foreign_bed_file_is_refused():
    with pytest.raises(BedError, match="not written by this version"):
        beds.parse('{"nodes": []}')


def test_default_bed_has_the_short_directory():
    assert beds.directory("default").name == ".testbed"
    assert beds.directory("t1").name == ".testbed-t1"


def test_private_files_are_private(tmp_path):
    beds.write_private(tmp_path / "key", "secret")
    beds.write_private(tmp_path / "key", "new")
    assert (tmp_path / "key").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "10.89.2.0/24"),
        (["10.89.2.0/24", "10.89.3.0/24"], "10.89.4.0/24"),
        (["10.89.0.0/20"], "10.89.16.0/24"),
        (["10.89.2.17"], "10.89.3.0/24"),
        (["192.0.2.0/24", "fd00::/64"], "10.89.2.0/24"),
    ],
)
def test_free_subnet(taken, expected):
    assert network.free_subnet(taken) == expected


def test_no_free_subnet():
    with pytest.raises(BedError, match="no free"):
        network.free_subnet(["10.0.0.0/8"])


def test_every_node_has_a_pod_network_of_its_own():
    bed = make_bed(3, 2)
    plugins = [json.loads(network.conflist(one))["plugins"][0] for one in bed.nodes]
    subnets = [plugin["ipam"]["ranges"][0][0]["subnet"] for plugin in plugins]
    assert subnets == ["10.244.11.0/24", "10.244.12.0/24", "10.244.13.0/24", "10.244.21.0/24", "10.244.22.0/24"]


def test_own_files_belong_to_their_users():
    with tarfile.open(fileobj=io.BytesIO(node.own_files(make_bed().node("w1"), "ssh-ed25519 AAAA bed\n"))) as tar:
        members = {member.name: member for member in tar}
        values = tar.extractfile("etc/default/testbed-node").read().decode()
    key = members["home/ops/.ssh/authorized_keys"]
    assert (key.uid, key.mode) == (1000, 0o600)
    assert members["etc/cni/net.d/10-bridge.conflist"].uid == 0
    assert values == "NODES=10.89.7\nNODE=21\nPODS=10.244\nFIRST=11\nLAST=99\n"


def test_nodes_get_a_cgroup_namespace_and_not_podmans_systemd_mode(tmp_path):
    bed = make_bed()
    arguments = node.create_arguments(bed, bed.node("cp1"), MACHINE, tmp_path)
    assert {"--cgroupns=private", "--systemd=false", "--hostname=cp1", "--ip=10.89.7.11", f"--volume={beds.object_name('t1', 'cp1')}:/var"} <= set(arguments)
    assert arguments[-1] == bed.image
    assert not any("/sys/fs/cgroup" in argument for argument in arguments)


def _documents(bed: Bed) -> dict:
    return {one["kind"]: one for one in yaml.safe_load_all(kubeadm.init_configuration(bed, bed.node("cp1"), MACHINE))}


def test_init_configuration_of_a_single_control_plane_has_no_endpoint():
    documents = _documents(make_bed())
    assert "controlPlaneEndpoint" not in documents["ClusterConfiguration"]
    assert documents["ClusterConfiguration"]["kubernetesVersion"] == "v1.36.4"
    assert documents["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == "10.89.7.11"


def test_init_configuration_hardens_nothing():
    documents = _documents(make_bed(3))
    assert documents["ClusterConfiguration"].keys() == {"apiVersion", "kind", "kubernetesVersion", "networking", "controlPlaneEndpoint"}
    assert documents["KubeletConfiguration"].keys() == {"apiVersion", "kind", "cgroupDriver", *kubeadm.DISK}


def test_join_configuration():
    bed = make_bed(3, 1)
    ticket = kubeadm.JoinTicket("10.89.7.5:6443", "abcdef.0123456789abcdef", "sha256:12", certificate_key="ff")
    worker = json.loads(kubeadm.join_configuration(bed.node("w1"), ticket))
    assert "controlPlane" not in worker
    assert worker["discovery"]["bootstrapToken"]["caCertHashes"] == ["sha256:12"]
    control_plane = json.loads(kubeadm.join_configuration(bed.node("cp2"), ticket))
    assert control_plane["controlPlane"] == {
        "localAPIEndpoint": {"advertiseAddress": "10.89.7.12", "bindPort": 6443},
        "certificateKey": "ff",
    }


def test_join_command_is_parsed_and_never_shown():
    text = "W1121 warning\nkubeadm join 10.89.7.5:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:12 \n"
    ticket = kubeadm.parse_join_command(text)
    assert (ticket.endpoint, ticket.token, ticket.ca_hash) == ("10.89.7.5:6443", "abcdef.0123456789abcdef", "sha256:12")
    assert "abcdef" not in repr(ticket)
    with pytest.raises(BedError):
        kubeadm.parse_join_command("nothing")


def test_load_balancer_checks_readyz_over_tls():
    text = loadbalancer.configuration({"cp1": "10.89.7.11", "cp2": "10.89.7.12"})
    assert "option httpchk GET /readyz" in text
    assert "check-ssl" in text
    assert "  server cp2 10.89.7.12:6443\n" in text
    assert "$" not in text


def test_known_hosts_names_address_and_host():
    bed = make_bed(1, 0)
    assert ssh.known_hosts({"cp1": ["ssh-ed25519 AAAA root@cp1"]}, bed.nodes) == "10.89.7.11,cp1 ssh-ed25519 AAAA\n"


def test_host_keys_are_verified_everywhere():
    bed = make_bed()
    assert "StrictHostKeyChecking yes" in ssh.config(bed)
    variables = yaml.safe_load(inventory.render(bed))["all"]["vars"]
    assert "StrictHostKeyChecking=yes" in variables["ansible_ssh_common_args"]
    assert variables["ansible_ssh_private_key_file"].endswith("/.testbed-t1/id_ed25519")


def test_inventory_groups():
    groups = yaml.safe_load(inventory.render(make_bed(3, 2)))["all"]["children"]
    assert set(groups["kube_control_plane"]["hosts"]) == set(groups["etcd"]["hosts"]) == {"cp1", "cp2", "cp3"}
    assert groups["kube_node"]["hosts"]["w2"] == {"ansible_host": "10.89.7.22"}
    assert set(groups["k8s_cluster"]["children"]) == {"kube_control_plane", "kube_node"}
    assert "prepared" not in groups


def test_a_prepared_node_is_no_member_yet():
    bed = make_bed()
    bed = bed.with_node(beds.new_node(bed, WORKER))
    groups = yaml.safe_load(inventory.render(bed))["all"]["children"]
    assert set(groups["prepared"]["hosts"]) == {"w2"}
    assert set(groups["kube_node"]["hosts"]) == {"w1"}


@pytest.mark.parametrize(("control_planes", "workers"), [(0, 1), (2, 1), (11, 0), (1, -1), (1, 80)])
def test_requests_that_make_no_cluster(control_planes, workers):
    with pytest.raises(BedError):
        cluster.check(cluster.Request("t1", control_planes, workers, "1.36", "auto"))


def test_check_pod_sits_on_its_node():
    pod = kubectl.check_pod(make_bed().node("w1"), "localhost/tool:1")
    assert pod["spec"]["nodeName"] == "w1"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_command_line():
    arguments = parser().parse_args(["up", "--bed", "ha", "--control-planes", "3", "--workers", "2"])
    assert (arguments.bed, arguments.control_planes, arguments.workers, arguments.kubernetes) == ("ha", 3, 2, "1.36")
    assert parser().parse_args(["add-node", "w9", "--join"]).join
    assert parser().parse_args(["down"]).bed == "default"


@dataclasses.dataclass(frozen=True)
class RecordedPodman:
    """Keeps what it is asked, and knows one object of each kind."""

    calls: list

    def __call__(self, *arguments, **_options):
        self.calls.append(arguments)
        return beds.object_name("t1", "cp1") if "--format" in arguments else ""

    names = podman.Podman.names


def test_down_asks_for_its_own_bed_by_one_label_only(tmp_path):
    """podman joins several label filters by "or": with two of them the other beds of the checkout would go as well."""
    recorded = RecordedPodman([])
    cluster._remove(recorded, beds.bed_label("t1"), [tmp_path / "none"], "t1")
    listings = [call for call in recorded.calls if "--filter" in call]
    assert len(listings) == 3
    assert all(call.count("--filter") == 1 and f"label={beds.bed_label('t1')}" in call for call in listings)
    assert beds.bed_label("t1") != beds.bed_label("t2")


def test_what_a_lost_bed_left_behind_makes_room_for_the_new_one(monkeypatch, tmp_path):
    recorded = RecordedPodman([])
    monkeypatch.setattr(beds, "directory", lambda _name: tmp_path / ".testbed-t1")
    monkeypatch.setattr(cluster.network, "create", lambda podman, name: podman("network", "create", name))
    cluster._new_bed(recorded, "t1")
    changes = [call[:2] for call in recorded.calls if "--filter" not in call]
    assert changes == [("rm", "--force"), ("volume", "rm"), ("network", "rm"), ("network", "create")]


def test_a_start_that_is_under_way_is_left_alone(monkeypatch, tmp_path):
    recorded = RecordedPodman([])
    monkeypatch.setattr(beds, "directory", lambda _name: tmp_path)
    with pytest.raises(BedError, match="exists without a bed"):
        cluster._new_bed(recorded, "t1")
    assert recorded.calls == []


@dataclasses.dataclass(frozen=True)
class NodePodman:
    """Keeps what it is asked; `running` are the containers that run."""

    running: list
    calls: list

    def __call__(self, *arguments, **_options):
        self.calls.append(arguments)
        return ""

    def names(self, *_listing, **_options):
        return self.running

    def execute(self, container, argv, **_options):
        self.calls.append((container, *argv))
        return ""


@pytest.fixture
def grown(monkeypatch, tmp_path):
    """A bed with a node w9 that did not boot in time; returns what adds it once more and says what podman was asked."""
    bed = make_bed()
    saved = [bed.with_node(beds.new_node(bed, WORKER, "w9"))]
    monkeypatch.setattr(beds, "directory", lambda _name: tmp_path)
    monkeypatch.setattr(beds, "existing", lambda _name: saved[-1])
    monkeypatch.setattr(beds, "save", saved.append)
    monkeypatch.setattr(inventory, "write", lambda _podman, _bed: None)
    monkeypatch.setattr(ssh, "make_key", lambda _directory: "ssh-ed25519 AAAA bed")

    def add(running, role=WORKER):
        asked = NodePodman(running, [])
        added = cluster.add_node(cluster.Machine(MACHINE, asked), "t1", "w9", role)
        assert added == saved[-1].node("w9")
        return asked.calls

    return add


def test_a_node_that_did_not_boot_in_time_is_waited_for_again(grown):
    calls = grown([beds.object_name("t1", "w9")])
    assert [call[:2] for call in calls] == [(beds.object_name("t1", "w9"), "systemctl"), (beds.object_name("t1", "w9"), "/usr/lib/testbed/load-images")]


def test_a_node_whose_container_does_not_run_is_made_anew(grown):
    calls = [call[0] for call in grown([])]
    assert calls == ["rm", "volume", "volume", "create", "cp", "start", beds.object_name("t1", "w9"), beds.object_name("t1", "w9")]


def test_a_node_of_another_role_or_that_has_joined_is_not_made_twice(grown, monkeypatch):
    with pytest.raises(BedError, match="no load balancer"):
        grown([], CONTROL_PLANE)
    joined = make_bed()
    joined = joined.with_node(dataclasses.replace(beds.new_node(joined, WORKER, "w9"), joined=True))
    monkeypatch.setattr(beds, "existing", lambda _name: joined)
    with pytest.raises(BedError, match="already has a node w9"):
        grown([])
