# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and values reach a program as one argument each, or not at all: no shell reads them, and none of them is taken for an option."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import keeping, launch
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import accounts, drain, prevalidate, system_steps
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import action, prelude
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import hostile_text

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
EVIL = "x; touch {mark} $(touch {mark}) `touch {mark}` | touch {mark} && touch {mark} > {mark} \n touch {mark}"
SHELLS = {"sh", "bash", "dash", "zsh", "eval", "env", "xargs"}


class Recorder:
    """A `run` that keeps every argv, and answers that all went well."""

    def __init__(self, stdout: str = "") -> None:
        self.calls: list[tuple[list[str], bytes]] = []
        self.stdout = stdout

    def __call__(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> RunResult:
        assert not isinstance(argv, str) and all(isinstance(word, str) for word in argv)
        self.calls.append((list(argv), stdin))
        return RunResult(0, self.stdout, "")

    def check(self, *hostile: str) -> None:
        """No shell was started, and what is hostile stands in one argument only, never where an option is read."""
        for argv, _stdin in self.calls:
            assert Path(argv[0]).name not in SHELLS and "-c" not in argv, argv
            for word in hostile:
                assert not any(argument.startswith("-") and argument == word for argument in argv), argv


def test_a_process_is_started_without_a_shell(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = EVIL.format(mark=mark)
    done = prelude.run(["printf", "%s", evil])
    assert done.stdout == evil and not mark.exists()
    assert prelude.run([evil]).rc == prelude.NOT_STARTED and not mark.exists()


def test_no_source_asks_for_a_shell() -> None:
    """subprocess in one file only, and nowhere a shell, system(), popen() or a module's command as one text."""
    found = []
    for path in sorted(PLUGINS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                shell = any(keyword.arg in ("shell", "use_unsafe_shell") for keyword in node.keywords)
                if shell or re.fullmatch(r"os\.(system|popen|spawn\w*)|subprocess\.(getoutput|getstatusoutput)|eval", name):
                    found.append(f"{path.name}:{node.lineno} {name}")
            elif isinstance(node, ast.Import) and any(alias.name == "subprocess" for alias in node.names) and path.name != "prelude.py":
                found.append(f"{path.name}:{node.lineno} imports subprocess")
    assert found == []


@examples(60)
@given(hostile_text, hostile_text)
def test_steps_give_names_as_arguments_or_refuse_them(name: str, value: str) -> None:
    recorder = Recorder()
    machine = Machine(recorder)
    context = SimpleNamespace(machine=machine, journal=SimpleNamespace(lines=[], add=lambda *_more: None), say=lambda *_more: None)
    for make in (
        lambda: accounts.Account({"name": name, "home": "/" + value}, context, "1:account"),  # type: ignore[arg-type]
        lambda: system_steps.Units({"enable": [name], "start": [name]}, context, "1:units"),  # type: ignore[arg-type]
        lambda: system_steps.Sysctls({"values": {name: value}}, context, "1:sysctls"),  # type: ignore[arg-type]
    ):
        try:
            make().apply()
        except (TransactionError, ValueError) as error:  # a NUL in a name
            assert str(error)
    recorder.check(name, value)


@pytest.mark.parametrize("name", ["-H host kubelet", "--force.service", "kubelet.service", "a b.service", "../x.service", "x.service\n", "$(x).service", ""])
def test_a_unit_that_is_none_or_not_ours_is_refused(name: str) -> None:
    with pytest.raises(TransactionError, match="no unit that this step may touch"):
        system_steps.Units({"enable": [name]}, SimpleNamespace(), "1:units")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1; touch /tmp/x", "1\n2", "$(x)", "`x`", "1 | x", "a\x1b"])
def test_a_kernel_parameter_has_a_plain_value(value: str) -> None:
    with pytest.raises(TransactionError, match="no kernel parameter"):
        system_steps.Sysctls({"values": {"vm.overcommit_memory": value}}, SimpleNamespace(), "1:sysctls")  # type: ignore[arg-type]


@examples(40)
@given(hostile_text)
def test_a_transaction_of_a_hostile_name_starts_nothing(name: str) -> None:
    recorder = Recorder()
    try:
        launch.launch(Machine(recorder), {"job": {"id": name}, "program": ""})
    except TransactionError as error:
        assert "transaction id" in str(error) or keeping.NAME.fullmatch(name)
    except OSError:
        assert keeping.NAME.fullmatch(name)
    assert recorder.calls == [] or keeping.NAME.fullmatch(name)


def test_an_interpreter_that_a_unit_would_read_as_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/opt/my python", "/opt/%n/python", "/opt/$HOME/python", "/opt/a;b", 'python"'):
        monkeypatch.setattr(units.sys, "executable", path)
        with pytest.raises(TransactionError, match="cannot stand in a unit"):
            units.require_systemd(Machine(Recorder()))


@examples(40)
@given(st.lists(hostile_text, min_size=1, max_size=4))
def test_a_components_arguments_are_its_own(argv: list[str]) -> None:
    """A command line with anything in it is given to the binary that runs with it already, word by word."""
    recorder = Recorder()
    candidate = prevalidate.Candidate(Machine(recorder), "etcd", ["etcd", *argv], ["etcd"], 50, None)
    prevalidate.check_parse(candidate)
    assert recorder.calls[0][0] == ["/proc/50/exe", *argv, "--version"]


@examples(40)
@given(st.lists(hostile_text, max_size=6), hostile_text)
def test_the_firewalls_script_holds_addresses_and_a_port_only(addresses: list[str], port: str) -> None:
    recorder = Recorder()
    drain.begin(SimpleNamespace(command=recorder, sleep=lambda _seconds: None), [f"--secure-port={port}"], drain._networks([*addresses, "10.0.0.0/8"]))  # type: ignore[arg-type]
    for argv, script in recorder.calls:
        assert argv == ["nft", "-f", "-"]
        for line in script.decode().splitlines():
            assert re.fullmatch(r"[a-z0-9_ {}@&()|=!\"\-.:/,;]*", line), line


def command(interpreter: str) -> str:
    return action._command(interpreter)


@pytest.mark.parametrize("folder", ["plain", "with blank", "with'quote", "with$(touch mark)", "with;touch mark;"])
def test_an_interpreter_of_any_name_is_started_and_nothing_else(tmp_path: Path, folder: str) -> None:
    """The one text that a shell reads: the command that starts the interpreter."""
    place = tmp_path / folder
    place.mkdir()
    (tmp_path / "bin").mkdir()
    for name, text in ((place / "python", '#!/bin/sh\nprintf "%s|" "$@"\n'), (tmp_path / "bin" / "id", "#!/bin/sh\necho 0\n")):
        name.write_text(text)
        name.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", command(shlex.quote(str(place / "python")))],
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "-I|-S|-|", done.stderr
    assert not (tmp_path / "mark").exists()


def test_the_fake_machine_of_the_engine_records_lists() -> None:
    machine = bed.FakeMachine(Path("/nonexistent"))
    machine.command(["systemctl", "stop", "a b"])
    assert machine.commands == [["systemctl", "stop", "a b"]]
