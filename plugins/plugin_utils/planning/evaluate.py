# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls against what was observed on one host: what became of each, and which files, accounts and kernel settings change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import FlagDataError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import env_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigError, ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.env_file import EnvFileError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.component_target import ComponentTarget
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import ROOT, Edit, HostDraft, PodRoll, reasons
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import NOT_OFFERED, Item, Verdict, judge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.kubelet_target import KubeletTarget, layer_edits
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, PlanError, sha256
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import KUBELET_PKI, OWN_DIRECTORY, Component, Host, Kubelet
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.targets import Around

BOOTSTRAP_FIELD = "serverTLSBootstrap"
BY_HAND = "make the change by hand, or waive the control"
RESTARTED_FOR = "ninepaths.kubernetes/restarted-for"


def sysctls(host: Host, draft: HostDraft, selected: Iterable[Selected]) -> None:
    """Kernel settings."""
    for entry in selected:
        control = entry.control
        if control.sysctl is None or not isinstance(entry.value, int):
            continue
        raw = host.seen.get("sysctls", {}).get(control.sysctl)
        if raw is None:
            draft.outcomes.append(
                Outcome(control.id, control.path, host.name, "not-applicable", reason="this kernel does not have the setting")
            )
        elif raw.strip() == str(entry.value):
            draft.outcomes.append(Outcome(control.id, control.path, host.name, "ok", entry.value, entry.value))
        elif control.held:
            draft.outcomes.append(Outcome(control.id, control.path, host.name, "held", raw, raw, control.held, NOT_OFFERED))
        else:
            draft.outcomes.append(Outcome(control.id, control.path, host.name, "change", raw, entry.value, control.why))
            draft.sysctls[control.sysctl] = entry.value
            draft.sysctl_controls.append(control.id)


def component(host: Host, found: Component, draft: HostDraft, selected: Sequence[Selected], around: Around) -> Verdict:
    """A component's flags and documents. Raises PlanError."""
    target = ComponentTarget(host, found, around)
    verdict = _judged(host, found.path, lambda: judge(target, selected))
    flags = _flags(host, found, verdict)
    mounts = [mount for item in verdict.applied if _is_own(item, verdict) for mount in item.control.mounts]
    documents = [item for item in verdict.applied if item.control.document and _is_own(item, verdict)]
    draft.edits += _documents(host, found, documents)
    changed = [show(item.rule.wanted) for item in documents if not verdict.changes(item.key)]
    draft.outcomes += [_restarted(outcome, found, documents, changed) for outcome in verdict.outcomes]
    try:
        text = static_pod.edited(found.pod, found.argv, flags, mounts)
        bind = found.argv.value("bind-address")
        if flags.get("bind-address") and bind:
            text = static_pod.with_probe_host(text, bind, str(flags["bind-address"]))
        if text == found.pod.text and changed:
            # The arguments stay, so nothing else would make the kubelet start the component anew.
            text = static_pod.with_annotation(text, RESTARTED_FOR, _mark(found, changed))
        if text == found.pod.text:
            return verdict
        after = host.knowledge.pod(text, found.name)
        probes = after.probes()
    except (EditError, static_pod.MountConflictError, static_pod.ManifestError) as error:
        raise PlanError(host.name, found.path, str(error), BY_HAND) from error
    ids = tuple(sorted(item.id for item in verdict.applied))
    why = {outcome.id: outcome.reason for outcome in verdict.outcomes if outcome.status == "change"}
    draft.edits.append(
        Edit("control_planes", found.path, "file", text.encode(), None, None, None, None, ids, found.name, reasons(why, ids))
    )
    old = {key: found.seen.get(key) for key in ("pid", "started", "uid")}
    draft.pods[found.name] = PodRoll(after.running(), probes, found.pod.probes(), after.host_paths(), old)
    return verdict


def _restarted(outcome: Outcome, found: Component, documents: Sequence[Item], changed: Sequence[str]) -> Outcome:
    path = next((show(item.rule.wanted) for item in documents if item.id == outcome.id), None)
    if path not in changed:
        return outcome
    reason = f"{path} is not what was written there, or {found.name} is older than it; it is put right and {found.name} restarted"
    return replace(outcome, reason=reason)


def _mark(found: Component, paths: Sequence[str]) -> str:
    """Another text than any that the manifest has had: it stands for the manifest as it is.

    It must not stand for what lies at the paths, which is put right before the second look plans the same manifest once more.
    """
    names = " ".join(path.rpartition("/")[2] for path in sorted(paths))
    return f"{names}@{sha256(found.pod.text.encode())[:12]}"


def _flags(host: Host, found: Component, verdict: Verdict) -> dict[str, str | None]:
    """Flags that change, new ones in the order of their controls' ids. Raises PlanError."""
    flags: dict[str, str | None] = {}
    for item in sorted(verdict.applied, key=lambda item: item.id):
        if verdict.changes(item.key):
            value = verdict.planned[item.key]
            flags[item.key] = None if value is None else show(value)
            if value is None and found.argv.from_environment(item.key) is not None:
                cause = f"--{item.key} has to go, but a variable of the container sets it"
                raise PlanError(host.name, found.path, cause, "take the variable out of the manifest, then run again")
        for name in item.drops:
            if found.argv.of(name):
                flags[name] = None
    return flags


def _is_own(item: Item, verdict: Verdict) -> bool:
    """Whether the flag will have the value that this control brings along, and so what belongs to it has to be there."""
    value = verdict.planned[item.key]
    return value is not None and item.rule.wanted is not None and show(value) == show(item.rule.wanted)


def _documents(host: Host, found: Component, items: Sequence[Item]) -> list[Edit]:
    edits = []
    for item in items:
        document = item.control.document
        text = document.text(found.minor) if document else None
        if text is None:
            continue
        path = show(item.rule.wanted)
        edits.append(own_directory((item.id,)))
        edits.append(Edit("files", path, "file", text.encode(), None, "0600", ROOT, ROOT, (item.id,), None, item.control.why))
    return edits


def own_directory(ids: tuple[str, ...]) -> Edit:
    """The directory of our own files; it is left out where it is as it should be."""
    return Edit("files", OWN_DIRECTORY, "dir", None, None, "0700", ROOT, ROOT, ids, None, "Our own files lie here.")


def kubelet(host: Host, found: Kubelet, draft: HostDraft, selected: Sequence[Selected], around: Around, wave: str) -> Verdict:
    """The kubelet's configuration and flags. Raises PlanError."""
    target = KubeletTarget(host, found, around, [entry.control for entry in selected])
    verdict = _judged(host, found.path, lambda: judge(target, selected))
    draft.outcomes += verdict.outcomes
    wanted: dict[str, dict[str, Value | None]] = {}
    served: dict[str, set[str]] = {}
    gone: dict[str, set[str]] = {}
    for item in verdict.applied:
        for path, value in layer_edits(target, item, verdict.planned[item.key]).items():
            wanted.setdefault(path, {})[item.key] = value
            served.setdefault(path, set()).add(item.id)
        for flag in target.weakening(item):
            gone.setdefault(flag, set()).add(item.id)
    why = {outcome.id: outcome.reason for outcome in verdict.outcomes if outcome.status == "change"}
    configs = dict(found.dropins)
    if found.path and found.base:
        configs[found.path] = found.base
    for path in sorted(wanted):
        text = _edited(host, path, configs[path], wanted[path])
        ids = tuple(sorted(served[path]))
        draft.edits.append(Edit(wave, path, "file", text.encode(), None, None, None, None, ids, "kubelet", reasons(why, ids)))
    if gone:
        draft.edits.append(_without_flags(host, found, gone, wave, why))
        draft.kubelet_argv = _argv_without(found, gone)
    if any(item.key == BOOTSTRAP_FIELD and verdict.changes(item.key) for item in verdict.applied):
        draft.edits += _bridge(host, found, wave, verdict)
    return verdict


def _edited(host: Host, path: str, config: ConfigFile, fields: Mapping[str, Value | None]) -> str:
    try:
        return host.knowledge.edited(config, fields)
    except EditError as error:
        raise PlanError(host.name, path, str(error), BY_HAND) from error


def _without_flags(host: Host, found: Kubelet, gone: Mapping[str, set[str]], wave: str, why: Mapping[str, str]) -> Edit:
    path = str(found.flags_env)
    text = str(host.file(path).get("text") or "")
    try:
        for flag in sorted(gone):
            text = env_file.without(text, flag)
    except EnvFileError as error:
        raise PlanError(host.name, path, str(error), BY_HAND) from error
    ids = tuple(sorted({name for names in gone.values() for name in names}))
    return Edit(wave, path, "file", text.encode(), None, None, None, None, ids, "kubelet", reasons(why, ids))


def _argv_without(found: Kubelet, gone: Iterable[str]) -> tuple[str, ...]:
    indexes = {occurrence.index + offset for flag in gone for occurrence in found.argv.of(flag) for offset in range(occurrence.width)}
    return tuple(item for index, item in enumerate(found.argv.items) if index not in indexes)


def _bridge(host: Host, found: Kubelet, wave: str, verdict: Verdict) -> list[Edit]:
    """Two links that let the kubelet serve its own certificate until the cluster's signer has signed one.

    A kubelet that waits for its first signed certificate serves none, and logs and exec fail meanwhile. Its certificate store
    falls back to the pair kubelet-server.crt and kubelet-server.key, which nobody else writes.
    """
    own = {kind: f"{KUBELET_PKI}/kubelet.{kind}" for kind in ("crt", "key")}
    signed = f"{KUBELET_PKI}/kubelet-server-current.pem"
    named = any(layer.get("tlsCertFile") for layer in found.layers)
    if named or host.exists(signed) or not all(host.exists(path) for path in own.values()):
        return []
    ids = tuple(item.id for item in verdict.applied if item.key == BOOTSTRAP_FIELD)
    reason = "Until the signed certificate is there, the kubelet serves its own and not none."
    links = {kind: f"{KUBELET_PKI}/kubelet-server.{kind}" for kind in own}
    return [
        Edit(wave, links[kind], "link", None, f"kubelet.{kind}", None, ROOT, ROOT, ids, "kubelet", reason)
        for kind in own
        if host.file(links[kind])["type"] == "absent"
    ]


def _judged(host: Host, file: str | None, work: Callable[[], Verdict]) -> Verdict:
    try:
        return work()
    except (MergeError, ConfigError) as error:
        raise PlanError(host.name, file, str(error), "correct the value, then run again") from error
    except FlagDataError as error:
        raise PlanError(host.name, file, str(error), "nothing was touched") from error
