# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody changes the cluster between the plan and a wave: the run stops there, says host, file and difference, and leaves the edit alone.

The next run plans from what is there. ansible-playbook is halted before a play for as long as the edit takes (callbacks/between.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from . import edits
from .conftest import Hardened
from .hand import Hand
from .live import Live
from .snapshot import KUBELET_CONFIG, MANIFESTS, changed
from .texts import with_fields

SCHEDULER = f"{MANIFESTS}kube-scheduler.yaml"
PROFILING = edits.Flags("kube-scheduler", {"profiling": edits.Put(True)})
VERBOSE = edits.Flags("kube-scheduler", {"v": edits.Put(3)})
QUIET = edits.Flags("kube-scheduler", {"v": edits.Take()})
SOURCE = edits.Arguments("kube-scheduler", {"profiling": edits.Put(True)})
VERBOSE_SOURCE = edits.Arguments("kube-scheduler", {"v": edits.Put(3)})
QUIET_SOURCE = edits.Arguments("kube-scheduler", {"v": edits.Take()})
ANONYMOUS = edits.Fields({"authentication.anonymous.enabled": edits.Put(True)})
KUBEADM_CONFIG = "ConfigMap kube-system/kubeadm-config"


def max_pods(hand: Hand) -> None:
    """An edit whose author has not restarted the kubelet yet."""
    hand.bed.ssh(
        hand.worker,
        f"sudo tee {KUBELET_CONFIG} >/dev/null",
        stdin=with_fields(hand.bed.root(hand.worker, f"cat {KUBELET_CONFIG}"), {"maxPods": edits.Put(99)}),
    )


class Case(NamedTuple):
    """drift: what the run is to mend. before: the play before which somebody else does `meanwhile`. words: the message. kept: what is
    there after the next run, as `command` on a node shows it. clean: how the edit is taken away again."""

    drift: tuple[edits.Edit, ...]
    before: str
    meanwhile: Callable[[Hand], None]
    words: tuple[str, ...]
    node: str
    command: str
    kept: str
    clean: tuple[edits.Edit, ...] = ()


def made(edit: edits.Edit) -> Callable[[Hand], None]:
    return lambda hand: hand.make(edit)


SHOW_SOURCE = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config -o yaml | grep -A1 'name: v$'"
SHOW_PROXY = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap kube-proxy -o yaml | grep 'verbosity: 1'"
CASES = {
    "files": Case(
        (edits.Rights("admin-kubeconfigs", mode="0644"),), "Wave: files and modes", made(edits.Rights("admin-kubeconfigs", mode="0640")),
        ("cp1", "/etc/kubernetes/admin.conf was changed since it was observed: its mode (0644 → 0640)"),
        "cp1", "stat -c %a /etc/kubernetes/admin.conf", "600",
    ),
    "kubelets": Case(
        (ANONYMOUS,), "Wave: kubelets of workers", max_pods,
        ("w1", f"{KUBELET_CONFIG} was changed since it was observed: its content (sha256 "),
        "w1", f"grep maxPods {KUBELET_CONFIG}", "maxPods: 99",
    ),
    "kube-proxy": Case(
        (edits.ProxyFields({"metricsBindAddress": edits.Put("0.0.0.0:10249")}),), "Wave: kube-proxy",
        made(edits.ProxyFields({"logging.verbosity": edits.Put(1)})),
        ("cp1", "ConfigMap kube-system/kube-proxy was changed since it was observed (resourceVersion "),
        "cp1", SHOW_PROXY, "verbosity: 1",
    ),
    "second-look": Case(
        (ANONYMOUS, PROFILING), "Wave: kubelets of workers", made(VERBOSE),
        ("cp1", f"{SCHEDULER}: somebody else has changed it since this run began (new: --v=3)"),
        "cp1", f"grep -- --v= {SCHEDULER}", "- --v=3", (QUIET,),
    ),
    "second-look-mended": Case(
        (PROFILING,), "Observe the control planes again", made(edits.Flags("kube-scheduler", {"profiling": edits.Put(False)})),
        ("cp1", f"{SCHEDULER}: it was to change for scheduler-profiling-off, and somebody else has done so", "gone: --profiling=true; new: --profiling=false"),
        "cp1", f"grep -- --profiling= {SCHEDULER}", "- --profiling=false",
    ),
    "second-look-object": Case(
        (SOURCE,), "Observe the control planes again", made(VERBOSE_SOURCE),
        ("cp1", f"{KUBEADM_CONFIG}: somebody else has changed it since this run began (new: name: v, value: '3')"),
        "cp1", SHOW_SOURCE, "value: '3'", (QUIET_SOURCE,),
    ),
    "control-planes": Case(
        (PROFILING,), "Wave: control planes", made(VERBOSE),
        ("cp1", f"{SCHEDULER} was changed since it was observed: its content (sha256 "),
        "cp1", f"grep -- --v= {SCHEDULER}", "- --v=3", (QUIET,),
    ),
    "cluster": Case(
        (SOURCE,), "Wave: cluster objects", made(VERBOSE_SOURCE),
        ("cp1", f"{KUBEADM_CONFIG} was changed since it was observed (resourceVersion "),
        "cp1", SHOW_SOURCE, "value: '3'", (QUIET_SOURCE,),
    ),
}  # fmt: skip
SHORT = {"files", "kubelets", "second-look-object", "cluster"}


@pytest.mark.parametrize("case", [pytest.param(CASES[name], id=name, marks=[pytest.mark.short] if name in SHORT else []) for name in CASES])
def test_the_run_stops_and_leaves_the_edit_alone(live: Live, hardened: Hardened, case: Case) -> None:
    assert hardened
    for edit in case.drift:
        live.hand.make(edit)
    edited = []

    def meanwhile() -> None:
        case.meanwhile(live.hand)
        edited.append(live.snapshot())

    run = live.harden_between(case.before, meanwhile)
    assert run.playbook.rc == 2, run.playbook.output
    (error,) = run.report["errors"]
    told = f"{error['host']}: {error['file'] or ''}: {error['cause']}"
    for word in case.words:
        assert word in told and word in run.playbook.output, (word, run.playbook.output)
    # Whatever changed since the edit was written by waves that came before, never where somebody else had written.
    assert changed(edited[0], live.snapshot()) <= early(case), run.playbook.output

    again = live.run("harden")
    assert again.playbook.rc == 0, again.playbook.output
    assert case.kept in live.bed.root(case.node, case.command)
    for edit in case.clean:
        live.hand.make(edit)
    assert live.run("harden", "--check").playbook.rc == 0


def early(case: Case) -> set[str]:
    """What the waves before the one that stopped were to write."""
    return {f"w1 {KUBELET_CONFIG}", "w1 process kubelet"} if ANONYMOUS in case.drift and len(case.drift) > 1 else set()
