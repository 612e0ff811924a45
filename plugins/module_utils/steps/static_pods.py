# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls the static pods of a control plane: each manifest replaced at the moment that costs no request.

The order is the apiserver first; when its old process is gone its etcd, which has handed over leadership; when etcd is healthy and
the apiserver is ready, controller-manager and scheduler together. Other orders lose requests: an apiserver without its etcd still
answers for a while, and controller-manager and scheduler lose their leases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import HealthError, JobError, PreconditionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.machine import Waiting
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.context import Context, after
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Running
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.system_steps import restore
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.probes import Answer, require_form

APISERVER, ETCD = "kube-apiserver", "etcd"
LAST = ("kube-controller-manager", "kube-scheduler")
COMPONENTS = (APISERVER, ETCD, *LAST)

# Seconds. A pod may have a long grace period of its own, and kubelet waits up to 15 s before it starts the new one.
GONE = 180.0
READY = {APISERVER: 180.0, ETCD: 180.0, "kube-controller-manager": 120.0, "kube-scheduler": 120.0}
KUBELET_AGREES = 240.0
# Probes in a row, four a second. After an undo the process that still answers may be one that the kubelet is about to stop.
PASSES, PASSES_AFTER_UNDO = 2, 16
MOST_RESTARTS = 3
# Seconds of nothing but 401: probes carry no credential, so no time makes it a 200; the kubelet would kill it for that minutes later.
UNAUTHORIZED, CREDENTIAL_WANTED = 401, 10.0
# A component that ended a moment ago is started again by the kubelet, after a back-off of 10 s at first.
COMES_BACK = 30.0


def _require_form(component: str, change: Mapping[str, Any]) -> None:
    """What is used after the first restart has its form before it. Raises TypeError and the like, which the caller puts into words."""
    argv = change["argv"]
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise TypeError(f"argv of {component} is no list of texts")
    for probe in (*change["probes"].values(), *(change.get("old_probes") or {}).values()):
        require_form(probe)
    for place in (mount[key] for mount in change.get("mounts") or () for key in ("path", "host_path")):
        if not isinstance(place, str):
            raise TypeError(f"a mount of {component} has no path")
    if not isinstance(change.get("old") or {}, Mapping):
        raise TypeError(f"what {component} was is no object")


class StaticPods:
    """The static_pods step of a job."""

    def __init__(self, step: Mapping[str, Any], context: Context, name: str) -> None:
        self.context, self.name = context, name
        self.changes: Mapping[str, Mapping[str, Any]] = step["changes"]
        unknown = sorted(set(self.changes) - set(COMPONENTS))
        if unknown or not self.changes:
            raise JobError(f"static_pods: {', '.join(unknown) or 'no component'} is none of {', '.join(COMPONENTS)}")
        self.files = {component: changes.parse(change["file"]) for component, change in self.changes.items()}
        for component, change in self.changes.items():
            _require_form(component, change)
        self.before: dict[str, Running] = {}

    # --- forward -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Is each component the one the plan saw, once, and its manifest too? Raises PreconditionError; nothing is touched."""
        for component in self._ordered():
            changes.check(self.context.machine, self.files[component])
            self.before[component] = self._current(component)
        self.context.tools.check_pressure()
        self._check_quorum()

    def _check_quorum(self) -> None:
        """Raises PreconditionError when the cluster cannot do without this etcd, in this moment."""
        if ETCD in self.changes:
            self.context.tools.check_quorum(self.context, self.before[ETCD].argv)

    def _current(self, component: str) -> Running:
        running = self._running_once(component)
        uid = (self.changes[component].get("old") or {}).get("uid")
        if uid and uid != running.uid:
            raise PreconditionError(f"{component} is another pod than the one observed (its manifest was changed meanwhile)", changes.AGAIN)
        return running

    def _running_once(self, component: str) -> Running:
        """Its only process, which may take a moment to come back."""

        def once() -> Running | None:
            running = self.context.node.running(component)
            if len(running) != 1:
                raise Waiting(f"{len(running)} processes")
            return running[0]

        try:
            found: Running = self.context.machine.wait(f"{component} has one process on this host", once, COMES_BACK)[0]
        except HealthError as error:
            raise PreconditionError(error.cause, "make it healthy first (kubelet's log, crictl ps -a), then run again") from error
        return found

    def apply(self) -> None:
        """Pre-validate everything, then roll. Raises TransactionError or OSError."""
        for component in self._ordered():
            self.before.setdefault(component, self._current(component))
            verdict = self.context.tools.validate(self.context, component, self.changes[component], self.before[component])
            self.context.say(self.name, f"{component}: {verdict}")
        self.context.tools.check_pressure()  # again, since the trial starts took their time
        self._roll_apiserver_and_etcd()
        last = [component for component in LAST if component in self.changes]
        for component in last:
            self._replace(component)
        for component in last:
            self._ready(component)
        for component in self._ordered():
            self._kubelet_agrees(component)

    def _roll_apiserver_and_etcd(self) -> None:
        self._check_quorum()  # pre-validation took its time; now it costs nothing yet to stop
        if APISERVER in self.changes:
            self._leave_load_balancer()
            self._replace(APISERVER)
            self._gone(APISERVER, self.before[APISERVER])
            self.context.tools.rejoin(self.context)
        if ETCD in self.changes:
            self._check_quorum()  # an old apiserver may take minutes to go
            message = self.context.tools.hand_over_leadership(self.context, self.before[ETCD].argv)
            self.context.say(self.name, f"etcd: {message}")
            self._replace(ETCD)
            self._gone(ETCD, self.before[ETCD])
            self._ready(ETCD)
        if APISERVER in self.changes:
            self._ready(APISERVER)

    def _leave_load_balancer(self) -> None:
        message = self.context.tools.drain(self.context, self.before[APISERVER].argv)
        if message:
            self.context.say(self.name, f"{APISERVER}: {message}")

    def _ordered(self) -> list[str]:
        return [component for component in COMPONENTS if component in self.changes]

    def _replace(self, component: str) -> None:
        old = self.before[component]
        self.context.say(self.name, f"{component}: runs as process {old.pid}", {"component": component, "old": {**old._asdict()}})
        self.context.writer.apply(self.files[component], self.name)
        self.context.say(self.name, f"{component}: new manifest in place")

    def _gone(self, component: str, old: Running) -> None:
        def gone() -> bool:
            return all((one.pid, one.uid) != (old.pid, old.uid) for one in self.context.node.running(component))

        _found, took = self.context.wait(self.name, f"{component}: waiting until its old process is gone", gone, GONE)
        self.context.say(self.name, f"{component}: old process gone{after(took)}")

    def _ready(self, component: str) -> None:
        change, old = self.changes[component], self.before[component]
        watch = Watch(self.context, component, tuple(change["argv"]), change["probes"], old)
        _found, took = self.context.wait(self.name, f"{component}: waiting for the new process and its probes", watch.ready, READY[component])
        self.context.say(
            self.name,
            f"{component}: ready{after(took)}, process {watch.pid}",
            {"component": component, "pid": watch.pid, "uid": watch.uid},
        )

    def _kubelet_agrees(self, component: str) -> None:
        """The kubelet itself calls the pod started and ready: its startup probe is over, so it will not kill it for that later."""
        uid = self._current_uid(component)
        _found, took = self.context.wait(
            self.name, f"{component}: waiting until the kubelet calls it started and ready",
            lambda: self.context.tools.pod_is_ready(self.context, component, uid), KUBELET_AGREES,
        )  # fmt: skip
        self.context.say(self.name, f"{component}: the kubelet calls it started and ready{after(took)}")

    def _current_uid(self, component: str) -> str:
        running = self.context.node.running(component)
        if len(running) != 1:
            raise HealthError(f"{component} has {len(running)} processes after its roll", self._log_advice(component))
        return running[0].uid

    def _log_advice(self, component: str) -> str:
        return f"look at /var/log/pods/kube-system_{component}-{self.context.node.name}_*"

    # --- back --------------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Put the old manifests back, dependants first. Raises UndoError after having tried all."""
        back = {record["path"]: record for record in self.context.writer.records(self.name)}
        order = [component for component in (*reversed(LAST), APISERVER, ETCD) if component in self.files and self.files[component].path in back]
        try:
            restore(
                self.context, self.name, ((back[self.files[component].path], f"{component}: old manifest back in place") for component in order)
            )
        finally:
            self.context.tools.rejoin(self.context)

    def revive(self) -> None:
        """Nothing to do: the kubelet reads the manifests itself."""

    def settle(self) -> None:
        """Wait until everything that was touched runs with its old arguments and passes its probes. Raises HealthError."""
        touched = {record["path"] for record in self.context.writer.records(self.name)}
        for component in (ETCD, APISERVER, *LAST):
            if component in self.files and self.files[component].path in touched:
                self._old_is_healthy(component)

    def _old_is_healthy(self, component: str) -> None:
        change = self.changes[component]
        watch = Watch(self.context, component, self._old_argv(component), change.get("old_probes") or change["probes"], None)
        watch.patient, watch.passes = True, PASSES_AFTER_UNDO
        _found, took = self.context.wait(self.name, f"{component}: waiting until it is healthy as before", watch.ready, READY[component])
        self.context.say(self.name, f"{component}: healthy as before{after(took)}", {"component": component, "pid": watch.pid})

    def _old_argv(self, component: str) -> tuple[str, ...]:
        """As journaled before the manifest was replaced; a record of the replacement is never without it."""
        lines = (
            line["data"] for line in self.context.journal.lines if line["data"].get("component") == component and "old" in line["data"]
        )
        return tuple(next(lines)["old"]["argv"])


class Watch:
    """Watches one component until its process is the wanted one and its probes pass several times in a row.

    `old` is the process that must have gone; `patient` means that crashes on the way are waited out (an undo has no better idea).
    """

    def __init__(self, context: Context, component: str, argv: tuple[str, ...], probes: Mapping[str, Any], old: Running | None) -> None:
        self.context, self.component, self.argv, self.probes, self.old = context, component, argv, probes, old
        self.patient, self.passes = False, PASSES
        self.pid, self.uid, self.passed = 0, "", 0
        self.first: dict[str, int] = {}
        self.unauthorized_since: float | None = None

    def ready(self) -> bool:
        """Is it? Raises Waiting with what is missing, HealthError when the process ends again and again."""
        running = self.context.node.running(self.component)
        if len(running) == 1:
            self._identify(running[0])
            answer = self.context.node.probe(self.probes)
            self.passed = self.passed + 1 if answer.passed else 0
            self._give_up_on_refusals(answer)
            if not answer.passed:
                self._give_up_on_crashes(answer.detail)
                raise Waiting(answer.detail)
            return self.passed >= self.passes
        self.passed = 0
        self._give_up_on_crashes("")
        raise Waiting(f"{len(running)} processes{self._said()}")

    def _identify(self, found: Running) -> None:
        if self.old is not None and (found.pid, found.uid) == (self.old.pid, self.old.uid):
            raise Waiting("the old process still runs")
        if found.argv != self.argv:
            self.passed = 0
            raise Waiting(difference(self.argv, found.argv))
        if self.pid and found.pid != self.pid:
            self.passed = 0
        self.pid, self.uid = found.pid, found.uid

    def _pod(self) -> str:
        """UID of the pod to ask the log of: a process that ends at once is never seen, its pod's log is."""
        newest = self.uid or self.context.node.newest_pod(self.component)
        return "" if self.old is not None and newest == self.old.uid else newest

    def _said(self) -> str:
        words = self.context.node.last_words(self.component, self._pod()) if self._pod() else ""
        return f"; it said: {words}" if words else ""

    def _give_up_on_refusals(self, answer: Answer) -> None:
        now = self.context.machine.clock()
        if answer.status != UNAUTHORIZED or self.patient:
            self.unauthorized_since = None
            return
        if self.unauthorized_since is None:
            self.unauthorized_since = now
        if now - self.unauthorized_since >= CREDENTIAL_WANTED:
            raise HealthError(
                f"{self.component} wants a credential of its own probes, which have none, so the kubelet would kill it ({answer.detail})",
                "let the probes' paths be asked without one (anonymous authentication on health paths), then run again",
            )

    def _give_up_on_crashes(self, detail: str) -> None:
        pod = self._pod()
        if not pod or self.patient:
            return
        # A manifest that is as it once was has the same UID again, and the log of its former life counts on.
        starts = self.context.node.starts(self.component, pod)
        restarts = starts - self.first.setdefault(pod, starts)
        if restarts >= MOST_RESTARTS:
            seen = f" ({detail})" if detail else ""
            raise HealthError(
                f"{self.component} was restarted {restarts} times and ended each time{seen}{self._said()}",
                "the old manifest is put back; correct the setting that it names",
            )


def difference(wanted: Sequence[str], found: Sequence[str]) -> str:
    """Names of the arguments in which two argv differ, never their values."""
    names = sorted({word.partition("=")[0] for word in set(wanted) ^ set(found)})
    return f"it runs with other arguments ({', '.join(names[:6])})"
