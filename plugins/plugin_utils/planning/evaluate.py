# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls against what was observed on one host: what became of each, and which files, accounts and kernel settings change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Control
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD, FlagDataError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.selection import Selected
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import env_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigError, ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.env_file import EnvFileError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import ROOT, Edit, HostDraft, PodRoll, reasons
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.globs import matching
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.judge import NOT_OFFERED, Item, Verdict, judge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Outcome, PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import KUBELET_PKI, OWN_DIRECTORY, Component, Host, Kubelet
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.targets import Around, ComponentTarget, KubeletTarget, layer_edits

BOOTSTRAP_FIELD = "serverTLSBootstrap"
BY_HAND = "make the change by hand, or waive the control"
_ETCD_HOME = "/var/lib/etcd"


def files(host: Host, draft: HostDraft, selected: Iterable[Selected]) -> None:
    """Owners and modes. Controls that speak about one file are joined: all of their bits are taken away."""
    paths = tuple(host.files)
    wanted: dict[str, list[Control]] = {}
    for entry in selected:
        control = entry.control
        if control.files is None or (control.component == ETCD and ETCD not in host.components):
            continue
        found = [path for path in matching(control.files.paths, paths) if host.files[path]["type"] in ("file", "dir")]
        if not found:
            draft.outcomes.append(Outcome(control.id, control.path, host.name, "not-applicable", reason="there is no such file"))
            continue
        wrong = [path for path in found if _wanted(control, host.files[path]) != _have(control, host.files[path])]
        if wrong and control.held:
            draft.outcomes.append(_files_outcome(control, host, wrong, "held", control.held))
            continue
        draft.outcomes.append(_files_outcome(control, host, wrong, "change" if wrong else "ok", control.why if wrong else ""))
        for path in wrong:
            wanted.setdefault(path, []).append(control)
    for path in sorted(wanted):
        draft.edits.append(_attributes(host, path, wanted[path]))
    for control in (control for path in wanted for control in wanted[path]):
        owner = control.files.owner if control.files else None
        if owner and owner != ROOT and not host.seen.get("accounts", {}).get(owner):
            draft.accounts[owner] = _ETCD_HOME if owner == ETCD else "/nonexistent"


def _attributes(host: Host, path: str, controls: Sequence[Control]) -> Edit:
    entry = host.files[path]
    mode = int(entry["mode"], 8)
    owner, group = None, None
    for control in sorted(controls, key=lambda control: control.id):
        if control.files is not None:
            mode &= _allowed(control.files.mode, entry)
            owner, group = control.files.owner or owner, control.files.group or group
    ids = tuple(sorted(control.id for control in controls))
    why = {control.id: control.why for control in controls}
    return Edit("files", path, entry["type"], None, None, f"{mode:04o}", owner, group, ids, None, reasons(why, ids))


def _allowed(mode: str | None, entry: Mapping[str, object]) -> int:
    """The bits that may stay. Who may read a directory may enter it: 0600 for files means 0700 for a directory."""
    if mode is None:
        return 0o7777
    bits = int(mode, 8)
    return bits | ((bits & 0o444) >> 2) if entry["type"] == "dir" else bits


def _have(control: Control, entry: Mapping[str, object]) -> tuple[object, object, object]:
    owned = control.files is not None and control.files.owner is not None
    return entry["mode"], entry.get("owner") if owned else None, entry.get("group") if owned else None


def _wanted(control: Control, entry: Mapping[str, object]) -> tuple[object, object, object]:
    found = control.files
    if found is None:
        return entry["mode"], None, None
    mode = int(str(entry["mode"]), 8) & _allowed(found.mode, entry)
    return f"{mode:04o}", found.owner, found.group


def _files_outcome(control: Control, host: Host, wrong: Sequence[str], status: str, reason: str) -> Outcome:
    """before and after say what is wrong with how many files, without a list of hundreds."""
    if not wrong:
        return Outcome(control.id, control.path, host.name, status, reason=reason)
    first = wrong[0]
    before, after = _have(control, host.files[first]), _wanted(control, host.files[first])
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""

    def said(values: tuple[object, object, object]) -> str:
        mode, owner, group = values
        return f"{first}{more}: {mode}" + (f" {owner}:{group}" if owner else "")

    return Outcome(
        control.id, control.path, host.name, status, said(before), said(after), reason, NOT_OFFERED if status == "held" else None
    )


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
    draft.outcomes += verdict.outcomes
    flags = _flags(found, verdict)
    mounts = [mount for item in verdict.applied if _is_own(item, verdict) for mount in item.control.mounts]
    documents = [item for item in verdict.applied if item.control.document and _is_own(item, verdict)]
    draft.edits += _documents(host, found, documents)
    try:
        text = static_pod.edited(found.pod, found.argv, flags, mounts)
        bind = found.argv.value("bind-address")
        if flags.get("bind-address") and bind:
            text = static_pod.with_probe_host(text, bind, str(flags["bind-address"]))
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


def _flags(found: Component, verdict: Verdict) -> dict[str, str | None]:
    """Flags that change, new ones in the order of their controls' ids."""
    flags: dict[str, str | None] = {}
    for item in sorted(verdict.applied, key=lambda item: item.id):
        if verdict.changes(item.key):
            value = verdict.planned[item.key]
            flags[item.key] = None if value is None else show(value)
        for name in item.control.drops:
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
