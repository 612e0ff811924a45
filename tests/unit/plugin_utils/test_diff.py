# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret stands in a diff, neither in a changed line nor in its context."""

from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import diff

MANIFEST = """\
spec:
  containers:
  - command:
    - kube-controller-manager
    - --a=b
    env:
{env}
    image: x
"""


@pytest.mark.parametrize(
    "env",
    [
        "    - name: VSPHERE_PASSWORD\n      value: hunter2",
        '    - name: "VSPHERE_PASSWORD"\n      value: "hunter2 and more"',
        "    - name: AWS_SECRET_ACCESS_KEY\n      value: 7hunter2",
        "    - name: API_TOKEN\n\n      value: /hunter2",
        "    - value: hunter2\n      name: API_TOKEN",
        "    - {name: API_TOKEN, value: hunter2}",
        "    - {value: hunter2, name: API_TOKEN}",
        '    - {"name": "API_TOKEN", "value": "hunter2"}',
    ],
)
def test_an_environment_variable_that_holds_a_secret_is_masked(env: str) -> None:
    before = MANIFEST.format(env=env)
    shown = diff.unified(before, before.replace("--a=b\n", "--a=b\n    - --profiling=false\n"), "kcm.yaml")
    assert "+    - --profiling=false" in shown
    assert "hunter2" not in shown and diff.MASK in diff.masked(before)


@pytest.mark.parametrize(
    "env",
    [
        "    - name: GOMAXPROCS\n      value: two",
        "    - name: SECRETIVE\n      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}",
        "    - value: two\n      name: GOMAXPROCS",
        "    - name: API_TOKEN\n    - name: GOMAXPROCS\n      value: two",
    ],
)
def test_other_variables_are_shown(env: str) -> None:
    assert diff.masked(MANIFEST.format(env=env)) == MANIFEST.format(env=env)


def test_a_value_between_two_names_is_masked_once() -> None:
    text = "- name: A_TOKEN\n  value: one\nname: B_TOKEN\n  value: two\nrest: stays\n"
    assert diff.masked(text) == f"- name: A_TOKEN\n  value: {diff.MASK}\nname: B_TOKEN\n  value: {diff.MASK}\nrest: stays\n"
