# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a transaction share: the machine, the node, the journal, the writer, and how they speak and wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Machine
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Running
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.writer import Writer
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.probes import Answer


def after(seconds: float) -> str:
    """How long something took; nothing where it took no time that counts."""
    return f" after {seconds:.1f} s" if seconds >= 0.1 else ""


class NodeView(Protocol):
    """What the steps ask the node; see node.Node."""

    name: str

    def running(self, component: str) -> list[Running]: ...

    def probe(self, pod_probes: Mapping[str, Mapping[str, Any]]) -> Answer: ...

    def newest_pod(self, component: str) -> str: ...

    def starts(self, component: str, uid: str) -> int: ...

    def last_words(self, component: str, uid: str) -> str: ...


@dataclass
class Context:
    """Everything a step works with. `keep` is called while waiting and renews the cluster's Lease where one is held.

    Once `undoing`, a journal that cannot be written stops nothing: an undo is worth more than its record. `unwritten` counts such lines.
    """

    machine: Machine
    node: NodeView
    journal: Journal
    writer: Writer
    directory: str
    job: Mapping[str, Any]
    tools: Tools
    keep: Callable[[], None] = field(default=lambda: None)
    undoing: bool = False
    unwritten: int = 0

    def say(self, step: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Journal something that is done."""
        self.add("done", step, message, data)

    def wait(self, step: str, what: str, condition: Callable[[], Any], seconds: float) -> tuple[Any, float]:
        """Journal that we wait, and wait; see Machine.wait."""
        self.add("wait", step, f"{what} (at most {seconds:g} s)", {"seconds": seconds})

        def kept() -> Any:
            self.keep()
            return condition()

        return self.machine.wait(what, kept, seconds)

    def add(self, event: str, step: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Journal a line. Raises OSError, but not while undoing."""
        try:
            self.journal.add(event, step, message, data)
        except OSError:
            if not self.undoing:
                raise
            self.unwritten += 1


class Tools(Protocol):
    """Helpers of single steps that tests replace: see toolbox.Toolbox."""

    def validate(self, context: Context, component: str, change: Mapping[str, Any], old: Running) -> str: ...

    def hand_over_leadership(self, context: Context, argv: tuple[str, ...]) -> str: ...

    def drain(self, context: Context, argv: tuple[str, ...]) -> str: ...

    def rejoin(self, context: Context) -> None: ...

    def check_quorum(self, context: Context, argv: tuple[str, ...]) -> None: ...

    def check_pressure(self) -> None: ...

    def pod_is_ready(self, context: Context, component: str, uid: str) -> bool: ...

    def administrator(self, context: Context) -> Any: ...

    def signed_kubelets(self, context: Context, nodes: Sequence[str]) -> list[str]: ...

    def validate_kubelet(self, context: Context, pid: int, argv: Sequence[str] | None) -> str: ...

    def argv_of(self, pid: int) -> Sequence[str]: ...

    def unit_words(self, unit: str) -> str: ...

    def forget_kubelet_api(self) -> None: ...

    def node_is_back(self, since: float) -> bool: ...

    def static_pods_known(self) -> bool: ...


class Step(Protocol):
    """One step of a job. `restore` needs nothing but files; `revive` tells the running system; `settle` waits for health."""

    name: str

    def check(self) -> None: ...

    def apply(self) -> None: ...

    def restore(self) -> None: ...

    def revive(self) -> None: ...

    def settle(self) -> None: ...
