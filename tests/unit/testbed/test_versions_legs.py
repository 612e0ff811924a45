# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests/versions runs, and how it reads a recap."""

from __future__ import annotations

import pytest

from tests.testbed import bed, versions
from tests.versions import legs

RECAP = """
PLAY RECAP *********************************************************************
cp1                        : ok=10   changed=5    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
w1                         : ok=5    changed=0    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
"""


def test_default_legs_are_releases_of_the_bed_and_have_beds_of_their_own():
    found = legs.parse(legs.DEFAULT)
    assert {leg.minor for leg in found} <= set(versions.RELEASES)
    # The oldest and the newest are always among them.
    assert {found[0].minor, found[2].minor} == {min(versions.RELEASES), max(versions.RELEASES)}
    assert len({bed.check_name(leg.bed) for leg in found}) == len(found)


def test_a_leg_may_name_the_release_of_its_nodes():
    assert legs.parse(" 1.31  1.36/bullseye\n") == [legs.Leg("1.31"), legs.Leg("1.36", "bullseye")]


@pytest.mark.parametrize("text", ["", "  ", "v1.31", "1.31.4", "1.31,1.34", "1.31/", "1.31/../x"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="VERSIONS"):
        legs.parse(text)


def test_recap_tells_what_was_changed():
    assert legs.changed(RECAP) == {"cp1": 5, "w1": 0}


@pytest.mark.parametrize("text", ["", "PLAY RECAP ***\n", RECAP.replace("failed=0", "failed=1", 1), RECAP.replace("unreachable=0", "unreachable=1")])
def test_a_recap_with_a_failure_or_none_is_no_success(text):
    with pytest.raises(ValueError, match=r"recap|failed="):
        legs.changed(text)
