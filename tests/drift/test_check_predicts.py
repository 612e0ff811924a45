# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`--check` touches nothing and says byte for byte what a run then leaves; its digest pins exactly that run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pytest

from . import edits
from .conftest import Checked, Hardened
from .live import Live
from .snapshot import File, Node, Snapshot, changed

pytestmark = pytest.mark.short

# What a signer or a generator of keys makes, where certificates were to be signed.
SIGNED = re.compile(r"/var/lib/kubelet/pki/kubelet-server-(current|[0-9-]+)\.pem")
NO_PLAN = "0" * 16
DRIFT = (
    edits.Rights("admin-kubeconfigs", mode="0644"),
    edits.Rights("etcd-data-directory", owner="nobody"),
    edits.Fields({"authentication.anonymous.enabled": edits.Put(True)}),
    edits.Arguments("kube-scheduler", {"profiling": edits.Put(True)}),
    edits.Sysctl("kernel.panic", 11),
    edits.Flags("kube-scheduler", {"profiling": edits.Take()}),
)


def kind(file: File) -> str:
    return "link" if file.target else "file" if file.digest else "dir"


def wrong(predicted: Mapping[str, Any], after: Snapshot) -> list[str]:
    """Everything that was predicted and is not so."""
    found = []
    for name, host in predicted["hosts"].items():
        node = after.nodes[name]
        for path, told in host["files"].items():
            file = node.files[path]
            owner = f"{told['owner']}:{told['group']}"
            is_now = {
                "type": kind(file),
                "mode": None if file.target else file.mode,
                "owner": owner if file.target else file.owner,
                "sha256": file.digest,
                "target": file.target or None,
            }
            wanted = {**{key: told[key] for key in ("type", "mode", "sha256", "target")}, "owner": owner}
            found += [f"{name} {path}: {key} is {is_now[key]}, predicted was {wanted[key]}" for key in wanted if wanted[key] != is_now[key]]
        found += [
            f"{name}: {component} runs with another command line than predicted"
            for component, digest in host["command_lines"].items()
            if node.command_lines[component] != (digest,)
        ]
        found += [f"{name}: {sysctl} is not {value}" for sysctl, value in host["sysctls"].items() if node.sysctls[sysctl] != str(value)]
    for name, keys in predicted["objects"].items():
        data = after.objects[name.rpartition("/")[2]]
        found += [f"{name}: {key} is not as predicted" for key, digest in keys.items() if hashlib.sha256(data[key].encode()).hexdigest() != digest]
    return found


def unpredicted(predicted: Mapping[str, Any], before: Snapshot, after: Snapshot) -> set[str]:
    """What has changed besides. Processes are another matter: those of one control plane take each other along."""
    found = {item for item in changed(before, after) if " process " not in item}
    for name, host in predicted["hosts"].items():
        found -= {f"{name} {path}" for path in host["files"]} | {f"{name} sysctl {sysctl}" for sysctl in host["sysctls"]}
        wanted_by = ("/etc/systemd/system/timers.target.wants", *(f"/etc/systemd/system/timers.target.wants/{unit}" for unit in host["units"]))
        found -= {f"{name} {path}" for path in wanted_by if host["units"]}
    found -= {name.replace("kube-system/", "") for name in predicted["objects"]}
    signed = {f"{name} {path}" for name in predicted["certificates"] for path in paths(before.nodes[name], after.nodes[name]) if SIGNED.fullmatch(path)}
    # Nodes of a bed share their machine's kernel.
    kernel = {item for item in found if " sysctl " in item and any(item.rpartition(" ")[2] in host["sysctls"] for host in predicted["hosts"].values())}
    return found - signed - kernel


def paths(before: Node, after: Node) -> set[str]:
    return {*before.files, *after.files}


def test_on_a_default_cluster_it_touches_nothing(checked: Checked) -> None:
    assert checked.run.playbook.rc == 2, checked.run.playbook.output
    assert changed(checked.before, checked.after) == set()
    assert checked.run.playbook.changed == 0


def test_another_digest_runs_nothing(live: Live, checked: Checked) -> None:
    run = live.run("harden", "-e", f"ninepaths_plan={NO_PLAN}")
    assert run.playbook.rc == 2 and "the plan is now" in run.playbook.output, run.playbook.output
    assert changed(checked.before, live.snapshot()) == set()


def test_the_run_leaves_what_was_predicted_on_a_default_cluster(checked: Checked, hardened: Hardened) -> None:
    predicted = checked.run.report["predicted"]
    assert set(predicted["hosts"]) == set(hardened.after.nodes) and predicted["objects"] and len(predicted["hosts"]["cp1"]["files"]) > 15
    assert hardened.run.report["plan_digest"] == checked.run.report["plan_digest"]
    assert hardened.run.report["predicted"] == predicted
    assert wrong(predicted, hardened.after) == []
    assert unpredicted(predicted, checked.before, hardened.after) == set()


def test_on_a_hardened_cluster_nothing_is_predicted_or_done(live: Live, hardened: Hardened) -> None:
    run = live.run("harden", "--check", "--diff")
    assert run.playbook.rc == 0 and run.playbook.changed == 0, run.playbook.output
    assert run.targets == [] and run.named == set() and "nothing to change" in run.playbook.output
    assert changed(hardened.after, live.snapshot()) == set()


def test_the_run_leaves_what_was_predicted_on_a_drifted_cluster(live: Live, hardened: Hardened) -> None:
    for edit in DRIFT:
        live.hand.make(edit)
    before = live.snapshot()
    run = live.run("harden", "--check", "--diff")
    predicted, digest = run.report["predicted"], run.report["plan_digest"]
    assert run.playbook.rc == 2 and changed(before, live.snapshot()) == set(), run.playbook.output
    assert live.run("harden", "--check").report["plan_digest"] == digest
    assert live.run("harden", "-e", f"ninepaths_plan={NO_PLAN}").playbook.rc == 2
    assert changed(before, live.snapshot()) == set()
    done = live.run("harden", "-e", f"ninepaths_plan={digest[:12]}")
    assert done.playbook.rc == 0, done.playbook.output
    after = live.snapshot()
    assert (done.report["plan_digest"], done.report["predicted"]) == (digest, predicted)
    assert wrong(predicted, after) == []
    assert unpredicted(predicted, before, after) == set()
    assert len(run.targets) == len(DRIFT) + len(live.bed.nodes) - 1, "one edit for each, and the kernel's setting on every node"


def test_what_is_compared_can_differ(checked: Checked, hardened: Hardened) -> None:
    """The comparison itself: the bed of before is not what was predicted, and without a prediction everything is unpredicted."""
    predicted = hardened.run.report["predicted"]
    files = {path: checked.before.nodes["cp1"].files.get(path, File("0000", "", "", None)) for path in predicted["hosts"]["cp1"]["files"]}
    before = checked.before.nodes["cp1"]
    old = Snapshot({**hardened.after.nodes, "cp1": Node(files, before.processes, before.command_lines, before.sysctls, {})}, checked.before.objects)
    assert len(wrong(predicted, old)) > len(files)
    assert unpredicted({"hosts": {}, "objects": {}, "certificates": []}, checked.before, hardened.after)
