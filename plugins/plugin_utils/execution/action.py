# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of the action plugins: validated options, the run spool, one round trip that runs a program on the target. Private."""

from __future__ import annotations

import re
import shlex
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import one_line, visible, visible_in
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import PATHS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings, SettingsError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.variables import SETTINGS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers, bundle, memory
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.shapes import ShapeError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.spool import Spool, SpoolError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting.terminal import Line

display = Display()
TONES: Mapping[str, str | None] = {
    "plain": None,
    "good": constants.COLOR_OK,
    "notice": constants.COLOR_CHANGED,
    "bad": constants.COLOR_ERROR,
}

NOT_ROOT, NO_PYTHON = "ninepaths-not-root", "ninepaths-no-python"
OLDEST_PYTHON = (3, 9)
CANDIDATES = ("python3", *(f"python3.{minor}" for minor in range(15, OLDEST_PYTHON[1] - 1, -1)), "/usr/libexec/platform-python")

PATH_TAGS = {f"path{number}": number for number in PATHS}
ANSIBLE_TAGS = frozenset({"all", "always", "never", "tagged", "untagged"})
TAG_OPTIONS = {"ansible_run_tags": ("--tags", ""), "ansible_skip_tags": ("--skip-tags", "path")}
SSH_ARGUMENTS = ("ssh_args", "ssh_common_args", "ssh_extra_args")
KEEP_ALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=3"

# (what the host answered, what it means, what to do); the first that is found counts.
REFUSALS = (
    (
        r"you must have a tty",
        "sudo demands a terminal (requiretty)",
        "remove 'Defaults requiretty' for this user from sudoers; use_pty is fine",
    ),
    (
        r"\ba password is required|Missing \w+ password",
        "{become} asks for a password",
        "run with --ask-become-pass or give the user NOPASSWD",
    ),
    (
        r"Timeout \((?P<seconds>\d+)s\) waiting for privilege escalation prompt",
        "{become} did not go on within {seconds} s",
        "the host may be busy (raise Ansible's timeout), or the become method is wrong",
    ),
    (r"Incorrect \w+ password|incorrect password", "{become} did not accept the password", "check ansible_become_password"),
    (
        r"not in the sudoers file|is not allowed to|may not run sudo",
        "the login user may not use {become}",
        "allow it to run commands as root",
    ),
    (r"(sudo|su|doas): (command )?not found", "{become} is not installed", "install it or log in as root with become: false"),
    (NOT_ROOT, "the login user is not root", "set become: true"),
    (NO_PYTHON, "no Python 3.9 or newer was found{rest}", "install python3 or set ansible_python_interpreter"),
    (r"(not found|No such file|cannot execute|Permission denied)", "{interpreter} cannot be started", "correct ansible_python_interpreter"),
)


STRANGE = "look at that host: its Python or its sudo may be somebody else's"
ADVICE = {"PythonTooOld": "set ansible_python_interpreter to a newer one", "TooLarge": STRANGE, "BadResult": STRANGE}
HEARD = 1 << 14  # characters of what a host says in place of an answer


class ActionError(Exception):
    """A task that fails: the host (empty where it is about none), the cause in one sentence, and what to do about it."""

    def __init__(self, host: str, cause: str, advice: str = "", **result: Any) -> None:
        super().__init__((f"{host}: " if host else "") + cause + (f"; {advice}" if advice else ""))
        self.host, self.cause, self.advice, self.result = host, cause, advice, result


class NinepathsAction(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """One task of ours. A subclass names its options and implements `act`."""

    _requires_connection = False
    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do the task and return its result; raises ActionError."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry: validate the options, act, and turn our errors into a failed result."""
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec={name: dict(spec) for name, spec in self.OPTIONS.items()})
        variables = task_vars or {}
        try:
            result = self.act(options, variables)
        except ActionError as failure:
            result = {"failed": True, "changed": False, "msg": str(failure), **failure.result}
        except SpoolError as error:
            result = {"failed": True, "changed": False, "msg": f"{self.host(variables)}: {error}"}
        plain: dict[str, Any] = visible_in(result)  # callbacks print what a host said as it is
        return plain

    @property
    def check_mode(self) -> bool:
        """Whether the task must not change anything."""
        return bool(self._task.check_mode)

    @property
    def diff_mode(self) -> bool:
        """Whether the task should show differences."""
        return bool(self._task.diff)

    def spool(self) -> Spool:
        """This run's spool."""
        return Spool.under(constants.DEFAULT_LOCAL_TMP)

    def host(self, task_vars: Mapping[str, Any]) -> str:
        """Name of the machine that the task acts on: the delegate where there is one."""
        return str(self._task.delegate_to or task_vars.get("inventory_hostname", "localhost"))

    def cluster_variables(self, task_vars: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Variables as the cluster's first control plane sees them, so that group variables of any group count; plain types."""
        groups = task_vars.get("groups", {})
        first = next(iter(groups.get("kube_control_plane", [])), None)
        source = task_vars["hostvars"][first] if first and "hostvars" in task_vars else task_vars
        return {name: _plain(self._templar.template(source[name])) for name in names if name in source}

    def settings(self, task_vars: Mapping[str, Any]) -> Settings:
        """The operator's settings; tags `path1` … `path9` narrow the paths. Raises ActionError with all that is wrong in them."""
        variables = self.cluster_variables(task_vars, SETTINGS)
        tagged, skipped = self._tagged(task_vars, "ansible_run_tags"), self._tagged(task_vars, "ansible_skip_tags")
        try:
            settings = Settings.parse(variables)
        except SettingsError as error:
            raise ActionError(self.host(task_vars), "; ".join(error.problems)) from error
        paths = tuple(path for path in settings.paths if path not in skipped and (not tagged or path in tagged))
        if not paths:
            chosen = ", ".join(map(str, settings.paths))
            raise ActionError(
                self.host(task_vars), "no path is left to look at", f"ninepaths_paths has {chosen}; choose among these with --tags and --skip-tags"
            )
        return replace(settings, paths=paths)

    def _tagged(self, task_vars: Mapping[str, Any], name: str) -> frozenset[int]:
        """The paths that tags name. A tag that we do not know is a mistyped path, which would choose all of them or none.

        Tags of other playbooks may be skipped along with ours (molecule always does); only what looks like a path is mistyped there.
        """
        tags = [str(tag) for tag in task_vars.get(name, ())]
        option, pattern = TAG_OPTIONS[name]
        unknown = [tag for tag in tags if tag not in PATH_TAGS and tag not in ANSIBLE_TAGS and re.match(pattern, tag, re.IGNORECASE)]
        if unknown:
            raise ActionError(self.host(task_vars), f"{option}: {', '.join(unknown)} is no path", "the paths' tags are path1 to path9")
        return frozenset(PATH_TAGS[tag] for tag in tags if tag in PATH_TAGS)

    def show(self, lines: Iterable[Line]) -> None:
        """Print lines on the terminal, at once and from any worker."""
        for line in lines:
            display.display(visible(line.text), color=TONES[line.tone])

    def program(self, entry: str, request: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a program of `module_utils` on the target in one round trip and return its answer.

        Raises AnsibleConnectionFailure when the host cannot be reached and ActionError when the program could not run or failed.
        """
        host = self.host(task_vars)
        if not getattr(self._connection, "has_pipelining", False):
            raise ActionError(
                host, f"the connection {self._connection.transport!r} cannot carry a program on stdin", "use ssh, local or podman"
            )
        interpreter = self._interpreter(task_vars)
        self._notice_a_dead_host()
        sent = bundle.assemble(self._frame(entry), entry, request)
        try:
            done = self._heard(host, _command(interpreter), sent)
        except AnsibleConnectionFailure as error:
            if "privilege escalation prompt" in str(error):
                raise self._refusal(host, str(error), interpreter) from error
            reason = re.sub(r"^.*(over|via) ssh: ", "", _one_line(str(error)))
            raise type(error)(f"{host}: cannot be reached: {reason}") from None  # it would be said twice
        except AnsibleError as error:  # the become plugins report a missing or wrong password this way
            raise self._refusal(host, str(error), interpreter) from error
        if done["rc"] < 0:  # the ssh plugin takes only 255 for a lost connection, but its process may have been killed
            raise AnsibleConnectionFailure(f"{host}: cannot be reached: the connection's own process was ended by signal {-done['rc']}")
        try:
            found = bundle.parse(done["stdout"])
            answers.check(entry, found)
        except bundle.ProgramError as error:
            if error.kind == "NoResult":
                raise self._refusal(host, f"{done['stderr'][:HEARD]}\n{done['stdout'][:HEARD]}", interpreter) from error
            raise ActionError(host, error.message, ADVICE.get(error.kind) or f"{error.kind} at {error.where}") from error
        except ShapeError as error:
            raise ActionError(host, f"its answer is not what a program of ours answers: {error}", STRANGE) from error
        return found

    def _heard(self, host: str, command: str, sent: bytes) -> dict[str, Any]:
        """What a command prints. Raises ActionError when that does not end."""
        with memory.watched() as exceeded:
            try:
                done: dict[str, Any] = self._low_level_execute_command(command, in_data=sent)
            except AnsibleError:
                if not exceeded.is_set():
                    raise
        if exceeded.is_set():
            raise ActionError(host, "it printed more than any program of ours answers", STRANGE)
        return done

    def _notice_a_dead_host(self) -> None:
        """Let ssh give up on a host that vanishes; by default it waits for as long as the kernel does, two hours.

        A ServerAliveInterval among Ansible's own ssh arguments is left alone.
        """
        connection = self._connection
        if connection.transport != "ssh":
            return
        given = {name: str(connection.get_option(name) or "") for name in SSH_ARGUMENTS}
        if "serveraliveinterval" not in " ".join(given.values()).lower():
            connection.set_option(SSH_ARGUMENTS[-1], f"{given[SSH_ARGUMENTS[-1]]} {KEEP_ALIVE}".strip())

    def _frame(self, entry: str) -> str:
        """The program without its request, made by the first worker of a run that needs it."""
        spool = self.spool()
        found = spool.find("frame", entry)
        if found is None:
            with spool.locked(f"frame {entry}"):
                found = spool.find("frame", entry)
                if found is None:
                    found = {"text": bundle.frame(entry)}
                    spool.put("frame", entry, found)
        return str(found["text"])

    def _interpreter(self, task_vars: Mapping[str, Any]) -> str:
        """The configured interpreter, or an empty string when it is to be found on the target."""
        variables = task_vars
        if self._task.delegate_to:
            variables = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, task_vars)
        configured = constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)
        value = str(self._templar.template(configured) or "")
        return "" if value.startswith("auto") else value

    def _refusal(self, host: str, answer: str, interpreter: str) -> ActionError:
        become = self._connection.become.name.rpartition(".")[2] if self._connection.become else "sudo"
        for pattern, cause, advice in REFUSALS:
            found = re.search(f"(?:{pattern})(?P<rest>.*)", answer)
            if found:
                words = {"become": become, "interpreter": interpreter or "python3", "rest": found["rest"].rstrip(), "seconds": found.groupdict().get("seconds")}
                return ActionError(host, cause.format(**words), advice)
        return ActionError(host, f"the program gave no result: {_one_line(answer)}", "look at the host's ssh and sudo logs")


def _command(interpreter: str) -> str:
    """Shell text that starts the interpreter (or the first suitable one) on stdin as root."""
    root = f'[ "$(id -u)" = 0 ] || {{ echo {NOT_ROOT} >&2; exit 77; }}; '
    if interpreter:
        return root + "exec " + " ".join(shlex.quote(word) for word in shlex.split(interpreter)) + " -I -S -"
    # The name behind the link tells an old one without starting it.
    return (
        root + f"old=; for name in {' '.join(CANDIDATES)}; do path=$(command -v $name) || continue; "
        'case $(readlink -f "$path") in *3.[0-8]) old="$old $path"; continue;; esac; exec "$path" -I -S -; done; '
        f'echo "{NO_PYTHON}${{old:+, only$old}}" >&2; exit 78'
    )


def _plain(value: Any) -> Any:
    """Ansible's tagged values as plain ones, so that no message shows their inner types."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def _one_line(text: str) -> str:
    return " ".join(one_line(text).split())[:300] or "nothing"
