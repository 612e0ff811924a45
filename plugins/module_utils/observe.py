# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one host and changes nothing: the entry `observe`.

Whatever the host looks like, the result is an observation: what could not be read, or makes no sense, stands in its `problems`.
docs/development/interfaces.md describes request and result.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files, processes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.layout_kubeadm import Component
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import number
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import places, secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import Run
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import strict_json

KUBELET_UNIT = "kubelet.service"
APPROVER_TIMER = "ninepaths-approver.timer"
UNIT_PROPERTIES = "Id,LoadState,ActiveState,MainPID,FragmentPath,DropInPaths,EnvironmentFiles"
ENVIRONMENT_FILE = re.compile(r"(/\S+) \(ignore_errors=(?:yes|no)\)")
TRANSACTIONS = "/var/lib/ninepaths/transactions"
SHAPE_LIMIT, MOST_SHAPES = 64 << 10, 32
MOST_JOURNALS = 100
SYSCTL = re.compile(r"[a-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")
VERSION = re.compile(r"\bv\d+\.\d+\.\d+\S*")
CERTIFICATES = (
    f"{layout.PKI}/*.crt",
    f"{layout.PKI}/etcd/*.crt",
    f"{layout.KUBELET_PKI}/kubelet*.crt",
    f"{layout.KUBELET_PKI}/kubelet-*-current.pem",
)
DOCUMENT_NAMES = (".yaml", ".yml", ".json", ".conf")


class Sight(NamedTuple):
    """What the parts of an observation share."""

    host: Host
    run: Run
    seen: Collection
    booted: float


def main(request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Observe this host."""
    return observe(request, run, Host())


def observe(request: Mapping[str, Any], run: Run, host: Host) -> dict[str, Any]:
    """Observe a host whose file system begins at `host.root`."""
    began, seen = time.time(), Collection(host)
    sight = Sight(host, run, seen, _booted(host, seen))
    seen.expand(request.get("stat", ()))
    units = _units(sight)
    kubelet = _kubelet(sight, units.get(KUBELET_UNIT, {}))
    kubeadm = layout.is_kubeadm(host)
    node = _node(sight, kubelet) if kubeadm else None
    found = layout.find_components(host, node, sight.booted) if node else {}
    folder = _manifests(seen, kubelet)
    components = _components(sight, found, folder) if kubeadm else {}
    named = places.find(seen, request.get("places", {}), kubelet, components, folder) if kubeadm else {}
    foreign = _foreign(seen, folder) if kubeadm else []
    _documents(seen, kubelet)
    _certificates(seen, kubelet, components)
    observation: dict[str, Any] = {
        "schema": 1,
        "at": began,
        "host": _identity(host, seen, node),
        "layout": "kubeadm" if kubeadm else "none",
        "kubelet": kubelet,
        "components": components,
        "manifests_foreign": foreign,
        "manifest_shapes": _shapes(seen, foreign),
        "listening": _listening(sight, kubelet, components),
        "sysctls": {name: _sysctl(host, name) for name in request.get("sysctls", ())},
        "accounts": {name: _account(name) for name in request.get("accounts", ())},
        "journals": _journals(sight),
        "places": named,
        "files": seen.files,
        "certificates": seen.certificates,
        "problems": seen.problems,
        "cluster": None,
        "proofs": [],
    }
    timer = units.get(APPROVER_TIMER, {}).get("ActiveState") == "active"
    _network(sight, request, observation, [APPROVER_TIMER] if timer else [])
    if kubelet is not None and kubelet["version"] is None:
        kubelet["version"] = _kubelet_version(run, kubelet["pid"])
    observation["took_ms"] = round((time.time() - began) * 1000)
    return observation


def _booted(host: Host, seen: Collection) -> float:
    try:
        return processes.boot_time(host)
    except (OSError, ValueError) as error:
        seen.problem("/proc/stat", f"no boot time: {error}", "mount /proc")
        return 0.0


def _identity(host: Host, seen: Collection, node: str | None) -> dict[str, Any]:
    try:
        boot_id = processes.text_of(host, "/proc/sys/kernel/random/boot_id").strip()
    except OSError as error:
        seen.problem("/proc/sys/kernel/random/boot_id", f"cannot be read: {error.strerror}", "mount /proc")
        boot_id = ""
    return {
        "hostname": os.uname().nodename,
        "boot_id": boot_id,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "node": node,
        "addresses": processes.addresses(host),
    }


def _units(sight: Sight) -> dict[str, dict[str, str]]:
    """Properties of the units that matter here, asked in one call."""
    done = sight.run(["systemctl", "show", KUBELET_UNIT, APPROVER_TIMER, f"--property={UNIT_PROPERTIES}"], timeout=10.0)
    if done.rc != 0:
        if layout.is_kubeadm(sight.host):
            cause = f"systemctl show failed: {(done.stderr or str(done.rc)).strip()[:200]}"
            sight.seen.problem(None, cause, "the kubelet has to run as a systemd unit")
        return {}
    units = {}
    for block in done.stdout.split("\n\n"):
        properties: dict[str, str] = {}
        for line in block.splitlines():
            name, _equals, value = line.partition("=")
            properties[name] = f"{properties[name]}\n{value}" if name in properties else value
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units


def _kubelet(sight: Sight, unit: Mapping[str, str]) -> dict[str, Any] | None:
    if unit.get("LoadState", "not-found") in ("not-found", "masked"):
        return None
    pid = number(unit.get("MainPID"))
    process = processes.process(sight.host, pid, sight.booted) if pid else None
    argv = _shown(sight.seen, "the kubelet", process.argv) if process else []
    named = ENVIRONMENT_FILE.findall(unit.get("EnvironmentFiles", ""))
    environment = [path for path in named if files.printable(path) and sight.seen.describe(path)["type"] != "absent"]
    config_dir = layout.flag(argv, "config-dir")
    units = [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split()]
    return {
        "unit": KUBELET_UNIT,
        "active": unit.get("ActiveState") == "active" and process is not None,
        "pid": process.pid if process else None,
        "started": process.started if process else None,
        "argv": argv,
        "version": None,
        # Without --config it reads no file, kubeadm's included. Of a kubelet that does not run nobody knows.
        "config": layout.flag(argv, "config") or (None if process else layout.KUBELET_CONFIG),
        "config_dir": config_dir,
        "dropins": _dropins(sight, config_dir) if config_dir else [],
        "flags_env": next((path for path in environment if path.endswith((".env", "kubelet.env"))), None),
        "unit_files": [path for path in units if path.startswith("/") and files.printable(path)],
        "kubeconfig": layout.flag(argv, "kubeconfig") or layout.KUBELET_KUBECONFIG,
        "environment_files": environment,
    }


def _dropins(sight: Sight, folder: str) -> list[str]:
    """Files that the kubelet merges, in its order: every *.conf below the directory, sorted by path as it walks."""
    found = sight.seen.matches("**/*.conf", folder)
    return [path for path in sorted(found, key=lambda path: path.split("/")) if sight.seen.describe(path)["type"] in ("file", "link")]


def _shown(seen: Collection, who: str, argv: Sequence[str]) -> list[str]:
    """A command line as it may leave the host: one that holds a secret is a problem, since the plan could not write it back."""
    shown, why = secrets.masked(argv)
    if why:
        cause = f"{who} was started with a secret among its arguments ({', '.join(dict.fromkeys(why))})"
        seen.problem(None, cause, "every user of the host can read it there; put it into a file, then run again")
    return shown


def _kubelet_version(run: Run, pid: int | None) -> str | None:
    """Of the binary that runs, which may be older than the one on the disk. Costs 50 ms, so the Node object is asked where there is one."""
    if pid is None:
        return None
    found = VERSION.search(run([f"/proc/{pid}/exe", "--version"], timeout=10.0).stdout)
    return found.group(0) if found else None


def _node(sight: Sight, kubelet: Mapping[str, Any] | None) -> str:
    """Name of the Node object: what the kubelet's client certificate says, else its flag, else the host name."""
    for certificate in sight.seen.certificate(layout.KUBELET_CLIENT):
        prefix, _mark, name = certificate["subject"]["cn"].partition("system:node:")
        if not prefix and name:
            return str(name)
    override = layout.flag(kubelet["argv"], "hostname-override") if kubelet else None
    return (override or os.uname().nodename).strip().lower()


def _manifests(seen: Collection, kubelet: Mapping[str, Any] | None) -> str:
    """The directory that this kubelet reads static pods from; kubeadm's unless its flag or its configuration says another one."""
    if kubelet is None:
        return layout.MANIFESTS
    named = layout.flag(kubelet["argv"], "pod-manifest-path")
    text = seen.document(kubelet["config"]) or "" if kubelet["config"] else ""
    return (named or layout.top_level(text, "staticPodPath") or layout.MANIFESTS).rstrip("/")


def _foreign(seen: Collection, folder: str) -> list[str]:
    """Names that cannot be shown are problems."""
    found = layout.foreign_manifests(seen.host, folder)
    if len(found) > files.MAX_MATCHES:
        seen.problem(folder, f"more than {files.MAX_MATCHES} files", "clear the directory; the kubelet reads each of them")
    for path in found[: files.MAX_MATCHES]:
        seen.describe(path)
    return [path for path in found[: files.MAX_MATCHES] if files.printable(path)]


def _shapes(seen: Collection, paths: Iterable[str]) -> dict[str, str]:
    """What tells whether a manifest is YAML, and nothing of what it says: any letter is an a, any digit a 1. JSON that is number needs none."""
    found: dict[str, str] = {}
    for path in paths:
        text = (seen.read(path) or b"").decode("utf-8", "replace")
        if len(text) > SHAPE_LIMIT or len(found) >= MOST_SHAPES:
            continue
        try:
            strict_json.parse(text)
        except ValueError:
            found[path] = re.sub(r"\d", "1", re.sub(r"[^\W\d_]", "a", text))
    return found


def _components(sight: Sight, found: Mapping[str, Component], folder: str) -> dict[str, dict[str, Any]]:
    """Components that have a manifest. Versions are left to the apiserver (see the cluster part) and to the manifest's image."""
    components = {}
    for name in layout.COMPONENTS:
        path, component = layout.manifest(name, folder), found.get(name, Component(None, None, 0))
        if sight.seen.describe(path)["type"] == "absent":
            if component.process:
                cause = f"{name} runs (process {component.process.pid}) but has no manifest"
                sight.seen.problem(path, cause, "wait for the kubelet, or restart it")
            continue
        sight.seen.document(path)
        if component.processes > 1:
            cause = f"{component.processes} processes run in static pods named {name}"
            sight.seen.problem(path, cause, "look for a second manifest of the same name, and for a pod that the kubelet has not stopped")
        process = component.process
        components[name] = {
            "manifest": path,
            "uid": component.uid,
            "pid": process.pid if process else None,
            "started": process.started if process else None,
            "argv": _shown(sight.seen, name, process.argv) if process else [],
            "version": None,
            "processes": component.processes,
        }
    return components


def _documents(seen: Collection, kubelet: Mapping[str, Any] | None) -> None:
    """Read the text of what the plan edits."""
    if kubelet is not None:
        others = [*kubelet["dropins"], *kubelet["environment_files"], *kubelet["unit_files"]]
        for path in [kubelet["config"], layout.KUBELET_INSTANCE_CONFIG, *others]:
            if path and seen.describe(path)["type"] != "absent":
                seen.document(path)
    for path in seen.matches(f"{layout.OWN}/**"):
        if path.endswith(DOCUMENT_NAMES):
            seen.document(path)


def _certificates(seen: Collection, kubelet: Mapping[str, Any] | None, components: Mapping[str, Mapping[str, Any]]) -> None:
    """Read the public certificates that this host's components use, and those of kubeadm's kubeconfigs."""
    paths = [path for pattern in CERTIFICATES for path in seen.matches(pattern)]
    argvs: list[Sequence[str]] = [component["argv"] for component in components.values()]
    if kubelet is not None:
        argvs.append(kubelet["argv"])
        text = seen.document(kubelet["config"]) or "" if kubelet["config"] else ""
        paths += [path for path in (layout.top_level(text, key) for key in ("clientCAFile", "tlsCertFile")) if path]
    paths += [path for argv in argvs for path in layout.certificate_paths(argv)]
    for path in [*dict.fromkeys(paths), *layout.KUBECONFIGS]:
        if not path.startswith("/"):
            seen.problem(path, "a certificate's file without an absolute path, which cannot be looked at", "name it by its absolute path")
        elif seen.describe(path)["type"] != "absent":
            seen.certificate(path)


def _listening(sight: Sight, kubelet: Mapping[str, Any] | None, components: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Listening sockets; whose they are is looked up for the kubelet and our components only, which is what it costs little for."""
    names = {component["pid"]: name for name, component in components.items() if component["pid"]}
    if kubelet is not None and kubelet["pid"]:
        names[kubelet["pid"]] = "kubelet"
    try:
        sockets = processes.listening(sight.host)
    except (OSError, ValueError) as error:
        sight.seen.problem("/proc/net/tcp", f"cannot be read: {error}", "mount /proc")
        return []
    owners = processes.socket_owners(sight.host, names)
    found = []
    for entry in sockets:
        pid = owners.get(entry.inode)
        found.append({"address": entry.address, "port": entry.port, "pid": pid, "component": names.get(pid) if pid else None})
    return found


def _sysctl(host: Host, name: str) -> str | None:
    if not SYSCTL.fullmatch(name):
        return None
    try:
        return processes.text_of(host, "/proc/sys/" + name.replace(".", "/")).strip()
    except OSError:
        return None


def _account(name: str) -> dict[str, int] | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {"uid": entry.pw_uid, "gid": entry.pw_gid}


def _journals(sight: Sight) -> list[dict[str, Any]]:
    """Transactions that left a journal here; the newest ones, since old ones are kept."""
    try:
        names = sorted(name for name in os.listdir(sight.host.real(TRANSACTIONS)) if files.printable(name))
    except OSError:
        return []
    found = []
    for name in names[-MOST_JOURNALS:]:
        path = f"{TRANSACTIONS}/{name}/journal.jsonl"
        try:
            lines, _size = journal.parse(files.read_bytes(sight.host.real(path), journal.LIMIT))
        except FileNotFoundError:
            continue
        except OSError as error:
            advice = "look at the directory; an interrupted change may have to be undone by hand"
            sight.seen.problem(path, f"cannot be read: {error.strerror}", advice)
            continue
        found.append({"id": name, **_journal(lines)})
    return found


def _journal(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the plan and a person want to know of a journal; its lines have the types that journal.parse demands."""
    first, last = (lines[0], lines[-1]) if lines else ({"data": {}}, {})
    end = journal.end(lines)
    told = {key: None if end.get(key) is None else str(end[key]) for key in ("cause", "advice")}
    return {"run": str(first["data"].get("run", "")), "state": journal.state(lines), **told, "step": last.get("step", ""), "at": last.get("at", 0.0)}


def _network(sight: Sight, request: Mapping[str, Any], observation: dict[str, Any], timers: Sequence[str]) -> None:
    """The parts that connect to something; their modules are compiled only where they are needed."""
    api = None
    if "kube-apiserver" in observation["components"]:
        from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import cluster

        api = cluster.add(sight.seen, request, observation, timers)
    if "passive" in request.get("prove", ()) and observation["layout"] != "none":
        from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import proofs

        observation["proofs"] = proofs.passive(sight.seen, observation, api)
