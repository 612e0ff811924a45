# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd side: how a transaction is started detached, and the two ways in which it is undone without any controller.

Armed before the first change, disarmed after the last: a transient timer (a hung or killed process) and a unit on the disk (a power cut).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine

BOOT_UNIT = "ninepaths-recover.service"
UNITS = "/etc/systemd/system"
WANTS = UNITS + "/multi-user.target.wants"
NO_SYSTEMD = "ninepaths changes a node only in a detached systemd unit that can undo itself; this host cannot be changed"

INTERPRETER = re.compile(r"/[A-Za-z0-9._/+-]+")  # systemd reads blanks, % and $ as something else
UNDO_AFTER, UNDO_MARGIN = 900.0, 300.0  # seconds

BOOT_TEXT = """\
# Made by ninepaths when it begins to change this node, removed when it has ended.
# If the machine goes down in between, this puts the old files back before the kubelet reads them.
[Unit]
Description=ninepaths: undo the unfinished transaction {name}
Documentation=file://{directory}/journal.jsonl
Before=kubelet.service
RequiresMountsFor={directory} /etc/kubernetes /var/lib/kubelet
ConditionPathExists={directory}/program.py

[Service]
Type=oneshot
ExecStart={python} -I -S {directory}/program.py boot
TimeoutStartSec=120

[Install]
WantedBy=multi-user.target
"""


def unit_name(name: str) -> str:
    """The transient service of a transaction, without suffix."""
    return f"ninepaths-{name}"


def program(directory: str, *mode: str) -> list[str]:
    """How the program of a transaction is started."""
    return [sys.executable or "/usr/bin/python3", "-I", "-S", f"{directory}/program.py", *mode]


def require_systemd(host: Machine) -> None:
    """Raises TransactionError when this host is not run by systemd or has no systemd-run."""
    if not INTERPRETER.fullmatch(sys.executable or "/usr/bin/python3"):
        raise TransactionError(f"the interpreter {sys.executable!r} cannot stand in a unit", "set ansible_python_interpreter to a plain path")
    if not host.exists("/run/systemd/system"):
        raise TransactionError("this host is not run by systemd", NO_SYSTEMD)
    found = host.command(["systemd-run", "--version"])
    if found.rc != 0:
        raise TransactionError(f"systemd-run does not work: {_last(found.stderr)}", NO_SYSTEMD)


def undo_after(job: Mapping[str, Any]) -> float:
    """Seconds after which a transaction that has not ended is undone."""
    return float(job.get("undo_after_s") or UNDO_AFTER)


def undo_limit(job: Mapping[str, Any]) -> float:
    """Seconds that an undo may take: it waits for the same things as the way forward."""
    return undo_after(job) + UNDO_MARGIN


def start(host: Machine, name: str, directory: str, job: Mapping[str, Any]) -> None:
    """Start the transaction detached; its service undoes what is open when the main process ends, however. Raises TransactionError."""
    undo = " ".join(program(directory, "recover"))
    argv = [
        "systemd-run", "--quiet", "--collect", f"--unit={unit_name(name)}", f"--description=ninepaths transaction {name}",
        f"--property=ExecStopPost={undo}", f"--property=TimeoutStopSec={undo_limit(job):.0f}", "--property=OOMScoreAdjust=-900",
        *program(directory),
    ]  # fmt: skip
    _run(host, argv, f"transaction {name} cannot be started")


def arm(host: Machine, name: str, directory: str, job: Mapping[str, Any]) -> None:
    """Arm the undo timer, which tries again until it is stopped, and the boot-time unit.

    Raises TransactionError or OSError; then nothing may be changed.
    """
    text = BOOT_TEXT.format(name=name, directory=directory, python=program(directory)[0]).encode("utf-8")
    _remove_boot_unit(host)
    if not host.exists(WANTS):
        host.files.make_directory(host.at(WANTS), 0o755)
    draft = host.at(_draft(name))
    host.files.write_new(draft, text, 0o644)
    host.files.rename(draft, host.at(f"{UNITS}/{BOOT_UNIT}"))
    host.files.symlink(f"{UNITS}/{BOOT_UNIT}", host.at(f"{WANTS}/{BOOT_UNIT}"))
    seconds = f"{undo_after(job):.0f}"
    argv = [
        "systemd-run", "--quiet", "--collect", f"--unit={unit_name(name)}-undo", f"--on-active={seconds}", f"--on-unit-inactive={seconds}",
        "--timer-property=AccuracySec=1s", f"--property=TimeoutStopSec={undo_limit(job):.0f}",
        f"--description=ninepaths: undo transaction {name} if it has not ended", *program(directory, "recover"),
    ]  # fmt: skip
    _run(host, argv, "the undo timer cannot be armed")


def disarm(host: Machine, name: str, directory: str) -> None:
    """Stop the timer and remove the boot-time unit, if it is this transaction's. Raises OSError."""
    stop_timer(host, name)
    host.files.remove(host.at(_draft(name)))
    if is_armed(host, directory):
        _remove_boot_unit(host)
        found = host.command(["systemctl", "show", "--property=LoadState", BOOT_UNIT])
        if found.stdout.strip() == "LoadState=loaded":  # the transaction had systemd read its units again
            host.command(["systemctl", "daemon-reload"])


def stop_timer(host: Machine, name: str) -> None:
    """No more undo by time; one that is not loaded any more (after a reboot) is fine."""
    host.command(["systemctl", "stop", f"{unit_name(name)}-undo.timer"])


def _draft(name: str) -> str:
    """The boot-time unit while it is written; systemd reads no name with this end."""
    return f"{UNITS}/.ninepaths-{name}.draft"


def is_armed(host: Machine, directory: str) -> bool:
    """Does the boot-time unit on the disk belong to the transaction of this directory?"""
    try:
        return f"{directory}/program.py".encode() in host.read(f"{UNITS}/{BOOT_UNIT}")
    except FileNotFoundError:
        return False


def _remove_boot_unit(host: Machine) -> None:
    """The link goes first: a unit without it does nothing."""
    for path in (f"{WANTS}/{BOOT_UNIT}", f"{UNITS}/{BOOT_UNIT}"):
        host.files.remove(host.at(path))


def settle_after_kubelet(host: Machine, name: str, directory: str) -> None:
    """At boot: let the rest (what needs the API, waiting for health) be done once the kubelet has been started. Raises TransactionError."""
    argv = ["systemd-run", "--quiet", "--collect", "--no-block", f"--unit={unit_name(name)}-settle", "--property=After=kubelet.service"]
    _run(host, [*argv, *program(directory, "settle")], "the rest of the undo cannot be started")


def stop(host: Machine, name: str, job: Mapping[str, Any]) -> None:
    """Stop the transaction's service; its ExecStopPost undoes what is open, and is waited for."""
    host.command(["systemctl", "stop", f"{unit_name(name)}.service"], timeout=undo_limit(job) + 100)


def is_active(host: Machine, name: str) -> bool:
    """Does the transaction's service run (its ExecStopPost included)?"""
    found = host.command(["systemctl", "show", "--property=ActiveState", f"{unit_name(name)}.service"])
    return found.stdout.strip() in ("ActiveState=active", "ActiveState=activating", "ActiveState=deactivating")


def going_down(host: Machine) -> bool:
    """Is the machine shutting down, so that nothing will become healthy any more?"""
    return str(host.command(["systemctl", "is-system-running"]).stdout).strip() == "stopping"


def _run(host: Machine, argv: Sequence[str], what: str) -> None:
    found = host.command(argv)
    if found.rc != 0:
        raise TransactionError(f"{what}: {_last(found.stderr) or 'systemd-run ended with ' + str(found.rc)}", NO_SYSTEMD)


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2][:300]
