# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bed whose nodes can be broken: transactions that stop at an exact line of their journal, power cuts, and what a node looks like."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.integration.bed import Bed
from tests.testbed import host, podman

NODE = Path(__file__).parent / "node"
HOME = "/opt/faults"
DROP_IN = "/etc/systemd/system/ninepaths-.service.d"
JOURNAL = "{directory}/journal.jsonl"
BOOTED = 120.0
# What the scripts of the cases know.
SHELL = (
    f"export PATH={HOME}:$PATH KUBECONFIG=/etc/kubernetes/admin.conf"
    " MANIFESTS=/etc/kubernetes/manifests KUBELET_CONFIG=/var/lib/kubelet/config.yaml"
)
# A drop-in for the prefix of all our units counts for transient ones as well.
INSTALL = f"""set -e
mkdir -p {HOME} {DROP_IN}
base64 -d <<'END' | tar -C {HOME} --no-same-owner -x
{{archive}}
END
printf '[Service]\\nExecStart=\\nExecStart={HOME}/breaker run %%n\\n' >{DROP_IN}/faults.conf
systemctl daemon-reload
"""


def programs() -> str:
    """What the nodes need of this folder, as a tar in base64."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in sorted(NODE.iterdir()):
            tar.add(file, file.name)
    return base64.encodebytes(buffer.getvalue()).decode("ascii").strip()


@dataclass(frozen=True)
class Order:
    """What is to happen to the next transaction of a wave (its name as in the journal's directory); see node/breaker."""

    wave: str
    strace: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    hang: int = 0


def at_line(wave: str, line: int, signal: str) -> Order:
    """A signal in the moment in which this line of the journal was written, and is put on the disk."""
    return Order(wave, ("--trace-path=" + JOURNAL, "--trace=fsync", f"--inject=fsync:signal={signal}:when={line}"))


def failing(wave: str, calls: str, error: str, when: str) -> Order:
    """System calls that fail: `when` is one number (the first call is 1), or `n+` for all from there on."""
    return Order(wave, (f"--trace={calls}", f"--inject={calls}:error={error}:when={when}"))


def tracing(wave: str, calls: str) -> Order:
    """Nothing is broken; the trace then has these system calls."""
    return Order(wave, (f"--trace={calls}",))


@dataclass(frozen=True)
class Nodes:
    """The nodes of a bed, with what only a test does to them."""

    bed: Bed

    def prepare(self) -> None:
        """Lay the breaker on every node, and end what an interrupted test has left."""
        for node in self.bed.nodes:
            self.forget(node)
            self.bed.root(node, INSTALL.format(archive=programs()))

    def root(self, node: str, script: str, check: bool = True) -> str:
        """Run a shell script on a node as root; it finds the programs of this folder."""
        return self.bed.root(node, f"{SHELL}\n{script}", check=check)

    def order(self, node: str, order: Order) -> None:
        """The next transaction of that wave on this node is broken so."""
        self.root(node, f"rm -f {HOME}/order.taken.json; cat >{HOME}/order.json <<'END'\n{json.dumps(asdict(order))}\nEND\n")

    def taken(self, node: str) -> bool:
        """Did a transaction take the order?"""
        return "yes" in self.root(node, f"test -e {HOME}/order.taken.json && echo yes", check=False)

    def wait_until_stopped(self, node: str, seconds: float = 240.0) -> dict[str, Any]:
        """Until the transaction stands still; returns the last line of its journal."""
        line: dict[str, Any] = json.loads(self.root(node, f"breaker wait {seconds:g}"))
        return line

    def go_on(self, node: str) -> None:
        """Let it go on."""
        self.root(node, "breaker continue")

    def kill(self, node: str) -> None:
        """End it with SIGKILL where it stands."""
        self.root(node, "breaker kill")

    def forget(self, node: str) -> None:
        """No order any more, and nothing that stands still (after a test that failed)."""
        self.root(node, f"rm -f {HOME}/order.json; breaker kill 2>/dev/null", check=False)

    def files(self) -> dict[str, dict[str, str]]:
        """Per node, every file that a run may touch with its digest, owner and mode."""
        return {node: json.loads(self.root(node, "files")) for node in self.bed.nodes}

    def podman(self, node: str, *command: str) -> None:
        """Do something to the node as a machine: ("kill", "--signal=KILL"), ("start",)."""
        container = next(entry["container"] for entry in self.bed.facts["nodes"] if entry["name"] == node)
        podman.connect(host.look())(*command, container)

    def power_cut(self, node: str, seconds: float = 2.0) -> None:
        """The machine stops in this very moment, and is switched on again."""
        self.podman(node, "kill", "--signal=KILL")
        time.sleep(seconds)
        self.switch_on(node)

    def switch_on(self, node: str) -> None:
        """Start the machine and wait for its sshd."""
        self.podman(node, "start")
        deadline = time.monotonic() + BOOTED
        while True:
            try:
                self.bed.ssh(node, "true")
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def transactions(self, node: str) -> list[str]:
        """Names of the transactions on a node, the oldest first."""
        return self.root(node, "ls -tr /var/lib/ninepaths/transactions 2>/dev/null", check=False).split()

    def journal(self, node: str, transaction: str) -> list[dict[str, Any]]:
        """Lines of a journal."""
        text = self.root(node, f"cat /var/lib/ninepaths/transactions/{transaction}/journal.jsonl")
        return [json.loads(line) for line in text.splitlines()]

    def newest_journal(self, node: str, wave: str) -> list[dict[str, Any]]:
        """The journal of the newest transaction of a wave."""
        return self.journal(node, [name for name in self.transactions(node) if name.endswith(f"-{wave}")][-1])


def words(lines: Sequence[Mapping[str, Any]]) -> str:
    """What a journal says, as text."""
    return "\n".join(str(line["message"]) for line in lines)
