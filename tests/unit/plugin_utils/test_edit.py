# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing documents: what is planned changes, and every other byte stays."""

from __future__ import annotations

import difflib
import json
import time
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils import _yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import YamlError, load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Mount
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import edit, env_file, kubeadm_config, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import Argv
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from factories import COMPONENTS, document, minors
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "kind", "x-y", "Zeta", "on", "0", "with space", "q'uote", "ümlaut"])
TEXTS = st.one_of(
    st.text(min_size=0, max_size=12),
    st.sampled_from(["--a=b", "--a=b,c: d", "# no comment", "true", "0644", "1:30", "null", "2024-01-01", "*", "[x]"]),
)
SCALARS = st.one_of(TEXTS, st.integers(-99, 99), st.booleans(), st.none())
TREES = st.recursive(SCALARS, lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=4), st.lists(inner, max_size=4)), max_leaves=12)
MAPPINGS = st.dictionaries(KEYS, TREES, min_size=1, max_size=5)
COMMENT = "# kept: é, [brackets], a: b"


def printable(value: object) -> bool:
    """YAML cannot hold everything that a text can."""
    return all(character.isprintable() and character != "\ufeff" for character in json.dumps(value, ensure_ascii=False))


def layouts(value: dict[str, Any]) -> list[str]:
    """The same document in different hands."""
    import yaml

    block = _yaml.dump(value)
    indented = yaml.dump(value, default_flow_style=False, indent=4, sort_keys=False, allow_unicode=True, width=40)
    commented = "".join(line if line.startswith((" ", "-", "?", ":")) else f"{COMMENT}\n{line}" for line in block.splitlines(keepends=True))
    return [block, indented, json.dumps(value), json.dumps(value, indent=2), commented if "|" not in block and ">" not in block else block]


def paths(value: Any, here: tuple[edit.Step, ...] = ()) -> list[tuple[edit.Step, ...]]:
    """All places in a document."""
    found = [here] if here else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found += paths(child, (*here, key))
    return found


def attempt(work: Any) -> str | None:
    """The edited text; None where the editor refuses, which it may, as long as it says so."""
    try:
        result: str = work()
    except EditError:
        return None
    return result


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(MAPPINGS, st.data())
def test_any_edit_changes_what_it_says_or_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    """The editor reads its result back; here an independent reader does."""
    import yaml

    assume(printable(value))
    place = data.draw(st.sampled_from(paths(value)))
    new = data.draw(SCALARS.filter(printable))
    for text in layouts(value):
        try:
            if load(text) != value:
                continue
        except YamlError:
            continue
        changed = attempt(lambda text=text: edit.set_value(text, place, new))
        if changed is None:
            continue
        expected = json.loads(json.dumps(value))
        node = expected
        for step in place[:-1]:
            node = node[step]
        node[place[-1]] = new
        assert yaml.load(changed, Loader=yaml.BaseLoader) == yaml.load(_yaml.dump(expected), Loader=yaml.BaseLoader)
        assert text.count(COMMENT) == changed.count(COMMENT)


@settings(deadline=None, max_examples=60)
@given(MAPPINGS, st.data())
def test_removing_what_was_added_gives_the_same_bytes(value: dict[str, Any], data: st.DataObject) -> None:
    assume(printable(value))
    mappings = [place for place in [(), *paths(value)] if isinstance(_at(value, place), dict) and _at(value, place)]
    place = data.draw(st.sampled_from(mappings))
    for text in layouts(value):
        try:
            load(text)
        except YamlError:
            continue
        added = attempt(lambda text=text: edit.set_value(text, (*place, "brandNew"), "value"))
        if added is None or not text.endswith("\n"):
            continue
        assert edit.remove(added, (*place, "brandNew")) == text


def _at(value: Any, place: tuple[edit.Step, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [line[2:] for line in diff if line.startswith("- ")], [line[2:] for line in diff if line.startswith("+ ")]


HAND_WRITTEN = """\
# The apiserver of cp1. Ask Kim before touching it.
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: "kube-system"}   # flow on purpose
spec:
  hostNetwork:    true
  containers:
    # one container only
    - name: 'kube-apiserver'
      image: registry.k8s.io/kube-apiserver:v1.36.4
      command:
        - kube-apiserver
        # audit
        - "--audit-log-path=/var/log/audit.log"   # the SIEM reads it
        - --secure-port
        - '6443'
        - >-
          --service-account-issuer=https://a.example
        - --service-account-issuer=https://b.example
        - --profiling=true

        # trailing comment of the list
      volumeMounts:
        - {mountPath: /etc/kubernetes/pki, name: pki, readOnly: true}
  volumes:
    - name: pki
      hostPath: {path: /etc/kubernetes/pki}
"""


def pod_of(text: str) -> tuple[static_pod.StaticPod, Argv]:
    pod = static_pod.parse(text, "kube-apiserver")
    return pod, Argv.parse(pod.items, lambda name: name == "profiling" or None)


MOUNT = Mount("ninepaths", "/etc/kubernetes/ninepaths", "/etc/kubernetes/ninepaths", True, "DirectoryOrCreate")


def test_a_hand_written_manifest_keeps_everything_else() -> None:
    pod, argv = pod_of(HAND_WRITTEN)
    text = static_pod.edited(pod, argv, {"profiling": "false", "tls-min-version": "VersionTLS12", "secure-port": None}, [MOUNT])
    gone, new = lines_changed(HAND_WRITTEN, text)
    assert gone == ["        - --secure-port", "        - '6443'", "        - --profiling=true"]
    assert new == [
        "        - --profiling=false",
        "        - --tls-min-version=VersionTLS12",
        "        - mountPath: /etc/kubernetes/ninepaths",
        "          name: ninepaths",
        "          readOnly: true",
        "    - hostPath:",
        "        path: /etc/kubernetes/ninepaths",
        "        type: DirectoryOrCreate",
        "      name: ninepaths",
    ]
    again = static_pod.parse(text, "kube-apiserver")
    assert again.items == (
        "kube-apiserver", "--audit-log-path=/var/log/audit.log", "--service-account-issuer=https://a.example",
        "--service-account-issuer=https://b.example", "--profiling=false", "--tls-min-version=VersionTLS12",
    )  # fmt: skip


def test_a_new_key_stands_where_the_others_are_sorted() -> None:
    assert edit.set_value("a: 1\nc: 3 # three\n# about d\nd: 4\n", ["cc"], 2) == "a: 1\nc: 3 # three\ncc: 2\n# about d\nd: 4\n"
    assert edit.set_value("d: 1\na: 3\n", ["b"], 2) == "d: 1\na: 3\nb: 2\n"


def test_what_is_appended_follows_the_last_item_and_not_its_comments() -> None:
    text = "list:\n- |\n  text\n  more\n\n# about the next key\nnext: 1\n"
    assert edit.append(text, ["list"], ["new"]) == "list:\n- |\n  text\n  more\n- new\n\n# about the next key\nnext: 1\n"


def test_an_edit_that_would_change_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, words in (("a: 2\nb: 9\n", "more than that"), ("a: 2\na: 2\n", "break the document"), ("b: 1\na: 2\n", "more than that")):
        monkeypatch.setattr(edit, "_set", lambda text, path, value, wrong=wrong: wrong)
        with pytest.raises(EditError, match=words):
            edit.set_value("a: 1\nb: 1\n", ["a"], 2)


def test_line_ends_stay_as_they_are() -> None:
    text = document("1.36", "etcd").replace("\n", "\r\n")
    changed = edit.append(text, ["spec", "volumes"], [{"hostPath": {"path": "/x"}, "name": "x"}])
    assert "\n" not in changed.replace("\r\n", "")


def test_a_repeated_flag_is_left_once_in_place_of_the_first() -> None:
    text = HAND_WRITTEN.replace("        - --secure-port\n", "        - --profiling=false\n        - --secure-port\n")
    pod, argv = pod_of(text)
    assert argv.value("profiling") == "true"
    changed = static_pod.edited(pod, argv, {"profiling": "false"}, [])
    assert static_pod.parse(changed, "kube-apiserver").items.count("--profiling=false") == 1
    assert static_pod.parse(changed, "kube-apiserver").items == argv.with_flag("profiling", "false")


def test_flags_in_args_are_edited_there() -> None:
    text = "kind: Pod\nspec:\n  containers:\n  - command: [kube-apiserver]\n    args: [--a=1, '--profiling=true']\n"
    pod, argv = pod_of(text)
    changed = static_pod.edited(pod, argv, {"profiling": "false", "b": "x,y"}, [])
    assert changed == "kind: Pod\nspec:\n  containers:\n  - command: [kube-apiserver]\n    args: [--a=1, '--profiling=false', \"--b=x,y\"]\n"


def test_a_json_manifest_stays_json() -> None:
    text = json.dumps({"kind": "Pod", "spec": {"containers": [{"command": ["kube-apiserver", "--a=1"]}]}}, indent=2)
    pod, argv = pod_of(text)
    data = json.loads(static_pod.edited(pod, argv, {"a": "2", "b": "3"}, [MOUNT]))
    assert data["spec"]["containers"][0]["command"] == ["kube-apiserver", "--a=2", "--b=3"]
    assert data["spec"]["volumes"][0]["name"] == "ninepaths"


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(minors()),
    st.sampled_from(COMPONENTS),
    st.dictionaries(
        st.sampled_from(["a-new-flag", "another", "leader-elect", "secure-port", "client-ca-file", "cert-file"]),
        st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9/,.:= #'\"-]{1,20}", fullmatch=True)),
    ),
)
def test_kubeadms_manifests_say_the_same_but_for_the_plan(minor: str, component: str, flags: dict[str, str | None]) -> None:
    text = document(minor, component)
    pod = static_pod.parse(text, component)
    argv = Argv.parse(pod.items, lambda name: None, single_dash=component == "etcd")
    changed = static_pod.edited(pod, argv, flags, [MOUNT])
    wanted = argv
    for name, value in flags.items():
        wanted = Argv.parse(wanted.with_flag(name, value), lambda name: None, single_dash=component == "etcd")
    before: Any = load(text)
    after: Any = load(changed)
    assert tuple(after["spec"]["containers"][0].pop("command")) == wanted.items
    before["spec"]["containers"][0].pop("command")
    assert after["spec"]["containers"][0]["volumeMounts"].pop()["name"] == "ninepaths"
    assert after["spec"]["volumes"].pop()["name"] == "ninepaths"
    assert before == after
    gone, _new = lines_changed(text, changed)
    assert all(any(line.strip().strip("-'\" ").startswith(name) for name in flags) for line in gone)


def test_a_mount_that_is_there_is_not_added_again() -> None:
    pod, argv = pod_of(HAND_WRITTEN)
    once = static_pod.edited(pod, argv, {}, [MOUNT])
    assert static_pod.edited(static_pod.parse(once, "kube-apiserver"), argv, {}, [MOUNT]) == once


def test_a_mount_below_one_that_is_there_is_not_added() -> None:
    pod, _argv = pod_of(HAND_WRITTEN)
    below = Mount("x", "/etc/kubernetes/pki/x", "/etc/kubernetes/pki/x", True, "Directory")
    assert static_pod.missing_mounts(pod, [below]) == ([], [])


def test_a_taken_volume_name_is_not_used_twice() -> None:
    pod, _argv = pod_of(HAND_WRITTEN.replace("name: pki", "name: ninepaths"))
    volumes, mounts = static_pod.missing_mounts(pod, [MOUNT])
    assert volumes[0]["name"] == mounts[0]["name"] == "ninepaths-2"


@pytest.mark.parametrize("mount", [
    Mount("x", "/elsewhere", "/etc/kubernetes/pki", True, "Directory"),
    Mount("x", "/etc/kubernetes/pki", "/etc/kubernetes/pki", False, "Directory"),
])  # fmt: skip
def test_a_mount_that_is_in_the_way_is_named(mount: Mount) -> None:
    pod, _argv = pod_of(HAND_WRITTEN)
    with pytest.raises(static_pod.MountConflictError, match="/etc/kubernetes/pki"):
        static_pod.missing_mounts(pod, [mount])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "alias"),
        ("a: 1\nb: 2\na: 3\n", "'a' twice"),
        ("a: 1\n---\nb: 2\n", "another document|expected a single document"),
        ("a: [1,\n", "YAML"),
        ("a: b: c\n", "YAML"),
        ("<<: {a: 1}\n", "merge key"),
        ("? [x]\n: 1\n", "key that is no text"),
        ("\ufeffa: 1\n", "byte order mark"),
        ("a: !!python/object/apply:os.system ['x']\n", "tag"),
        ("a: " + "[" * 300 + "]" * 300, "deep"),
        ("a: 'x\n", "YAML"),
        ("a:\t1\n\tb: 2\n", "YAML"),
        ("x" * (_yaml.MAX_CHARACTERS + 1), "longer"),
        ("a: \x00\n", "YAML"),
    ],
)
def test_hostile_documents_are_refused_by_name_and_line(text: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(YamlError, match=words):
        load(text)
    assert time.monotonic() - began < 2


def test_an_error_names_the_line() -> None:
    with pytest.raises(YamlError) as caught:
        load("a: 1\nb: 2\nb: 3\n")
    assert caught.value.line == 3


def test_dates_and_clock_times_stay_text() -> None:
    assert load("a: 2024-01-01\nb: 1:30\nc: 0x10\nd: 010\ne: 1e3\nf: 1.5\n") == {
        "a": "2024-01-01",
        "b": "1:30",
        "c": 16,
        "d": 8,
        "e": 1000.0,
        "f": 1.5,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\nspec: {containers: []}\n", "no containers"),
        ("- kind: Pod\n", "no mapping"),
        ("kind: Deployment\n", "kind Pod"),
        ("kind: Pod\nspec: 7\n", "spec"),
        ("kind: Pod\nspec: {containers: [{command: [kube-apiserver]}, {command: [x]}]}\n", "2 containers"),
        ("kind: Pod\nspec: {containers: [{command: [/bin/sh, -c, kube-apiserver --x]}]}\n", "shell or wrapper"),
        ("kind: Pod\nspec: {containers: [{command: kube-apiserver}]}\n", "no list of texts"),
        ("kind: Pod\nspec: {containers: [{command: [kube-apiserver, 7]}]}\n", "no list of texts"),
        ("kind: Pod\nspec: {volumes: {}, containers: [{command: [kube-apiserver]}]}\n", "volumes"),
    ],
)
def test_a_manifest_that_cannot_be_judged_says_why(text: str, words: str) -> None:
    with pytest.raises(static_pod.ManifestError, match=words):
        static_pod.parse(text, "kube-apiserver")


def test_probes_are_read_with_their_named_port() -> None:
    probes = static_pod.parse(document("1.36", "kube-apiserver"), "kube-apiserver").probes()
    assert probes["startup"] == {"scheme": "HTTPS", "host": "10.89.0.11", "port": 6443, "path": "/livez", "timeout_s": 15}
    assert set(probes) == {"startup", "liveness", "readiness"}


def test_variables_of_the_manifest_are_filled_in() -> None:
    env = "env: [{name: IP, value: 10.0.0.1}, {name: NODE, valueFrom: {}}]"
    text = f"kind: Pod\nspec:\n  containers:\n  - command: [kube-apiserver, --a=$(IP), --b=$(NODE)]\n    {env}\n"
    assert static_pod.parse(text, "kube-apiserver").running() == ("kube-apiserver", "--a=10.0.0.1", "--b=$(NODE)")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('KUBELET_KUBEADM_ARGS="--node-ip=1.2.3.4 --anonymous-auth=true"\n', 'KUBELET_KUBEADM_ARGS="--node-ip=1.2.3.4"\n'),
        ('KUBELET_KUBEADM_ARGS="--anonymous-auth true --node-ip=1.2.3.4"\n', 'KUBELET_KUBEADM_ARGS="--node-ip=1.2.3.4"\n'),
        ("# --anonymous-auth=true\nX=--anonymous-auth\nY=1\n", "# --anonymous-auth=true\nX=\nY=1\n"),
        ("X='--anonymous_auth=true'\r\n", "X=''\r\n"),
    ],
)
def test_a_flag_is_taken_out_of_the_flags_file(before: str, after: str) -> None:
    assert env_file.without(before, "anonymous-auth") == after
    assert not env_file.holds(after, "anonymous-auth")


def test_a_flags_file_with_odd_quotes_is_refused() -> None:
    with pytest.raises(env_file.EnvFileError, match="line 1"):
        env_file.without('X="--anonymous-auth=true --label=\\"a b\\""\n', "anonymous-auth")


@pytest.mark.parametrize("version", ["v1beta3", "v1beta4"])
def test_extra_arguments_in_both_forms(version: str) -> None:
    start = {
        "v1beta3": "  extraArgs:\n    profiling: 'true'  # Kim\n",
        "v1beta4": "  extraArgs:\n  - name: profiling\n    value: 'true'  # Kim\n",
    }[version]
    text = f"# ours\napiVersion: kubeadm.k8s.io/{version}\nkind: ClusterConfiguration\napiServer:\n{start}scheduler: {{}}\n"
    config = kubeadm_config.parse(text)
    config = kubeadm_config.with_argument(config, "kube-apiserver", "profiling", "false")
    config = kubeadm_config.with_argument(config, "kube-apiserver", "audit-log-maxage", "30")
    config = kubeadm_config.with_argument(config, "kube-scheduler", "profiling", "false")
    config = kubeadm_config.with_mounts(config, "kube-apiserver", [MOUNT, MOUNT])
    assert config.values("kube-apiserver", "profiling") == ("false",)
    assert config.values("kube-apiserver", "audit-log-maxage") == ("30",)
    assert config.values("kube-scheduler", "profiling") == ("false",)
    assert config.mount_paths("kube-apiserver") == {MOUNT.path: MOUNT.host_path}
    assert "'false'  # Kim\n" in config.text and config.text.startswith("# ours\n")
    gone = kubeadm_config.with_argument(config, "kube-scheduler", "profiling", None)
    assert gone.values("kube-scheduler", "profiling") == ()
    assert kubeadm_config.with_mounts(gone, "kube-apiserver", [MOUNT]).text == gone.text


def test_repeated_extra_arguments_become_one() -> None:
    text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nscheduler:\n  extraArgs:\n" + "  - {name: v, value: '1'}\n" * 3
    config = kubeadm_config.with_argument(kubeadm_config.parse(text), "kube-scheduler", "v", "2")
    assert config.values("kube-scheduler", "v") == ("2",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\n", "v1beta2"),
        ("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer: {extraArgs: {a: b}}\n", "extraArgs"),
        ("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer: {extraArgs: [a]}\n", "extraArgs"),
        ("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nscheduler: x\n", "scheduler"),
        ("kind: InitConfiguration\n", "ClusterConfiguration"),
    ],
)
def test_a_cluster_configuration_that_cannot_be_judged_says_why(text: str, words: str) -> None:
    with pytest.raises(kubeadm_config.KubeadmError, match=words):
        kubeadm_config.parse(text)
