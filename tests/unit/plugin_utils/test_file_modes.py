# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes of the files that processes really use, behind links too, and of those that do not run as root."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import places
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import KNOWN_PLACES
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import catalogue
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, Plan
from factories import MANIFESTS, PKI, Cluster, all_controls, carried_out, cluster, directory, document, file, hardened, planned, with_manifest

DATA = "/data/etcd"


def outcome(done: Plan, name: str, host: str = "cp1") -> Outcome:
    return next(entry for entry in done.controls if entry.id == name and entry.host == host)


def link(target: str, **more: Any) -> dict[str, Any]:
    return {**file(mode="0777"), "type": "link", "sha256": None, "target": target, "resolved": target, **more}


def test_every_place_is_known_on_both_sides() -> None:
    assert set(places.NAMES) == set(KNOWN_PLACES)
    asked = catalogue.questions(all_controls())
    assert set(asked["places"]) <= set(KNOWN_PLACES)
    assert asked["places"]["etcd.data_dir"] == ["", "*"]


class TestPlaces:
    def elsewhere(self, mode: str = "0777") -> Cluster:
        hosts = hardened()
        hosts["cp1"]["places"]["etcd.data_dir"] = [DATA]
        hosts["cp1"]["files"][DATA] = directory(mode)
        return hosts

    def test_the_directory_that_etcd_uses_is_judged_and_not_an_old_one(self) -> None:
        done = planned(self.elsewhere())
        assert (outcome(done, "etcd-data-directory").status, outcome(done, "etcd-data-directory").before) == ("change", f"{DATA}: 0777 root:root")
        after = carried_out(self.elsewhere(), done)["cp1"]["files"][DATA]
        assert (after["mode"], after["owner"]) == ("0700", "etcd")

    def test_one_that_is_not_there_is_a_deviation(self) -> None:
        hosts = self.elsewhere()
        hosts["cp1"]["files"][DATA] = {"type": "absent"}
        found = outcome(planned(hosts), "etcd-data-directory")
        assert found.status == "deviation" and DATA in found.reason

    @pytest.mark.parametrize("named", [[], None])
    def test_one_that_nobody_named_is_held(self, named: list[str] | None) -> None:
        hosts = self.elsewhere()
        hosts["cp1"]["places"]["etcd.data_dir"] = named
        if named is None:
            del hosts["cp1"]["places"]["etcd.data_dir"]
        assert outcome(planned(hosts), "etcd-data-directory").status == "held"

    def test_the_kubelets_files_are_where_it_says(self) -> None:
        hosts = hardened()
        seen = hosts["w1"]
        config = "/srv/kubelet.yaml"
        seen["files"][config] = file(seen["files"][seen["kubelet"]["config"]]["text"], "0666")
        seen["kubelet"]["config"] = config
        dropin = "/srv/kubelet.d/1.conf"
        seen["files"][dropin] = file("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n", "0666")
        seen["kubelet"]["dropins"] = [dropin]
        seen["places"].update({"kubelet.config": [config], "kubelet.dropins": [dropin]})
        done = planned(hosts)
        assert outcome(done, "kubelet-config-files", "w1").before == f"{dropin} and 1 more: 0666 root:root" or outcome(
            done, "kubelet-config-files", "w1"
        ).before.startswith("/srv/")
        after = carried_out(hosts, done)["w1"]["files"]
        assert {after[path]["mode"] for path in (config, dropin)} == {"0600"}

    @pytest.mark.parametrize(("path", "name"), [(PKI, "pki-ownership"), (f"{PKI}/etcd", "pki-ownership"), (MANIFESTS, "kubelet-manifests-directory")])
    def test_nobody_else_writes_to_a_directory(self, path: str, name: str) -> None:
        hosts = hardened()
        hosts["cp1"]["files"][path] = directory("0777")
        done = planned(hosts)
        assert outcome(done, name).status == "change"
        assert carried_out(hosts, done)["cp1"]["files"][path]["mode"] == "0755"


class TestLinks:
    def test_what_a_link_leads_to_is_judged(self) -> None:
        hosts = hardened()
        hosts["cp1"]["files"]["/etc/kubernetes/admin.conf"] = link("/srv/kept/admin.conf")
        hosts["cp1"]["files"]["/srv/kept/admin.conf"] = file(mode="0644")
        done = planned(hosts)
        assert outcome(done, "admin-kubeconfigs").before == "/srv/kept/admin.conf: 0644"
        assert carried_out(hosts, done)["cp1"]["files"]["/srv/kept/admin.conf"]["mode"] == "0600"

    def test_a_directory_behind_a_link_and_what_lies_in_it(self) -> None:
        hosts = cluster()
        hosts["cp1"]["files"].update({"/var/lib/etcd": link(DATA), DATA: directory("0755"), f"{DATA}/member": directory("0777")})
        done = planned(hosts, profile="stig")
        assert {outcome(done, name).status for name in ("etcd-data-directory", "etcd-data-content")} == {"change"}
        after = carried_out(hosts, done)["cp1"]["files"]
        assert {after[path]["mode"] for path in (DATA, f"{DATA}/member")} == {"0700"}

    @pytest.mark.parametrize("entry", [link("/srv/kept/admin.conf"), link("/srv/kept/admin.conf", resolved=None)])
    def test_one_whose_end_was_not_seen_is_held(self, entry: dict[str, Any]) -> None:
        hosts = hardened()
        hosts["cp1"]["files"]["/etc/kubernetes/admin.conf"] = entry
        found = outcome(planned(hosts), "admin-kubeconfigs")
        assert found.status == "held" and "/etc/kubernetes/admin.conf is a link" in found.reason


class TestComponentsThatAreNotRoot:
    def hosts(self, user: int = 1001) -> Cluster:
        text = document("1.36", "etcd")
        text, done = re.subn(r"  securityContext:\n", f"  securityContext:\n    runAsUser: {user}\n    runAsGroup: {user}\n", text)
        assert done == 1
        hosts = with_manifest(cluster(), "etcd", text)
        theirs = {"uid": user, "gid": user, "owner": "kubeadm-etcd", "group": "kubeadm-etcd"}
        hosts["cp1"]["files"]["/var/lib/etcd"] = {**directory("0700"), **theirs}
        hosts["cp1"]["files"][f"{PKI}/etcd/server.key"] = file(**theirs)
        return hosts

    def test_the_data_stays_with_the_account_that_uses_it(self) -> None:
        done = planned(self.hosts())
        assert outcome(done, "etcd-data-directory").status == "ok"
        after = carried_out(self.hosts(), done)["cp1"]["files"]
        assert (after["/var/lib/etcd"]["uid"], after[f"{PKI}/etcd/server.key"]["uid"]) == (1001, 1001)

    def test_bits_are_still_taken_away(self) -> None:
        hosts = self.hosts()
        hosts["cp1"]["files"]["/var/lib/etcd"]["mode"] = "0755"
        done = planned(hosts)
        after = carried_out(hosts, done)["cp1"]["files"]["/var/lib/etcd"]
        assert (after["mode"], after["owner"]) == ("0700", "kubeadm-etcd")

    def test_its_keys_are_not_taken_from_it(self) -> None:
        found = outcome(planned(self.hosts()), "pki-ownership")
        assert found.status == "held" and "etcd runs as user 1001" in found.reason

    def test_what_is_wrong_besides_is_mended(self) -> None:
        hosts = self.hosts()
        hosts["cp1"]["files"][f"{PKI}/sa.key"] = file(owner="kim", uid=1000)
        done = planned(hosts)
        assert outcome(done, "pki-ownership").status == "change"
        after = carried_out(hosts, done)["cp1"]["files"]
        assert (after[f"{PKI}/sa.key"]["owner"], after[f"{PKI}/etcd/server.key"]["uid"]) == ("root", 1001)

    def test_data_that_belongs_to_somebody_else_is_held(self) -> None:
        hosts = self.hosts()
        hosts["cp1"]["files"]["/var/lib/etcd"] = directory("0700")
        found = outcome(planned(hosts), "etcd-data-directory")
        assert found.status == "held" and "etcd runs as user 1001" in found.reason

    def test_a_key_that_is_shared_by_group_keeps_its_bits(self) -> None:
        hosts = self.hosts()
        hosts["cp1"]["files"][f"{PKI}/etcd/ca.key"] = file(mode="0640", gid=1001, group="kubeadm-etcd")
        assert outcome(planned(hosts), "pki-keys").status == "held"
