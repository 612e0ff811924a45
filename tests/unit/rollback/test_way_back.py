# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Harden with the real planner and the real engine, then go back: every byte, mode, owner, unit, account and object is as before."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factories
import pytest
import way_bed
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import keeping
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.control import Undo
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanErrors
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import plan as planning
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.plan import gate
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.runs import runs
from hypothesis import given, settings
from hypothesis import strategies as st
from way_bed import CONTROLS, World

EMPTY = {"schema": 1, "host": "x", "node": "x", "wave": "files", "lease": None, "undo_after_s": 900, "steps": []}
MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"
Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a world; its accounts are its own."""
    made: list[World] = []
    monkeypatch.setattr(accounts, "known", lambda name: copy.deepcopy(made[-1].accounts[made[-1].turn].get(name, {})))

    def world(**how: Any) -> World:
        made.append(World(tmp_path / str(len(made)), **how))
        return made[-1]

    return world


@pytest.fixture
def hardened(make: Make) -> World:
    """A cluster that one run has hardened."""
    world = make()
    world.harden()
    return world


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {key: (one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)}


def refusals(world: World, run: str = "last", limit: list[str] | None = None) -> list[str]:
    with pytest.raises(PlanErrors) as refused:
        world.back(run, limit)
    return [str(error) for error in refused.value.errors]


def only_refusal(world: World, run: str = "last", limit: list[str] | None = None) -> str:
    (found,) = refusals(world, run, limit)
    return found


# --- it is as before -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "planes", "workers"), [("recommended", 1, 1), ("cis-level-2", 3, 2), ("stig", 1, 2)])
def test_everything_is_as_before_and_may_be_hardened_again(make: Make, profile: str, planes: int, workers: int) -> None:
    world = make(planes=planes, workers=workers)
    before = world.snapshot()
    done = world.harden(profile=profile, enable=["protect-kernel-defaults"])
    hardened = world.snapshot()
    assert len(differences(before, hardened)) > 20
    found = world.roll_back("last")
    assert differences(before, world.snapshot()) == {}
    assert found.plan.restarts == done.restarts, "each component once"
    assert world.back("last").plan.changes, "its transactions are a run like any other"
    again = world.harden(profile=profile, enable=["protect-kernel-defaults"])
    assert differences(hardened, world.snapshot()) == {} and again.restarts == done.restarts


def test_a_rollback_can_be_taken_back_and_that_again(make: Make) -> None:
    world = make()
    states = [world.snapshot()]
    world.harden()
    states.append(world.snapshot())
    for turn in range(4):
        found = world.roll_back("last")
        assert differences(states[turn % 2], world.snapshot()) == {}
        assert (found.plan.waves["certificates"] != ()) is (turn % 2 == 1), "forward, kubelets serve what can be verified before the control planes verify"
    assert factories.planned(world.observe(), chosen=CONTROLS).empty


def test_later_runs_come_along_and_each_component_restarts_once(make: Make) -> None:
    world, states = make(), []
    for variables in ({"profile": "recommended"}, {"profile": "cis-level-2"}, {"profile": "cis-level-2", "overrides": {"tls-floor": "VersionTLS13"}}):
        states.append(world.snapshot())
        world.harden(**variables)
    names = [run.id for run in reversed(runs({name: world.remembered(name) for name in world.roots}))]
    found = world.roll_back(names[1])
    assert found.runs == tuple(names[1:]) and differences(states[1], world.snapshot()) == {}
    assert set(found.plan.restarts.values()) <= {1, 2} and found.plan.restarts["kube-apiserver"] == 1
    found = world.roll_back(names[0])
    assert found.runs[0] == names[0] and len(found.runs) == 4 and differences(states[0], world.snapshot()) == {}
    assert world.back(names[0]).plan.empty, "nothing is left to take back"


STEPS = ["recommended", "cis-level-1", "cis-level-2", "drift", "last", "first"]


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=5), choice=st.integers(0, 9))
def test_any_sequence_of_runs(tmp_path_factory: pytest.TempPathFactory, steps: list[str], choice: int) -> None:
    """Harden, drift and rollbacks in any order; then back to before any run that is known."""
    world = World(tmp_path_factory.mktemp("w"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(accounts, "known", lambda name: copy.deepcopy(world.accounts[world.turn].get(name, {})))
        befores: dict[str, dict[str, Any]] = {}
        for step in steps:
            known = [run.id for run in reversed(runs({name: world.remembered(name) for name in world.roots}))]
            if step == "drift":
                manifest = world.roots["cp1"] / MANIFEST
                manifest.write_text(manifest.read_text().replace("    - --profiling=false\n", ""))
                (world.roots["w1"] / factories.KUBELET_CONFIG[1:]).chmod(0o644)
                continue
            before = world.snapshot()
            if step in ("last", "first"):
                if not known or _refused(world, known[0] if step == "first" else known[-1]):
                    continue
                made = world.roll_back(known[0] if step == "first" else known[-1]).plan
            else:
                made = world.harden(profile=step)
            if not made.empty:
                befores[world.latest] = before
        if befores and not _refused(world, run := sorted(befores)[choice % len(befores)]):
            world.roll_back(run)
            left = differences(befores[run], world.snapshot())
            assert set(left) <= {f"cp1:{MANIFEST}", f"w1:{factories.KUBELET_CONFIG[1:]}"} if "drift" in steps else left == {}


def _refused(world: World, run: str) -> bool:
    """Drift that nobody has mended is somebody's; nothing else may be in the way."""
    try:
        world.back(run)
    except PlanErrors as refused:
        assert all("somebody else has changed" in error.cause for error in refused.errors), refused
        return True
    return False


def test_kube_proxy_and_its_pods_are_as_before(make: Make) -> None:
    seen = factories.cluster()
    for host in seen.values():
        if host["cluster"]:
            data = host["cluster"]["configmaps"]["kube-proxy"]["data"]
            data["config.conf"] = data["config.conf"].replace('metricsBindAddress: ""', "metricsBindAddress: 0.0.0.0:10249")
    world = make(seen=seen)
    before = world.snapshot()
    assert world.harden().restarts["kube-proxy"] == 1 and world.api.annotation()
    hardened = world.snapshot()
    found = world.roll_back("last")
    assert differences(before, world.snapshot()) == {} and found.plan.restarts["kube-proxy"] == 1
    waves = list(found.plan.jobs["cp1"])
    assert waves.index("cluster") < waves.index("control_planes") < waves.index("late_cluster"), "sources of truth go first, kube-proxy after"
    world.roll_back("last")
    assert differences(hardened, world.snapshot()) == {}


# --- the order ------------------------------------------------------------------------------------------------------------------


def test_backward_dependants_go_first(hardened: World) -> None:
    found = hardened.back("last").plan
    assert [wave for wave in found.order if found.waves[wave]] == ["cluster", "control_planes", "late_control_plane_kubelets", "late_kubelets", "late_files"]
    for jobs in found.jobs.values():
        for job in jobs.values():
            assert (job["lease"] is not None) is (job["wave"] in ("cluster", "control_planes", "late_control_plane_kubelets"))
    steps = [step["op"] for step in found.jobs["cp1"]["late_files"]["steps"]]
    assert steps == ["units", "files", "units", "remove_account"]


def test_forward_what_others_need_comes_first(hardened: World) -> None:
    hardened.roll_back("last")
    found = hardened.back("last")
    waves = [wave for wave in found.plan.order if found.plan.waves[wave]]
    assert waves == ["files", "kubelets", "control_plane_kubelets", "certificates", "control_planes", "late_cluster"]
    assert found.needs == ("kubelet-serving-certificates",) and found.until == ()
    files = [change["path"] for step in found.plan.jobs["cp1"]["files"]["steps"] if step["op"] == "files" for change in step["files"]]
    assert files.index("/etc/kubernetes/ninepaths") < files.index("/etc/kubernetes/ninepaths/approver.json")


def test_kernel_parameters_are_set_before_a_kubelet_asks_for_them_and_go_after(make: Make) -> None:
    world = make()
    world.harden(profile="cis-level-2", enable=["protect-kernel-defaults"])
    back = world.back("last").plan.jobs["w1"]
    assert [step["op"] for step in back["late_files"]["steps"]][-1] == "sysctls"
    world.roll_back("last")
    assert "sysctls" in [step["op"] for step in world.back("last").plan.jobs["w1"]["files"]["steps"]]


def test_a_kubelets_flags_come_back_and_its_command_line_is_demanded(make: Make) -> None:
    seen = factories.cluster()
    words = "--node-ip=10.89.1.1 --anonymous-auth=true --v=2"
    seen["w1"]["files"][factories.FLAGS_ENV] = factories.file(f'KUBELET_KUBEADM_ARGS="{words}"\n', "0644")
    world = make(seen=seen)
    before, argv = world.snapshot(), world.kubelet_argv("w1")
    world.harden()
    assert "--anonymous-auth=true" not in world.kubelet_argv("w1")
    (step,) = world.back("last").plan.jobs["w1"]["late_kubelets"]["steps"]
    assert step["expect"]["argv"] == argv
    world.roll_back("last")
    assert differences(before, world.snapshot()) == {} and world.kubelet_argv("w1") == argv


def test_old_content_never_travels(hardened: World) -> None:
    """Jobs name backups; only the host has the bytes."""
    found = hardened.back("last").plan
    changes = [change for jobs in found.jobs.values() for job in jobs.values() for step in job["steps"]
               for change in [*step.get("files", ()), *(one["file"] for one in step.get("changes", {}).values())]]  # fmt: skip
    assert changes and all(change["content"] is None for change in changes)
    named = [change["backup"] for change in changes if "backup" in change]
    assert named and all(set(backup) == {"path", "sha256"} for backup in named)


def test_the_same_way_back_has_the_same_digest(hardened: World) -> None:
    assert hardened.back("last").plan.digest == hardened.back("last").plan.digest


# --- what is not ours -----------------------------------------------------------------------------------------------------------


def test_an_edited_manifest_stops_it_before_anything(hardened: World) -> None:
    path = hardened.roots["cp1"] / MANIFEST
    path.write_text(path.read_text() + "# mine\n")
    before = hardened.snapshot()
    said = only_refusal(hardened)
    assert said.startswith(f"cp1: /{MANIFEST}: somebody else has changed it since run ") and "/backup/" in said
    assert hardened.snapshot() == before


def test_an_edited_object_stops_it(hardened: World) -> None:
    data = hardened.api.objects[f"{way_bed.CONFIGMAPS}/kubelet-config"]["data"]
    data["kubelet"] += "# mine\n"
    assert "ConfigMap kube-system/kubelet-config: somebody else has changed its kubelet since run " in only_refusal(hardened)
    data["kubelet"] = data["kubelet"].removesuffix("# mine\n")
    hardened.api.objects[f"{way_bed.CONFIGMAPS}/kubelet-config"]["metadata"]["resourceVersion"] += "1"
    hardened.roll_back("last")


def test_a_kernel_parameter_that_is_another_by_now_stops_it(make: Make) -> None:
    world = make()
    world.harden(profile="cis-level-2", enable=["protect-kernel-defaults"])
    (world.roots["w1"] / "proc/sys/kernel/panic").write_text("3\n")
    assert "kernel parameter kernel.panic is 3, and was 10 after run" in only_refusal(world)


def test_what_others_keep_in_our_directory_stays_and_is_told(hardened: World) -> None:
    mine = hardened.roots["cp1"] / "etc/kubernetes/ninepaths/notes"
    mine.write_text("mine")
    found = hardened.roll_back("last")
    assert mine.exists() and [path.name for path in mine.parent.iterdir()] == ["notes"]
    assert "cp1: /etc/kubernetes/ninepaths stays: there is something else in it" in found.plan.warnings


# --- what is not there any more --------------------------------------------------------------------------------------------------


def test_a_backup_that_is_gone_is_named(hardened: World) -> None:
    for folder in (hardened.roots["w1"] / lock.TRANSACTIONS[1:]).iterdir():
        for backup in (folder / "backup").glob("*"):
            backup.unlink()
    assert f"w1: {factories.KUBELET_CONFIG}: its content from before run" in only_refusal(hardened)


def test_a_run_that_was_pruned_is_refused_and_named(hardened: World) -> None:
    name = hardened.latest
    for number in range(10):
        hardened.run("w1", {**EMPTY, "id": f"x{number}", "run": f"20270401T{number:06d}Z"})
    assert {entry["run"] for entry in keeping.removed(way_bed.Host(hardened, "w1"))} == {name}
    said = refusals(hardened, name)
    assert said and all("was removed, since only the last ten runs of a host are kept" in line and line.startswith("w1: ") for line in said)
    assert "cannot be taken back" in only_refusal(hardened, name, ["w1"])


def test_a_rollback_keeps_what_its_later_waves_need(hardened: World) -> None:
    """The eleventh run of a host would push the oldest out, and it is the one whose backups are needed."""
    before, name = hardened.snapshot(), hardened.latest
    for number in range(9):
        hardened.run("cp1", {**EMPTY, "id": f"x{number}", "run": f"20270401T{number:06d}Z"})
    hardened.roll_back(name)
    assert len(differences(before, hardened.snapshot())) > 20


def test_a_journal_that_makes_no_sense_is_named(hardened: World) -> None:
    journal = next((hardened.roots["w1"] / lock.TRANSACTIONS[1:]).glob("*-kubelets/journal.jsonl"))
    journal.write_text(journal.read_text().replace('"path":', '"pfad":'))
    assert "is not of the form that this version knows" in only_refusal(hardened)


# --- points of no return ---------------------------------------------------------------------------------------------------------


def test_a_worker_alone_keeps_what_control_planes_verify(hardened: World) -> None:
    said = only_refusal(hardened, limit=["w1"])
    assert said.startswith("w1: kubelet-serving-bootstrap cannot be taken back any more (kubelet-verification): the apiserver of cp1 verifies kubelets")
    assert "--limit" in said


def test_a_worker_alone_goes_back_once_no_control_plane_verifies(make: Make) -> None:
    world = make(planes=1, workers=2)
    before = world.snapshot()
    world.harden()
    run = world.latest
    world.roll_back(run, ["cp1"])
    for name in ("w1", "w2"):
        world.roll_back(run, [name])
    left = differences(before, world.snapshot())
    assert {"objects"} <= set(left) and {key for key in left if key.startswith("w")} == set()
    world.roll_back(run)
    assert differences(before, world.snapshot()) == {}


def test_one_host_alone_leaves_what_the_cluster_says_and_what_that_names(hardened: World) -> None:
    found = hardened.roll_back("last", ["cp1"])
    assert any(text.startswith("kubeadm-config, kubelet-config: left as they are") for text in found.plan.warnings)
    stays = [text for text in found.plan.warnings if "kubeadm-config names it" in text]
    assert len(stays) == 2 and {path.name[:5] for path in (hardened.roots["cp1"] / "etc/kubernetes/ninepaths").iterdir()} == {"audit", "authe", "appro"}


def test_what_approves_certificates_stays_while_somebody_may_ask(hardened: World) -> None:
    found = hardened.roll_back("last", ["cp1"])
    told = "cp1: /usr/local/lib/ninepaths/approver.py stays: kubelets that --limit leaves out (w1) may ask it for certificates"
    assert told in found.plan.warnings and (way_bed.approver.TIMER, "active") in hardened.units["cp1"]
    hardened.roll_back(found.runs[0])
    assert hardened.units["cp1"] == set() and not (hardened.roots["cp1"] / "usr/local/lib/ninepaths").exists()


def test_a_node_that_has_joined_since_goes_on_to_have_its_certificates_approved(make: Make) -> None:
    """kubeadm wrote its configuration from the hardened kubelet-config; no run of ours did."""
    world = make(workers=2)
    config = world.roots["w2"] / factories.KUBELET_CONFIG[1:]
    world.harden()
    for folder in (world.roots["w2"] / lock.TRANSACTIONS[1:]).iterdir():
        shutil.rmtree(folder)
    found = world.roll_back("last")
    assert any("stays: the kubelet of w2 goes on to ask it for certificates" in text for text in found.plan.warnings)
    assert "serverTLSBootstrap: true" in config.read_text() and (way_bed.approver.TIMER, "active") in world.units["cp1"]


def test_the_approver_forgets_no_node_that_may_ask(hardened: World) -> None:
    """A later run has told it about a node; that run alone is taken back."""
    knows = hardened.roots["cp1"] / way_bed.approver.CONFIG[1:]
    first = knows.read_text()
    change = way_bed.bed.change(hardened.roots["cp1"], way_bed.approver.CONFIG, first.replace('"w1"', '"w9"').encode())
    hardened.run("cp1", {**EMPTY, "id": "x", "run": "20280101T000000Z", "steps": [{"op": "files", "files": [change]}]})
    found = hardened.roll_back("last")
    assert found.plan.empty and "w9" in knows.read_text()
    assert any(text.startswith(f"cp1: {way_bed.approver.CONFIG} stays: the kubelet of cp1, w1") for text in found.plan.warnings)


def test_a_kubelet_configuration_of_another_form_is_named(hardened: World) -> None:
    given = hardened.given()
    files = given.observations["w1"]["files"][factories.KUBELET_CONFIG]
    files["text"] = files["text"].replace("tlsMinVersion: VersionTLS12", "tlsMinVersion: [{a: b}]")
    with pytest.raises(PlanErrors, match=r"w1: /var/lib/kubelet/config.yaml: tlsMinVersion is neither text, number"):
        planning.plan(given, "last")


def test_one_of_three_control_planes_keeps_its_kubelet_while_the_others_verify(make: Make) -> None:
    world = make(planes=3, workers=1)
    world.harden()
    assert "the apiserver of cp1, cp3 verifies kubelets" in only_refusal(world, limit=["cp2"])


def test_a_control_plane_that_was_not_seen_may_verify(hardened: World) -> None:
    hosts = hardened.observe()
    given = dataclasses.replace(hardened.given(["w1"]), observations={"w1": hosts["w1"]}, inventory=factories.inventory(["w1"], {"cp1": "no route"}))
    with pytest.raises(PlanErrors, match=r"kubelet-verification.*: cp1 could not be observed: no route"):
        planning.plan(given, "last")


def with_undo(world: World, name: str, undo: Undo) -> planning.Given:
    return dataclasses.replace(
        world.given(), controls=[dataclasses.replace(control, undo=undo) if control.id == name else control for control in CONTROLS]
    )


@pytest.mark.parametrize("name", ["apiserver-profiling-off", "etcd-data-directory", "kubelet-tls-floor"])
def test_what_can_never_be_taken_back_says_what_to_do_instead(hardened: World, name: str) -> None:
    if name not in {control.id for control in CONTROLS}:
        pytest.skip("only root gives files to others")
    why = next(control.why for control in CONTROLS if control.id == name)
    with pytest.raises(PlanErrors) as refused:
        planning.plan(with_undo(hardened, name, Undo(False, instead="Restore the snapshot.")), "last")
    assert {(error.cause, error.advice) for error in refused.value.errors} == {(f"{name} cannot be taken back: {why}", "Restore the snapshot.")}


ENCRYPTION = "    - --encryption-provider-config=/etc/kubernetes/mine.yaml\n"


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"total": 9, "read": 9, "encrypted": 4}, "4 of the Secrets that were read in etcd are encrypted"),
        ({"total": 90, "read": 50, "encrypted": 0}, "not every Secret in etcd could be looked at"),
        (None, "not every Secret in etcd could be looked at"),
        ({"total": 9, "read": 9, "encrypted": 0}, None),
    ],
)
def test_encryption_that_no_control_has_set_counts_too(hardened: World, evidence: dict[str, int] | None, said: str | None) -> None:
    """The setting is what counts: a task of a play may have made it."""
    path = hardened.roots["cp1"] / MANIFEST
    text = path.read_text()
    changed = text.replace("    - kube-apiserver\n", "    - kube-apiserver\n" + ENCRYPTION)
    pod = factories.planned(factories.cluster(), chosen=CONTROLS).jobs["cp1"]["control_planes"]["steps"][0]["changes"]["kube-apiserver"]
    change = {**way_bed.bed.change(hardened.roots["cp1"], f"/{MANIFEST}", changed.encode()), "controls": []}
    step = {"op": "static_pods", "changes": {"kube-apiserver": {**pod, "file": change, "argv": factories.argv(changed), "old": {}}}}
    job = {"schema": 1, "id": "x", "run": "20280101T000000Z", "host": "cp1", "node": "cp1", "wave": "control_planes", "lease": None, "undo_after_s": 900}
    hardened.run("cp1", {**job, "steps": [step]})
    hardened.first["cp1"]["proofs"] = [{"id": "secrets_at_rest", "path": 4, "evidence": evidence}] if evidence else []
    if said is None:
        assert hardened.back("last").plan.waves["control_planes"] == ("cp1",)
        return
    errors = refusals(hardened)
    assert {line.split()[1] for line in errors} == {"encryption-at-rest", "encryption-providers"}
    assert all(said in line and "identity" in line for line in errors)


def test_a_control_that_this_version_does_not_know_stops_it(hardened: World) -> None:
    given = dataclasses.replace(hardened.given(), controls=[control for control in CONTROLS if control.id != "etcd-ciphers"])
    with pytest.raises(PlanErrors, match="served the control etcd-ciphers, which this version does not know"):
        planning.plan(given, "last")


def test_jobs_that_do_not_say_what_they_served_are_judged_by_their_settings(hardened: World) -> None:
    """Those of an earlier version."""
    for job in hardened.roots["w1"].glob("var/lib/ninepaths/transactions/*/job.json"):
        job.write_text(json.dumps(_without_controls(json.loads(job.read_text()))))
    assert "kubelet-serving-bootstrap cannot be taken back any more" in only_refusal(hardened, limit=["w1"])


def _without_controls(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_controls(value) for key, value in data.items() if key != "controls"}
    return [_without_controls(item) for item in data] if isinstance(data, list) else data


def test_what_was_taken_back_comes_back_only_where_what_it_needs_is_there(hardened: World) -> None:
    hardened.roll_back("last")
    hosts = hardened.observe()
    hosts["cp1"]["cluster"]["nodes"].append({**hosts["cp1"]["cluster"]["nodes"][0], "name": "stranger"})
    with pytest.raises(PlanErrors, match=r"apiserver-verifies-kubelet cannot come back .kubelet-serving-certificates.: the kubelet of stranger serves no"):
        planning.plan(dataclasses.replace(hardened.given(), observations=hosts), "last")


# --- the gates --------------------------------------------------------------------------------------------------------------------


def test_the_gate_opens_when_no_control_plane_verifies_any_more(hardened: World) -> None:
    found = hardened.back("last")
    assert found.until == ("kubelet-verification",)
    (error,) = gate(hardened.given(), found.until, found.needs)
    assert "kubelet-verification: the apiserver of cp1 verifies kubelets" in str(error)
    for wave in ("cluster", "control_planes"):
        hardened.run("cp1", planning_bind(found.plan.jobs["cp1"][wave]))
    assert gate(hardened.given(), found.until, found.needs) == []


def test_the_gate_opens_when_every_kubelet_serves_what_can_be_verified(hardened: World) -> None:
    hardened.roll_back("last")
    found = hardened.back("last")
    (error,) = gate(hardened.given(), found.until, found.needs)
    assert "kubelet-serving-certificates: the kubelet of cp1, w1 serves no certificate" in str(error)
    for name, wave in (("cp1", "files"), ("w1", "kubelets"), ("cp1", "control_plane_kubelets")):
        hardened.run(name, planning_bind(found.plan.jobs[name][wave]))
    assert gate(hardened.given(), found.until, found.needs) == []


def planning_bind(job: dict[str, Any]) -> dict[str, Any]:
    return {**job, "id": f"gate-{job['wave'].replace('_', '-')}", "run": "20290101T000000Z"}


def test_an_ill_cluster_is_left_alone(hardened: World) -> None:
    hardened.first["cp1"]["cluster"]["nodes"][1]["ready"] = False
    assert "its node w1 is not ready" in only_refusal(hardened)
    assert any("its node w1 is not ready" in str(error) for error in gate(hardened.given(), (), ()))


def test_a_host_that_cannot_be_seen_stops_it(hardened: World) -> None:
    given = hardened.given()
    given = dataclasses.replace(given, histories={"cp1": given.histories["cp1"]})
    with pytest.raises(PlanErrors, match=r"w1: could not be observed: .*--limit"):
        planning.plan(given, "last")


def test_an_open_transaction_stops_it(hardened: World) -> None:
    hardened.first["w1"]["journals"] = [{"id": "t", "run": "r", "state": "open", "step": "", "at": 0.0, "cause": None, "advice": None}]
    assert "a transaction of another run is at work here" in only_refusal(hardened)


@pytest.mark.parametrize(("run", "said"), [("20270301T000009Z-abcdef", "no run 20270301T000009Z-abcdef is known"), ("", "no run  is known")])
def test_an_unknown_run_is_told_with_those_that_there_are(hardened: World, run: str, said: str) -> None:
    found = only_refusal(hardened, run)
    assert said in found and hardened.latest in found


def test_where_nothing_was_done_there_is_nothing_to_take_back(make: Make) -> None:
    assert "no run of ninepaths has left anything" in only_refusal(make())
