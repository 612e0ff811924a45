# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's variables, and which controls they choose."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected, select
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings, SettingsError, Waiver
from hypothesis import given
from hypothesis import strategies as st

ALL = controls.load()
NOON = datetime.datetime(2027, 3, 1, 12, tzinfo=datetime.timezone.utc).timestamp()


def variables(**values: object) -> dict[str, object]:
    return {f"ninepaths_{name}": value for name, value in values.items()}


def choose(now: float = NOON, **values: object) -> dict[str, Selected]:
    return {item.control.id: item for item in select(Settings.parse(variables(**values)), ALL, now)}


def selected(chosen: Mapping[str, Selected]) -> set[str]:
    return {name for name, item in chosen.items() if item.status == "selected"}


def problems(**values: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        choose(**values)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# Parsing -------------------------------------------------------------------------------------------------------------


def test_nothing_said_means_the_recommended_profile_on_all_paths() -> None:
    assert Settings.parse({}) == Settings()
    assert (Settings().profile, Settings().paths, Settings().fail_on) == ("recommended", tuple(range(1, 10)), "deviation")


def test_everything_said_is_kept() -> None:
    settings = Settings.parse(
        variables(
            profile="cis-level-2",
            paths=[4, 1],
            overrides={"audit-log-maxage": 90, "kubelet-ciphers": ["A", "B"], "apiserver-profiling-off": True},
            enable=["pod-pids-limit", "pod-pids-limit"],
            waivers=[
                {"control": "event-rate-limit", "reason": " CI floods it ", "until": "2027-03-01"},
                {"control": "cni-files", "reason": "ours", "until": datetime.date(2028, 1, 2)},
                {"control": "pki-keys", "reason": "HSM", "until": datetime.datetime(2028, 1, 2, 3, 4)},
            ],
            node_addresses={"w1": ["10.0.0.1", "fd00::1", "w1.example.org"], "w2": "10.0.0.2"},
            fail_on="never",
        )
        | {"ninepaths_report_dir": "elsewhere", "kube_version": 1}
    )
    assert settings == Settings(
        profile="cis-level-2",
        paths=(1, 4),
        overrides={"audit-log-maxage": 90, "kubelet-ciphers": ("A", "B"), "apiserver-profiling-off": True},
        enable=("pod-pids-limit",),
        waivers=(
            Waiver("event-rate-limit", "CI floods it", datetime.date(2027, 3, 1)),
            Waiver("cni-files", "ours", datetime.date(2028, 1, 2)),
            Waiver("pki-keys", "HSM", datetime.date(2028, 1, 2)),
        ),
        node_addresses={"w1": ("10.0.0.1", "fd00::1", "w1.example.org"), "w2": ("10.0.0.2",)},
        fail_on="never",
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"profile": "cis"}, "ninepaths_profile: 'cis' is not one of recommended, cis-level-1, cis-level-2, stig"),
        ({"profile": ["stig"]}, "ninepaths_profile: ['stig'] is not one of recommended, cis-level-1, cis-level-2, stig"),
        ({"fail_on": "always"}, "ninepaths_fail_on: 'always' is not one of deviation, never"),
        ({"paths": [0]}, "ninepaths_paths: 0 is no path; paths are the numbers 1 to 9"),
        ({"paths": ["1"]}, "ninepaths_paths: '1' is no path; paths are the numbers 1 to 9"),
        ({"paths": [True]}, "ninepaths_paths: True is no path; paths are the numbers 1 to 9"),
        ({"paths": "1,2"}, "ninepaths_paths: must be a list, not text"),
        ({"paths": []}, "ninepaths_paths: is empty; leave it out to choose all nine"),
        ({"enable": "always-pull-images"}, "ninepaths_enable: must be a list, not text"),
        ({"enable": [1]}, "ninepaths_enable: 1 is no control id"),
        ({"overrides": ["a"]}, "ninepaths_overrides: must be a mapping from control ids to values, not a list"),
        ({"overrides": {"a": None}}, "ninepaths_overrides: a: None is no value; text, whole numbers, true, false and lists of texts are"),
        ({"overrides": {"a": 1.5}}, "ninepaths_overrides: a: 1.5 is no value; text, whole numbers, true, false and lists of texts are"),
        ({"overrides": {"a": []}}, "ninepaths_overrides: a: [] is no value; text, whole numbers, true, false and lists of texts are"),
        ({"waivers": {"a": "b"}}, "ninepaths_waivers: must be a list, not a mapping"),
        ({"waivers": ["a"]}, "ninepaths_waivers: waiver 1 must be a mapping with control and reason, not text"),
        ({"waivers": [{"reason": "because"}]}, "ninepaths_waivers: waiver 1 names no control"),
        ({"waivers": [{"control": "a"}]}, "ninepaths_waivers: a: a waiver needs a reason"),
        ({"waivers": [{"control": "a", "reason": " "}]}, "ninepaths_waivers: a: a waiver needs a reason"),
        ({"waivers": [{"control": "a", "reason": "b", "untill": "2027-03-01"}]}, "ninepaths_waivers: a: unknown key untill"),
        (
            {"waivers": [{"control": "a", "reason": "b", "until": "March"}]},
            "ninepaths_waivers: a: until is 'March', must be a date like 2027-03-01",
        ),
        ({"waivers": [{"control": "a", "reason": "b"}, {"control": "a", "reason": "c"}]}, "ninepaths_waivers: a is waived twice"),
        ({"node_addresses": {"w1": ["10.0.0.300"]}}, "ninepaths_node_addresses: w1: '10.0.0.300' is no address"),
        ({"node_addresses": {"w1": ["$(id)"]}}, "ninepaths_node_addresses: w1: '$(id)' is no address"),
        ({"node_addresses": {"w1": []}}, "ninepaths_node_addresses: w1: has no address"),
        ({"node_addresses": ["w1"]}, "ninepaths_node_addresses: must be a mapping from node names to lists of addresses, not a list"),
    ],
)
def test_a_mistake_is_one_sentence(values: dict[str, object], problem: str) -> None:
    assert problems(**values) == (problem,)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems(profile="x", paths=[11], waivers=[{"control": "a"}], fail_on="x")) == 4


NAMES = [f"ninepaths_{name}" for name in ("profile", "paths", "overrides", "enable", "waivers", "node_addresses", "fail_on")]
KEYS = st.text() | st.sampled_from(["control", "reason", "until"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING))
def test_no_variables_break_the_parser(values: dict[str, object]) -> None:
    try:
        settings = Settings.parse(values)
    except SettingsError as error:
        assert error.problems and all(problem.startswith("ninepaths_") for problem in error.problems)
    else:
        assert settings.profile in controls.PROFILES


# Selection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", controls.PROFILES)
def test_every_profile_can_be_chosen(profile: str) -> None:
    chosen = choose(profile=profile)
    assert len(chosen) == len(ALL)
    in_profile = {control.id for control in ALL if profile in control.profiles}
    required = {name for control in ALL if control.id in in_profile for name in control.requires}
    assert selected(chosen) == in_profile | required
    assert {item.status for item in chosen.values()} == {"selected", "disabled"}


def test_disruptive_controls_are_chosen_by_id() -> None:
    before, after = choose(), choose(enable=["always-pull-images"])
    assert before["always-pull-images"].reason.startswith("disruptive, and not in profile recommended: Pods with images that were loaded")
    assert selected(after) - selected(before) == {"always-pull-images"}
    assert after["always-pull-images"].reason == "ninepaths_enable"


def test_a_control_brings_what_it_requires() -> None:
    after = choose(enable=["event-rate-limit"])
    assert selected(after) - selected(choose()) == {"event-rate-limit", "event-rate-limit-configuration"}
    assert after["event-rate-limit-configuration"].reason == "event-rate-limit requires it"


def test_paths_narrow_the_profile_but_not_what_is_enabled() -> None:
    chosen = choose(paths=[5], enable=["pod-pids-limit"])
    assert {chosen[name].control.path for name in selected(chosen)} == {5, 6}
    assert chosen["apiserver-verifies-kubelet"].reason == "path 1 is not chosen"
    assert chosen["audit-policy-stig"].status == "disabled"


def test_an_override_changes_one_value() -> None:
    chosen = choose(overrides={"audit-log-maxage": 90, "apiserver-client-ca": "/etc/ssl/corp.pem"})
    assert chosen["audit-log-maxage"].value == 90
    assert chosen["apiserver-client-ca"].value == "/etc/ssl/corp.pem"
    assert chosen["audit-log-maxbackup"].value == 10


def test_a_family_is_changed_as_one_in_each_component_s_spelling() -> None:
    chosen = choose(overrides={"tls-floor": "VersionTLS13", "kubelet-tls-floor": "VersionTLS12"})
    values = {item.control.component: item.value for item in chosen.values() if item.control.family == "tls-floor"}
    assert values == {
        "kube-apiserver": "VersionTLS13",
        "kube-controller-manager": "VersionTLS13",
        "kube-scheduler": "VersionTLS13",
        "kubelet": "VersionTLS12",  # its own id is more specific
        "etcd": "TLS1.3",
    }


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"audit-log-maxage": "90"}, "ninepaths_overrides: audit-log-maxage: '90' must be a whole number, like 30"),
        ({"audit-log-maxage": True}, "ninepaths_overrides: audit-log-maxage: true must be a whole number, like 30"),
        ({"kubelet-anonymous-off": 0}, "ninepaths_overrides: kubelet-anonymous-off: 0 must be true or false, like false"),
        ({"tls-floor": 13}, "ninepaths_overrides: tls-floor: 13 must be text, like 'VersionTLS12'"),
        ({"apiserver-rbac": "RBAC"}, "ninepaths_overrides: apiserver-rbac: 'RBAC' must be a list of texts, like RBAC"),
        ({"apiserver-client-ca": "ca.crt"}, "ninepaths_overrides: apiserver-client-ca: 'ca.crt' must be an absolute path"),
        ({"no-static-tokens": "/a"}, "ninepaths_overrides: no-static-tokens: no-static-tokens has no value that could be changed"),
        ({"pki-keys": "0644"}, "ninepaths_overrides: pki-keys: pki-keys has no value that could be changed"),
        ({"apiserver-no-always-allow": ["x"]}, "apiserver-no-always-allow has no value that could be changed"),
        ({"scheduler-secure-port": 0}, "0 switches scheduler-secure-port off; a weaker value takes a waiver with a reason (ninepaths_waivers)"),
        ({"kubelet-anonymous-off": True}, "true is not enough for kubelet-anonymous-off, which wants exactly false; a weaker value takes a waiver"),
        ({"audit-log-maxage": 1}, "1 is not enough for audit-log-maxage, which wants at least 30; a weaker value takes a waiver"),
        ({"scheduler-bind-address": "0.0.0.0"}, "'0.0.0.0' is not enough for scheduler-bind-address, which wants a loopback address like '127.0.0.1'"),
        ({"kubelet-streaming-idle-timeout": "soon"}, "ninepaths_overrides: kubelet-streaming-idle-timeout: 'soon' is no duration like 5m0s"),
        ({"apiserver-rbac": ["RBAC", "AlwaysAllow"]}, "AlwaysAllow is what apiserver-no-always-allow keeps out of authorization-mode"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(overrides: dict[str, object], problem: str) -> None:
    found = problems(overrides=overrides)
    assert any(problem in sentence for sentence in found), found


@pytest.mark.parametrize("word", ["VersionTLS10", "VersionTLS99", "TLS1.3", "1.3"])
def test_a_misspelt_tls_version_is_told_once(word: str) -> None:
    assert problems(overrides={"tls-floor": word}) == (
        f"ninepaths_overrides: tls-floor: {word!r} is not one of 'VersionTLS12', 'VersionTLS13'; "
        "a weaker value takes a waiver with a reason (ninepaths_waivers)",
    )


def test_a_component_s_own_spelling_is_understood() -> None:
    assert choose(overrides={"etcd-tls-floor": "TLS1.3"})["etcd-tls-floor"].value == "TLS1.3"


def weaker(control: controls.Control) -> list[controls.Literal]:
    """Values of the control's own kind that do less than it wants."""
    own = control.value
    if control.merge in ("exact", "at_least", "at_most"):
        step = 1 if control.merge == "at_most" else -1
        text = "0.0.0.0" if control.merge == "exact" else "VersionTLS11" if control.family == "tls-floor" else "1ns"
        return [not own if isinstance(own, bool) else own + step if isinstance(own, int) else text]
    if isinstance(own, tuple):
        return [(*own, "x-of-mine")] if control.merge in ("subset", "each") else [("x-of-mine",)]
    return [*control.refuse, *([control.refuse_below - 1] if control.refuse_below is not None else [])]


def stronger(control: controls.Control) -> list[controls.Literal]:
    """Values that do as much as it wants, or more."""
    own = control.value
    if control.merge in ("at_least", "at_most"):
        step = -1 if control.merge == "at_most" else 1
        return [own + step] if isinstance(own, int) else ["VersionTLS13"] if control.family == "tls-floor" else ["24h"]
    if isinstance(own, tuple):
        return [own[:1]] if control.merge in ("subset", "each") else [(*own, "x-of-mine")]
    return [*control.overrides, own if isinstance(own, (str, int, bool)) else 1]


VALUED = [one for one in ALL if one.merge != "absent" and isinstance(one.value, (str, int, bool, tuple)) and not one.sysctl]


@pytest.mark.parametrize("control", VALUED, ids=lambda control: control.id)
def test_no_override_makes_any_control_weaker(control: controls.Control) -> None:
    for value in weaker(control):
        found = problems(overrides={control.id: list(value) if isinstance(value, tuple) else value})
        assert len(found) == 1 and found[0].startswith(f"ninepaths_overrides: {control.id}: ") and "waiver" in found[0], found
    for value in stronger(control):
        chosen = choose(overrides={control.id: list(value) if isinstance(value, tuple) else value})
        assert chosen[control.id].value == control.spell(value)


def test_unknown_names_are_refused() -> None:
    assert problems(enable=["always-pull"], overrides={"tls": "x"}, waivers=[{"control": "cis-1.2.5", "reason": "r"}]) == (
        "ninepaths_overrides: tls is no control. All ids: docs/controls.md",
        "ninepaths_enable: always-pull is no control; did you mean always-pull-images? All ids: docs/controls.md",
        "ninepaths_waivers: cis-1.2.5 is no control. All ids: docs/controls.md",
    )


def test_a_waiver_leaves_a_control_alone() -> None:
    chosen = choose(waivers=[{"control": "cni-files", "reason": "the CNI rewrites them", "until": "2027-03-01"}])
    assert (chosen["cni-files"].status, chosen["cni-files"].reason) == ("waived", "the CNI rewrites them (until 2027-03-01)")


@pytest.mark.parametrize(("seconds", "status"), [(-1, "waived"), (0, "expired")])
def test_a_waiver_holds_to_the_end_of_its_day(seconds: int, status: str) -> None:
    midnight = datetime.datetime(2027, 3, 2, tzinfo=datetime.timezone.utc).timestamp()
    chosen = choose(now=midnight + seconds, waivers=[{"control": "cni-files", "reason": "for now", "until": "2027-03-01"}])
    assert chosen["cni-files"].status == status
    if status == "expired":
        assert chosen["cni-files"].reason == "the waiver ended on 2027-03-01: for now"


def test_a_waiver_of_a_family_covers_its_controls() -> None:
    chosen = choose(waivers=[{"control": "ciphers", "reason": "an old client"}])
    assert {item.control.family for item in chosen.values() if item.status == "waived"} == {"ciphers"}


def test_a_waiver_of_what_is_not_chosen_changes_nothing() -> None:
    assert choose(waivers=[{"control": "always-pull-images", "reason": "air gap"}])["always-pull-images"].status == "disabled"


def test_a_waived_control_brings_nothing() -> None:
    chosen = choose(profile="cis-level-1", waivers=[{"control": "event-rate-limit", "reason": "CI floods it"}])
    assert chosen["event-rate-limit"].status == "waived"
    assert chosen["event-rate-limit-configuration"].status == "disabled"


def test_what_a_chosen_control_requires_cannot_be_waived_alone() -> None:
    assert problems(profile="stig", waivers=[{"control": "sysctl-panic", "reason": "kdump"}]) == (
        "ninepaths_waivers: protect-kernel-defaults requires sysctl-panic, which is waived; waive protect-kernel-defaults too",
    )


@pytest.mark.parametrize(
    ("enable", "problem"),
    [
        (
            ["audit-policy-stig"],
            "audit-policy and audit-policy-stig contradict each other over kube-apiserver audit-policy-file; "
            "waive one of them or leave it out of ninepaths_enable",
        ),
    ],
)
def test_contradictions_are_refused(enable: list[str], problem: str) -> None:
    assert problems(enable=enable) == (problem,)


def test_a_waiver_settles_a_contradiction() -> None:
    chosen = choose(enable=["anonymous-auth-off"], waivers=[{"control": "anonymous-only-on-health", "reason": "the literal one is wanted"}])
    assert chosen["anonymous-auth-off"].status == "selected"


def test_one_that_is_content_with_the_other_does_not_contradict_it() -> None:
    chosen = choose(enable=["anonymous-auth-off"])
    assert (chosen["anonymous-auth-off"].status, chosen["anonymous-only-on-health"].status) == ("selected", "selected")


def made(name: str, flag: str, **more: object) -> dict[str, object]:
    common = {"id": name, "title": "A made control", "component": "kube-apiserver", "flag": flag, "value": "x", "merge": "exact"}
    return {**common, "undo": "always", "why": "For a test.", "profiles": ["recommended"], "references": {}, **more}


def choose_from(*entries: dict[str, object], **values: object) -> set[str]:
    known = controls.parse(json.dumps(entries), 3, "path3.yml", controls.CONTROLS / "documents")
    return {item.control.id for item in select(Settings.parse(variables(**values)), known, NOON) if item.status == "selected"}


def test_requirements_of_requirements_come_too() -> None:
    entries = [made("a", "a", requires=["b"]), made("b", "b", requires=["c"], profiles=[]), made("c", "c", profiles=[])]
    assert choose_from(*entries) == {"a", "b", "c"}


@pytest.mark.parametrize("key", ["drops", "conflicts"])
def test_what_one_control_excludes_another_may_not_set(key: str) -> None:
    one, other = made("one", "a", **{key: ["b"]}), made("other", "b")
    with pytest.raises(SettingsError, match="one and other contradict each other over kube-apiserver b"):
        choose_from(one, other)
    with pytest.raises(SettingsError, match="other and one contradict each other"):
        choose_from(other, one)
    assert choose_from(one, {**other, "component": "kubelet"}) == {"one", "other"}
    assert choose_from(one, {**other, "held": "Not for now, please."}) == {"one", "other"}
    gone = {name: value for name, value in other.items() if name != "value"} | {"merge": "absent"}
    assert choose_from(one, gone) == {"one", "other"}


@given(st.permutations(ALL))
def test_the_order_of_controls_decides_nothing(order: list[controls.Control]) -> None:
    settings = Settings.parse(variables(enable=["event-rate-limit", "protect-kernel-defaults"], overrides={"tls-floor": "VersionTLS13"}))
    expected = {item.control.id: item for item in select(settings, ALL, NOON)}
    assert {item.control.id: item for item in select(settings, order, NOON)} == expected
