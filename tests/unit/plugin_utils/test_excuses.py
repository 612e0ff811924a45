# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection may misbehave only when nothing that is in force would make it behave."""

from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs, proofs_control_plane
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import excuses


def proof(aspect: str = "anonymous", **fields: object) -> dict[str, object]:
    return {"id": "user_to_apiserver", "aspect": aspect, "passed": False, **fields}


def control(status: str, names: str | None) -> dict[str, object]:
    return {"status": status, "proof": names}


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


def test_what_passed_has_not_failed():
    path = {"proofs": [proof(passed=True), proof("plain")], "controls": [control("ok", WHOLE)]}
    assert [found["aspect"] for found in excuses.failed(path)] == ["plain"]


def test_controls_name_aspects_that_there_are():
    """A misspelt aspect would excuse nothing, and nobody would notice."""
    known = {*proofs.ASPECTS.values(), proofs.ALLOWED, proofs.PORT, proofs.AUTHORIZATION, proofs_control_plane.AT_REST.aspect}
    known |= {f"{name}-{aspect}" for name in proofs_control_plane.LOCAL_PORTS for aspect in known}
    named = {one.proof.partition("/")[2] for one in load() if one.proof and "/" in one.proof}
    assert named and named <= known
