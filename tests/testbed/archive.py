# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images without a builder: a docker-archive is a tar of layers, a config and a manifest."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed import paths


@dataclass(frozen=True)
class Image:
    """One layer of files (path in the image → file here) and links, on top of complete layer tars."""

    references: Sequence[str]
    files: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    base: Sequence[Path] = ()
    entrypoint: Sequence[str] = ()
    user: str = ""
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _member(name: str, size: int = 0, mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name.lstrip("/"))
    member.size, member.mode, member.type = size, mode, kind
    return member


def _directories(names: Sequence[str]) -> list[str]:
    return sorted({str(parent) for name in names for parent in Path(name.lstrip("/")).parents} - {"."})


def write_layer(image: Image, target: Path) -> None:
    """The same bytes for the same content: no times, no owners but root."""
    with tarfile.open(target, "w") as layer:
        for name in _directories([*image.files, *image.links, "/tmp/sticky"]):
            layer.addfile(_member(name, mode=0o1777 if name == "tmp" else 0o755, kind=tarfile.DIRTYPE))
        for name, source in sorted(image.files.items()):
            with source.open("rb") as stream:
                layer.addfile(_member(name, size=source.stat().st_size, mode=0o755), stream)
        for name, points_to in sorted(image.links.items()):
            link = _member(name, mode=0o777, kind=tarfile.SYMTYPE)
            link.linkname = points_to
            layer.addfile(link)


def config(image: Image, architecture: str, layer_digests: Sequence[str]) -> bytes:
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": list(image.entrypoint) or None, "Env": [f"PATH={image.path}"], "User": image.user, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in layer_digests]},
    }
    return json.dumps(document, sort_keys=True).encode()


def write(image: Image, architecture: str, target: Path) -> None:
    """Write the image as a docker-archive that `ctr image import` and `podman load` read."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work, paths.whole_file(target) as new, tarfile.open(new, "w") as archive:
        top = Path(work) / "layer.tar"
        write_layer(image, top)
        layers = [*image.base, top]
        digests = [paths.file_digest(layer) for layer in layers]
        for layer, layer_digest in zip(layers, digests):
            with layer.open("rb") as stream:
                archive.addfile(_member(f"{layer_digest}.tar", size=layer.stat().st_size), stream)
        document = config(image, architecture, digests)
        name = f"{hashlib.sha256(document).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": list(image.references), "Layers": [f"{one}.tar" for one in digests]}]
        for member, content in ((name, document), ("manifest.json", json.dumps(manifest).encode())):
            archive.addfile(_member(member, size=len(content)), io.BytesIO(content))


def extract(archive: Path, names: Sequence[str], target: Path) -> str:
    """Take the first of `names` that a rootfs tar holds as a file, and say which it was."""
    with tarfile.open(archive) as tar:
        members = {member.name[2:] if member.name.startswith("./") else member.name: member for member in tar if member.isfile()}
        found = next(name for name in names if name in members)
        stream = tar.extractfile(members[found])
        assert stream is not None
        with target.open("wb") as out:
            shutil.copyfileobj(stream, out)
    target.chmod(0o755)
    return found
