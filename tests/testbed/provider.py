# SPDX-License-Identifier: GPL-3.0-or-later
"""Provides the binaries of a release from the cache, the official downloads or a build, in this order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import download, gobuild, paths
from tests.testbed.progress import say, step
from tests.testbed.recipes import RECIPES
from tests.testbed.versions import Upstream

MARKER = ".complete.json"
SOURCES = ("auto", "download", "build")


@dataclass(frozen=True)
class Binaries:
    """A complete folder of binaries; `digest` stands for their content."""

    upstream: Upstream
    folder: Path
    digest: str

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def cached(upstream: Upstream, folder: Path) -> Binaries | None:
    """What an earlier run finished. The marker is written last and moves with the folder, so half a folder never counts."""
    marker = folder / MARKER
    if not marker.is_file() or not all((folder / name).exists() for name in RECIPES[upstream.name].packages):
        return None
    return Binaries(upstream, folder, paths.digest(json.dumps(json.loads(marker.read_text(encoding="utf-8"))["files"], sort_keys=True)))


def mark(upstream: Upstream, folder: Path, source: str) -> None:
    files = {
        str(path.relative_to(folder)): paths.file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
    document = {"upstream": upstream.name, "version": upstream.version, "source": source, "files": files}
    (folder / MARKER).write_text(json.dumps(document, indent=1), encoding="utf-8")


def choose_source(wanted: str) -> str:
    """Decide once per run, and say so."""
    if wanted != "auto":
        return wanted
    if download.reachable():
        say("binaries", "official releases, verified by their published checksums")
        return "download"
    say("binaries", "the release hosts are not reachable: building the same versions from their pinned Go modules")
    return "build"


def provide(upstreams: Sequence[Upstream], architecture: str, source: str) -> dict[str, Binaries]:
    """All binaries of these upstreams; what is missing is made under a lock, so that two beds do not build twice."""
    store = paths.cache() / "binaries"
    whole = {one.name: ready for one in upstreams if (ready := cached(one, store / str(one)))}
    if len(whole) == len(upstreams):
        # Not kept waiting by a bed whose binaries are being built.
        return whole
    with paths.locked("binaries"):
        found = {one.name: cached(one, store / str(one)) for one in upstreams}
        missing = [one for one in upstreams if found[one.name] is None]
        if missing:
            _make(missing, store, architecture, choose_source(source))
    return {one.name: _present(one, store / str(one)) for one in upstreams}


def _present(upstream: Upstream, folder: Path) -> Binaries:
    binaries = cached(upstream, folder)
    assert binaries is not None
    return binaries


def _make(missing: Sequence[Upstream], store: Path, architecture: str, source: str) -> None:
    go = gobuild.toolchain([one.module for one in missing]) if source == "build" else ""
    for upstream in missing:
        recipe = RECIPES[upstream.name]
        with paths.whole_directory(store / str(upstream)) as work:
            if source == "build":
                gobuild.build(recipe, upstream, go, work, store / str(upstream))
            else:
                with step("binaries", f"download {upstream.name} {upstream.version}"):
                    for one in recipe.downloads(upstream, architecture):
                        download.obtain(one, work)
            mark(upstream, work, source)
