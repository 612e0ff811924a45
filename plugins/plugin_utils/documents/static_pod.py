# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Static pod manifests of control-plane components: reading them, and changing their flags and mounts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import PORTS
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import number as number_of
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import YamlError, load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.controls import Mount
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import edit
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import Argv

_CONTAINER = ("spec", "containers", 0)
# What the kubelet replaces in arguments: $$ is a dollar, $(NAME) a variable of the container; what it does not know stays.
_VARIABLE = re.compile(r"\$(?:\$|\(([^()]*)\))")
PROBES = ("startup", "liveness", "readiness")
MAX_EXPANDED = 1 << 20  # characters
LONGEST_PROBE = 3600  # seconds


class ManifestError(ValueError):
    """The manifest is not one that can be judged or edited; the text says why."""


class MountConflictError(ValueError):
    """The container already has something else where a mount has to be."""


@dataclass(frozen=True)
class StaticPod:
    """A manifest with exactly one container. `items` is its command line, command and args joined."""

    text: str
    data: Mapping[str, Any]
    items: tuple[str, ...]
    in_command: int

    @property
    def container(self) -> Mapping[str, Any]:
        container: Mapping[str, Any] = self.data["spec"]["containers"][0]
        return container

    @property
    def image_tag(self) -> str | None:
        """The tag of the image, without what kubeadm adds for its own rebuilds; None where there is none."""
        name = str(self.container.get("image", "")).partition("@")[0].rpartition("/")[2]
        tag = name.partition(":")[2]
        return tag or None

    def running(self) -> tuple[str, ...]:
        """The command line that the kubelet starts: $(VARIABLES) with literal values in the manifest are filled in."""
        values, room = self.environment(), MAX_EXPANDED
        found = []
        for item in self.items:
            found.append(_expanded(item, values, room))
            room -= len(found[-1])
        return tuple(found)

    def environment(self) -> dict[str, str]:
        """Variables with literal values in the manifest; a value may name variables above it."""
        values: dict[str, str] = {}
        room = MAX_EXPANDED
        for entry in self.container.get("env") or ():
            values.pop(entry["name"], None)
            if isinstance(entry.get("value"), str):
                values[entry["name"]] = _expanded(entry["value"], values, room)
                room -= len(values[entry["name"]])
        return values

    def unknown_variable(self, index: int) -> str | None:
        """A variable of an argument whose value the manifest does not say (a field of the pod, a ConfigMap)."""
        values = self.environment()
        names = [found.group(1) for found in _VARIABLE.finditer(self.items[index]) if found.group(1) is not None]
        return next((name for name in names if name not in values), None)

    def starts(self, argv: Sequence[str]) -> bool:
        """Whether a process with these arguments was started from this manifest; a variable from elsewhere may be anything."""
        expected = self.running()
        return len(expected) == len(argv) and all(
            one == other or self.unknown_variable(index) is not None for index, (one, other) in enumerate(zip(expected, argv))
        )

    def account(self) -> tuple[int | None, frozenset[int]]:
        """The user id that the container runs as, and its group ids; None where the manifest does not say (the image's, root)."""
        pod, own = self.data["spec"].get("securityContext") or {}, self.container.get("securityContext") or {}
        user = own.get("runAsUser", pod.get("runAsUser"))
        groups = [own.get("runAsGroup", pod.get("runAsGroup")), pod.get("fsGroup"), *(pod.get("supplementalGroups") or ())]
        return (user if isinstance(user, int) else None, frozenset(group for group in groups if isinstance(group, int)))

    def probes(self) -> dict[str, dict[str, object]]:
        """The HTTP probes as the kubelet performs them. A named port is looked up."""
        found = {}
        for name in PROBES:
            probe = self.container.get(f"{name}Probe")
            if isinstance(probe, dict) and isinstance(probe.get("httpGet"), dict):
                get = probe["httpGet"]
                found[name] = {
                    "scheme": str(get.get("scheme") or "HTTP").upper(),
                    "host": str(get.get("host") or "127.0.0.1"),
                    "port": self._port(get.get("port")),
                    "path": str(get.get("path") or "/"),
                    "timeout_s": _seconds(name, probe.get("timeoutSeconds")),
                }
        return found

    def host_paths(self) -> tuple[dict[str, object], ...]:
        """What the container sees of the host: its mounts of hostPath volumes."""
        hosts = {
            volume["name"]: volume["hostPath"].get("path") for volume in self.data["spec"].get("volumes") or () if volume.get("hostPath")
        }
        return tuple(
            {"host_path": hosts[entry.get("name")], "path": entry["mountPath"], "read_only": bool(entry.get("readOnly"))}
            for entry in self.container.get("volumeMounts") or ()
            if entry.get("name") in hosts
        )

    def anonymous_probes(self) -> tuple[str, ...]:
        """Names of the probes that ask over HTTPS without credentials."""
        found = []
        for name, probe in self.probes().items():
            headers = self.container[f"{name}Probe"]["httpGet"].get("httpHeaders") or ()
            named = any(str(header.get("name", "")).lower() == "authorization" for header in headers if isinstance(header, dict))
            if probe["scheme"] == "HTTPS" and not named:
                found.append(name)
        return tuple(found)

    def _port(self, port: object) -> int:
        named = [entry.get("containerPort") for entry in self.container.get("ports") or () if entry.get("name") == port]
        number = number_of(port) if isinstance(port, str) else port
        found = number if number is not None else next(iter(named), None)
        if isinstance(found, int) and not isinstance(found, bool) and 0 < found < PORTS:
            return found
        raise ManifestError(f"a probe names the port {str(port)[:80]!r}, which the container does not have")


def _seconds(name: str, value: object) -> int:
    """A probe's time-out; 1 where it is not set, or 0 as in an object that Go has filled in."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LONGEST_PROBE):
        raise ManifestError(f"timeoutSeconds of its {name}Probe is no number of seconds")
    return int(value or 1)


def _expanded(text: str, values: Mapping[str, str], room: int) -> str:
    """The text with its variables filled in; variables of variables may make a short text as long as they like."""
    grown = sum(len(values.get(found.group(1), found.group(0))) for found in _VARIABLE.finditer(text) if found.group(1) is not None)
    if len(text) + grown > room:
        raise ManifestError(f"its variables make more than {MAX_EXPANDED} characters")
    return _VARIABLE.sub(lambda found: "$" if found.group(1) is None else values.get(found.group(1), found.group(0)), text)


def parse(text: str, component: str) -> StaticPod:
    """Read a component's manifest. Raises ManifestError."""
    try:
        data = load(text)
    except YamlError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(data, dict) or data.get("kind") != "Pod":
        raise ManifestError("is no mapping of kind Pod")
    spec = data.get("spec")
    if not isinstance(spec, dict):
        raise ManifestError("has no spec")
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers or not all(isinstance(item, dict) for item in containers):
        raise ManifestError("has no containers")
    if len(containers) > 1:
        raise ManifestError(f"has {len(containers)} containers; which one runs {component} is not ours to guess")
    command = _texts(containers[0], "command")
    args = _texts(containers[0], "args")
    if not command or command[0].rpartition("/")[2] != component:
        raise ManifestError(f"its container does not start {component} by its command; a shell or wrapper cannot be judged or edited")
    _check_lists(containers[0], spec)
    _check_mappings(containers[0], spec)
    pod = StaticPod(text=text, data=data, items=command + args, in_command=len(command))
    pod.running()  # whoever asks later need not expect an error
    return pod


def edited(pod: StaticPod, argv: Argv, flags: Mapping[str, str | None], mounts: Sequence[Mount]) -> str:
    """The manifest with these flags (None: gone) and mounts. New flags keep the order of `flags`.

    Raises EditError, MountConflictError.
    """
    text = pod.text
    gone: list[int] = []
    new: list[str] = []
    for name, value in flags.items():
        found = argv.of(name)
        indexes = [occurrence.index + offset for occurrence in found for offset in range(occurrence.width)]
        if value is None:
            gone += indexes
        elif not found:
            new.append(f"--{name}={value}")
        else:
            text = edit.set_value(text, _place(pod, indexes[0]), f"--{name}={value}")
            gone += indexes[1:]
    for index in sorted(gone, reverse=True):
        text = edit.remove(text, _place(pod, index))
    text = edit.append(text, (*_CONTAINER, "args" if len(pod.items) > pod.in_command else "command"), new)
    volumes, volume_mounts = missing_mounts(pod, mounts)
    text = edit.append(text, (*_CONTAINER, "volumeMounts"), volume_mounts)
    return edit.append(text, ("spec", "volumes"), volumes)


def with_annotation(text: str, name: str, value: str) -> str:
    """The manifest with an annotation: another text is another pod, so the kubelet starts it anew. Raises EditError."""
    return edit.set_value(text, ("metadata", "annotations", name), value)


def with_probe_host(text: str, old: str, new: str) -> str:
    """The manifest with its HTTP probes asking another host. Raises EditError."""
    container = parse_container(text)
    for name in PROBES:
        probe = container.get(f"{name}Probe")
        if isinstance(probe, dict) and isinstance(probe.get("httpGet"), dict) and probe["httpGet"].get("host") == old:
            text = edit.set_value(text, (*_CONTAINER, f"{name}Probe", "httpGet", "host"), new)
    return text


def parse_container(text: str) -> Mapping[str, Any]:
    """The one container of a manifest that has been parsed before."""
    data: Any = load(text)
    container: Mapping[str, Any] = data["spec"]["containers"][0]
    return container


def missing_mounts(pod: StaticPod, mounts: Sequence[Mount]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The volumes and volumeMounts that are not there yet. Raises MountConflictError."""
    hosts = {volume["name"]: (volume.get("hostPath") or {}).get("path") for volume in pod.data["spec"].get("volumes") or ()}
    volumes: list[dict[str, object]] = []
    volume_mounts: list[dict[str, object]] = []
    for mount in dict.fromkeys(mounts):
        if _covered(pod, mount, hosts):
            continue
        name = next((name for name, path in sorted(hosts.items()) if path == mount.host_path), None) or _free(mount.name, hosts)
        if name not in hosts:
            volumes.append({"hostPath": {"path": mount.host_path, "type": mount.type}, "name": name})
            hosts[name] = mount.host_path
        volume_mounts.append({"mountPath": mount.path, "name": name, **({"readOnly": True} if mount.read_only else {})})
    return volumes, volume_mounts


def _covered(pod: StaticPod, mount: Mount, hosts: Mapping[str, str | None]) -> bool:
    """Whether the container sees the directory already. The longest mount path above it counts."""
    nearest = _nearest(pod, mount.path)
    if nearest is None:
        return False
    inside = str(nearest["mountPath"]).rstrip("/")
    host = hosts.get(nearest.get("name", ""))
    seen = None if host is None else host.rstrip("/") + mount.path[len(inside) :]
    if seen == mount.host_path and (mount.read_only or not nearest.get("readOnly")):
        return True
    if inside == mount.path:
        what = "read-only" if seen == mount.host_path else f"from {host or 'another kind of volume'}"
        raise MountConflictError(f"{mount.path} of the container is already mounted, {what}")
    return False


def kept_on_host(pod: StaticPod, path: str, mounts: Sequence[Mount] = ()) -> bool:
    """Whether what the container writes to a path outlives it: the directory is the host's, by a mount that is there or by one of `mounts`."""
    nearest = _nearest(pod, path)
    volumes = {volume["name"] for volume in pod.data["spec"].get("volumes") or () if volume.get("hostPath")}
    there = nearest is not None and nearest.get("name") in volumes and not nearest.get("readOnly")
    return there or any(_below(path, mount.path) and not mount.read_only for mount in mounts)


def _nearest(pod: StaticPod, path: str) -> Mapping[str, Any] | None:
    """The volume mount that a path lies in."""
    above = [entry for entry in pod.container.get("volumeMounts") or () if _below(path, str(entry.get("mountPath", "")))]
    return max(above, key=lambda entry: len(str(entry["mountPath"]).rstrip("/")), default=None)


def _below(path: str, top: str) -> bool:
    top = top.rstrip("/")
    return path == top or path.startswith(top + "/")


def _free(name: str, taken: Mapping[str, str | None]) -> str:
    candidates = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def _texts(container: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = container.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ManifestError(f"{key} of its container is no list of texts")
    return tuple(value)


def _check_lists(container: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    wanted = ((spec, "volumes", "name"), (container, "volumeMounts", "mountPath"), (container, "env", "name"), (container, "ports", None))
    for where, key, needed in wanted:
        value = where.get(key)
        if value is not None and (
            not isinstance(value, list)
            or not all(isinstance(item, dict) and (needed is None or isinstance(item.get(needed), str)) for item in value)
        ):
            raise ManifestError(f"{key} is no list of mappings" + (f" with a {needed}" if needed else ""))
    for volume in spec.get("volumes") or ():
        place = volume.get("hostPath")
        if place is not None and not (isinstance(place, dict) and isinstance(place.get("path"), str)):
            raise ManifestError("hostPath of a volume is no mapping with a path")
    for entry in container.get("volumeMounts") or ():
        if not isinstance(entry.get("name"), str):
            raise ManifestError("volumeMounts is no list of mappings with a name")


def _check_mappings(container: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """What is looked into has the type that Kubernetes gives it."""
    probes = {f"{name}Probe": container.get(f"{name}Probe") for name in PROBES}
    gets = {f"{name}.httpGet": probe.get("httpGet") for name, probe in probes.items() if isinstance(probe, dict)}
    contexts = {"securityContext": spec.get("securityContext"), "securityContext of its container": container.get("securityContext")}
    for name, value in {**probes, **gets, **contexts}.items():
        if value is not None and not isinstance(value, dict):
            raise ManifestError(f"{name} is no mapping")
    groups = (spec.get("securityContext") or {}).get("supplementalGroups")
    headers = [get.get("httpHeaders") for get in gets.values() if get]
    for name, value in (("supplementalGroups", groups), *(("httpHeaders", value) for value in headers)):
        if value is not None and not isinstance(value, list):
            raise ManifestError(f"{name} is no list")


def _place(pod: StaticPod, index: int) -> tuple[edit.Step, ...]:
    if index < pod.in_command:
        return (*_CONTAINER, "command", index)
    return (*_CONTAINER, "args", index - pod.in_command)
