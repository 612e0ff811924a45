# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls: what "secure" means, read from controls/path1.yml … path9.yml.

Everything that the plan, the report and the documentation know about a setting comes from there. `load` reads the
files; the rest of this module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import load as load_yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.control import (
    COMPONENTS,
    KINDS,
    MERGES,
    MOUNT_TYPES,
    PATHS,
    PROFILES,
    UNMET,
    Control,
    Document,
    Files,
    IncoherentError,
    Literal,
    Mount,
    Place,
    Ref,
    Undo,
    Unmet,
    Value,
    check_coherence,
)
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.control_reader import Reader, ReaderError
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.names import KNOWN_CONDITIONS, KNOWN_PLACES, KNOWN_REFS, UNDO_LIMITS
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange

__all__ = [
    "COMPONENTS",
    "CONTROLS",
    "KNOWN_CONDITIONS",
    "KNOWN_REFS",
    "MERGES",
    "PATHS",
    "PROFILES",
    "Control",
    "ControlError",
    "Document",
    "Files",
    "Literal",
    "Mount",
    "Ref",
    "Undo",
    "Unmet",
    "Value",
    "check",
    "load",
    "parse",
]

CONTROLS = Path(__file__).resolve().parents[3] / "controls"


class ControlError(Exception):
    """A controls file says something that cannot be used."""

    def __init__(self, file: str, control: str, cause: str) -> None:
        super().__init__(f"{file}: {control}: {cause}" if control else f"{file}: {cause}")
        self.file = file
        self.control = control
        self.cause = cause


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
        check_coherence(control)
    except (ReaderError, IncoherentError) as error:
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
        objects=reader.texts("objects", required=True) if reader.has("objects") else None,
        value=_value(reader),
        merge=reader.one_of("merge", MERGES) if reader.has("merge") else None,
        unset_ok=unset == "ok",
        unset_default=unset == "default",
        set_ok=reader.one_of("set", ("ok",)) == "ok" if reader.has("set") else False,
        refuse=reader.scalars("refuse"),
        allowed=reader.some_texts("allowed"),
        refuse_below=reader.optional_integer("refuse_below"),
        overrides=reader.scalars("overrides"),
        differs_from=_ref(reader, "differs_from") if reader.has("differs_from") else None,
        unmet=_unmet(reader),
        unless=reader.flag_values("unless"),
        family=reader.optional_identifier("family"),
        spelling=tuple((key, str(text)) for key, text in reader.pairs("spelling")),
        versions=reader.versions("versions"),
        older=reader.optional_sentence("older"),
        mounts=tuple(_mount(mount) for mount in reader.mappings("mounts")),
        on_host=reader.boolean("on_host") if reader.has("on_host") else False,
        requires=reader.identifiers("requires"),
        needs=_needs(reader),
        conflicts=reader.settings("conflicts"),
        drops=reader.identifiers("drops"),
        drops_agreeing=reader.many_of("drops_agreeing", PROFILES) if reader.has("drops_agreeing") else (),
        disruptive=reader.optional_sentence("disruptive"),
        held=reader.optional_sentence("held"),
        proof=reader.proof("proof"),
    )


def _undo(reader: Reader) -> Undo:
    if not reader.is_mapping("undo"):
        return Undo(always=reader.one_of("undo", ("always",)) == "always")
    inner = reader.mapping("undo")
    limit = Undo(always=False, instead=inner.sentence("never")) if inner.has("never") else Undo(always=False, until=inner.one_of("until", UNDO_LIMITS))
    inner.finish()
    return limit


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
    return _ref(reader, "value")


def _ref(reader: Reader, key: str) -> Ref:
    inner = reader.mapping(key)
    name = inner.one_of("ref", KNOWN_REFS)
    inner.finish()
    return Ref(name)


def _unmet(reader: Reader) -> Unmet | None:
    if not reader.has("unmet"):
        return None
    inner = reader.mapping("unmet")
    found = [Unmet(status, inner.sentence(status)) for status in UNMET if inner.has(status)]
    inner.finish()
    if len(found) != 1:
        raise ReaderError(f"unmet must have exactly one of {', '.join(UNMET)}")
    return found[0]


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
