# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a connection that ends in the middle of a program looks like to an action."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest import mock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError, NinepathsAction


class Action(NinepathsAction):
    """An action whose connection answers what the test says."""

    OPTIONS: ClassVar[dict[str, Any]] = {}

    def act(self, options: Any, task_vars: dict[str, Any]) -> dict[str, Any]:
        return {}


def action(answer: dict[str, Any]) -> Any:
    """An action on `cp1` whose next program ends as in `answer`."""
    made: Any = Action.__new__(Action)
    made._task = mock.Mock(delegate_to=None)
    made._connection = mock.Mock(has_pipelining=True, transport="local", become=None)
    made._low_level_execute_command = lambda *_args, **_named: answer
    made._frame = lambda _entry: "print()"
    made._interpreter = lambda _variables: ""
    return made


@pytest.mark.parametrize("signal", [9, 15])
def test_a_killed_ssh_is_a_lost_connection(signal: int) -> None:
    """It is taken up again by whoever follows a transaction; the host has nothing to do with it."""
    with pytest.raises(AnsibleConnectionFailure, match=rf"cp1: cannot be reached: .* signal {signal}"):
        action({"rc": -signal, "stdout": "", "stderr": ""}).program("follow", {"schema": 1}, {"inventory_hostname": "cp1"})


def test_no_result_of_a_program_that_ended_by_itself_is_an_error() -> None:
    with pytest.raises(ActionError, match="the program gave no result"):
        action({"rc": 1, "stdout": "", "stderr": ""}).program("follow", {"schema": 1}, {"inventory_hostname": "cp1"})
