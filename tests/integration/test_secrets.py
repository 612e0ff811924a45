# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, tokens and passwords that lie on nodes, in the cluster and with the operator turn up nowhere, whatever a run does and however it ends."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.oracles import leaks

from .bed import ROOT, Bed, Playbook
from .planted import Evidence, left_on, password, run, sampled

pytestmark = pytest.mark.changes_cluster

PLANE, WORKER = "cp1", "w1"
KEPT = 10  # docs/safety.md
DROP_INS = "/etc/kubernetes/kubelet.conf.d"
KEYS = """
for file in $(find /etc/kubernetes/pki -name '*.key') /var/lib/kubelet/pki/*.pem /var/lib/kubelet/pki/*.key; do
  if [ -f "$file" ] && grep -q 'PRIVATE KEY' "$file"; then echo "$file $(base64 -w0 "$file")"; fi
done
for file in /etc/kubernetes/*.conf; do
  sed -n 's/^ *client-key-data: //p' "$file" | while read -r data; do echo "$file $data"; done
done
"""
USER = """
sed -i 's/^users:$/users:\\n- name: planted\\n  user:\\n    token: {token}\\n    password: {password}/' {file}
grep -q {token} {file}
"""
# What an apiserver reads at its start, next to a manifest that names it.
APISERVER = """
set -e
mkdir -p /etc/kubernetes/planted; chmod 700 /etc/kubernetes/planted
cat >/etc/kubernetes/planted/encryption.yaml <<'END'
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - identity: {{}}
  - aescbc: {{keys: [{{name: planted, secret: {key}}}]}}
END
echo '{token},planted,1' >/etc/kubernetes/planted/tokens.csv
chmod 600 /etc/kubernetes/planted/*
python3 - <<'END'
import os
path = "/etc/kubernetes/manifests/kube-apiserver.yaml"
text = open(path).read()
flags = "    - --encryption-provider-config=/etc/kubernetes/planted/encryption.yaml\\n    - --token-auth-file=/etc/kubernetes/planted/tokens.csv\\n"
text = text.replace("    - kube-apiserver\\n", "    - kube-apiserver\\n" + flags, 1)
text = text.replace("    volumeMounts:\\n", "    volumeMounts:\\n    - {{mountPath: /etc/kubernetes/planted, name: planted, readOnly: true}}\\n", 1)
text = text.replace("  volumes:\\n", "  volumes:\\n  - {{hostPath: {{path: /etc/kubernetes/planted, type: Directory}}, name: planted}}\\n", 1)
with open("/etc/kubernetes/.planted", "w") as file:
    file.write(text)
os.chmod("/etc/kubernetes/.planted", 0o600)
os.rename("/etc/kubernetes/.planted", path)
END
for try in $(seq 90); do
  sleep 2
  pgrep -x kube-apiserver | while read -r pid; do tr '\\0' '\\n' </proc/$pid/cmdline; done | grep -q token-auth-file || continue
  if kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz >/dev/null 2>&1; then exit 0; fi
done
exit 1
"""
# NO_PROXY keeps the kubelet from using it.
KUBELET = """
set -e
mkdir -p /etc/systemd/system/kubelet.service.d
printf '[Service]\\nEnvironment=HTTPS_PROXY=http://user:{proxy}@proxy.invalid:3128 NO_PROXY=*\\n' >/etc/systemd/system/kubelet.service.d/90-planted.conf
printf 'KUBELET_EXTRA_ARGS=\\nREGISTRY_PASSWORD={registry}\\n' >/etc/default/kubelet
systemctl daemon-reload
systemctl restart kubelet
"""
# What a person would do, so that a run has something to mend: modes, a field of the kubelet, a flag of a component.
DRIFT = """
chmod 644 /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml
sed -i '/^serverTLSBootstrap/d' /var/lib/kubelet/config.yaml
if [ -f /etc/kubernetes/scheduler.conf ]; then
  chmod 644 /etc/kubernetes/scheduler.conf
  sed '/--profiling=false/d' /etc/kubernetes/manifests/kube-scheduler.yaml >/etc/kubernetes/.drift && chmod 644 /etc/kubernetes/.drift
  mv /etc/kubernetes/.drift /etc/kubernetes/manifests/kube-scheduler.yaml
fi
systemctl restart kubelet
"""
# By a script on stdin: a secret in the arguments of sed would be a leak of the test's own.
SCHEDULER = """
python3 - <<'END'
import os
path = "/etc/kubernetes/manifests/kube-scheduler.yaml"
text = open(path).read()
with open("/root/keep", "w") as file:
    file.write(text.replace("    image:", "    env:\\n    - name: SMTP_PASSWORD\\n      value: {word}\\n    image:", 1))
os.chmod("/root/keep", 0o600)
os.rename(path, "/root/before")
os.rename("/root/keep", path)
END
"""
MODE = "chmod 644 /etc/kubernetes/kubelet.conf"
RUNS = "ls /var/lib/ninepaths/transactions | grep -o '^[0-9TZ]*-[0-9a-f]*'"
# A path that the apiserver does not have stops the run before it is restarted, after the kubelets.
WRONG = json.dumps({"ninepaths_overrides": {"apiserver-verifies-kubelet": "/etc/kubernetes/pki/not-there.crt"}})
REGISTERED = """
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - ninepaths.kubernetes.observe: {return_observation: true}
      register: seen
    - ansible.builtin.debug: {var: seen}
    - ninepaths.kubernetes.certificate_info:
        paths: [/etc/kubernetes/pki/*, /var/lib/kubelet/pki/*, /etc/kubernetes/*.conf]
      register: certificates
    - ansible.builtin.debug: {var: certificates}
    - ninepaths.kubernetes.kubelet_config: {fields: {eventRecordQPS: 7}}
      register: changed
      check_mode: true
      diff: true
    - ansible.builtin.debug: {var: changed}
"""


@dataclass
class Exercise:
    """Everything that was planted, done and found."""

    secrets: list[leaks.Secret] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)
    runs: dict[str, Playbook] = field(default_factory=dict)
    entries: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    search: leaks.Search | None = None

    def plant(self, name: str) -> str:
        """A new password, which from now on may stand nowhere."""
        made = password(name)
        self.secrets.append(made)
        return made.value.decode()


def plant(bed: Bed, done: Exercise, folder: Path) -> None:
    """Put secrets wherever ninepaths reads, or might."""
    for node in bed.nodes:
        for line in bed.root(node, KEYS).splitlines():
            path, data = line.split(" ")
            done.secrets += leaks.private_keys(f"{node}: {path}", base64.b64decode(data))
        for file in ("admin.conf", "kubelet.conf", "scheduler.conf") if node == PLANE else ("kubelet.conf",):
            token, word = done.plant(f"{node}: token in {file}"), done.plant(f"{node}: password in {file}")
            bed.root(node, USER.format(file=f"/etc/kubernetes/{file}", token=token, password=word))
        bed.root(node, KUBELET.format(proxy=done.plant(f"{node}: a proxy's password"), registry=done.plant(f"{node}: a variable of the kubelet")))
    key = done.plant("the key of an encryption provider")[-32:].encode()
    done.secrets.append(leaks.Secret("the key of an encryption provider", base64.b64encode(key)))
    bed.root(PLANE, APISERVER.format(key=base64.b64encode(key).decode(), token=done.plant("a static token")))
    bed.kubectl("-n", "kube-system", "create", "secret", "generic", "planted", f"--from-literal=a={done.plant('a Secret')}")
    document = json.dumps({"data": {"planted": done.plant("a key of kubelet-config")}})
    bed.kubectl("-n", "kube-system", "patch", "configmap", "kubelet-config", "--type=merge", "-p", document)
    token = bed.root(PLANE, "kubeadm token create 2>/dev/null").split()[-1]
    done.secrets.append(leaks.text("a bootstrap token", token))
    inventory = bed.inventory
    names = ("ansible_become_pass", "registry_password", "vault_token")
    inventory["all"]["vars"] = {**inventory["all"].get("vars", {}), **{name: done.plant(f"the operator's {name}") for name in names}}
    bed.write_inventory(folder / "inventory.yml", inventory)


def refused(bed: Bed, done: Exercise, folder: Path) -> None:
    """Documents that the plan needs and that hold a secret stop it; each says which word gave it away."""
    word = done.plant("a variable of a static pod")
    bed.root(PLANE, SCHEDULER.format(word=word))
    header = done.plant("a header in a drop-in of the kubelet")
    document = f'apiVersion: kubelet.config.k8s.io/v1beta1\\nkind: KubeletConfiguration\\nstaticPodURLHeader: {{Authorization: ["Bearer {header}"]}}\\n'
    bed.root(WORKER, f"mkdir -p {DROP_INS}; printf '{document}' >{DROP_INS}/10-planted.conf; {_extra_args(f'--config-dir={DROP_INS}')}")
    try:
        for name in ("audit", "harden"):
            done.runs[f"refused {name}"] = run(bed, done.evidence, folder, ROOT / "playbooks" / f"{name}.yml", "-vvvv", "--diff")
    finally:
        bed.root(PLANE, "mv /root/before /etc/kubernetes/manifests/kube-scheduler.yaml")
        bed.root(WORKER, f"rm -rf {DROP_INS}; {_extra_args('')}")


def _extra_args(words: str) -> str:
    return f"sed -i 's#^KUBELET_EXTRA_ARGS=.*#KUBELET_EXTRA_ARGS={words}#' /etc/default/kubelet; systemctl restart kubelet"


def unplant(bed: Bed) -> None:
    for node in bed.nodes:
        bed.root(
            node,
            "rm -f /etc/systemd/system/kubelet.service.d/90-planted.conf /etc/default/kubelet; systemctl daemon-reload; systemctl restart kubelet; "
            "for file in /etc/kubernetes/*.conf; do sed -i '/^- name: planted$/,/^    password:/d' $file; done",
        )
    bed.kubectl("-n", "kube-system", "delete", "secret", "planted", "--ignore-not-found")


@pytest.fixture(scope="module")
def done(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exercise]:
    """Plant, run everything that speaks, and gather what was said."""
    folder = tmp_path_factory.mktemp("secrets")
    found = Exercise()
    plant(bed, found, folder)
    for node in bed.nodes:
        bed.root(node, DRIFT)
    harden, audit = ROOT / "playbooks" / "harden.yml", ROOT / "playbooks" / "audit.yml"
    (folder / "registered.yml").write_text(REGISTERED, encoding="utf-8")
    bed.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s", timeout=150)
    since = time.time() + 1
    time.sleep(2)
    with sampled(bed, found.evidence):
        found.runs["audit"] = run(bed, found.evidence, folder, audit, "-vvvv")
        found.runs["check"] = run(bed, found.evidence, folder, harden, "--check", "--diff", "-vvvv")
        found.runs["registered"] = run(bed, found.evidence, folder, folder / "registered.yml", "-vvvv", "--diff")
        found.runs["failing"] = run(bed, found.evidence, folder, harden, "-vvvv", "--diff", "-e", WRONG)
        found.runs["harden"] = run(bed, found.evidence, folder, harden, "-vvvv", "--diff")
        refused(bed, found, folder)
    for node in bed.nodes:
        entries = left_on(bed, node, found.evidence, since)
        found.entries[node] = [(f"/{entry.name}", entry.mode, entry.uid) for entry in entries if not entry.issym()]
    found.search = leaks.Search(found.secrets)
    yield found
    unplant(bed)


def test_the_runs_were_what_they_should_be(done: Exercise) -> None:
    """A search of runs that did nothing would find nothing."""
    outputs = {name: ended.output for name, ended in done.runs.items()}
    assert done.runs["audit"].rc == 2 and done.runs["check"].rc == 2, outputs["check"]
    assert done.runs["registered"].rc == 0, outputs["registered"]
    assert done.runs["failing"].rc != 0 and "not-there.crt does not exist" in outputs["failing"], outputs["failing"]
    assert done.runs["harden"].rc == 0 and done.runs["harden"].changed >= 1, outputs["harden"]
    for name in ("refused audit", "refused harden"):
        assert done.runs[name].rc != 0, outputs[name]
        assert "SMTP_PASSWORD" in outputs[name] and "staticPodURLHeader" in outputs[name], outputs[name]
    places = [where for where, _data in done.evidence.items]
    for part in ("spool of", "left by", "journal.jsonl", "job.json", "logs", "cmdline of python3", "environ of", "controller: cmdline of ssh"):
        assert [where for where in places if part in where], f"nothing was seen of: {part}"


def test_no_secret_turns_up_anywhere(done: Exercise) -> None:
    assert done.search is not None
    assert len({secret.name for secret in done.secrets}) > 20
    found = done.evidence.leaks(done.search)
    assert not found, "\n".join(found)


def test_the_search_would_have_found_one(bed: Bed, done: Exercise, tmp_path: Path) -> None:
    """In an output, in a spool, in a command line, in a file on a node: each planted here on purpose."""
    secret = done.secrets[-1].value.decode()
    evidence, search = Evidence(), leaks.Search(done.secrets)
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({**bed.inventory, "secret": {}}), encoding="utf-8")
    tasks = [
        {"ansible.builtin.debug": {"msg": "{{ said }}"}},
        {"ansible.builtin.command": {"argv": ["sh", "-c", f"sleep 2; echo {secret}"]}},
        # Written there, since the same bytes are searched once, and a copy would lie in the spool as well.
        {"ansible.builtin.command": {"argv": ["sh", "-c", f"umask 077; echo 1{secret} >/var/tmp/np-test-leak"]}},
    ]
    play = [{"hosts": WORKER, "gather_facts": False, "become": True, "vars": {"said": f"{secret}2"}, "tasks": tasks}]
    (tmp_path / "leak.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    since = time.time()
    with sampled(bed, evidence):
        run(bed, evidence, tmp_path, tmp_path / "leak.yml", "-v")
    left_on(bed, WORKER, evidence, since)
    bed.root(WORKER, "rm -f /var/tmp/np-test-leak")
    found = "\n".join(evidence.leaks(search))
    for place in ("output of leak", f"{WORKER}: cmdline of", "/var/tmp/np-test-leak"):
        assert place in found, f"not found: {place}\n{found}"


@pytest.mark.parametrize("node", [PLANE, WORKER])
def test_what_lies_on_a_node_is_roots_alone(bed: Bed, done: Exercise, node: str) -> None:
    ours = [entry for entry in done.entries[node] if entry[0].startswith("/var/lib/ninepaths")]
    assert [path for path, mode, uid in ours if uid or mode & 0o077] == []
    backups = [(path, mode) for path, mode, _uid in ours if re.search(r"/backup/[^/]+$", path)]
    assert backups and {mode & 0o7777 for _path, mode in backups} == {0o600}
    staging = bed.root(node, "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -name '.ninepaths-*' -print")
    assert staging == "", "staging directories are gone after a run"


def test_a_backup_holds_the_file_that_was_replaced_and_nobody_else_has_it(bed: Bed, done: Exercise) -> None:
    """The kubelet's configuration of before the run, which is what a backup is for."""
    assert done.entries[WORKER]
    found = bed.root(WORKER, "cat /var/lib/ninepaths/transactions/*/backup/*")
    assert "kind: KubeletConfiguration" in found
    assert bed.ssh(WORKER, "ls /var/lib/ninepaths/transactions 2>&1 || true").endswith("Permission denied\n")


def test_the_transactions_of_ten_runs_are_kept(bed: Bed, done: Exercise, tmp_path: Path) -> None:
    assert done.runs
    counts = []
    for _round in range(KEPT + 2):
        bed.root(WORKER, MODE)
        ended = bed.playbook("harden", "--limit", WORKER, "-e", '{"ninepaths_paths": [2]}', "-e", f"ninepaths_report_dir={tmp_path}")
        assert ended.changed == 1, ended.output
        counts.append(len(set(bed.root(WORKER, RUNS).split())))
    assert counts[-1] == max(counts) == KEPT, counts
