# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each control is broken on a hardened bed as a person would; audit names exactly that, harden mends it with one change, the next run has none.

tests/unit/plugin_utils/test_drift_plan.py holds that every control is tried, or is in a list of table.py with its reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls, flags

from . import breaks, edits, table
from .breaks import Break
from .conftest import Hardened
from .live import Live, Named
from .snapshot import Snapshot, changed, meaning, take_nodes

CONTROLS = controls.load()
MINOR = "1.36"
WRITTEN = {component: flags.load().kubeadm(component, MINOR) for component in breaks.STATIC_PODS}
# Other ways than the first one that are tried on a bed, too; all of them are tried on generated clusters.
VARIANTS = (
    ":owner",
    "audit-policy:deleted",
    "audit-policy:flag",
    "kubelet-webhook-authorization:drop-in",
    "kubelet-read-only-port:drop-in",
    "kubelet-read-only-port:kubelet-flag",
    "apiserver-profiling-off:source",
    "controller-manager-profiling-off:source",
    "scheduler-profiling-off:source",
    "etcd-tls-floor:source",
    "audit-policy:source",
    "kubelet-tls-floor:source",
)
# One or two of each kind.
SHORT = {
    "admin-kubeconfigs",
    "audit-policy",
    "etcd-data-directory:owner",
    "kube-proxy-metrics-loopback",
    "kubelet-anonymous-off",
    "kubelet-read-only-port:kubelet-flag",
    "kubelet-tls-floor:source",
    "kubelet-webhook-authorization:drop-in",
    "scheduler-ciphers",
    "scheduler-profiling-off:source",
    "sysctl-panic",
    "terminated-pod-gc-threshold",
}
LOST_WITHIN = 180.0  # seconds until the kubelet has taken a manifest up
# Where all control-plane components of one host hang on another: what may restart with it.
WITH_IT = {"etcd": {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}, "kube-apiserver": {"kube-controller-manager", "kube-scheduler"}}


def cases() -> list[Break]:
    """Those that need a setting of their own come last."""
    chosen = breaks.first_breaks(CONTROLS) + [case for case in breaks.all_breaks(CONTROLS, WRITTEN) if case.name.endswith(VARIANTS)]
    return sorted(chosen, key=lambda case: case.control in table.ALONE)


def parametrized(chosen: list[Break]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.short] if case.name in SHORT else []) for case in chosen]


def component(edit: edits.Edit) -> str | None:
    """What a run restarts to mend it."""
    if isinstance(edit, (edits.Flags, edits.Document)):
        return edit.component
    if isinstance(edit, (edits.Fields, edits.DropIn, edits.KubeletFlags)):
        return "kubelet"
    return "kube-proxy" if isinstance(edit, edits.ProxyFields) else None


def expected(live: Live, case: Break) -> Named:
    return {(control, host) for control in case.controls for host in live.hand.touched(case.edit)}


def is_mended(live: Live, case: Break) -> bool:
    """Whether a run brings back what was there: what counted as set without being there is written down."""
    return not any(control.unset_ok for control in live.controls if control.id in case.controls)


@pytest.fixture
def prepared(live: Live, hardened: Hardened, case: Break) -> Iterator[Snapshot]:
    """The hardened bed, with the choices that this control needs; afterwards with those of the others again."""
    assert hardened
    alone = case.control in table.ALONE
    if alone:
        run = live.run("harden", tried=case.control)
        assert run.playbook.rc == 0, run.playbook.output
    live.open = case.name
    yield live.snapshot()
    if live.open:  # the case has failed; the next one needs a bed to start from
        live.hand.mend(case.edit)
        live.run("harden")
    live.hand.clean(case.edit)
    if alone:
        live.hand.leave(case.control)
        assert live.run("harden").playbook.rc == 0


@pytest.mark.parametrize("case", parametrized([case for case in cases() if not case.by_hand]))
def test_drift(live: Live, prepared: Snapshot, case: Break) -> None:
    live.hand.make(case.edit)
    broken = live.snapshot()
    audit = live.run("audit", tried=case.control)
    assert audit.named == expected(live, case), audit.playbook.output
    assert audit.playbook.rc == 2 and audit.unexplained_proofs(case.controls) == []
    assert changed(broken, live.snapshot()) == set()

    harden = live.run("harden", tried=case.control)
    assert harden.playbook.rc == 0, harden.playbook.output
    assert harden.repaired == expected(live, case)
    hosts = len(live.hand.touched(case.edit))
    assert (len(harden.targets), harden.playbook.changed) == (files(case) * hosts, case.changes * hosts), harden.targets
    restarts = {name: 1 for name in [component(case.edit)] if name}
    assert harden.report["restarts"] == restarts
    mended = live.snapshot()
    assert unexpected(case, changed(broken, mended), harden.targets) == set()
    if is_mended(live, case):
        assert differing(prepared, mended, harden.targets) == []

    again = live.run("harden", tried=case.control)
    assert again.playbook.rc == 0 and again.playbook.changed == 0, again.playbook.output
    assert again.targets == [] and changed(mended, live.snapshot()) == set()
    live.open = None


def files(case: Break) -> int:
    """A certificate that is signed is an edit, but no file of the plan."""
    return 1 if case.control in table.CHANGES else case.changes


def unexpected(case: Break, found: set[str], targets: list[str]) -> set[str]:
    """What a run has changed besides what it said, without what has to restart with a component that restarts."""
    restarted = {str(component(case.edit)), *WITH_IT.get(str(component(case.edit)), ())}
    kernel = isinstance(case.edit, edits.Sysctl)
    return {
        item
        for item in found - set(targets)
        if not (" process " in item and item.rpartition(" ")[2] in restarted) and not (kernel and " sysctl " in item)
    }


def differing(before: Snapshot, after: Snapshot, targets: list[str]) -> list[str]:
    """Of what a run changed, what does not mean the same as before the break."""
    was, now = meaning(before), meaning(after)
    return [key for key in was if any(key == target or key.startswith(f"{target} ") for target in targets) and was[key] != now.get(key)]


@pytest.mark.parametrize("case", parametrized([case for case in cases() if case.by_hand]))
def test_what_no_run_mends(live: Live, prepared: Snapshot, case: Break) -> None:
    """It is named with what to do, and left alone; the person takes it back."""
    assert isinstance(case.edit, edits.Flags)
    live.hand.make(case.edit)
    broken = live.snapshot()
    for playbook in ("audit", "harden"):
        run = live.run(playbook, tried=case.control)
        assert run.named == expected(live, case) and run.playbook.rc == 2, run.playbook.output
        assert run.playbook.changed == 0 and run.unexplained_proofs(case.controls) == []
        advice = next(control.unmet.advice for control in live.controls if control.id == case.control and control.unmet)
        assert advice.split(";")[0] in run.playbook.output, run.playbook.output
    assert changed(broken, live.snapshot()) == set()
    live.hand.take_back(case.edit.component)
    assert live.run("audit").playbook.rc == 0
    live.open = None


@pytest.mark.parametrize("case", parametrized(breaks.outages(CONTROLS)))
def test_an_outage_is_named_and_nothing_is_touched(live: Live, hardened: Hardened, case: Break) -> None:
    """The cluster is not well, and that is what both playbooks say, without touching it; whoever broke it takes it back."""
    assert hardened and isinstance(case.edit, edits.Flags)
    live.hand.write_manifest(case.edit)
    try:
        end = time.monotonic() + LOST_WITHIN
        while live.bed.kubectl("get", "nodes", check=False, timeout=60):
            assert time.monotonic() < end, f"{case.name} takes nothing away"
            time.sleep(1)
        before = without_processes(take_nodes(live.bed))
        for playbook in ("audit", "harden"):
            run = live.run(playbook)
            assert run.playbook.rc == 2 and run.playbook.changed == 0, run.playbook.output
            assert live.hand.plane in {error["host"] for error in run.report["errors"]}, run.playbook.output
        assert changed(before, without_processes(take_nodes(live.bed))) == set()
    finally:
        live.hand.take_back(case.edit.component)
    assert live.run("audit").playbook.rc == 0


def without_processes(found: Snapshot) -> Snapshot:
    """A component that does not start is started again and again."""
    return Snapshot({name: type(node)(node.files, {}, {}, node.sysctls, {}) for name, node in found.nodes.items()}, {})
