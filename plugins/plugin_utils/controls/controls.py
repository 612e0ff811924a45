# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls: what "secure" means, read from controls/path1.yml … path9.yml.

Everything that the plan, the report and the documentation know about a setting comes from there. `load` reads the
files; the rest of this module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import load as load_yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.control_reader import Reader, ReaderError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import KNOWN_CONDITIONS, KNOWN_PLACES, KNOWN_REFS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange

CONTROLS = Path(__file__).resolve().parents[3] / "controls"
PATHS = range(1, 10)
PROFILES = ("recommended", "cis-level-1", "cis-level-2", "stig")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kube-proxy", "host")
MERGES = ("exact", "loopback", "present", "at_least", "at_most", "subset", "superset", "append", "absent")
KINDS = ("flag", "field", "files", "document", "sysctl")
MOUNT_TYPES = ("DirectoryOrCreate", "Directory", "FileOrCreate", "File")

Scalar = Union[str, int, bool]
Pairs = tuple[tuple[str, Scalar], ...]


class ControlError(Exception):
    """A controls file says something that cannot be used."""

    def __init__(self, file: str, control: str, cause: str) -> None:
        super().__init__(f"{file}: {control}: {cause}" if control else f"{file}: {cause}")
        self.file = file
        self.control = control
        self.cause = cause


@dataclass(frozen=True)
class Ref:
    """A value that is known only once a host has been observed: a name from KNOWN_REFS."""

    name: str


Literal = Union[str, int, bool, tuple[str, ...]]
Value = Union[Literal, Ref, None]


@dataclass(frozen=True)
class Mount:
    """A volume that a flag needs in a static pod; the fields of kubeadm's extraVolumes."""

    name: str
    host_path: str
    path: str
    read_only: bool
    type: str


@dataclass(frozen=True)
class Place:
    """Files that a running process names (KNOWN_PLACES); `below`: a pattern inside that directory, "" for the place itself."""

    name: str
    below: str = ""


@dataclass(frozen=True)
class Files:
    """Who may own and read files. `mode` is the most that is allowed: bits are only taken away."""

    paths: tuple[str, ...]
    mode: str | None
    owner: str | None
    group: str | None
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Document:
    """A file that a flag names and that the component reads at start. Its content decides its name on the host."""

    flag: str
    name: str
    texts: tuple[tuple[VersionRange | None, str], ...]

    def text(self, minor: str) -> str | None:
        """Content for a Kubernetes minor like "1.36"; None where no version of it fits."""
        for versions, text in self.texts:
            if versions is None or minor in versions:
                return text
        return None


@dataclass(frozen=True)
class Undo:
    """How far a control can be undone: always, never, or until a condition has come true."""

    always: bool
    until: str | None = None


@dataclass(frozen=True)
class Control:
    """One entry of controls/path<N>.yml. Exactly one of flag, field, files, document, sysctl is set."""

    path: int
    id: str
    title: str
    component: str
    why: str
    undo: Undo
    profiles: tuple[str, ...]
    references: tuple[tuple[str, tuple[str, ...]], ...]
    flag: str | None = None
    field: str | None = None
    files: Files | None = None
    document: Document | None = None
    sysctl: str | None = None
    value: Value = None
    merge: str | None = None
    unset_ok: bool = False
    unset_default: bool = False
    refuse: tuple[Scalar, ...] = ()
    allowed: tuple[str, ...] = ()
    unless: Pairs = ()
    family: str | None = None
    spelling: tuple[tuple[str, str], ...] = ()
    versions: VersionRange | None = None
    older: str | None = None
    mounts: tuple[Mount, ...] = ()
    requires: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    disruptive: str | None = None
    held: str | None = None
    proof: str | None = None

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def sets(self) -> str | None:
        """The flag, field or sysctl that it speaks about; None for files."""
        return self.document.flag if self.document else self.flag or self.field or self.sysctl

    def cited(self, catalogue: str) -> tuple[str, ...]:
        """What it serves in "cis", "stig", "nsa" or "upstream"."""
        return dict(self.references).get(catalogue, ())

    def spell(self, value: Literal) -> Literal:
        """A value of the family in this component's spelling, for example VersionTLS13 as etcd's TLS1.3."""
        return dict(self.spelling).get(value, value) if isinstance(value, str) else value


def load(directory: Path = CONTROLS) -> tuple[Control, ...]:
    """All controls of all nine paths, in the files' order. Raises ControlError."""
    controls: list[Control] = []
    for number in PATHS:
        file = directory / f"path{number}.yml"
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ControlError(str(file), "", f"cannot be read: {error.strerror}") from error
        controls.extend(parse(text, number, str(file), directory / "documents"))
    check(controls)
    return tuple(controls)


def parse(text: str, path: int, file: str, documents: Path) -> tuple[Control, ...]:
    """The controls of one file. Raises ControlError."""
    try:
        entries = load_yaml(text)
    except ValueError as error:
        raise ControlError(file, "", f"is no YAML: {error}") from error
    if not isinstance(entries, list):
        raise ControlError(file, "", "must be a list of controls")
    return tuple(_control(entry, number, path, file, documents) for number, entry in enumerate(entries, start=1))


def check(controls: Iterable[Control]) -> None:
    """What can only be judged when all controls are known: ids are unique, `requires` name controls. Raises ControlError."""
    seen: dict[str, Control] = {}
    families = {control.family for control in controls if control.family}
    for control in controls:
        file = f"path{control.path}.yml"
        if control.id in seen:
            raise ControlError(file, control.id, f"the id is already used in path{seen[control.id].path}.yml")
        if control.id in families:
            raise ControlError(file, control.id, "the id is also the name of a family")
        seen[control.id] = control
    for control in seen.values():
        for other in control.requires:
            if other not in seen:
                raise ControlError(f"path{control.path}.yml", control.id, f"requires {other}, which is no control")


def _control(entry: object, number: int, path: int, file: str, documents: Path) -> Control:
    name = f"entry {number}"
    try:
        reader = Reader.of(entry)
        name = reader.identifier("id")
        control = _read(reader, name, path, documents)
        reader.finish()
        _coherent(control)
    except ReaderError as error:
        raise ControlError(file, name, str(error)) from error
    return control


def _read(reader: Reader, name: str, path: int, documents: Path) -> Control:
    kinds = [kind for kind in KINDS if reader.has(kind)]
    if len(kinds) != 1:
        raise ReaderError(f"exactly one of {', '.join(KINDS)} must be there, not {', '.join(kinds) or 'none'}")
    unset = reader.one_of("unset", ("ok", "default")) if reader.has("unset") else None
    return Control(
        path=path,
        id=name,
        title=reader.sentence("title"),
        component=reader.one_of("component", COMPONENTS),
        why=reader.sentence("why"),
        undo=_undo(reader),
        profiles=reader.many_of("profiles", PROFILES),
        references=reader.references("references"),
        flag=reader.optional_identifier("flag"),
        field=reader.field("field"),
        files=_files(reader),
        document=_document(reader, documents),
        sysctl=reader.sysctl("sysctl"),
        value=_value(reader),
        merge=reader.one_of("merge", MERGES) if reader.has("merge") else None,
        unset_ok=unset == "ok",
        unset_default=unset == "default",
        refuse=reader.scalars("refuse"),
        allowed=reader.some_texts("allowed"),
        unless=reader.flag_values("unless"),
        family=reader.optional_identifier("family"),
        spelling=tuple((key, str(text)) for key, text in reader.pairs("spelling")),
        versions=reader.versions("versions"),
        older=reader.optional_sentence("older"),
        mounts=tuple(_mount(mount) for mount in reader.mappings("mounts")),
        requires=reader.identifiers("requires"),
        needs=_needs(reader),
        conflicts=reader.settings("conflicts"),
        drops=reader.identifiers("drops"),
        disruptive=reader.optional_sentence("disruptive"),
        held=reader.optional_sentence("held"),
        proof=reader.proof("proof"),
    )


def _undo(reader: Reader) -> Undo:
    if not reader.is_mapping("undo"):
        return Undo(always=reader.one_of("undo", ("always", "never")) == "always")
    inner = reader.mapping("undo")
    until = inner.one_of("until", KNOWN_CONDITIONS)
    inner.finish()
    return Undo(always=False, until=until)


def _needs(reader: Reader) -> tuple[str, ...]:
    if not reader.has("needs"):
        return ()
    needs = reader.many_of("needs", KNOWN_CONDITIONS)
    if not needs:
        raise ReaderError("needs must not be an empty list")
    return needs


def _value(reader: Reader) -> Value:
    if not reader.is_mapping("value"):
        return reader.literal("value")
    inner = reader.mapping("value")
    name = inner.one_of("ref", KNOWN_REFS)
    inner.finish()
    return Ref(name)


def _files(reader: Reader) -> Files | None:
    if not reader.has("files"):
        return None
    inner = reader.mapping("files")
    paths = inner.texts_or_mappings("paths")
    files = Files(
        paths=tuple(inner.absolute(path) for path in paths if isinstance(path, str)),
        places=tuple(_place(entry) for entry in paths if isinstance(entry, Reader)),
        mode=inner.mode("mode"),
        owner=inner.account("owner"),
        group=inner.account("group"),
    )
    inner.finish()
    if (files.owner is None) != (files.group is None):
        raise ReaderError("files: owner and group go together")
    if files.mode is None and files.owner is None:
        raise ReaderError("files: mode, or owner and group, must be there")
    return files


def _place(inner: Reader) -> Place:
    place = Place(inner.one_of("ref", KNOWN_PLACES), inner.below("below"))
    inner.finish()
    return place


def _document(reader: Reader, documents: Path) -> Document | None:
    if not reader.has("document"):
        return None
    inner = reader.mapping("document")
    flag, name = inner.identifier("flag"), inner.identifier("name")
    sources: list[tuple[VersionRange | None, str]]
    if inner.is_mapping("source"):
        sources = [(_range(versions), str(source)) for versions, source in inner.pairs("source")]
    else:
        sources = [(None, inner.text("source"))]
    inner.finish()
    return Document(flag=flag, name=name, texts=tuple((versions, _source(documents, source)) for versions, source in sources))


def _range(text: str) -> VersionRange:
    try:
        return VersionRange.parse(text)
    except ValueError as error:
        raise ReaderError(f"document.source: {error}") from error


def _source(documents: Path, name: str) -> str:
    if "/" in name or not name.endswith(".yaml"):
        raise ReaderError(f"document: {name} must be the name of a .yaml file in controls/documents")
    try:
        return (documents / name).read_text(encoding="utf-8")
    except OSError as error:
        raise ReaderError(f"document: {documents / name} cannot be read: {error.strerror}") from error


def _mount(inner: Reader) -> Mount:
    mount = Mount(
        name=inner.identifier("name"),
        host_path=inner.absolute(inner.text("host_path")),
        path=inner.absolute(inner.text("path")),
        read_only=inner.boolean("read_only"),
        type=inner.one_of("type", MOUNT_TYPES),
    )
    inner.finish()
    return mount


def _coherent(control: Control) -> None:
    """Rules that join keys; schema.json says the same."""
    valued = control.flag or control.field
    if control.disruptive and "recommended" in control.profiles:
        raise ReaderError("what is disruptive cannot be in the recommended profile")
    if valued and control.component == "host":
        raise ReaderError("a flag or field needs a component, not host")
    if control.field and control.component not in ("kubelet", "kube-proxy"):
        raise ReaderError("only kubelet and kube-proxy have a configuration with fields")
    if control.files and (control.value is not None or control.merge or control.component not in ("host", "etcd")):
        raise ReaderError("files have neither value nor merge, and belong to host or etcd")
    if control.sysctl and (control.component != "host" or control.merge != "exact" or not _whole(control.value)):
        raise ReaderError("a sysctl belongs to host and has an integer value that is merged exactly")
    if control.document and (control.merge not in ("exact", "present") or control.value is not None or not control.mounts):
        raise ReaderError("a document is merged exact or present, has no value and needs a mount")
    if valued and control.merge is None:
        raise ReaderError("merge is missing")
    if valued and control.merge != "absent" and control.value is None:
        raise ReaderError("value is missing")
    if control.spelling and not control.family:
        raise ReaderError("spelling needs a family")
    if control.older and control.versions is None:
        raise ReaderError("older needs versions")
    _coherent_merge(control)


def _coherent_merge(control: Control) -> None:
    """Keys that only some merges know."""
    if control.merge == "absent" and (control.unset_ok or control.unset_default or control.refuse):
        raise ReaderError("unset and refuse mean nothing where the merge is absent")
    if control.unset_default and (control.merge != "at_least" or not control.flag):
        raise ReaderError("unset: default is for flags that are merged at_least")
    if control.allowed and control.merge != "subset":
        raise ReaderError("allowed is for what is merged subset")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
