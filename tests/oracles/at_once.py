# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles without `serial` do: everything written onto all nodes at once, then all kubelets restarted at once.

The files are those of a hardened bed of the same shape; only the prefix of its addresses is replaced where the new bed has another one.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.integration.bed import Bed
from tests.oracles import restarts

# What a run changes on a node and a component or kubelet reads. The approver is not taken along: requests are approved as a role does it.
PATHS = (
    "etc/kubernetes/manifests/*.yaml",
    "etc/kubernetes/ninepaths/*.yaml",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
)
# On the file system of the manifests, so that they are renamed into place.
STAGE = "/etc/kubernetes/at-once"
TAKE = f"cd / && for file in {' '.join(PATHS)}; do [ -f $file ] && echo \"$file $(base64 -w0 $file)\"; done; true"
# As lineinfile and template write: beside, and renamed.
PLACE = f"cd {STAGE} && find . -type f | while read -r file; do mkdir -p /$(dirname $file) && mv $file /$file; done"
RESTART = "systemctl restart kubelet"
SECONDS = 600.0
# Healthy for so long, since a component that is up may be on its way down.
STEADY_S = 30.0
PENDING = '{{range .items}}{{if not .status.conditions}}{{.metadata.name}}{{"\\n"}}{{end}}{{end}}'
APPROVE = f"""
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl get certificatesigningrequests --request-timeout=5s -o go-template='{PENDING}' | xargs -r kubectl --request-timeout=5s certificate approve
"""


@dataclass(frozen=True)
class Files:
    """Files of every node by path, and the prefix of the bed's addresses."""

    prefix: str
    nodes: Mapping[str, Mapping[str, bytes]]


def _everywhere(nodes: Sequence[str], action: Callable[[str], object]) -> dict[str, object]:
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        return dict(zip(nodes, pool.map(action, nodes), strict=True))


def _prefix(bed: Bed) -> str:
    return str(bed.facts["subnet"]).rsplit(".", 1)[0] + "."


def take(bed: Bed) -> Files:
    """The files of a hardened bed."""

    def of_node(node: str) -> dict[str, bytes]:
        return {path: base64.b64decode(text) for path, _, text in (line.partition(" ") for line in bed.root(node, TAKE).splitlines())}

    return Files(_prefix(bed), {node: of_node(node) for node in bed.nodes})


@dataclass(frozen=True)
class Change:
    """What was written when (seconds since the epoch), and the components that have to restart: (node, name)."""

    at: float
    components: frozenset[tuple[str, str]]


def write(bed: Bed, files: Files) -> Change:
    """Lay the files down on all nodes, then put all into place at once, then restart all kubelets at once."""
    old, new, present = files.prefix.encode(), _prefix(bed).encode(), take(bed)
    wanted = {node: {path: content.replace(old, new) for path, content in of_node.items()} for node, of_node in files.nodes.items()}

    def stage(node: str) -> None:
        lines = [f"rm -rf {STAGE}"]
        for path, content in wanted[node].items():
            text = base64.b64encode(content).decode()
            lines.append(f"mkdir -p {STAGE}/$(dirname {path}) && echo {text} | base64 -d >{STAGE}/{path} && chmod 600 {STAGE}/{path}")
        bed.root(node, "set -e\n" + "\n".join(lines))

    changed = {(node, path) for node, of_node in wanted.items() for path, content in of_node.items() if present.nodes[node].get(path) != content}
    _everywhere(bed.nodes, stage)
    at = time.time()
    _everywhere(bed.nodes, lambda node: bed.root(node, PLACE))
    _everywhere(bed.nodes, lambda node: bed.root(node, RESTART))
    return Change(at, frozenset((node, PurePosixPath(path).stem) for node, path in changed if "/manifests/" in path))


@contextmanager
def approving(bed: Bed) -> Iterator[None]:
    """Approve whatever kubelets ask for while the block runs, as a role's task in a loop does."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(2):
            bed.root(bed.nodes[0], APPROVE, check=False)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _healthy(bed: Bed) -> bool:
    """Every apiserver is ready, every node and every pod of the control plane is, and every kubelet can be asked through an apiserver."""
    addresses = [node["address"] for node in bed.facts["nodes"] if node["role"] == "control-plane"]
    ready = [bed.kubectl("get", "--raw", "/readyz", "--server", f"https://{address}:6443", "--request-timeout=5s", check=False) for address in addresses]
    condition = '--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    nodes = bed.kubectl("get", "nodes", condition, "--request-timeout=5s", check=False).split()
    pods = bed.kubectl("--namespace=kube-system", "get", "pods", "--selector=tier=control-plane", condition, "--request-timeout=5s", check=False).split()
    kubelets = [bed.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz", "--request-timeout=5s", check=False) for node in bed.nodes]
    counted = (len(nodes), len(pods)) == (len(bed.nodes), 4 * len(addresses))
    return counted and {*nodes, *pods} == {"True"} and {*ready, *kubelets} == {"ok"}


def _restarted(bed: Bed, change: Change) -> bool:
    """Whether every component whose manifest is another one has a new process."""
    back = {(one.node, one.what) for one in restarts.read(bed.folder, bed.nodes, change.at - 1) if one.back is not None}
    return change.components <= back


def wait_until_healthy(bed: Bed, change: Change) -> float | None:
    """Seconds from the change until the cluster was healthy for good; None where it was not within ten minutes."""
    since: float | None = None
    while time.time() - change.at < SECONDS:
        if not (_healthy(bed) and _restarted(bed, change)):
            since = None
        elif since is None:
            since = time.time()
        elif time.time() - since > STEADY_S:
            return round(since - change.at, 1)
        time.sleep(2)
    return None
