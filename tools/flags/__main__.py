# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make flags`: which flags and fields each minor knows, read from its own binaries and types.

Binaries come from the test bed's cache (NINEPATHS_CACHE, by default ~/.cache/ninepaths); the Go types from the modules
that the bed builds them from. Minors without binaries are named and left as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from tools.flags import help_text, kubeadm
from tools.flags.data import write
from tools.flags.fields import read_fields
from tools.flags.programs import GenerateError, help_of, knows

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "plugins" / "plugin_utils" / "controls" / "data"
MODULES = ROOT / "tests" / "testbed" / "modules"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


def cache() -> Path:
    return Path(os.environ.get("NINEPATHS_CACHE") or Path.home() / ".cache" / "ninepaths") / "binaries"


def patch_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.rpartition("-v")[2].split("."))


def newest(upstream: str, minor: str, programs: Iterable[str]) -> Path | None:
    """The cached folder with the highest patch of this minor that holds all these programs."""
    complete = [folder for folder in cache().glob(f"{upstream}-v{minor}.*") if all((folder / name).is_file() for name in programs)]
    return max(complete, key=patch_of, default=None)


def named_in_controls(component: str) -> set[str]:
    """Flags that controls name: those that --help hides have to be asked for one by one."""
    names: set[str] = set()
    for file in sorted((ROOT / "controls").glob("path*.yml")):
        for control in yaml.safe_load(file.read_text(encoding="utf-8")):
            if control["component"] == component:
                names |= {control["flag"]} if "flag" in control else set()
                names |= {*control.get("drops", ()), *(name for name in control.get("conflicts", ()) if name.islower())}
    return names


def flags_of(folder: Path, component: str) -> dict[str, list[object]]:
    parse = help_text.parse_etcd if component == "etcd" else help_text.parse_pflag
    flags = parse(help_of(folder / component))
    for name in sorted(named_in_controls(component) - set(flags)):
        if knows(folder / component, name):
            flags[name] = ["hidden", None]
    return flags


def generate_kubernetes(minor: str) -> str:
    folder = newest("kubernetes", minor, (*COMPONENTS, "kubeadm"))
    if folder is None:
        return f"no binaries of Kubernetes {minor} under {cache()}; build them with the test bed"
    version = folder.name.rpartition("-v")[2]
    written = write(
        DATA / f"flags-{minor}.json",
        version,
        {
            "flags": {component: flags_of(folder, component) for component in COMPONENTS},
            "fields": read_fields(MODULES / f"kubernetes-{minor}"),
            "kubeadm": kubeadm.defaults(folder / "kubeadm", version),
        },
    )
    return f"Kubernetes {version}: {written} flags and fields"


def generate_etcd(minor: str) -> str:
    folder = newest("etcd", minor, ("etcd",))
    if folder is None:
        return f"no binary of etcd {minor} under {cache()}; build it with the test bed"
    version = folder.name.rpartition("-v")[2]
    written = write(DATA / f"flags-etcd-{minor}.json", version, {"flags": {"etcd": flags_of(folder, "etcd")}})
    return f"etcd {version}: {written} flags"


def minors(upstream: str) -> list[str]:
    """Minors that the bed pins a module for."""
    found = [folder.name.removeprefix(f"{upstream}-") for folder in MODULES.glob(f"{upstream}-*")]
    return sorted(found, key=lambda minor: tuple(int(part) for part in minor.split(".")))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make flags", description=__doc__)
    parser.add_argument("minor", nargs="*", help="Kubernetes minors, for example 1.36; all by default")
    chosen = parser.parse_args(arguments).minor
    failed = False
    work = [(generate_kubernetes, minor) for minor in minors("kubernetes") if not chosen or minor in chosen]
    work += [(generate_etcd, minor) for minor in minors("etcd")]
    for generate, minor in work:
        try:
            print(f"flags    {generate(minor)}", flush=True)
        except GenerateError as error:
            failed = True
            print(f"flags    {minor}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
