# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Halts ansible-playbook before a play, until a test has done what it wants to do at that moment."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: between
type: aggregate
short_description: halts before a play
description: Before the first play whose name begins with BETWEEN_PLAY, the file `reached` is made in BETWEEN_FOLDER, and `go` is waited for.
"""
LONGEST = 300.0  # seconds


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Enabled by ANSIBLE_CALLBACKS_ENABLED=between."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "between"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Called in the main process, before a host has a part in the play."""
        folder = Path(os.environ["BETWEEN_FOLDER"])
        if not play.get_name().startswith(os.environ["BETWEEN_PLAY"]) or (folder / "reached").exists():
            return
        (folder / "reached").touch()
        end = time.monotonic() + LONGEST
        while not (folder / "go").exists():
            if time.monotonic() > end:
                raise TimeoutError(f"nobody let the run go on before {play.get_name()!r}")
            time.sleep(0.1)
