# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of observations: what was seen on a host, in the words that the plan thinks in. Parsing is remembered by content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD, FlagDataError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import minor_of
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import Argv
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.static_pod import StaticPod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.knowledge import Knowledge
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Observation, PlanError

OWN_DIRECTORY = "/etc/kubernetes/ninepaths"
KUBELET_PKI = "/var/lib/kubelet/pki"
APISERVER = "kube-apiserver"
STATIC_PODS = (APISERVER, "kube-controller-manager", "kube-scheduler", ETCD)
# What the plan looks at beyond the files that controls name; the observation's request has to ask for it.
STAT = (
    OWN_DIRECTORY,
    f"{OWN_DIRECTORY}/*",
    "/etc/kubernetes/pki/*.key",
    f"{KUBELET_PKI}/*",
    "/usr/local/lib/ninepaths",
    "/usr/local/lib/ninepaths/*",
    "/etc/systemd/system/ninepaths-*",
)
# Start times are counted in clock ticks since boot, so they are about a second off.
_SLACK_S = 2.0
ABSENT: Mapping[str, Any] = {"type": "absent"}


@dataclass(frozen=True)
class Kubelet:
    """The kubelet of a host: its configuration in layers, and what overrides it."""

    argv: Argv
    minor: str
    path: str | None
    base: ConfigFile | None
    dropins: tuple[tuple[str, ConfigFile], ...]
    flags_env: str | None

    @property
    def layers(self) -> tuple[ConfigFile, ...]:
        """From weakest to strongest."""
        base = (self.base,) if self.base else ()
        return base + tuple(config for _path, config in self.dropins)


@dataclass(frozen=True)
class Component:
    """A control-plane component that runs as a static pod."""

    name: str
    minor: str
    path: str
    pod: StaticPod
    argv: Argv
    seen: Mapping[str, Any]

    @property
    def runs(self) -> bool:
        """Whether a process of the static pod was found."""
        return bool(self.seen.get("argv"))

    @property
    def stale(self) -> bool:
        """Whether the running process was not started with what the manifest says."""
        return self.runs and not self.pod.starts(self.seen["argv"])

    def unresolved(self, flag: str) -> str | None:
        """A variable in the flag's value that neither the manifest nor the running process tells."""
        if len(self.seen.get("argv") or ()) == len(self.pod.items):
            return None
        indexes = [occurrence.index + occurrence.width - 1 for occurrence in self.argv.of(flag)]
        return next((name for index in indexes if (name := self.pod.unknown_variable(index))), None)


@dataclass(frozen=True)
class Host:
    """One host of the inventory and what was observed there."""

    name: str
    seen: Observation
    knowledge: Knowledge = field(repr=False)
    node_version: str | None = None

    @property
    def node(self) -> str:
        return str(self.seen["host"].get("node") or self.seen["host"].get("hostname") or self.name)

    @property
    def joined(self) -> bool:
        """Whether kubeadm has made the machine a node; a kubelet alone is only installed."""
        return self.seen.get("layout") != "none"

    @property
    def cluster(self) -> Mapping[str, Any] | None:
        return self.seen.get("cluster")

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        files: Mapping[str, Mapping[str, Any]] = self.seen["files"]
        return files

    def file(self, path: str) -> Mapping[str, Any]:
        """What is at a path; a path that nobody looked at counts as absent."""
        return self.files.get(path, ABSENT)

    def exists(self, path: str) -> bool:
        return self.file(path)["type"] != "absent" or bool(self.seen.get("certificates", {}).get(path))

    def newer(self, path: str, started: float | None) -> bool:
        """Whether a file was changed after a process had started."""
        mtime = self.file(path).get("mtime")
        return started is not None and mtime is not None and float(mtime) > started + _SLACK_S

    def certificate(self, path: str | None) -> Mapping[str, Any] | None:
        """The first certificate of a file."""
        found = self.seen.get("certificates", {}).get(path or "") or [None]
        certificate: Mapping[str, Any] | None = found[0]
        return certificate

    def fingerprints(self, path: str) -> frozenset[str]:
        """SHA-256 of all certificates in a file."""
        return frozenset(str(certificate["sha256"]) for certificate in self.seen.get("certificates", {}).get(path) or ())

    @cached_property
    def kubelet(self) -> Kubelet | None:
        """Raises PlanError."""
        seen = self.seen.get("kubelet")
        if not seen or not self.joined:
            return None
        minor = self._minor([seen.get("version"), self.node_version], "the kubelet's version is not known", seen.get("unit"))
        path = seen.get("config")
        base = self._config(path, minor) if path else None
        dropins = tuple((name, self._config(name, minor)) for name in seen.get("dropins") or ())
        argv = self._argv(seen.get("argv") or ("kubelet",), "kubelet", minor)
        return Kubelet(argv, minor, path, base, dropins, seen.get("flags_env"))

    @cached_property
    def components(self) -> Mapping[str, Component]:
        """Raises PlanError."""
        return {name: self._component(name, seen) for name, seen in sorted((self.seen.get("components") or {}).items())}

    def _component(self, name: str, seen: Mapping[str, Any]) -> Component:
        path = str(seen["manifest"])
        text = self._text(path, f"the manifest of {name}")
        try:
            pod = self.knowledge.pod(text, name)
        except static_pod.ManifestError as error:
            raise PlanError(self.name, path, str(error), "mend the manifest, then run again") from error
        versions = [seen.get("version"), pod.image_tag, (self.cluster or {}).get("version") if name != ETCD else None]
        minor = self._minor(versions, f"the version of {name} is not known", path)
        argv = self._argv(_started(pod, seen.get("argv") or ()), name, minor)
        return Component(name, minor, path, pod, _with_environment(argv, pod) if name == ETCD else argv, seen)

    def _config(self, path: str, minor: str) -> ConfigFile:
        text = self._text(path, "the kubelet's configuration")
        try:
            config = self.knowledge.config(text)
            unknown = self.knowledge.unknown_fields(text, "kubelet", minor)
        except FlagDataError as error:
            raise PlanError(self.name, None, str(error), "nothing was touched") from error
        except config_file.ConfigError as error:
            raise PlanError(self.name, path, str(error), "mend the configuration, then run again") from error
        if unknown:
            raise PlanError(
                self.name,
                path,
                f"the kubelet {minor} does not know {', '.join(unknown)} and ignores it silently",
                "correct the name or take it out, then run again",
            )
        return config

    def _text(self, path: str, what: str) -> str:
        entry = self.file(path)
        if entry["type"] == "link":
            raise PlanError(self.name, path, f"{what} is a symbolic link, which an edit would replace", "put the file itself there")
        if entry.get("withheld"):
            cause = f"{what} holds what looks like a secret ({entry['withheld']}), so it stays on the host and is not judged"
            raise PlanError(self.name, path, cause, "put the secret into a file of its own that this one names, then run again")
        if entry.get("text") is None:
            cause = f"{what} is missing" if entry["type"] == "absent" else f"{what} could not be read"
            raise PlanError(self.name, path, cause, "make it a text file of less than 256 KiB without keys in it")
        return str(entry["text"])

    def _argv(self, items: Sequence[str], component: str, minor: str) -> Argv:
        try:
            return self.knowledge.argv(items, component, minor)
        except FlagDataError as error:
            raise PlanError(self.name, None, str(error), "nothing was touched") from error

    def _minor(self, versions: Sequence[str | None], cause: str, file: str | None) -> str:
        for version in versions:
            try:
                return minor_of((version or "").partition("-")[0])
            except ValueError:
                continue
        seen = ", ".join(version for version in versions if version)
        raise PlanError(
            self.name, file, f"{cause} ({seen or 'nothing was reported'})", "start it, or give its image a version as tag, then run again"
        )


def _started(pod: StaticPod, argv: Sequence[str]) -> tuple[str, ...]:
    """The command line with its variables filled in: as the manifest says, and where that does not tell, as the process was started."""
    expected = pod.running()
    if len(argv) != len(expected):
        return expected
    return tuple(argv[index] if pod.unknown_variable(index) else item for index, item in enumerate(expected))


def _with_environment(argv: Argv, pod: StaticPod) -> Argv:
    """etcd reads ETCD_<FLAG> for every flag that its command line does not have."""
    found = [(name.removeprefix("ETCD_"), value) for name, value in pod.environment().items() if name.startswith("ETCD_") and value]
    return replace(argv, environment=tuple(sorted((name.replace("_", "-").lower(), value) for name, value in found)))


def hosts_of(observations: Mapping[str, Observation], knowledge: Knowledge) -> dict[str, Host]:
    """Views of all observed hosts, by name. Only a host with an apiserver speaks for the cluster."""
    planes = [name for name in sorted(observations) if APISERVER in (observations[name].get("components") or {})]
    clusters = [observations[name].get("cluster") or {} for name in planes]
    versions = {str(node["name"]): node.get("version") for cluster in clusters for node in cluster.get("nodes") or ()}
    hosts = {name: Host(name, observations[name], knowledge) for name in sorted(observations)}
    return {name: replace(host, node_version=versions.get(host.node)) for name, host in hosts.items()}


def collected(hosts: Iterable[Host]) -> list[PlanError]:
    """What cannot be read or makes no sense, of all hosts."""
    errors: list[PlanError] = []
    for host in hosts:
        errors += [
            PlanError(host.name, problem.get("file"), str(problem["cause"]), str(problem["advice"]))
            for problem in host.seen.get("problems") or ()
        ]
        for part in ("kubelet", "components"):
            try:
                getattr(host, part)
            except PlanError as error:
                errors.append(error)
    return errors
