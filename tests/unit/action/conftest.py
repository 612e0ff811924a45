# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins without a playbook: a real ActionBase whose target is a function."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import action as _action

Answer = Callable[[str, bytes], dict[str, Any]]


class Shell:
    tmpdir = None


class Connection:
    """As much of an ssh connection as the actions ask for."""

    def __init__(self) -> None:
        self.has_pipelining, self.transport, self._shell = True, "ssh", Shell()
        self.become = SimpleNamespace(name="ansible.builtin.sudo")
        self.options: dict[str, str] = {"ssh_args": "-C -o ControlMaster=auto -o ControlPersist=60s"}

    def get_option(self, name: str) -> str | None:
        return self.options.get(name)

    def set_option(self, name: str, value: str) -> None:
        self.options[name] = value


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes an action of a class with options, and a target that answers."""
    monkeypatch.setattr(
        constants.config,
        "get_config_value",
        lambda name, variables=None, **_more: (variables or {}).get("ansible_python_interpreter", "auto"),
    )
    monkeypatch.setattr(_action.constants, "DEFAULT_LOCAL_TMP", str(tmp_path), raising=False)

    def action(kind: type, options: dict[str, Any], answer: Answer | None = None, *, check_mode: bool = False, diff: bool = False) -> Any:
        made = kind.__new__(kind)
        made._task = SimpleNamespace(
            args=options, check_mode=check_mode, diff=diff, delegate_to=None, async_val=0, action="x", no_log=False
        )
        made._connection = Connection()
        made._templar = SimpleNamespace(template=lambda value: value)
        made._low_level_execute_command = lambda command, in_data=b"": answer(command, in_data)
        made.lines = []
        made.show = made.lines.extend
        return made

    return action
