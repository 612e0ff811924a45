# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Ansible over hosts that answer with templates, commands and terminal escapes: nothing is evaluated, and nothing reaches the terminal raw."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import CONTROL
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers, bundle
from factories import Cluster, hardened
from fake_hosts import ROOT, FakeHosts
from test_fuzz_answers import LINES, as_observed, seeds

LITERAL = "lookup('pipe'"
GROUPS = {"kube_control_plane": ["cp1"], "etcd": ["cp1"], "kube_node": ["w1"]}


class Lies:
    """A payload that leaves a mark where anything evaluates it, and the hosts that tell it."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "mark"
        touch = f"touch {self.mark}"
        self.text = f"{{{{ lookup('pipe', '{touch}') }}}}$({touch})`{touch}`;{touch}; {{% if lookup('pipe', '{touch}') %}}{{% endif %}}\x1b[2J\x9b31m\u202e"
        self.line = self.text.replace("\x1b", "").replace("\x9b", "").replace("\u202e", "")
        (folder / "hosts").mkdir()
        self.hosts = FakeHosts(folder / "hosts", GROUPS)

    def check(self, done: subprocess.CompletedProcess[str], told: str = LITERAL) -> None:
        """Nothing was evaluated, nothing raw was printed, and the lie did get as far as the terminal."""
        output = done.stdout + done.stderr
        assert not self.mark.exists(), output
        assert told in output, output
        assert "Traceback" not in output and "unexpected" not in output.lower(), output
        raw = [line for line in output.splitlines() if CONTROL.search(line.replace("\t", ""))]
        assert raw == [], output
        report = list((self.hosts.folder / "reports").rglob("*.json"))
        assert all(not path.is_symlink() and json.loads(path.read_text())["schema"] == 1 for path in report)


@pytest.fixture
def lies(tmp_path: Path) -> Lies:
    return Lies(tmp_path)


def clusters(change: Callable[[str, dict[str, Any]], None], lies: Lies, base: Cluster | None = None) -> None:
    """Let every host answer with a cluster after a change, which has to be one that the controller takes."""
    for name, host in copy.deepcopy(base or seeds()[0]).items():
        change(name, host)
        answers.check("observe", json.loads(json.dumps(host)))
        lies.hosts.answer(name, "observe", host)
        lies.hosts.answer(name, "visit", {**host, "recovered": []})


def in_words(lies: Lies) -> Callable[[str, dict[str, Any]], None]:
    """Where a host speaks freely, and the plan goes on."""

    def change(name: str, host: dict[str, Any]) -> None:
        for proof in host["proofs"]:
            proof.update(to=lies.text, evidence={"request": lies.text, "expected": lies.text, "refusal": lies.text, lies.text: lies.text})
        host["host"].update(boot_id=lies.text, python=lies.text)
        host["manifest_shapes"] = {f"/etc/kubernetes/manifests/{lies.line.replace('/', '_')}.yaml": f"a: [ {lies.line}"}
        host["manifests_foreign"] = list(host["manifest_shapes"])
        journal = {"id": lies.text[:200], "run": lies.text, "state": "committed", "step": lies.text, "at": 1.0, "cause": lies.text, "advice": lies.text}
        host["journals"] = [journal]
        if host["cluster"]:
            data = host["cluster"]["configmaps"]["kubeadm-config"]["data"]
            data["ClusterConfiguration"] = re.sub("clusterName:.*", lambda _found: "clusterName: " + json.dumps(lies.line), data["ClusterConfiguration"])
            host["cluster"]["kubelets"][1]["error"] = lies.text
            host["cluster"]["serving_csrs"] = [{"name": lies.text, "node": "w1", "state": "pending", "created": 1.0, "verdict": lies.text}]
        for path, entry in host["files"].items():
            if path.endswith("kube-apiserver.yaml"):
                text = entry["text"].replace("  labels:\n", f"  labels:\n    lie: {json.dumps(lies.line)}\n", 1)
                text = text.replace("    image:", f"    # {lies.line}\n    image:")
                entry.update(as_observed({**entry, "text": text, "sha256": __import__("hashlib").sha256(text.encode()).hexdigest()}))

    return change


def test_a_check_with_differences_shows_a_template_as_text(lies: Lies) -> None:
    clusters(in_words(lies), lies)
    done = lies.hosts.play(ROOT / "playbooks" / "harden.yml", "--check", "--diff", "-vvvv")
    lies.check(done)
    assert done.returncode == 2, done.stdout
    assert [path.name for path in (lies.hosts.folder / "reports").iterdir()] != []
    assert lies.hosts.asked("cp1") == ["observe"]


def test_errors_of_a_host_are_text(lies: Lies) -> None:
    def change(name: str, host: dict[str, Any]) -> None:
        host["problems"] = [{"file": f"/{lies.text}", "cause": lies.text, "advice": lies.text}]
        if host["cluster"]:
            host["cluster"].update(readyz=False, detail=lies.text)

    clusters(change, lies)
    done = lies.hosts.play(ROOT / "playbooks" / "audit.yml", "-vvv")
    lies.check(done)
    assert done.returncode != 0


@pytest.mark.parametrize("kind", ["program-error", "no-result", "no-json", "wrong-form"])
def test_an_answer_that_is_none_is_text(lies: Lies, kind: str) -> None:
    error = {"schema": 1, "error": {"type": lies.text, "message": lies.text, "where": lies.text}}
    wrong = {**seeds()[0]["w1"], lies.text: 1}
    raw = {"no-result": f"{lies.text}\n/bin/sh: {lies.text}: not found\n", "no-json": f"{bundle.BEGIN}\n{{{lies.text}\n{bundle.END}\n"}
    document = raw[kind].encode() if kind in raw else error if kind == "program-error" else wrong
    clusters(lambda _name, _host: None, lies)
    for entry in ("observe", "visit"):
        lies.hosts.answer("w1", entry, document)
    done = lies.hosts.play(ROOT / "playbooks" / "audit.yml", "-vvv")
    lies.check(done, "w1")
    assert done.returncode != 0


REGISTERED = """
- hosts: w1
  gather_facts: false
  tasks:
    - ninepaths.kubernetes.observe:
        recover: true
        return_observation: true
      register: found
    - ansible.builtin.set_fact:
        fact: "{{ found.observation.host.boot_id }}"
        whole: "{{ found }}"
    - ansible.builtin.debug:
        msg: "{{ fact }} {{ whole.observation.host.python }} {{ found.recovered[0].cause }}"
    - ansible.builtin.debug:
        var: found
    - ansible.builtin.debug:
        msg: "{{ item.cause }}"
      loop: "{{ found.recovered }}"
      loop_control:
        label: "{{ item.advice }}"
      when: item.cause != fact
      vars:
        again: "{{ item.cause }}{{ hostvars[inventory_hostname].fact }}"
    - ansible.builtin.copy:
        content: "{{ again }}{{ found | to_nice_json }}"
        dest: "{{ playbook_dir }}/written"
        mode: "0600"
      vars:
        again: "{{ fact }}"
    - ansible.builtin.assert:
        that: fact == whole.observation.host.boot_id
        fail_msg: "{{ fact }}"
    - ansible.builtin.fail:
        msg: "{{ found.recovered[0].advice }}"
"""


def test_what_a_play_registers_is_never_templated_again(lies: Lies) -> None:
    host = copy.deepcopy(seeds()[0]["w1"])
    host["host"].update(boot_id=lies.text, python=lies.text)
    recovered = {"id": "t", "run": lies.text, "state": "undone", "healthy": True, "cause": lies.text + "x", "advice": lies.text}
    lies.hosts.answer("w1", "visit", {**host, "recovered": [recovered]})
    play = lies.hosts.folder / "play.yml"
    play.write_text(REGISTERED)
    done = lies.hosts.play(play, "--diff", "-vvv")
    lies.check(done)
    assert "ok=7 " in done.stdout and "failed=1" in done.stdout, done.stdout
    assert LITERAL in (lies.hosts.folder / "written").read_text()


def test_what_a_transaction_says_is_text(lies: Lies) -> None:
    clusters(in_words(lies), lies)
    told = [{**line, "message": lies.text, "step": lies.text} for line in LINES]
    told[-1] = {**told[-1], "data": {"state": "undone", "cause": lies.text, "advice": lies.text, "healthy": True, "ill": [lies.text]}}
    for host in ("cp1", "w1"):
        lies.hosts.answer(host, "launch", {"schema": 1, "id": "t", "unit": lies.text, "directory": "/var/lib/x"})
        lies.hosts.answer(host, "follow", {"schema": 1, "id": "t", "lines": told, "offset": 9, "alive": False, "state": "undone"})
    done = lies.hosts.play(ROOT / "playbooks" / "harden.yml", "--diff", "-vv")
    lies.check(done)
    assert done.returncode != 0 and "follow" in lies.hosts.asked("cp1") + lies.hosts.asked("w1")


def test_an_audit_of_a_hardened_cluster_of_liars_says_what_failed(lies: Lies) -> None:
    clusters(in_words(lies), lies, {name: seeds()[1][name] for name in hardened()})
    done = lies.hosts.play(ROOT / "playbooks" / "audit.yml")
    lies.check(done)
