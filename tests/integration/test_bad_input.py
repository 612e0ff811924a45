# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one clear message that names host, file and cause, and nothing is touched."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .bed import Bed

WORKER = "w1"
CONTROL_PLANE = "cp1"

# Users of the worker, each with one thing wrong with its sudo.
USERS = """
set -e
for name in nosudo needstty; do
  id $name >/dev/null 2>&1 || useradd -m -s /bin/bash $name
  install -d -m 0700 -o $name -g $name /home/$name/.ssh
  install -m 0600 -o $name -g $name /home/ops/.ssh/authorized_keys /home/$name/.ssh/authorized_keys
done
printf 'needstty ALL=(ALL) NOPASSWD:ALL\\nDefaults:needstty requiretty\\n' >/etc/sudoers.d/needstty
printf '#!/bin/sh\\nexec /usr/bin/python3 -I -S -c "import sys; sys.version_info = (3, 6, 8, \\047final\\047, 0); exec(sys.stdin.read())"\\n' >/opt/python3.6
chmod 0755 /opt/python3.6
"""


@pytest.fixture(scope="module", autouse=True)
def users(bed: Bed) -> None:
    """Prepare the worker's odd users once."""
    bed.root(WORKER, USERS)


@pytest.fixture
def untouched(bed: Bed) -> Iterator[None]:
    """Everything that a run could touch is as it was."""
    before = bed.fingerprint()
    yield
    assert bed.fingerprint() == before


def with_host_variable(bed: Bed, target: Path, name: str, variables: dict[str, object]) -> Path:
    """The bed's inventory with other variables for one worker."""
    inventory = bed.inventory
    hosts = inventory["all"]["children"]["kube_node"]["hosts"]
    hosts[name] = {**(hosts[name] or {}), **variables}
    return bed.write_inventory(target / "inventory.yml", inventory)


def says(output: str, *words: str) -> None:
    """The output holds all these words, and no traceback."""
    assert "Traceback" not in output, output
    missing = [word for word in words if word.lower() not in output.lower()]
    assert not missing, f"not in the output: {missing}\n{output}"


@contextmanager
def changed_file(bed: Bed, node: str, path: str, script: str) -> Iterator[None]:
    """Change a file on a node by a shell script and put back its exact bytes, owner and mode."""
    bed.root(node, f"set -e; mkdir -p /var/tmp/keep; if [ -e {path} ]; then cp -a {path} /var/tmp/keep/file; else rm -f /var/tmp/keep/file; fi\n{script}")
    try:
        yield
    finally:
        bed.root(node, f"if [ -e /var/tmp/keep/file ]; then cp -a /var/tmp/keep/file {path}; else rm -f {path}; fi; rm -rf /var/tmp/keep")


@pytest.mark.usefixtures("untouched")
class TestHost:
    """What is wrong with a host."""

    @pytest.mark.parametrize(
        ("variables", "words"),
        [
            pytest.param({"ansible_host": "127.0.0.254", "ansible_port": 9}, [WORKER, "unreachable"], id="unreachable"),
            pytest.param({"ansible_user": "nosudo"}, [WORKER, "sudo"], id="no-sudo"),
            pytest.param({"ansible_user": "needstty"}, [WORKER, "requiretty"], id="requiretty"),
            pytest.param({"ansible_python_interpreter": "/opt/no-such-python"}, [WORKER, "/opt/no-such-python"], id="no-python"),
            pytest.param({"ansible_python_interpreter": "/opt/python3.6"}, [WORKER, "3.6", "3.9"], id="old-python"),
        ],
    )
    def test_cannot_be_worked_on(self, bed: Bed, tmp_path: Path, variables: dict[str, object], words: list[str]) -> None:
        run = bed.playbook("audit", inventory=with_host_variable(bed, tmp_path, WORKER, variables))
        assert run.rc != 0
        says(run.output, *words)


@pytest.mark.usefixtures("untouched")
class TestFiles:
    """What is wrong with a file. A control-plane manifest on a worker is read by us and skipped by its kubelet: nothing breaks meanwhile."""

    def test_manifest_is_not_yaml(self, bed: Bed) -> None:
        path = "/etc/kubernetes/manifests/kube-scheduler.yaml"
        with changed_file(bed, WORKER, path, f"printf 'a: [1,\\n' >{path}; chmod 600 {path}"):
            run = bed.playbook("harden")
        assert run.rc != 0
        says(run.output, WORKER, path, "YAML")

    def test_manifest_has_several_containers(self, bed: Bed) -> None:
        path = "/etc/kubernetes/manifests/kube-scheduler.yaml"
        # The second container's name is no valid one, so the kubelet refuses the pod and never starts it.
        document = textwrap.dedent("""\
            apiVersion: v1
            kind: Pod
            metadata: {name: kube-scheduler, namespace: kube-system}
            spec:
              containers:
              - {name: kube-scheduler, image: "localhost/none:1", imagePullPolicy: Never, command: [kube-scheduler]}
              - {name: Not_Valid, image: "localhost/none:1", imagePullPolicy: Never, command: [other]}
            """)
        with changed_file(bed, WORKER, path, f"cat >{path} <<'END'\n{document}END\nchmod 600 {path}"):
            run = bed.playbook("harden")
        assert run.rc != 0
        says(run.output, WORKER, path, "containers")

    def test_kubelet_configuration_has_an_unknown_key(self, bed: Bed) -> None:
        path = "/var/lib/kubelet/config.yaml"
        with changed_file(bed, WORKER, path, f"echo 'readonlyPort: 0' >>{path}"):
            run = bed.playbook("harden")
        assert run.rc != 0
        says(run.output, WORKER, path, "readonlyPort")


@pytest.mark.usefixtures("untouched")
class TestInventory:
    """What is wrong with the inventory."""

    def test_worker_in_the_control_plane_group(self, bed: Bed, tmp_path: Path) -> None:
        inventory = bed.inventory
        groups = inventory["all"]["children"]
        groups["kube_control_plane"]["hosts"][WORKER] = groups["kube_node"]["hosts"].pop(WORKER)
        run = bed.playbook("harden", inventory=bed.write_inventory(tmp_path / "inventory.yml", inventory))
        assert run.rc != 0
        says(run.output, WORKER, "kube_control_plane")

    def test_node_that_the_inventory_lacks_holds_the_controls_that_need_it(self, bed: Bed, tmp_path: Path) -> None:
        inventory = bed.inventory
        inventory["all"]["children"]["kube_node"]["hosts"].pop(WORKER)
        run = bed.playbook("harden", "--check", inventory=bed.write_inventory(tmp_path / "inventory.yml", inventory))
        says(run.output, WORKER, "inventory")


@pytest.mark.usefixtures("untouched")
class TestVariables:
    """What is wrong with an operator's variables."""

    @pytest.mark.parametrize(
        ("variables", "words"),
        [
            pytest.param('{"ninepaths_waivers": [{"control": "no-such-control", "reason": "x"}]}', ["no-such-control"], id="waiver-for-nothing"),
            pytest.param('{"ninepaths_waivers": [{"control": "apiserver-verifies-kubelet"}]}', ["reason"], id="waiver-without-reason"),
            pytest.param('{"ninepaths_paths": "one"}', ["ninepaths_paths"], id="wrong-type"),
            pytest.param('{"ninepaths_profile": "paranoid"}', ["paranoid", "recommended"], id="unknown-profile"),
            pytest.param('{"ninepaths_overrides": {"no-such-control": 1}}', ["no-such-control"], id="override-for-nothing"),
            pytest.param('{"ninepaths_fail_on": "sometimes"}', ["ninepaths_fail_on"], id="unknown-fail-on"),
        ],
    )
    def test_is_refused(self, bed: Bed, variables: str, words: list[str]) -> None:
        run = bed.playbook("harden", "-e", variables)
        assert run.rc != 0
        says(run.output, *words)


class TestCluster:
    """What is wrong with the cluster before we start."""

    def test_unhealthy_cluster_is_refused(self, bed: Bed) -> None:
        bed.root(WORKER, "systemctl stop kubelet")
        try:
            bed.kubectl("wait", "--for=condition=Ready=unknown", f"node/{WORKER}", "--timeout=120s", timeout=150)
            before = bed.fingerprint()
            run = bed.playbook("harden")
            assert bed.fingerprint() == before
        finally:
            bed.root(WORKER, "systemctl start kubelet")
            bed.kubectl("wait", "--for=condition=Ready", f"node/{WORKER}", "--timeout=120s", timeout=150)
        assert run.rc != 0
        says(run.output, WORKER, "not ready")
