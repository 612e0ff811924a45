# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controls' files, and the code that reads them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls, flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control, ControlError, Ref
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import UNDO_LIMITS
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
DIRECTORY = ROOT / "controls"
SCHEMA = jsonschema.Draft202012Validator(json.loads((DIRECTORY / "schema.json").read_text(encoding="utf-8")))
ALL = controls.load()
BY_ID = {control.id: control for control in ALL}


def cis(section: str, last: int) -> list[str]:
    return [f"{section}.{number}" for number in range(1, last + 1)]


# Sections 1 to 4 of cis-1.12.
CIS_CHECKS = [
    *cis("1.1", 21), *cis("1.2", 30), *cis("1.3", 7), *cis("1.4", 2), *cis("2", 7),
    *cis("3.1", 3), *cis("3.2", 2), *cis("4.1", 10), *cis("4.2", 14), *cis("4.3", 1),
]  # fmt: skip
CIS_WITHOUT_CONTROL = {
    "3.1.1": "type manual: how people log in is a policy, not a setting",
    "3.1.2": "type manual: how people log in is a policy, not a setting",
    "3.1.3": "type manual: how people log in is a policy, not a setting",
}
# Checks that the profile cis-level-2 does not turn to PASS on kubeadm.
CIS_LEVEL_2_OPEN = {
    "1.2.27": "comes with the data-at-rest work",
    "1.2.28": "comes with the data-at-rest work",
    "4.2.7": "passes where nobody has overridden the name; taking it away would make the machine another node",
    "4.2.9": "works against rotation",
}
# Level 2 checks of the benchmark; all others are level 1.
CIS_LEVEL_2 = {"1.2.12", "1.2.13", "1.2.14", "2.7", "4.2.8"}

# DISA STIG V2R6.
STIG_RULES = [
    *(f"V-{number}" for number in range(242376, 242469) if number not in
      (242386, 242388, 242401, 242416, 242435, 242439, 242440, 242441, 242458, 242468)),
    "V-245541", "V-245542", "V-245543", "V-245544", "V-254800", "V-254801", "V-274882", "V-274883", "V-274884",
]  # fmt: skip
STIG_WITHOUT_CONTROL = {
    "V-242383": "review of the cluster's objects",
    "V-242393": "the run itself comes by ssh",
    "V-242394": "the run itself comes by ssh",
    "V-242395": "review of the cluster's pods",
    "V-242396": "no version that is supported has an older kubectl",
    "V-242399": "for Kubernetes 1.25 and older only",
    "V-242410": "a document about ports",
    "V-242411": "a document about ports",
    "V-242412": "a document about ports",
    "V-242413": "a document about ports",
    "V-242414": "review of the cluster's pods",
    "V-242415": "review of the cluster's pods",
    "V-242417": "review of the cluster's pods",
    "V-242437": "for Kubernetes 1.24 and older only",
    "V-242442": "review of the nodes' images",
    "V-242443": "version skew is judged by the upgrade documentation",
    "V-274883": "review of the cluster's objects",
    "V-274884": "review of the cluster's roles",
}


def test_the_files_obey_their_schema() -> None:
    for file in sorted(DIRECTORY.glob("path*.yml")):
        SCHEMA.validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def test_there_is_one_file_per_path() -> None:
    assert sorted(file.name for file in DIRECTORY.glob("*.yml")) == [f"path{number}.yml" for number in range(1, 10)]
    assert {control.path for control in ALL} == set(range(1, 10))


def test_every_cis_check_is_served_or_named() -> None:
    assert len(CIS_CHECKS) == len(set(CIS_CHECKS)) == 97
    served = {check for control in ALL for check in control.cited("cis")}
    assert served <= set(CIS_CHECKS)
    assert set(CIS_CHECKS) - served == set(CIS_WITHOUT_CONTROL)


def test_cis_level_2_closes_every_check_that_can_pass() -> None:
    closed = {check for control in ALL if "cis-level-2" in control.profiles and not control.held for check in control.cited("cis")}
    required = {name for control in ALL if "cis-level-2" in control.profiles for name in control.requires}
    closed |= {check for name in required for check in BY_ID[name].cited("cis")}
    assert set(CIS_CHECKS) - closed - set(CIS_WITHOUT_CONTROL) == set(CIS_LEVEL_2_OPEN)


def test_level_2_includes_level_1() -> None:
    for control in ALL:
        if "cis-level-1" in control.profiles:
            assert "cis-level-2" in control.profiles, control.id


def test_controls_of_level_2_checks_are_not_in_level_1() -> None:
    for control in ALL:
        checks = set(control.cited("cis"))
        if checks and checks <= CIS_LEVEL_2:
            assert "cis-level-1" not in control.profiles, control.id
        elif checks - CIS_LEVEL_2 and "cis-level-2" in control.profiles:
            assert "cis-level-1" in control.profiles, control.id


def test_recommended_is_all_of_cis_that_disrupts_nothing() -> None:
    for control in ALL:
        if "cis-level-2" in control.profiles and not control.disruptive and not control.held:
            assert "recommended" in control.profiles, control.id
        if control.disruptive:
            assert "recommended" not in control.profiles, control.id


def test_every_stig_rule_is_served_or_named() -> None:
    assert len(STIG_RULES) == len(set(STIG_RULES)) == 92
    served = {rule for control in ALL for rule in control.cited("stig")}
    assert served <= set(STIG_RULES)
    assert set(STIG_RULES) - served == set(STIG_WITHOUT_CONTROL)


def test_the_stig_profile_holds_what_cites_the_stig() -> None:
    for rule in STIG_RULES:
        if rule not in STIG_WITHOUT_CONTROL:
            assert any(rule in control.cited("stig") and "stig" in control.profiles for control in ALL), rule


def test_known_names_are_all_used() -> None:
    refs = {control.value.name for control in ALL if isinstance(control.value, Ref)}
    conditions = {name for control in ALL for name in control.needs} | {control.undo.until for control in ALL if control.undo.until}
    assert refs == set(controls.KNOWN_REFS)
    assert conditions == set(controls.KNOWN_CONDITIONS)
    assert {control.undo.until for control in ALL if control.undo.until} == set(UNDO_LIMITS) <= set(controls.KNOWN_CONDITIONS)


def test_documents_are_yaml_and_all_used() -> None:
    texts = {text for control in ALL if control.document for _versions, text in control.document.texts}
    files = {file.read_text(encoding="utf-8") for file in (DIRECTORY / "documents").iterdir()}
    assert texts == files
    for text in texts:
        assert {"apiVersion", "kind"} <= set(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("minor", "version"),
    [("1.31", None), ("1.32", "v1beta1"), ("1.33", "v1beta1"), ("1.34", "v1"), ("1.36", "v1"), ("1.40", "v1")],
)
def test_the_authentication_configuration_fits_the_version(minor: str, version: str | None) -> None:
    document = BY_ID["anonymous-only-on-health"].document
    assert document
    text = document.text(minor)
    assert (text and yaml.safe_load(text)["apiVersion"]) == (version and f"apiserver.config.k8s.io/{version}")


def test_anonymous_callers_reach_probes_and_join_discovery_only() -> None:
    document = BY_ID["anonymous-only-on-health"].document
    assert document
    for _versions, text in document.texts:
        anonymous = yaml.safe_load(text)["anonymous"]
        assert anonymous["enabled"] is True
        assert {condition["path"] for condition in anonymous["conditions"]} == {
            "/livez", "/readyz", "/healthz", "/api/v1/namespaces/kube-public/configmaps/cluster-info",
        }  # fmt: skip


def test_the_audit_policy_records_no_body_that_holds_secrets() -> None:
    document = BY_ID["audit-policy"].document
    assert document
    rules = yaml.safe_load(document.text("1.36") or "")["rules"]
    for group, resource in (("", "secrets"), ("", "configmaps"), ("", "serviceaccounts/token"), ("authentication.k8s.io", "tokenreviews")):
        # The first rule that matches decides.
        first = next(rule for rule in rules if _matches(rule, group, resource))
        assert first == {**first, "level": "Metadata"}, resource
        assert not {"users", "userGroups", "verbs", "namespaces"} & set(first), resource
    assert rules[-1] == {"level": "Metadata"}


def _matches(rule: dict[str, object], group: str, resource: str) -> bool:
    resources = rule.get("resources")
    if not isinstance(resources, list):
        return "nonResourceURLs" not in rule
    return any(entry["group"] == group and resource in entry.get("resources", [resource]) for entry in resources)


STRONG = {
    f"TLS_ECDHE_{key}_WITH_{suite}" for key in ("RSA", "ECDSA") for suite in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384")
}  # fmt: skip


def test_cipher_lists_avoid_the_known_traps() -> None:
    lists = [control for control in ALL if control.family == "ciphers"]
    assert {control.component for control in lists} == {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "etcd"}
    for control in lists:
        # HTTP/2 needs AES_128_GCM; RSA and ECDSA serving keys both need a suite; CIS, STIG and FIPS allow no more.
        assert isinstance(control.value, tuple) and set(control.value) == STRONG, control.id
        assert "ciphers-fit-serving-key" in control.needs
    assert "tls12-allowed" in BY_ID["etcd-ciphers"].needs


def test_flags_that_the_stig_calls_findings_go_whatever_they_say() -> None:
    rules = {"V-242387", "V-242391", "V-242392", "V-242397", "V-242420", "V-242424", "V-242425", "V-242434", "V-245541"}
    fields = [control for control in ALL if control.field and rules & set(control.cited("stig"))]
    assert {rule for control in fields for rule in control.cited("stig")} == rules
    for control in fields:
        assert control.drops and control.drops_agreeing == ("stig",), control.id


def test_every_component_has_a_tls_floor() -> None:
    floors = {control.component: control.spell("VersionTLS13") for control in ALL if control.family == "tls-floor"}
    assert floors.pop("etcd") == "TLS1.3"
    assert floors == dict.fromkeys(("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"), "VersionTLS13")


DATA = flags.load()
GONE = {"no-static-passwords"}  # no supported version knows --basic-auth-file
TYPES = {bool: {"bool"}, int: {"int", "int32"}, str: {"string", "duration", "ip"}, tuple: {"strings", "[]string", "stringArray"}}


@pytest.mark.parametrize("control", [control for control in ALL if control.sets and control.component != "host"], ids=lambda c: c.id)
def test_settings_exist_with_the_type_of_their_value(control: Control) -> None:
    find = DATA.field if control.field else DATA.flag
    known = [find(control.component, minor, control.sets or "") for minor in DATA.minors(control.component)]
    assert all(known) != (control.id in GONE)
    for entry in known:
        comparable = entry and any(entry.type in names for names in TYPES.values())
        if entry and comparable and not isinstance(control.value, (Ref, type(None))):
            # etcd's help names no types: its lists are strings. What must be absent is a list of values, whatever the flag holds.
            listed = control.merge == "absent" and isinstance(control.value, tuple)
            assert listed or entry.type in TYPES[type(control.value)] or (control.component == "etcd" and entry.type == "string")


@pytest.mark.parametrize("control", [control for control in ALL if control.drops or control.conflicts], ids=lambda c: c.id)
def test_dropped_and_conflicting_settings_exist(control: Control) -> None:
    for name in control.drops:
        assert any(DATA.flag(control.component, minor, name) for minor in DATA.minors(control.component)), name
    for name in control.conflicts:
        find = DATA.flag if name.islower() else DATA.field
        assert any(find(control.component, minor, name) for minor in DATA.minors(control.component)), name


@pytest.mark.parametrize("control", [control for control in ALL if control.field and control.conflicts], ids=lambda c: c.id)
def test_a_field_s_conflicts_name_both_spellings(control: Control) -> None:
    """What a kubelet's file says by a field, its command line says by a flag."""
    for name in control.conflicts:
        flag = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()
        if DATA.flag(control.component, DATA.minors(control.component)[-1], flag):
            assert flag in control.conflicts, f"{name} without --{flag}"
    assert len(control.conflicts) > 1 or control.component != "kubelet"


def test_required_controls_are_not_in_a_contradiction_with_profiles() -> None:
    for control in ALL:
        for name in control.requires:
            assert not BY_ID[name].held, f"{control.id} requires {name}, which is never applied"


# Reading -------------------------------------------------------------------------------------------------------------

FLAG = {
    "id": "one", "title": "A title of one line", "component": "kube-apiserver", "flag": "profiling", "value": False, "merge": "exact",
    "undo": "always", "why": "Because it is so.", "profiles": ["recommended"], "references": {"cis": ["1.2.15"]},
}  # fmt: skip
FILES = {
    **{key: FLAG[key] for key in ("id", "title", "undo", "why", "profiles", "references")}, "component": "host",
    "files": {"paths": ["/etc/kubernetes/admin.conf"], "mode": "0600", "owner": "root", "group": "root"},
}  # fmt: skip


def read(*entries: object) -> tuple[Control, ...]:
    return controls.parse(json.dumps(entries), 3, "controls/path3.yml", DIRECTORY / "documents")


def test_a_control_is_read_whole() -> None:
    (control,) = read({**FLAG, "needs": ["no-stale-tokens"], "undo": {"until": "encrypted-data"}, "versions": ">=1.32,<1.34"})
    assert (control.path, control.id, control.kind, control.sets, control.value) == (3, "one", "flag", "profiling", False)
    assert control.undo.until == "encrypted-data" and not control.undo.always
    assert control.versions and "1.33" in control.versions and "1.34" not in control.versions
    assert control.cited("cis") == ("1.2.15",) and control.cited("stig") == ()
    (control,) = read({**FLAG, "undo": {"never": "Restore the snapshot from before the run."}})
    assert (control.undo.always, control.undo.until, control.undo.instead) == (False, None, "Restore the snapshot from before the run.")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"flg": "x"}, "unknown key flg"),
        ({"title": None}, "title must be text"),
        ({"field": "readOnlyPort"}, "exactly one of flag, field, files, document, sysctl, objects must be there, not flag, field"),
        ({"component": "kubectl"}, "component is 'kubectl', must be one of kube-apiserver"),
        ({"merge": "overwrite"}, "merge is 'overwrite'"),
        ({"value": {"ref": "cluster.ca"}}, "value.ref is 'cluster.ca', must be one of cluster.ca_file"),
        ({"value": {"ref": "cluster.ca_file", "or": 1}}, "unknown key value.or"),
        ({"value": 1.5}, "value must be a list of texts"),
        ({"needs": ["good-luck"]}, "needs names 'good-luck'"),
        ({"undo": {"until": "tomorrow"}}, "undo.until is 'tomorrow'"),
        ({"undo": {"until": "cluster-ca-key"}}, "undo.until is 'cluster-ca-key'"),
        ({"undo": "perhaps"}, "undo is 'perhaps'"),
        ({"undo": "never"}, "undo is 'never'"),
        ({"undo": {"never": "no"}}, "undo.never must be one line"),
        ({"profiles": ["paranoid"]}, "profiles names 'paranoid'"),
        ({"references": {"cis": ["12"]}}, "references.cis holds '12'"),
        ({"references": {"iso": ["1"]}}, "unknown key references.iso"),
        ({"versions": "1.32+"}, "versions '1.32+' is no range of versions"),
        ({"disruptive": "Everything breaks at once."}, "what is disruptive cannot be in the recommended profile"),
        ({"unset": "fine"}, "unset is 'fine'"),
        ({"merge": "absent", "unset": "ok"}, "unset and refuse mean nothing"),
        ({"requires": ["two", "two"]}, "requires holds the same text twice"),
        ({"mounts": [{"name": "a"}]}, "mounts.host_path is missing"),
        ({"component": "host"}, "a flag or field needs a component, not host"),
        ({"spelling": {"a": "b"}}, "spelling needs a family"),
        ({"family": "f" * 65}, "family must be in kebab-case"),
        ({"merge": "each", "value": ["a"]}, "each and unmet go together"),
        ({"unmet": {"held": "It is not judged."}}, "each and unmet go together"),
        ({"merge": "each", "unmet": {"held": "It is not judged."}}, "each has what items may begin with, a text or a list"),
        ({"merge": "each", "value": ["a"], "unmet": {}}, "unmet must have exactly one of held, deviation"),
        ({"differs_from": {"ref": "cluster.ca_file"}}, "differs_from is for a value that is a reference"),
        ({"set": "ok"}, "set is for what is held and merged present"),
        ({"refuse_below": 1}, "refuse_below is for whole numbers"),
        ({"refuse_below": True}, "refuse_below must be a whole number"),
        ({"on_host": True}, "on_host is for a flag that holds a path and has a mount"),
        ({"drops_agreeing": ["stig"], "drops": ["v"]}, "drops_agreeing is for a field that drops flags"),
        ({"overrides": []}, "overrides must be a list of texts, whole numbers or booleans"),
        ({"value": ["a"], "overrides": ["b"]}, "overrides are alternatives to a single value"),
    ],
)
def test_a_mistake_is_named(change: dict[str, object], cause: str) -> None:
    with pytest.raises(ControlError, match=re.escape(f"controls/path3.yml: one: {cause}")):
        read({**FLAG, **change})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"files": {"paths": []}}, "files.paths must be a list of texts and mappings"),
        ({"files": {"paths": ["/x"]}}, "files: mode, or owner and group, must be there"),
        ({"files": {"paths": [{"ref": "moon.dust"}], "mode": "0600"}}, "files.paths.ref is 'moon.dust'"),
        ({"files": {"paths": [{"ref": "etcd.data_dir", "below": "../x"}], "mode": "0600"}}, "files.paths.below must be a pattern inside"),
        ({"files": {"paths": ["etc"], "mode": "0600"}}, "files.path 'etc' must be absolute"),
        ({"files": {"paths": ["/etc/../root"], "mode": "0600"}}, "files.path '/etc/../root' must be absolute"),
        ({"files": {"paths": ["/etc"], "mode": "600"}}, "files.mode must be four octal digits"),
        ({"files": {"paths": ["/etc"], "mode": 384}}, "files.mode must be text"),
        ({"files": {"paths": ["/etc"], "owner": "root"}}, "files: owner and group go together"),
        ({"merge": "exact"}, "files have neither value nor merge"),
        ({"component": "kubelet"}, "files have neither value nor merge, and belong to host or etcd"),
    ],
)
def test_a_mistake_about_files_is_named(change: dict[str, object], cause: str) -> None:
    with pytest.raises(ControlError, match=re.escape(f"controls/path3.yml: one: {cause}")):
        read({**FILES, **change})


def test_a_sysctl_belongs_to_the_host_and_is_a_number() -> None:
    entry = {key: value for key, value in FLAG.items() if key != "flag"} | {"component": "host", "sysctl": "kernel.panic", "value": 10}
    assert read(entry)[0].kind == "sysctl"
    for change in ({"value": "10"}, {"value": True}, {"component": "kubelet"}, {"merge": "at_least"}):
        with pytest.raises(ControlError, match="a sysctl belongs to host and has an integer value that is merged exactly"):
            read({**entry, **change})


def test_objects_belong_to_the_cluster_and_are_held() -> None:
    entry = {key: value for key, value in FLAG.items() if key not in ("flag", "value", "merge")}
    entry |= {"component": "cluster", "objects": ["NetworkPolicy"], "held": "Nobody judges them yet."}
    assert read(entry)[0].kind == "objects"
    for change in ({"component": "host"}, {"held": None}, {"merge": "exact"}):
        changed = {key: value for key, value in {**entry, **change}.items() if value is not None}
        with pytest.raises(ControlError, match="objects belong to the cluster"):
            read(changed)


def test_a_document_that_is_not_there_is_named() -> None:
    entry = {key: value for key, value in FLAG.items() if key not in ("flag", "value")}
    mount = {"name": "n", "host_path": "/a", "path": "/a", "read_only": True, "type": "Directory"}
    document = {"flag": "audit-policy-file", "name": "policy", "source": "missing.yaml"}
    with pytest.raises(ControlError, match=r"one: document: .*missing.yaml cannot be read: No such file"):
        read({**entry, "document": document, "mounts": [mount]})
    with pytest.raises(ControlError, match=r"must be the name of a \.yaml file"):
        read({**entry, "document": {**document, "source": "../path1.yml"}, "mounts": [mount]})


def test_an_entry_without_an_id_is_named_by_its_number() -> None:
    with pytest.raises(ControlError, match=r"controls/path3.yml: entry 2: id is missing"):
        read(FLAG, {"title": "No id here"})
    with pytest.raises(ControlError, match=r"controls/path3.yml: entry 1: it must be a mapping"):
        read("text")


@pytest.mark.parametrize(("text", "cause"), [("{}", "must be a list of controls"), ("- [", "is no YAML")])
def test_a_file_that_holds_no_controls_is_named(text: str, cause: str) -> None:
    with pytest.raises(ControlError, match=f"path3.yml: {cause}"):
        controls.parse(text, 3, "path3.yml", DIRECTORY)


def test_duplicates_are_refused() -> None:
    with pytest.raises(ControlError, match=r"path3\.yml: one: the id is already used in path3.yml"):
        controls.check(read(FLAG, FLAG))


def test_an_id_is_no_family() -> None:
    with pytest.raises(ControlError, match="the id is also the name of a family"):
        controls.check(read({**FLAG, "family": "two"}, {**FLAG, "id": "two"}))


def test_requirements_name_controls() -> None:
    with pytest.raises(ControlError, match="one: requires two, which is no control"):
        controls.check(read({**FLAG, "requires": ["two"]}))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"path1.yml: cannot be read: No such file"):
        controls.load(tmp_path)


RAW = [entry for file in sorted(DIRECTORY.glob("path*.yml")) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]
KEYS = sorted({key for entry in RAW for key in entry})
TEXT = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 20000), st.just(1.5), TEXT, st.lists(TEXT, max_size=2),
    st.dictionaries(TEXT, TEXT, max_size=2),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, object]:
    """A real control with one key removed, replaced by another control's, or replaced by junk."""
    entry = copy.deepcopy(draw(st.sampled_from(RAW)))
    key = draw(st.sampled_from(KEYS))
    how = draw(st.sampled_from(("remove", "borrow", "junk")))
    if how == "remove":
        entry.pop(key, None)
    elif how == "borrow":
        entry[key] = draw(st.sampled_from([other[key] for other in RAW if key in other]))
    else:
        entry[key] = draw(JUNK)
    return entry


# What the loader knows and a schema cannot: names of a closed list, and files.
BEYOND_THE_SCHEMA = re.compile(r"names '|\.ref is '|\.until is '|cannot be read")


@settings(max_examples=600, deadline=None)
@given(damaged())
def test_loader_and_schema_agree(entry: dict[str, object]) -> None:
    allowed = SCHEMA.is_valid([entry])
    try:
        read(entry)
    except ControlError as error:
        assert not allowed or BEYOND_THE_SCHEMA.search(str(error)), str(error)
    else:
        assert allowed, [error.message for error in SCHEMA.iter_errors([entry])]
