# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a program gets to a target, and what a person reads when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import action as _action
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError, NinepathsAction

RECOVERED = {"schema": 1, "transactions": []}  # the shortest answer there is
HOST = {"inventory_hostname": "cp1", "groups": {"kube_control_plane": ["cp1"]}}


class Plain(NinepathsAction):
    """An action that does nothing by itself."""

    def act(self, options, task_vars):
        return {}


def done(stdout: str = "", stderr: str = "", rc: int = 0) -> dict[str, object]:
    return {"rc": rc, "stdout": stdout, "stderr": stderr}


def result(document: object) -> dict[str, object]:
    return done(f"{bundle.BEGIN}\n{json.dumps(document)}\n{bundle.END}\n")


@pytest.fixture(autouse=True)
def no_sources(monkeypatch):
    monkeypatch.setattr(bundle, "frame", lambda entry: f"# {entry}\n")


def test_the_answer_comes_back_and_the_frame_is_made_once_per_run(make, monkeypatch):
    sent = []
    action = make(Plain, {}, lambda command, data: sent.append((command, data)) or result(RECOVERED))
    assert action.program("recover", {"q": 1}, HOST) == RECOVERED
    monkeypatch.setattr(bundle, "frame", lambda entry: pytest.fail("made again"))
    assert action.program("recover", {"q": 2}, HOST) == RECOVERED
    assert b"# recover" in sent[1][1] and b'"q":2' in sent[1][1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("sudo: sorry, you must have a tty to run sudo", ["requiretty", "sudoers"]),
        ("sudo: a password is required", ["sudo asks for a password", "--ask-become-pass"]),
        ("ops is not in the sudoers file.", ["may not use sudo"]),
        ("Sorry, user ops is not allowed to execute '/bin/sh' as root on w1.", ["may not use sudo"]),
        ("/bin/sh: 1: sudo: not found", ["sudo is not installed"]),
        ("sh: sudo: command not found", ["sudo is not installed"]),
        (_action.NOT_ROOT, ["not root", "become: true"]),
        (_action.NO_PYTHON, ["no Python 3.9 or newer", "install python3"]),
        (f"{_action.NO_PYTHON}, only /usr/bin/python3", ["no Python 3.9 or newer was found, only /usr/bin/python3"]),
        ("sh: 1: exec: /opt/python: not found", ["/opt/python cannot be started", "ansible_python_interpreter"]),
        ("", ["no result", "nothing"]),
    ],
)
def test_a_refusal_names_host_cause_and_advice(make, answer, words):
    action = make(Plain, {}, lambda _command, _data: done(stderr=answer, rc=1))
    with pytest.raises(ActionError) as caught:
        action.program("observe", {}, {**HOST, "ansible_python_interpreter": "/opt/python"})
    for word in ["cp1: ", *words]:
        assert word in str(caught.value)


def test_a_host_that_is_busy_is_not_told_to_be_misconfigured(make):
    def late(_command, _data):
        raise AnsibleConnectionFailure("Timeout (12s) waiting for privilege escalation prompt: ")

    with pytest.raises(ActionError) as caught:
        make(Plain, {}, late).program("observe", {}, HOST)
    wanted = "cp1: sudo did not go on within 12 s; the host may be busy (raise Ansible's timeout), or the become method is wrong"
    assert str(caught.value) == wanted


@pytest.mark.parametrize("message", ["Missing sudo password", "Incorrect sudo password"])
def test_what_become_raises_is_named(make, message):
    def answer(_command, _data):
        raise AnsibleError(message)

    with pytest.raises(ActionError, match=r"cp1: .*sudo .*password"):
        make(Plain, {}, answer).program("observe", {}, HOST)


def test_ssh_notices_a_host_that_vanishes(make):
    action = make(Plain, {}, lambda *_: result(RECOVERED))
    action._connection.options["ssh_extra_args"] = "-o Compression=no"
    for _call in range(2):
        action.program("recover", {}, HOST)
    wanted = "-o Compression=no -o ServerAliveInterval=15 -o ServerAliveCountMax=3"
    assert action._connection.options["ssh_extra_args"] == wanted


@pytest.mark.parametrize("name", ["ssh_args", "ssh_common_args", "ssh_extra_args"])
def test_a_keep_alive_of_the_users_own_is_left_alone(make, name):
    action = make(Plain, {}, lambda *_: result(RECOVERED))
    action._connection.options = {name: "-oserveraliveinterval=60"}
    action.program("recover", {}, HOST)
    assert action._connection.options == {name: "-oserveraliveinterval=60"}


def test_other_connections_have_no_ssh_arguments(make):
    action = make(Plain, {}, lambda *_: result(RECOVERED))
    action._connection.transport, action._connection.options = "podman", {}
    action.program("recover", {}, HOST)
    assert action._connection.options == {}


def test_an_answer_that_no_program_of_ours_gives_is_refused_by_its_place(make):
    action = make(Plain, {}, lambda *_: result({"schema": 1, "transactions": [{"id": 5}]}))
    with pytest.raises(ActionError, match=r"cp1: its answer is not what a program of ours answers: transactions\[0\]\.advice is missing; look at that host"):
        action.program("recover", {}, HOST)


def test_an_unreachable_host_stays_unreachable(make):
    def answer(_command, _data):
        raise AnsibleConnectionFailure("Data could not be sent. Make sure this host can be reached over ssh: No route to host")

    with pytest.raises(AnsibleConnectionFailure) as caught:
        make(Plain, {}, answer).program("observe", {}, HOST)
    assert str(caught.value) == "cp1: cannot be reached: No route to host"


def test_an_error_of_the_program_is_named(make):
    error = {"schema": 1, "error": {"type": "PythonTooOld", "message": "Python 3.6.8 is older than 3.9", "where": ""}}
    with pytest.raises(ActionError, match=r"cp1: Python 3\.6\.8 is older than 3\.9; set ansible_python_interpreter"):
        make(Plain, {}, lambda *_args: result(error)).program("observe", {}, HOST)
    error["error"].update(type="JobError", message="the job is none", where="transaction.py:7 in main")
    with pytest.raises(ActionError, match=r"cp1: the job is none; JobError at transaction\.py:7 in main"):
        make(Plain, {}, lambda *_args: result(error)).program("observe", {}, HOST)


def test_a_connection_without_stdin_is_refused(make):
    action = make(Plain, {})
    action._connection.has_pipelining, action._connection.transport = False, "winrm"
    with pytest.raises(ActionError, match="winrm"):
        action.program("observe", {}, HOST)


@pytest.mark.parametrize(
    ("run", "skip", "paths"),
    [(["all"], [], (1, 2, 4)), (["path1", "path9"], [], (1,)), (["always"], ["path2"], (1, 4)), (["path1", "path4"], ["path4"], (1,))],
)
def test_tags_narrow_the_paths(make, run, skip, paths):
    variables = {**HOST, "ninepaths_paths": [1, 2, 4], "ansible_run_tags": run, "ansible_skip_tags": skip}
    assert make(Plain, {}).settings(variables).paths == paths


def test_tags_of_others_may_be_skipped(make):
    variables = {**HOST, "ninepaths_paths": [1, 4], "ansible_run_tags": ["all"], "ansible_skip_tags": ["molecule-notest", "notest", "path4"]}
    assert make(Plain, {}).settings(variables).paths == (1,)


@pytest.mark.parametrize(
    ("run", "skip", "words"),
    [
        (["path01"], [], "--tags: path01 is no path; the paths' tags are path1 to path9"),
        (["Path1", "path4"], [], "--tags: Path1 is no path"),
        (["path10"], [], "--tags: path10 is no path"),
        (["all"], ["Path1"], "--skip-tags: Path1 is no path"),
        (["path3"], [], "no path is left to look at; ninepaths_paths has 1, 4"),
        (["all"], ["path1", "path4"], "no path is left to look at"),
    ],
)
def test_a_mistyped_tag_chooses_neither_all_paths_nor_none(make, run, skip, words):
    variables = {**HOST, "ninepaths_paths": [1, 4], "ansible_run_tags": run, "ansible_skip_tags": skip}
    with pytest.raises(ActionError) as caught:
        make(Plain, {}).settings(variables)
    assert words in str(caught.value)


@pytest.mark.parametrize("tag", ["all", "always", "never", "tagged", "untagged"])
def test_ansible_s_own_tags_are_no_paths(make, tag):
    assert make(Plain, {}).settings({**HOST, "ansible_run_tags": [tag], "ansible_skip_tags": []}).paths == tuple(range(1, 10))


def test_settings_come_from_the_first_control_plane(make):
    variables = {"inventory_hostname": "w1", "groups": {"kube_control_plane": ["cp1"]}, "hostvars": {"cp1": {"ninepaths_profile": "stig"}}}
    assert make(Plain, {}).settings(variables).profile == "stig"


def test_wrong_settings_are_one_failure_with_all_problems(make):
    with pytest.raises(ActionError, match=r"paranoid.*ninepaths_fail_on"):
        make(Plain, {}).settings({**HOST, "ninepaths_profile": "paranoid", "ninepaths_fail_on": "sometimes"})


class TestCommand:
    """The shell text that finds an interpreter, run by a real shell in an empty world."""

    @pytest.fixture
    def world(self, tmp_path):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "readlink").symlink_to("/usr/bin/readlink")

        def put(name: str, text: str) -> Path:
            path = folder / name
            path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            path.chmod(0o755)
            return path

        put("id", "echo 0")
        self.run = lambda command: subprocess.run(
            ["/bin/sh", "-c", command], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
        )
        return put

    def test_a_login_user_that_is_not_root_is_told_apart(self, world):
        world("id", "echo 1000")
        assert _action.NOT_ROOT in self.run(_action._command("")).stderr

    def test_the_configured_interpreter_is_started_and_nothing_else(self, world, tmp_path):
        world("python3", "echo wrong")
        odd = tmp_path / "odd name; touch x"
        odd.write_text("#!/bin/sh\necho right $*\n", encoding="utf-8")
        odd.chmod(0o755)
        assert self.run(_action._command(f"'{odd}'")).stdout == "right -I -S -\n"
        assert self.run(_action._command("/usr/bin/env python3")).stdout == "wrong\n"

    def test_python3_is_preferred_and_an_old_one_passed_over(self, world, tmp_path):
        world("python3.11", "echo newer")
        world("python3", "echo default $*")
        assert self.run(_action._command("")).stdout == "default -I -S -\n"
        old = world("python3.6", "echo old")
        (tmp_path / "bin" / "python3").unlink()
        (tmp_path / "bin" / "python3").symlink_to(old)
        assert self.run(_action._command("")).stdout == "newer\n"

    def test_without_a_suitable_one_the_old_ones_are_named(self, world, tmp_path, monkeypatch):
        monkeypatch.setattr(_action, "CANDIDATES", ("python3", "python3.11"))  # some machines have one in a fixed place
        assert self.run(_action._command("")).stderr == f"{_action.NO_PYTHON}\n"
        old = world("python3.6", "echo old")
        (tmp_path / "bin" / "python3").symlink_to(old)
        assert self.run(_action._command("")).stderr == f"{_action.NO_PYTHON}, only {tmp_path}/bin/python3\n"

    def test_a_real_interpreter_runs_a_program_from_stdin(self, world):
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        argv = ["/bin/sh", "-c", _action._command(sys.executable)]
        done = subprocess.run(argv, input="print(42)", env={"PATH": path}, capture_output=True, text=True, check=False)
        assert done.stdout == "42\n" if os.geteuid() == 0 else _action.NOT_ROOT in done.stderr
