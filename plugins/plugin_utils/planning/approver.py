# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a control plane needs to approve serving certificates by itself: a program, its configuration, a service and a timer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

PROGRAM = "/usr/local/lib/ninepaths/approver.py"
CONFIG = "/etc/kubernetes/ninepaths/approver.json"
SERVICE = "ninepaths-approver.service"
TIMER = "ninepaths-approver.timer"
UNITS = "/etc/systemd/system"
ENTRY = "approver"
REQUEST = {"schema": 1, "config": CONFIG}

NEWLINE = b"\n"
MADE = re.compile(r"^# Made (from .+[^.\n])\.?$", re.MULTILINE)
INTERPRETER = re.compile(r"/[A-Za-z0-9._/+-]+")

# The program reads three files and talks to the apiserver of its own node. The keys of the CAs are not its business.
SERVICE_TEXT = """\
# Managed by ninepaths.kubernetes; changes are overwritten.
[Unit]
Description=Approve serving certificates of kubelets (ninepaths)
Documentation=https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
After=network-online.target kubelet.service

[Service]
Type=oneshot
ExecStart={python} -I -S {program}
User=root
UMask=0077
TimeoutStartSec=50s
MemoryMax=256M
TasksMax=32
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateDevices=yes
PrivateTmp=yes
InaccessiblePaths=-/etc/kubernetes/pki/ca.key -/etc/kubernetes/pki/etcd -/etc/kubernetes/pki/sa.key -/var/lib/etcd -/var/lib/kubelet
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""

# A minute is short against the fifteen that a kubelet waits before it asks anew.
TIMER_TEXT = """\
# Managed by ninepaths.kubernetes; changes are overwritten.
[Unit]
Description=Approve serving certificates of kubelets every minute (ninepaths)

[Timer]
OnActiveSec=5s
OnUnitInactiveSec=60s
RandomizedDelaySec=15s
AccuracySec=1s
Unit={service}

[Install]
WantedBy=timers.target
"""


class Asset(NamedTuple):
    """A file of root's; mode in four octal digits. `summary`: what a person is shown in its place."""

    path: str
    content: bytes
    mode: str
    summary: str | None = None


def assets(program: bytes, nodes: Mapping[str, Mapping[str, Sequence[str]]], python: str = "/usr/bin/python3") -> list[Asset]:
    """Files of the approver.

    `program` is `readable.build(ENTRY, REQUEST)`, `nodes` what each node's certificate may hold, as {node: {"dns": [...], "ip": [...]}}.
    The same input gives the same bytes. Raises ValueError for an interpreter that cannot stand in a unit.
    """
    if not INTERPRETER.fullmatch(python):
        raise ValueError(f"{python!r} is no absolute path of an interpreter that a systemd unit can name")
    wanted = {node: {"dns": sorted(set(names["dns"])), "ip": sorted(set(names["ip"]))} for node, names in nodes.items()}
    config = json.dumps({"schema": 1, "nodes": wanted}, indent=1, sort_keys=True) + "\n"
    return [
        Asset(PROGRAM, program, "0600", summary(program)),
        Asset(CONFIG, config.encode("utf-8"), "0600"),
        Asset(f"{UNITS}/{SERVICE}", SERVICE_TEXT.format(python=python, program=PROGRAM).encode("utf-8"), "0644"),
        Asset(f"{UNITS}/{TIMER}", TIMER_TEXT.format(service=SERVICE).encode("utf-8"), "0644"),
    ]


def summary(program: bytes) -> str:
    """A line for a diff: how long it is, its digest, and what it says about its origin."""
    origin = MADE.search(program.decode("utf-8", "replace"))
    digest = hashlib.sha256(program).hexdigest()
    return f"program, {program.count(NEWLINE):,} lines, sha256 {digest[:16]}" + (f", made {origin[1]}" if origin else "")


def read(text: str) -> dict[str, dict[str, list[str]]]:
    """The nodes of a configuration that `assets` wrote; empty for any other text."""
    try:
        nodes = json.loads(text)["nodes"]
        return {str(node): {"dns": [str(name) for name in names["dns"]], "ip": [str(ip) for ip in names["ip"]]} for node, names in nodes.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
