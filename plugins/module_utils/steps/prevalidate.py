# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the running binary itself whether it accepts a new command line, before anything is restarted.

Three questions, each cheap: does it parse (`--version` added), does every file that a new flag names exist where the pod sees it, and
does the binary start with it for a moment in empty namespaces. A binary that fails there in the same way with its present arguments
tells nothing (a controller-manager without an apiserver ends by itself), so that is not held against the new ones.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import ValidationError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import pairs
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import LOUD, harmless

SECONDS = 3
# The present arguments get longer to come to the same end: on a busy machine they may be slower than the new ones were.
CONTROL_SECONDS = 20
STILL_RUNNING = (137, -9)  # timeout(1) takes itself along when it kills its group
NOT_RUN = (124, 125, 126, 127)  # by run.RunResult and sandbox.FAILED: what was asked never came to the point
ACCEPTED = "new arguments accepted by the running binary"
# Flags whose value is written by the component: a file in, or a directory.
WRITTEN_FILES = ("audit-log-path", "log-file")
WRITTEN_DIRECTORIES = ("data-dir", "wal-dir", "cert-dir", "log-dir")
MUST_BE_KEPT = ("audit-log-path", "data-dir", "wal-dir")
OPTIONAL = ("flex-volume-plugin-dir", "volume-plugin-dir", "cert-dir", "log-dir", "log-file")
PATH_FLAG = re.compile(r"--([a-z0-9-]+)=(/.+)")
# What the kubelet needs to get as far as judging its configuration. Nothing of the container runtime is among it.
KUBELET_PATHS = ("/etc/kubernetes", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/pki")
KUBELET_FAULTS = re.compile(
    r"failed to load kubelet config|failed to validate kubelet config|failed to parse kubelet flag|failed to merge|"
    r"failed to set feature gates|unknown flag|invalid argument|failed to initialize TLS|unable to load client CA"
)
VARYING = re.compile(r"^[EFIW]\d{4} [^\]]*\] |\"(?:ts|caller)\":\"[^\"]*\",?|0x[0-9a-f]+|\d+")
ADVICE = "nothing was restarted; correct the setting (or waive the control), then run again"


class Candidate:
    """A component's new command line, with the pod's mounts and the process that runs now."""

    def __init__(
        self,
        machine: Machine,
        component: str,
        argv: Sequence[str],
        old: Sequence[str],
        pid: int,
        mounts: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        self.machine, self.component, self.argv, self.old, self.pid, self.mounts = machine, component, list(argv), list(old), pid, mounts

    def place(self, path: str) -> str:
        """Where this host keeps what the pod sees at a path; the same path where no mount says otherwise."""
        mount = self.mount_of(path)
        inside = path if mount is None else mount["host_path"] + path[len(mount["path"].rstrip("/")) :]
        return self.machine.at(inside)

    def mount_of(self, path: str) -> Mapping[str, Any] | None:
        """The mount that a path of the pod lies in: the deepest one."""
        fitting = [mount for mount in self.mounts or () if path == mount["path"] or path.startswith(mount["path"].rstrip("/") + "/")]
        return max(fitting, key=lambda mount: len(mount["path"]), default=None)

    def changed_paths(self) -> list[tuple[str, str]]:
        """Flags with an absolute path that the old command line does not have in this form."""
        return [found.groups() for word in self.argv if word not in self.old for found in [PATH_FLAG.fullmatch(word)] if found]  # type: ignore[misc]


def validate(candidate: Candidate, directory: str) -> str:
    """All checks; says what was checked. Raises ValidationError with the binary's own reason."""
    verdict = check_parse(candidate)
    check_files(candidate)
    pairs.check(candidate.argv, candidate.place)
    return verdict + check_start(candidate, directory)


def check_parse(candidate: Candidate) -> str:
    """The running binary parses the new flags and prints its version. Returns the verdict; raises ValidationError."""
    binary = f"/proc/{candidate.pid}/exe"
    found = candidate.machine.command([binary, *candidate.argv[1:], "--version"], timeout=10)
    if found.rc == 0:
        return ACCEPTED
    said = reason(found.stdout, found.stderr) or f"it ended with {found.rc}"
    if found.rc not in NOT_RUN and candidate.machine.command([binary, *candidate.old[1:], "--version"], timeout=10).rc == 0:
        raise ValidationError(f"{candidate.component} refuses its new arguments: {said}", ADVICE)
    return f"new arguments could not be judged ({said})"


def check_files(candidate: Candidate) -> None:
    """Every path that a new flag names is there and the pod sees it. Raises ValidationError."""
    for name, path in candidate.changed_paths():
        if name in OPTIONAL:
            continue
        mount = candidate.mount_of(path)
        if candidate.mounts is not None and mount is None:
            raise ValidationError(
                f"{candidate.component}: --{name}={path} lies in no mount of the pod, so it would not see the file", ADVICE
            )
        if name in MUST_BE_KEPT:
            if mount is not None and mount.get("read_only"):
                raise ValidationError(f"{candidate.component}: --{name}={path} lies in a read-only mount of the pod", ADVICE)
            continue
        if not os.path.exists(candidate.place(path)):
            raise ValidationError(f"{candidate.component}: --{name}: {path} does not exist on this host", ADVICE)


def check_start(candidate: Candidate, directory: str) -> str:
    """Start the binary for a moment in empty namespaces. Returns what to add to the verdict; raises ValidationError."""
    if candidate.mounts is None:
        return " (a trial start was left out: the job does not say what the pod mounts)"
    found = _trial(candidate, candidate.argv, directory, SECONDS)
    if found.rc in STILL_RUNNING:
        return f", which ran with them for {SECONDS} s in empty namespaces"
    if found.rc in NOT_RUN:
        return f" (a trial start is not possible on this host: {reason('', found.stderr)})"
    control = _trial(candidate, candidate.old, directory, CONTROL_SECONDS)
    said = reason(found.stdout, found.stderr)
    if control.rc in STILL_RUNNING or _constant(said) != _constant(reason(control.stdout, control.stderr)):
        raise ValidationError(f"{candidate.component} does not start with its new arguments: {said or f'it ended with {found.rc}'}", ADVICE)
    return ", which starts with them in empty namespaces as far as with its present ones"


def _trial(candidate: Candidate, argv: Sequence[str], directory: str, seconds: int) -> Any:
    binds = [mount for mount in candidate.mounts or () if os.path.exists(candidate.machine.at(mount["host_path"]))]
    return _start(candidate, argv, directory, {"binds": binds, "scratch": scratch(argv), "system": False}, seconds)


def _start(candidate: Candidate, argv: Sequence[str], directory: str, task: Mapping[str, Any], seconds: int) -> Any:
    machine, root = candidate.machine, f"{directory}/sandbox"
    if not machine.exists(root):
        machine.files.make_directory(machine.at(root), 0o700)
    task = {**task, "executable": f"/proc/{candidate.pid}/exe", "argv": list(argv), "root": root, "addresses": addresses(argv)}
    prefix = ["timeout", "--signal=KILL", str(seconds), "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--"]
    return machine.command([*prefix, *units.program(directory, "sandbox")], stdin=json.dumps(task).encode("utf-8"), timeout=seconds + 10)


def validate_kubelet(candidate: Candidate, directory: str) -> str:
    """Parse the kubelet's command line, then let it read its configuration in empty namespaces, where it finds no container runtime.

    It ends there in any case; only what it says about flags and configuration counts. Raises ValidationError.
    """
    verdict = check_parse(candidate)
    paths = [match.group(2) for word in candidate.argv for match in [PATH_FLAG.fullmatch(word)] if match]
    existing = sorted({path for path in [*paths, *KUBELET_PATHS] if os.path.exists(candidate.machine.at(path))})
    binds = [
        {"host_path": candidate.machine.at(path), "path": path}
        for path in existing
        if not any(path.startswith(other + "/") for other in existing)
    ]
    found = _start(candidate, candidate.argv, directory, {"binds": binds, "scratch": [], "system": True}, SECONDS)
    if found.rc in NOT_RUN:
        return f"{verdict} (a trial start is not possible on this host: {reason('', found.stderr)})"
    fault = next((line.strip() for line in (found.stdout + found.stderr).splitlines() if KUBELET_FAULTS.search(line)), "")
    if fault:
        raise ValidationError(f"the kubelet refuses its new configuration: {harmless(fault)}", ADVICE)
    if not (found.stdout + found.stderr).strip():  # a kubelet that gets as far as its configuration has said something
        return f"{verdict}; its configuration could not be judged (it ended with {found.rc} and said nothing)"
    return f"{verdict}, its configuration too"


def scratch(argv: Sequence[str]) -> list[str]:
    """Directories that a component writes to; in the trial each is an empty tmpfs."""
    found = {name: path for word in argv for name, path in [match.groups() for match in [PATH_FLAG.fullmatch(word)] if match]}
    files = {os.path.dirname(path) for name, path in found.items() if name in WRITTEN_FILES}
    return sorted((files | {path for name, path in found.items() if name in WRITTEN_DIRECTORIES}) - {"/"})


def addresses(argv: Sequence[str]) -> list[str]:
    """Addresses that an argv names, loopback and wildcard left out."""
    found = []
    for text in re.findall(r"\d{1,3}(?:\.\d{1,3}){3}", " ".join(argv)):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_unspecified or text in found):
            found.append(text)
    return found


def reason(stdout: str, stderr: str) -> str:
    """The line that says why a program ended: the last that looks like an error, else the last one."""
    lines = [line.strip() for line in (stdout + "\n" + stderr).splitlines() if line.strip()]
    loud = [line for line in lines if LOUD.match(line)]
    return harmless((loud or lines or [""])[-1])


def _constant(text: str) -> str:
    """A message without what differs from one start to the next."""
    return VARYING.sub("", text)
