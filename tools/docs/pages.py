# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All generated pages by file name."""

from __future__ import annotations

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import load

from tools.docs import ROOT, controls_page, variables_page


def pages() -> dict[str, str]:
    """The text of each page as it should be. Raises ControlError or SpecError."""
    return {
        "controls.md": controls_page.page(load()),
        "variables.md": variables_page.page(variables_page.read(ROOT / "roles")),
    }
