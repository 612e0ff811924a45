# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of fake hosts on which real plans are carried out by the real engine, and that can be observed again afterwards."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import engine_bed as bed
import factories
import jsonschema
import yaml
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import history, launch, transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import lock, units
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.node import Running
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import Settings
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import answers
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning import approver
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.planning.model import Plan, bind
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.reporting import prediction
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback import past
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.plan import Given, WayBack
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.rollback.plan import plan as way_back

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
PREDICTED = SCHEMA["properties"]["predicted"]
ROOT = os.getuid() == 0
ETCD = 999 if ROOT else os.getuid()  # who is not root gives nothing away
CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps"
PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
OBSERVED = ("etc/kubernetes", "etc/systemd/system", "usr/local/lib/ninepaths", "var/lib/kubelet", "var/lib/etcd")
CONTROLS = tuple(control for control in factories.all_controls() if ROOT or control.id != "etcd-data-directory")


class Host(bed.FakeMachine):
    """A machine with systemd, a kubelet and kernel parameters; what becomes of units and accounts is kept in the world."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world.roots[name])
        self.world, self.name = world, name
        self.time = 1000.0 + world.ticks

    def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
        self.commands.append(list(argv))
        self.world.restarts += [self.name] if list(argv[:3]) == ["systemctl", "restart", "kubelet.service"] else []
        done = {"systemctl": self._systemctl, "sysctl": self._sysctl, "useradd": self._account, "groupadd": self._account,
                "userdel": self._account, "groupdel": self._account, "pgrep": lambda argv: 1}.get(argv[0], lambda argv: 0)(list(argv))  # fmt: skip
        return done if isinstance(done, bed.RunResult) else bed.RunResult(int(done), "", "")

    def _systemctl(self, argv: list[str]) -> Any:
        state, unit = self.world.units[self.name], argv[-1]
        verb = next((word for word in argv[1:] if not word.startswith("-")), "")
        if verb == "show" and unit == "kubelet.service":
            number = 50 + self.world.restarts.count(self.name)
            text = f"ActiveState=active\nMainPID={number}\nExecMainStartTimestampMonotonic={int(self.time * 1e6)}\n"
            return bed.RunResult(0, text, "")
        if verb in ("is-enabled", "is-active"):
            return 0 if (unit, verb[3:]) in state else 1
        if verb in ("enable", "start"):
            if not Path(self.at(f"{approver.UNITS}/{unit}")).exists() and unit.startswith("ninepaths-approver"):
                return 1
            state.add((unit, {"enable": "enabled", "start": "active"}[verb]))
        if verb in ("disable", "stop"):
            state.discard((unit, {"disable": "enabled", "stop": "active"}[verb]))
        return 0

    def _sysctl(self, argv: list[str]) -> int:
        key, _equals, value = argv[-1].partition("=")
        Path(self.at("/proc/sys/" + key.replace(".", "/"))).write_text(value + "\n")
        return 0

    def _account(self, argv: list[str]) -> int:
        known = self.world.accounts[self.name].setdefault(argv[-1], {})
        if argv[0] == "userdel":
            known.pop("user", None)
        elif argv[0] == "groupdel":
            known.pop("group", None)
        else:
            kind = argv[0][:-3]
            known[kind] = {"gid": ETCD, **({"uid": ETCD, "home": argv[argv.index("--home-dir") + 1]} if kind == "user" else {})}
        return 0


class Node(bed.FakeNode):
    """A kubelet that reads real manifests."""

    def running(self, component: str) -> list[Running]:
        path = Path(self.machine.at(f"{bed.MANIFESTS}/{component}.yaml"))
        for other in path.parent.iterdir():
            assert other.name.endswith(".yaml"), f"the kubelet would read {other.name} as a pod"
        text = path.read_text()
        uid, argv = hashlib.md5(text.encode()).hexdigest(), tuple(factories.argv(text))
        if self.pids.get(component, ("", 0))[0] != uid:
            self.log.append(component)
            self.pids[component] = (uid, 100 + len(self.log))
            return []
        return [Running(self.pids[component][1], 1.0, f"uid-{component}" if self.machine.world.fresh(self.machine.name, component) else uid, argv)]

    def probe(self, pod_probes: Mapping[str, Mapping[str, Any]]) -> bed.Answer:
        return bed.Answer(True, "all probes pass")

    def starts(self, component: str, uid: str) -> int:
        return 1


class Tools(bed.FakeTools):
    """Helpers that agree, and the API of the world."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self.world, self.name = world, name

    def administrator(self, context: Any) -> Api:
        return self.world.api

    def signed_kubelets(self, context: Any, nodes: Sequence[str]) -> list[str]:
        return [node for node in nodes if self.world.bootstraps(node)]

    def validate_kubelet(self, context: Any, pid: int, argv: Any) -> str:
        return "accepted"

    def argv_of(self, pid: int) -> list[str]:
        return list(self.world.kubelet_argv(self.name))

    def unit_words(self, unit: str) -> str:
        return ""

    def forget_kubelet_api(self) -> None:
        return None

    def node_is_back(self, since: float) -> bool:
        return True

    def static_pods_known(self) -> bool:
        return True


class Api:
    """An apiserver with kubeadm's ConfigMaps and kube-proxy's DaemonSet."""

    def __init__(self, configmaps: Mapping[str, Any]) -> None:
        self.objects: dict[str, Any] = {
            f"{CONFIGMAPS}/{name}": {"metadata": {"name": name, "resourceVersion": found["resource_version"]}, "data": dict(found["data"])}
            for name, found in configmaps.items()
        }
        self.objects[PROXY] = {"metadata": {"generation": 1}, "spec": {"template": {"metadata": {}}}, "status": {}}

    def get(self, path: str) -> Any:
        found = copy.deepcopy(self.objects[path])
        if path == PROXY:
            found["status"] = dict.fromkeys(("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"), 2)
            found["status"]["observedGeneration"] = found["metadata"]["generation"]
        return found

    def list(self, path: str, **query: str) -> Iterator[Any]:
        """No request waits."""
        return iter(())

    def put(self, path: str, document: Any) -> None:
        assert document["metadata"]["resourceVersion"] == self.objects[path]["metadata"]["resourceVersion"]
        self.objects[path] = copy.deepcopy(document)
        self.objects[path]["metadata"]["resourceVersion"] += "1"

    def patch(self, path: str, document: Any) -> None:
        annotations = self.objects[path]["spec"]["template"]["metadata"].setdefault("annotations", {})
        for key, value in document["spec"]["template"]["metadata"]["annotations"].items():
            annotations.update({key: value}) if value is not None else annotations.pop(key, None)
        self.objects[path]["metadata"]["generation"] += 1

    def configmaps(self) -> dict[str, Any]:
        maps = {path.rpartition("/")[2]: found for path, found in self.objects.items() if path.startswith(CONFIGMAPS)}
        return {name: {"resource_version": found["metadata"]["resourceVersion"], "data": dict(found["data"])} for name, found in maps.items()}

    def annotation(self) -> Any:
        return self.objects[PROXY]["spec"]["template"]["metadata"].get("annotations", {}).get("ninepaths.io/configuration")


class World:
    """Hosts, their files, and what they are part of."""

    def __init__(self, folder: Path, planes: int = 1, workers: int = 1, minor: str = "1.36", seen: factories.Cluster | None = None) -> None:
        self.first = seen or factories.cluster(minor, planes, workers)
        self.roots = {name: folder / name for name in self.first}
        self.units: dict[str, set[tuple[str, str]]] = {name: set() for name in self.first}
        self.accounts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.first}
        self.api = Api(next(host["cluster"] for host in self.first.values() if host["cluster"])["configmaps"])
        self.restarts: list[str] = []
        self.rolled: set[tuple[str, str]] = set()
        self.ticks, self.count, self.turn, self.latest = 0, 0, "", ""
        for name, host in self.first.items():
            self._lay(self.roots[name], host)

    def _lay(self, root: Path, host: Mapping[str, Any]) -> None:
        for folder in ("run/systemd/system", units.WANTS[1:], "proc/sys/kernel/random", "var/lib", "usr/local/lib", *OBSERVED[:2], OBSERVED[3]):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for path, entry in host["files"].items():
            real = root / path[1:]
            if entry["type"] == "dir":
                real.mkdir(parents=True, exist_ok=True)
            else:
                real.parent.mkdir(parents=True, exist_ok=True)
                real.write_bytes(entry.get("text", "x").encode())
            real.chmod(int(entry["mode"], 8))
        for key in {control.sysctl for control in CONTROLS if control.sysctl}:
            real = root / "proc/sys" / key.replace(".", "/")
            real.parent.mkdir(parents=True, exist_ok=True)
            real.write_text("77\n")
        lock.prepare(bed.FakeMachine(root))

    # --- what is there ---------------------------------------------------------------------------------------------------------

    def fresh(self, name: str, component: str) -> bool:
        """Whether a component is still the pod that the first observation saw."""
        return (name, component) not in self.rolled

    def kubelet_argv(self, name: str) -> list[str]:
        words = (self.roots[name] / factories.FLAGS_ENV[1:]).read_text().partition("=")[2].strip().strip('"').split()
        return [*self.first[name]["kubelet"]["argv"], *words]

    def bootstraps(self, name: str) -> bool:
        return bool(yaml.safe_load((self.roots[name] / factories.KUBELET_CONFIG[1:]).read_text()).get("serverTLSBootstrap"))

    def observe(self) -> factories.Cluster:
        """What the hosts would be observed as."""
        found = copy.deepcopy(self.first)
        for name, host in found.items():
            root = self.roots[name]
            folders = {f"/{folder}" for folder in OBSERVED if (root / folder).is_dir()}
            paths = {*host["files"], *folders, *(f"/{path.relative_to(root)}" for folder in OBSERVED for path in sorted((root / folder).rglob("*")))}
            host["files"] = {path: self._entry(root, path) for path in sorted(paths) if ".ninepaths-" not in path}
            host["sysctls"] = {key: (root / "proc/sys" / key.replace(".", "/")).read_text().strip() for key in {c.sysctl for c in CONTROLS if c.sysctl}}
            host["accounts"] = {"etcd": {"uid": ETCD, "gid": ETCD} if "user" in self.accounts[name].get("etcd", {}) else None}
            host["kubelet"]["argv"] = self.kubelet_argv(name)
            for component, seen in host["components"].items():
                text = host["files"][seen["manifest"]]["text"]
                seen["argv"] = factories.argv(text)
                if not self.fresh(name, component):
                    seen["uid"] = hashlib.md5(text.encode()).hexdigest()
            if host["cluster"]:
                host["cluster"]["configmaps"] = self.api.configmaps()
                host["cluster"]["approvers"] = [approver.TIMER] if (approver.TIMER, "active") in self.units[name] else []
                for kubelet in host["cluster"]["kubelets"]:
                    kubelet.update({"verified": True, "error": None} if self.bootstraps(kubelet["node"]) else {})
        return found

    def _entry(self, root: Path, path: str) -> dict[str, Any]:
        real = root / path[1:]
        if not os.path.lexists(real):
            return {"type": "absent"}
        status = real.lstat()
        owner = "etcd" if ROOT and status.st_uid == ETCD else "root"
        entry = {"mode": f"{status.st_mode & 0o7777:04o}", "uid": status.st_uid, "gid": status.st_gid, "owner": owner, "group": owner,
                 "size": 1, "mtime": factories.STARTED - 100}  # fmt: skip
        if real.is_symlink():
            return {**entry, "type": "link", "target": os.readlink(real), "resolved": path}
        if real.is_dir():
            return {**entry, "type": "dir"}
        data = real.read_bytes()
        return {**entry, "type": "file", "sha256": hashlib.sha256(data).hexdigest(), "text": data.decode()}

    def snapshot(self) -> dict[str, Any]:
        """Everything that a rollback is to bring back: bytes, modes, owners, units, accounts, objects."""
        found: dict[str, Any] = {"accounts": {name: {key: value for key, value in known.items() if value} for name, known in self.accounts.items()}}
        found.update(units=copy.deepcopy(self.units), annotation=self.api.annotation())
        found["objects"] = {name: entry["data"] for name, entry in self.api.configmaps().items()}
        for name, root in self.roots.items():
            for path in sorted(root.rglob("*")):
                if str(path.relative_to(root)).startswith(("var/lib/ninepaths", units.WANTS[1:])):
                    continue
                status = path.lstat()
                content: Any = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
                found[f"{name}:{path.relative_to(root)}"] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found

    # --- what is done ----------------------------------------------------------------------------------------------------------

    def harden(self, **variables: Any) -> Plan:
        """One harden run."""
        made = factories.planned(self.observe(), chosen=CONTROLS, **variables)
        self.carry_out(made)
        return made

    def remembered(self, name: str) -> past.History:
        """What a host remembers."""
        self.turn = name
        told = json.loads(json.dumps(history.read(Host(self, name))))
        answers.check("history", told)
        return past.parse(name, told)

    def given(self, limit: Sequence[str] | None = None) -> Given:
        """What a rollback is planned from."""
        hosts = self.observe()
        told = {name: self.remembered(name) for name in hosts if limit is None or name in limit}
        return Given(hosts, told, factories.inventory(hosts), CONTROLS, Settings.parse({}), factories.all_flags(), factories.ASSETS, tuple(told))

    def back(self, run: str, limit: Sequence[str] | None = None) -> WayBack:
        """The way back, planned; what a report says of it is of its form."""
        found = way_back(self.given(limit), run)
        jsonschema.validate(prediction.predicted(found.plan.as_dict()), PREDICTED)
        return found

    def roll_back(self, run: str, limit: Sequence[str] | None = None) -> WayBack:
        """One rollback, carried out."""
        found = self.back(run, limit)
        self.carry_out(found.plan)
        return found

    def carry_out(self, made: Plan) -> str:
        """Every job in the order of its wave; returns the name of the run."""
        self.count += 1
        run = self.latest = f"20270301T{self.count:06d}Z-abcdef"
        for wave in made.order:
            for name in made.waves.get(wave, ()):
                self.run(name, bind(made.jobs[name][wave], run))
        return run

    def run(self, name: str, job: Mapping[str, Any]) -> None:
        """One transaction, as launch starts it and the engine runs it; it has to be committed."""
        self.ticks, self.turn = self.ticks + 1000, name
        machine = Host(self, name)
        node = Node(machine)
        laid = launch.launch(machine, {"job": owned(job), "program": ""})
        for path in sorted(Path(machine.at(bed.MANIFESTS)).glob("*.yaml")) if Path(machine.at(bed.MANIFESTS)).is_dir() else ():
            node.running(path.stem)
        state = transaction.run_job(machine, laid["directory"], node=node, tools=Tools(self, name))
        journal = (self.roots[name] / laid["directory"][1:] / "journal.jsonl").read_text()
        assert state == "committed", journal
        self.rolled |= {(name, component) for step in job["steps"] for component in step.get("changes", ())}


def owned(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with owners that this process may give files to, without a look at whose they were, and without a Lease."""
    job = {**copy.deepcopy(dict(job)), "lease": None}
    for step in job["steps"]:
        for change in [*step.get("files", ()), *(change["file"] for change in step.get("changes", {}).values())]:
            change["owner"], change["group"] = (_number(change[key]) for key in ("owner", "group"))
            change["before"].update(uid=None, gid=None)
    return job


def _number(owner: str) -> str:
    return {"root": str(os.getuid()), "etcd": str(ETCD)}.get(owner, owner)
