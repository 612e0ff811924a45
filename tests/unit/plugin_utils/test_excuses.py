# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection may misbehave only when nothing that is in force would make it behave."""

from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs, proofs_control_plane
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import excuses

APISERVER = "kube-apiserver"


def proof(aspect: str = "anonymous", to: str = "apiserver cp1", **fields: object) -> dict[str, object]:
    return {"id": "user_to_apiserver", "aspect": aspect, "to": to, "passed": False, **fields}


def control(status: str, names: str | None, component: str = APISERVER) -> dict[str, object]:
    return {"status": status, "proof": names, "component": component}


WHOLE, ANONYMOUS = "user_to_apiserver", "user_to_apiserver/anonymous"


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ([], False),
        ([control("held", None)], False),
        ([control("held", WHOLE)], True),
        ([control("held", WHOLE), control("ok", WHOLE)], False),
        ([control("held", ANONYMOUS), control("ok", WHOLE)], True),
        ([control("waived", ANONYMOUS), control("not-applicable", ANONYMOUS)], True),
        ([control("held", ANONYMOUS), control("ok", ANONYMOUS)], False),
        ([control("ok", ANONYMOUS), control("held", WHOLE)], False),
        ([control("held", "user_to_apiserver/old-tls"), control("ok", WHOLE)], False),
        ([control("change", ANONYMOUS)], False),
        ([control("deviation", ANONYMOUS)], False),
    ],
)
def test_the_most_precise_controls_decide(controls, expected):
    assert excuses.excused(proof(), controls) is expected


@pytest.mark.parametrize(("waived", "expected"), [("kube-scheduler", True), ("kube-controller-manager", False)])
def test_a_waiver_for_one_component_does_not_excuse_another(waived, expected):
    names = "user_to_apiserver/port"
    controls = [control("waived" if name == waived else "ok", names, name) for name in ("kube-scheduler", "kube-controller-manager")]
    assert excuses.excused(proof("port", "kube-scheduler cp1"), controls) is expected


def test_what_passed_has_not_failed():
    path = {"proofs": [proof(passed=True), proof("plain")], "controls": [control("ok", WHOLE)]}
    assert [found["aspect"] for found in excuses.failed(path)] == ["plain"]


def test_controls_name_aspects_that_there_are():
    """A misspelt aspect would excuse nothing, and nobody would notice."""
    known = {*proofs.ASPECTS.values(), proofs.ALLOWED, proofs.PORT, proofs.AUTHORIZATION, proofs_control_plane.AT_REST.aspect}
    named = {one.proof.partition("/")[2] for one in load() if one.proof and "/" in one.proof}
    assert named and named <= known
