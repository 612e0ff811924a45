# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flags and configuration fields each minor of each component knows.

The data is generated from the binaries (`make flags`) and committed under data/. `load` reads it; lookups do no I/O.
Deprecated flags that a component's help hides are in it only if a control names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import minor_of, order

DATA = Path(__file__).resolve().parent / "data"
ETCD = "etcd"
_SCHEMA = 1

# A component's flags or fields: name -> [type, default].
_Entries = Mapping[str, tuple[str, object]]


class FlagDataError(Exception):
    """There is no usable data for a version; nothing may be planned for it."""


@dataclass(frozen=True)
class Known:
    """A flag or field that a version knows.

    type: as the binary names it: "bool", "int", "string", "strings", "duration", …; for fields "bool", "int", "string",
    "[]string", "map[string]bool", "duration", ….
    default: of a flag the text that a command line would hold, of a field the value; None where there is none.
    """

    type: str
    default: str | int | float | bool | list[object] | dict[str, object] | None


@dataclass(frozen=True)
class Flags:
    """All generated data, by minor; etcd's by its own minor."""

    kubernetes: Mapping[str, Mapping[str, Mapping[str, _Entries]]]
    etcd: Mapping[str, _Entries]

    def minors(self, component: str) -> tuple[str, ...]:
        """Minors of a component that there is data for, oldest first."""
        return tuple(sorted(self.etcd if component == ETCD else self.kubernetes, key=order))

    def flag(self, component: str, minor: str, name: str) -> Known | None:
        """The flag, without its dashes, or None if that minor does not know it. Raises FlagDataError."""
        return _known(self._flags(component, minor), name)

    def field(self, component: str, minor: str, path: str) -> Known | None:
        """The field by its dotted path, or None if that minor does not know it. Raises FlagDataError.

        An entry of a map, like featureGates.Name, is known if its map is; its type is that of the map's values. Keys of a map may
        hold dots themselves (evictionHard holds imagefs.available), so every ancestor is asked.
        """
        fields = self._of(component, minor).get("fields", {}).get(component, {})
        found = _known(fields, path)
        parent = path
        while found is None and "." in parent:
            parent = parent.rpartition(".")[0]
            kind = fields.get(parent, ("", None))[0]
            if kind.startswith("map[string]"):
                found = Known(kind.removeprefix("map[string]"), None)
        return found

    def kubeadm(self, component: str, minor: str) -> frozenset[str]:
        """Flags that kubeadm of this Kubernetes minor writes into the component's manifest by itself. Raises FlagDataError."""
        return frozenset(self._of(component, minor).get("kubeadm", {}).get(component, {}))

    def _flags(self, component: str, minor: str) -> _Entries:
        if component == ETCD:
            if minor not in self.etcd:
                raise FlagDataError(_missing("etcd", minor, self.minors(ETCD)))
            return self.etcd[minor]
        return self._of(component, minor).get("flags", {}).get(component, {})

    def _of(self, component: str, minor: str) -> Mapping[str, Mapping[str, _Entries]]:
        if minor not in self.kubernetes:
            raise FlagDataError(_missing("Kubernetes", minor, self.minors(component if component != ETCD else "")))
        return self.kubernetes[minor]


def _missing(upstream: str, minor: str, known: tuple[str, ...]) -> str:
    return (
        f"no data for {upstream} {minor}: which flags it knows has not been generated; known are {', '.join(known) or 'none'}. "
        f"Build its binaries and run `make flags`, or use a release of ninepaths that knows this version"
    )


def _known(entries: _Entries, name: str) -> Known | None:
    entry = entries.get(name)
    return None if entry is None else Known(entry[0], entry[1])  # type: ignore[arg-type]


def load(directory: Path = DATA) -> Flags:
    """Reads flags-<minor>.json and flags-etcd-<minor>.json. Raises FlagDataError."""
    kubernetes: dict[str, Mapping[str, Mapping[str, _Entries]]] = {}
    etcd: dict[str, _Entries] = {}
    for file in sorted(directory.glob("flags-*.json")):
        data = _read(file)
        minor = minor_of(str(data["version"]))
        if file.name.startswith("flags-etcd-"):
            etcd[minor] = data["flags"]["etcd"]
        else:
            kubernetes[minor] = {key: data[key] for key in ("flags", "fields", "kubeadm") if key in data}
    return Flags(kubernetes, etcd)


def _read(file: Path) -> dict[str, dict[str, dict[str, tuple[str, object]]]]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FlagDataError(f"{file}: cannot be read: {error}; run `make flags`") from error
    if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
        raise FlagDataError(f"{file}: has no schema {_SCHEMA}; run `make flags`")
    return data
