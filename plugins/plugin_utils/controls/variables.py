# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of all ninepaths_* variables, so that a mistyped one is an error and not a setting that is silently not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import PREFIX, Settings

SETTINGS = tuple(f"{PREFIX}{field.name}" for field in fields(Settings))
OTHERS = ("ninepaths_plan", "ninepaths_report_dir", "ninepaths_prepare_for", "ninepaths_prepare_from", "ninepaths_run")
REGISTERED = ("ninepaths_observed", "ninepaths_seen")  # by our playbooks and roles
KNOWN = frozenset((*SETTINGS, *OTHERS, *REGISTERED))


def unknown(names: Iterable[str]) -> list[str]:
    """One sentence for each variable with our prefix that means nothing."""
    wrong = sorted({str(name) for name in names if str(name).startswith(PREFIX)} - KNOWN)
    own = [name.removeprefix(PREFIX) for name in (*SETTINGS, *OTHERS)]
    return [f"{name} is no variable of this collection{meant(name[len(PREFIX) :], own, PREFIX)} All variables: docs/variables.md" for name in wrong]


def meant(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about a name that does not exist: the nearest one that does. `prefix`: what goes before both."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else "."
