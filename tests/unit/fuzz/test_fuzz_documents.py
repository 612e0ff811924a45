# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of a node, of the cluster and of an operator, with anything in them: each reader has one error, and every edit is an edit."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils import _yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls, merge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Mount
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file, diff, edit, env_file, kubeadm_config, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import Argv
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from effort import examples
from factories import FIXTURES, document, minors
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import changed_bytes, changed_data, changed_text, hostile_text

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
MOUNT = Mount("ninepaths", "/etc/kubernetes/ninepaths", "/etc/kubernetes/ninepaths", True, "DirectoryOrCreate")
ENVIRONMENT = """\
    env:
    - name: A
      value: $(HOST_IP)-x
    - name: B
      value: $(A)$(A)
    - name: HOST_IP
      valueFrom: {fieldRef: {fieldPath: status.hostIP}}
    securityContext: {runAsUser: 1000}
"""
FLAGS_ENV = 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/x --anonymous-auth=true --v 2"\nOTHER=\'a b\'\n# --x\n'
TAGS = (
    *("!!timestamp foo", "!!int ''", "!!bool maybe", "!!float ''", "!!binary aGk=", "!!timestamp 2001-01-01"),
    *("!!set {a}", "!!omap [a: 1]", "0x" + "f" * 5000, "="),
)


@lru_cache(maxsize=1)
def manifests() -> list[str]:
    found = [document(minor, name) for minor in (minors()[0], minors()[-1]) for name in COMPONENTS]
    lines = found[0].splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("    image: "))
    return [*found, "".join([*lines[:at], ENVIRONMENT, *lines[at:]])]


def as_yaml(seeds: list[str]) -> st.SearchStrategy[str]:
    """Documents whose bytes were changed, and documents that say something else, in YAML and in JSON."""
    data = [yaml.safe_load(seed) for seed in seeds]
    structured = changed_data(data, most=4)
    return st.one_of(
        changed_text(seeds),
        structured.map(lambda value: yaml.safe_dump(value, allow_unicode=True)),
        structured.map(json.dumps),
    )


def component_of(text: str) -> str:
    found = re.search("|".join(COMPONENTS), text)
    return found.group() if found else "etcd"


@examples(150)
@given(as_yaml(manifests()))
@example("kind: Pod\nspec: {containers: [{command: [etcd], livenessProbe: {httpGet: {port: 1}, timeoutSeconds: null}}]}")
@example("kind: Pod\nspec: {containers: [{command: [etcd], livenessProbe: {httpGet: {port: 1}, timeoutSeconds: abc}}]}")
@example("kind: Pod\nspec: {containers: [{command: [etcd], livenessProbe: {httpGet: {port: 99999999999}}}]}")
@example("kind: Pod\nspec: {securityContext: [1], containers: [{command: [etcd]}]}")
@example("kind: Pod\nspec: {volumes: [{name: a, hostPath: {path: 5}}], containers: [{command: [etcd], volumeMounts: [{name: a, mountPath: /a}]}]}")
def test_a_manifest_is_judged_and_edited_or_refused(text: str) -> None:
    component = component_of(text)
    try:
        pod = static_pod.parse(text, component)
        pod.account(), pod.probes(), pod.host_paths(), pod.anonymous_probes(), pod.environment()
        assert len("".join(pod.running())) <= static_pod.MAX_EXPANDED
    except static_pod.ManifestError as error:
        assert 0 < len(str(error)) < 1000
        return
    argv = Argv.parse(pod.items, lambda name: None, single_dash=component == "etcd")
    try:
        made = static_pod.edited(pod, argv, {"profiling": "false", "secure-port": None, "data-dir": "/var/lib/etcd"}, [MOUNT])
        made = static_pod.with_annotation(static_pod.with_probe_host(made, "127.0.0.1", "::1"), "ninepaths.kubernetes/x", "y")
    except (edit.EditError, static_pod.MountConflictError, static_pod.ManifestError) as error:
        assert str(error)
        return
    diff.unified(text, made, "x.yaml")


@examples(100)
@given(as_yaml([document(minors()[-1], "kubelet"), (FIXTURES / "kube-proxy.yaml").read_text()]), hostile_text)
def test_a_configuration_is_read_and_edited_or_refused(text: str, field: str) -> None:
    for kind in ("KubeletConfiguration", "KubeProxyConfiguration"):
        try:
            config = config_file.parse(text, kind)
            config_file.unknown_fields(config, lambda name: len(name) % 2 == 0)
            for name in ("authentication.anonymous.enabled", "featureGates", "clusterDNS", field):
                config_file.typed(name, config_file.effective([config, config], name), True)
            config_file.edited(config, {"serverTLSBootstrap": True, "authentication.x509.clientCAFile": "/a", "tlsCipherSuites": ("A", "B"), "address": None})
        except (config_file.ConfigError, edit.EditError) as error:
            assert str(error)


@examples(80)
@given(as_yaml([document(minors()[-1], "ClusterConfiguration"), document(minors()[0], "ClusterConfiguration").replace("v1beta4", "v1beta3")]))
@example("kind: ClusterConfiguration\napiVersion: []\n")
@example("kind: ClusterConfiguration\napiVersion: kubeadm.k8s.io/v1beta4\netcd: [1]\n")
def test_the_clusters_configuration_is_read_and_edited_or_refused(text: str) -> None:
    try:
        config = kubeadm_config.parse(text)
        for component in COMPONENTS:
            config.has(component), config.values(component, "profiling")
            config = kubeadm_config.with_argument(config, component, "profiling", "false")
            config = kubeadm_config.with_argument(config, component, "secure-port", None)
            config = kubeadm_config.with_mounts(config, component, [MOUNT])
    except (kubeadm_config.KubeadmError, edit.EditError, _yaml.YamlError) as error:
        assert str(error)


@examples(100)
@given(changed_text([FLAGS_ENV, "KUBELET_EXTRA_ARGS=\n"]), st.sampled_from(["anonymous-auth", "v", "x", ""]))
def test_a_flags_file_is_edited_or_refused(text: str, flag: str) -> None:
    env_file.holds(text, flag)
    try:
        made = env_file.without(text, flag)
    except env_file.EnvFileError as error:
        assert "line" in str(error)
        return
    assert not flag or not env_file.holds(made, flag)


@examples(150)
@given(changed_text(["a: 1\nb:\n- c: [x, 'y']\n  d: {e: \"f\"}\n", *manifests()[:1]]))
@example("[" * 200_000)
@example("- " * 100_000)
@example("? " * 100_000)
@example("{a: " * 50_000)
def test_yaml_is_read_or_refused(text: str) -> None:
    """The first examples ended the process: the parser is C, and recurses."""
    _yaml.is_yaml(text)
    try:
        json.dumps(_yaml.load(text))
    except _yaml.YamlError as error:
        assert str(error)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_yaml_is_refused_by_its_line(tag: str) -> None:
    with pytest.raises(_yaml.YamlError, match="line 2"):
        _yaml.load(f"x: 1\na: {tag}\n")


@pytest.mark.parametrize("text", ['"\\UFFFFFFFF"', '"\\U00110000"', "a: [", "\x00", "&a *a", "!<tag:x> a"])
def test_whether_it_is_yaml_is_told_of_any_text(text: str) -> None:
    assert _yaml.is_yaml(text) in (True, False)


@examples(120)
@given(st.lists(st.sampled_from([*"abc", "password: x", "  - b", ""]), max_size=30), st.lists(st.sampled_from([*"abc", "token: y", ""]), max_size=30))
def test_a_diff_makes_one_text_of_the_other(old: list[str], new: list[str]) -> None:
    before, after = ("".join(line + "\n" for line in lines) for lines in (old, new))
    shown = diff.unified(before, after, "x")
    assert applied(diff.masked(before), shown) == diff.masked(after)


def applied(text: str, shown: str) -> str:
    """What `patch` would make of a text."""
    old, found, at = text.splitlines(keepends=True), [], 0
    for line in shown.splitlines(keepends=True)[2:]:
        if line.startswith("@@"):
            start, _comma, length = line.split()[1][1:].partition(",")
            begin = int(start) - (length != "0")
            found += old[at:begin]
            at = begin
        elif line.startswith("+"):
            found.append(line[1:])
        else:
            assert old[at] == line[1:]
            found += [line[1:]] if line.startswith(" ") else []
            at += 1
    return "".join([*found, *old[at:]])


@examples(100)
@given(changed_bytes([b"password: x\ntoken:\n  y\n- name: A_TOKEN\n  value: z\n", *(text.encode() for text in manifests()[:1])]))
@example(b"- name: A_TOKEN\n  value: z\nname: B_TOKEN\n  value: y\n")
def test_a_text_is_masked_line_by_line(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    shown = diff.masked(text)
    if not re.search("BEGIN|name|value|eyJ", text):  # keys, tokens and variables may take more than a line
        assert shown.count("\n") == text.count("\n")
    assert diff.masked(shown) == shown


@pytest.mark.parametrize("raw", ["9" * 5000, "9" * 5000 + "s", "1" * 64 + "h", "-" * 9, "²", "1e9", "0x1", "\n", "9" * 19])
def test_values_of_flags_are_compared_or_refused(raw: str) -> None:
    for read in (merge.integer, merge.seconds, merge.truth):
        with pytest.raises(merge.MergeError) as refusal:
            read(raw)
        assert len(str(refusal.value)) < 200


@examples(100)
@given(hostile_text, st.sampled_from([True, 5, "5m", "VersionTLS12", "text", ("a", "b")]), st.sampled_from(sorted(merge.RANK)))
def test_a_value_is_merged_or_refused(raw: str, wanted: merge.Value, policy: str) -> None:
    rule = merge.Rule(policy, wanted)
    try:
        value = merge.like(wanted, raw)
        merged = merge.merge(rule, value)
        assert merged is None or merge.satisfied(rule, merged) or policy == "each"
    except merge.MergeError as error:
        assert len(str(error)) < 1000


@examples(60)
@given(as_yaml([(controls.CONTROLS / f"path{number}.yml").read_text(encoding="utf-8") for number in (1, 4)]))
def test_a_control_file_is_read_or_refused(text: str) -> None:
    try:
        controls.check(controls.parse(text, 1, "path1.yml", Path(controls.CONTROLS) / "documents"))
    except controls.ControlError as error:
        assert "path1.yml" in str(error)


@examples(60)
@given(changed_text(['{"schema": 1, "nodes": {"w1": {"dns": ["w1"], "ip": ["10.0.0.1"]}}}']))
def test_what_the_approver_knows_is_read_or_nothing(text: str) -> None:
    found = approver.read(text)
    assert all(isinstance(name, str) for names in found.values() for name in [*names["dns"], *names["ip"]])


def test_variables_of_variables_grow_within_bounds() -> None:
    """A few hundred bytes would become a gigabyte."""
    env: list[dict[str, Any]] = [{"name": "A0", "value": "x" * 10}]
    env += [{"name": f"A{number}", "value": f"$(A{number - 1})" * 10} for number in range(1, 9)]
    pod = {"kind": "Pod", "spec": {"containers": [{"command": ["etcd"], "env": env}]}}
    with pytest.raises(static_pod.ManifestError, match="more than 1048576 characters"):
        static_pod.parse(json.dumps(pod), "etcd")
