# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a control is made of, and which of its keys go together. No I/O."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Union

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange

Unmettable = typing.Literal["held", "deviation"]
PATHS = range(1, 10)
PROFILES = ("recommended", "cis-level-1", "cis-level-2", "stig")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kube-proxy", "host", "cluster")
MERGES = ("exact", "loopback", "present", "at_least", "at_most", "subset", "superset", "append", "absent", "each")
UNMET: tuple[Unmettable, ...] = ("held", "deviation")
KINDS = ("flag", "field", "files", "document", "sysctl", "objects")
MOUNT_TYPES = ("DirectoryOrCreate", "Directory", "FileOrCreate", "File")

Scalar = Union[str, int, bool]
Pairs = tuple[tuple[str, Scalar], ...]


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
class Unmet:
    """What a control that nothing is edited for is where it does not hold: "held" or "deviation", and what to do."""

    status: Unmettable
    advice: str


@dataclass(frozen=True)
class Undo:
    """How far a control can be undone: always, until a condition has come true, or never; then `instead` says what to do in its place."""

    always: bool
    until: str | None = None
    instead: str | None = None


@dataclass(frozen=True)
class Control:
    """One entry of controls/path<N>.yml. Exactly one of KINDS is set."""

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
    objects: tuple[str, ...] | None = None
    value: Value = None
    merge: str | None = None
    unset_ok: bool = False
    unset_default: bool = False
    set_ok: bool = False
    refuse: tuple[Scalar, ...] = ()
    refuse_below: int | None = None
    allowed: tuple[str, ...] = ()
    overrides: tuple[Scalar, ...] = ()
    differs_from: Ref | None = None
    unmet: Unmet | None = None
    unless: Pairs = ()
    family: str | None = None
    spelling: tuple[tuple[str, str], ...] = ()
    versions: VersionRange | None = None
    older: str | None = None
    mounts: tuple[Mount, ...] = ()
    on_host: bool = False
    requires: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    drops_agreeing: tuple[str, ...] = ()
    disruptive: str | None = None
    held: str | None = None
    proof: str | None = None

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def unjudged(self) -> bool:
        """Whether nobody can tell what a value that is set is worth: it stays held, since `present` says only that there is one."""
        return self.held is not None and self.merge == "present" and not self.set_ok

    @property
    def sets(self) -> str | None:
        """The flag, field or sysctl that it speaks about; None for files and objects."""
        return self.document.flag if self.document else self.flag or self.field or self.sysctl

    def cited(self, catalogue: str) -> tuple[str, ...]:
        """What it serves in "cis", "stig", "nsa" or "upstream"."""
        return dict(self.references).get(catalogue, ())

    def spell(self, value: Literal) -> Literal:
        """A value of the family in this component's spelling, for example VersionTLS13 as etcd's TLS1.3."""
        return dict(self.spelling).get(value, value) if isinstance(value, str) else value


class IncoherentError(ValueError):
    """Keys of a control that do not go together; the text says which."""


def check_coherence(control: Control) -> None:
    """Rules that join keys; schema.json says the same. Raises IncoherentError."""
    valued = bool(control.flag or control.field)
    value, merge, component = control.value, control.merge, control.component
    wrong = {
        "what is disruptive cannot be in the recommended profile": control.disruptive and "recommended" in control.profiles,
        "a flag or field needs a component, not host": valued and component == "host",
        "only kubelet and kube-proxy have a configuration with fields": control.field and component not in ("kubelet", "kube-proxy"),
        "files have neither value nor merge, and belong to host or etcd": (control.files and (value is not None or merge or component not in ("host", "etcd"))),
        "objects belong to the cluster, have neither value nor merge, and are held": (
            bool(control.objects) != (component == "cluster") or (control.objects and not (control.held and merge is None))
        ),
        "a sysctl belongs to host and has an integer value that is merged exactly": (
            control.sysctl and (component != "host" or merge != "exact" or not _whole(value))
        ),
        "a document is merged exact or present, has no value and needs a mount": (
            control.document and (merge not in ("exact", "present") or value is not None or not control.mounts)
        ),
        "merge is missing": valued and merge is None,
        "value is missing": valued and merge != "absent" and value is None,
        "drops_agreeing is for a field that drops flags": control.drops_agreeing and not (control.drops and control.field),
        "refuse_below is for whole numbers": control.refuse_below is not None and not _whole(value),
        "on_host is for a flag that holds a path and has a mount": (control.on_host and not (control.mounts and control.flag and isinstance(value, str))),
        "unset and refuse mean nothing where the merge is absent": (
            merge == "absent" and (control.unset_ok or control.unset_default or control.refuse)
        ),
        "unset: default is for flags that are merged at_least": control.unset_default and (merge != "at_least" or not control.flag),
        "allowed is for what is merged subset": control.allowed and merge != "subset",
        "older needs versions": control.older and control.versions is None,
        "spelling needs a family": control.spelling and not control.family,
        "each and unmet go together": (merge == "each") != (control.unmet is not None),
        "each has what items may begin with, a text or a list": merge == "each" and not isinstance(value, (str, tuple)),
        "differs_from is for a value that is a reference": control.differs_from and not isinstance(value, Ref),
        "set is for what is held and merged present": control.set_ok and not (control.held and merge == "present"),
        "overrides are alternatives to a single value": control.overrides and (merge == "absent" or isinstance(value, (Ref, tuple, type(None)))),
    }
    for rule, broken in wrong.items():
        if broken:
            raise IncoherentError(rule)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
