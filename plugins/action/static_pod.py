# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ninepaths.kubernetes.static_pod: flags and mounts of one control-plane component, changed as a transaction."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Mount
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import Known
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import COLLECTING, SEPARATE
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.diff import masked
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.edit import EditError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.kinds import misfit
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import _plain
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.single import SingleAction, Wish
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.drafts import Edit, HostDraft, PodRoll
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import PlanError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.observed import STATIC_PODS, Component, Host

WAVE = "control_planes"
CORRECT = "correct the task, then run again"
# With another value the component starts well, but on other data: no probe can tell, and the cluster seems to be empty.
IDENTITY: Mapping[str, frozenset[str]] = {
    "etcd": frozenset({"data-dir", "wal-dir", "force-new-cluster", "name", "discovery", "discovery-srv"}),
    "kube-apiserver": frozenset({"etcd-servers", "etcd-prefix"}),
}
DURATION = r"0|-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+"
# What a value of a type looks like; the component itself judges the others before anything is replaced.
FORMS = {"bool": "true|false", "int": r"-?\d+", "int32": r"-?\d+", "Level": r"\d+", "duration": DURATION}
VOLUME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ActionModule(SingleAction):
    """`ninepaths.kubernetes.static_pod`."""

    OPTIONS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "component": {"type": "str", "required": True, "choices": list(STATIC_PODS)},
        "flags": {"type": "dict", "default": {}},
        "absent": {"type": "list", "elements": "str", "default": []},
        "mounts": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "host_path": {"type": "path", "required": True},
                "path": {"type": "path", "required": True},
                "read_only": {"type": "bool", "default": True},
                "type": {"type": "str", "required": True, "choices": ["Directory", "DirectoryOrCreate", "File", "FileOrCreate"]},
            },
        },
        "reconnect_s": {"type": "int", "default": 300},
    }

    def wish(self, options: Mapping[str, Any], host: Host) -> Wish:
        """The manifest as it is to be. Raises PlanError."""
        found = _component(host, str(options["component"]))
        flags = _flags(host, found, options)
        mounts = [_mount(host, entry) for entry in options["mounts"]]
        draft = HostDraft(host.name, host.node)
        try:
            text = static_pod.edited(found.pod, found.argv, flags, mounts)
            bind = found.argv.value("bind-address")
            if flags.get("bind-address") and bind:
                text = static_pod.with_probe_host(text, bind, str(flags["bind-address"]))
            after = host.knowledge.pod(text, found.name)
            if text != found.pod.text:
                old = {key: found.seen.get(key) for key in ("pid", "started", "uid")}
                draft.pods[found.name] = PodRoll(after.running(), after.probes(), found.pod.probes(), after.host_paths(), old)
                draft.edits.append(Edit(WAVE, found.path, content=text.encode(), restarts=found.name))
        except (EditError, static_pod.MountConflictError, static_pod.ManifestError) as error:
            raise PlanError(host.name, found.path, str(error), "make the change by hand") from error
        return Wish(draft, {"argv": [masked(item) for item in after.running()]})


def _component(host: Host, name: str) -> Component:
    found = host.components.get(name)
    if found is None:
        raise PlanError(host.name, None, f"there is no static pod {name} on this host", "run the task on the hosts that have one")
    if found.stale:
        cause = f"{name} runs with other arguments than its manifest says"
        raise PlanError(host.name, found.path, cause, "look into the kubelet's log why it did not take up the manifest")
    return found


def _flags(host: Host, found: Component, options: Mapping[str, Any]) -> dict[str, str | None]:
    """The flags that change; None: is to go. Raises PlanError."""
    wanted: dict[str, Any] = _plain(options["flags"])
    absent = [str(name) for name in options["absent"]]
    both = sorted(set(wanted) & set(absent))
    if both:
        raise PlanError(host.name, None, f"{', '.join(both)}: both in flags and in absent", CORRECT)
    changed: dict[str, str | None] = {}
    for name, value in wanted.items():
        text = _text(host, name, value, _known(host, found, name))
        if [occurrence.value for occurrence in found.argv.of(name)] != [text]:
            changed[name] = text
    for name in absent:
        if found.argv.of(name):
            changed[name] = None
        else:
            _known(host, found, name)
    fixed = sorted(set(changed) & IDENTITY.get(found.name, frozenset()))
    if fixed:
        cause = f"{', '.join(fixed)} of {found.name} says where the cluster's data is; with another one it would start without them"
        raise PlanError(host.name, found.path, cause, "move the data by hand")
    return changed


def _known(host: Host, found: Component, name: str) -> Known:
    flags = host.knowledge.flags
    known = flags.flag(found.name, found.minor, name)
    if known is not None:
        return known
    names = [other for other in (name.lstrip("-").replace("_", "-"), *_near(host, found, name)) if flags.flag(found.name, found.minor, other)]
    hint = f"; is {names[0]} meant?" if names else ""
    raise PlanError(host.name, None, f"{found.name} {found.minor} does not know the flag {name!r}{hint}", CORRECT)


def _near(host: Host, found: Component, name: str) -> list[str]:
    data = host.knowledge.flags
    names = data.etcd[found.minor] if found.name == "etcd" else data.kubernetes[found.minor]["flags"].get(found.name, {})
    return difflib.get_close_matches(name, list(names), n=1)


def _text(host: Host, name: str, value: Any, known: Known) -> str:
    """The value as a command line holds it. Raises PlanError, without the value in it."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (str, int, float)):
        text = str(value)
    elif isinstance(value, list) and known.type in COLLECTING and all(isinstance(item, (str, int)) for item in value):
        if len(value) > 1 and (known.type in SEPARATE or any("," in str(item) for item in value)):
            raise PlanError(host.name, None, f"{name}: the values of this list cannot be joined by commas", "make the change by hand")
        text = ",".join(str(item) for item in value)
    else:
        raise PlanError(host.name, None, misfit(name, known.type, value), CORRECT)
    if not re.fullmatch(FORMS.get(known.type, r"[^\n\0]*"), text):
        raise PlanError(host.name, None, misfit(name, known.type, value), CORRECT)
    return text


def _mount(host: Host, entry: Mapping[str, Any]) -> Mount:
    mount = Mount(**{key: _plain(entry[key]) for key in ("name", "host_path", "path", "read_only", "type")})
    if not VOLUME.fullmatch(mount.name):
        raise PlanError(host.name, None, f"mounts: {mount.name!r} is no name for a volume", "use lower-case letters, digits and -")
    for path in (mount.host_path, mount.path):
        if not path.startswith("/") or "/../" in f"{path}/":
            raise PlanError(host.name, None, f"mounts: {path!r} is no plain absolute path", CORRECT)
    return mount
