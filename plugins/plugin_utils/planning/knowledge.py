# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What versions know, and what documents say, remembered for one plan: a thousand workers share a few texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import ETCD, Flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value, show, truth
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import order
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import config_file, static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import COLLECTING, MAPS, SEPARATE, Argv
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.config_file import ConfigFile
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.static_pod import StaticPod

_GATES = "feature-gates"
KUBELET_KIND = "KubeletConfiguration"


class Knowledge:
    """Lookups in the generated data and parsed documents. Lives as long as one plan; parsing errors are raised each time."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self._pods: dict[tuple[str, str], StaticPod] = {}
        self._configs: dict[tuple[str, str], ConfigFile] = {}
        self._edited: dict[tuple[str, tuple[tuple[str, Value | None], ...]], str] = {}
        self._unknown: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._argvs: dict[tuple[tuple[str, ...], str, str], Argv] = {}
        self._fields: dict[tuple[str, str], frozenset[str]] = {}

    def pod(self, text: str, component: str) -> StaticPod:
        """Raises ManifestError."""
        key = (text, component)
        if key not in self._pods:
            self._pods[key] = static_pod.parse(text, component)
        return self._pods[key]

    def config(self, text: str, kind: str = KUBELET_KIND) -> ConfigFile:
        """Raises ConfigError."""
        key = (text, kind)
        if key not in self._configs:
            self._configs[key] = config_file.parse(text, kind)
        return self._configs[key]

    def edited(self, config: ConfigFile, fields: Mapping[str, Value | None]) -> str:
        """A document with other fields. Raises EditError."""
        key = (config.text, tuple(sorted(fields.items())))
        if key not in self._edited:
            self._edited[key] = config_file.edited(config, fields)
        return self._edited[key]

    def unknown_fields(self, text: str, component: str, minor: str, kind: str = KUBELET_KIND) -> tuple[str, ...]:
        """Fields of a document that the version does not know. Raises ConfigError, FlagDataError."""
        key = (text, component, minor)
        if key not in self._unknown:
            known = self._known_fields(component, minor)
            self._unknown[key] = config_file.unknown_fields(
                self.config(text, kind), lambda field: field in known or self.flags.field(component, minor, field) is not None
            )
        return self._unknown[key]

    def argv(self, items: Sequence[str], component: str, minor: str) -> Argv:
        """Raises FlagDataError."""
        key = (tuple(items), component, minor)
        if key not in self._argvs:
            self._argvs[key] = Argv.parse(key[0], lambda name: self._is_bool(component, minor, name), single_dash=component == ETCD)
        return self._argvs[key]

    def knows_flag(self, component: str, minor: str, name: str) -> bool:
        return self.flags.flag(component, minor, name) is not None

    def knows_field(self, component: str, minor: str, field: str) -> bool:
        return self.flags.field(component, minor, field) is not None

    def collects(self, component: str, minor: str, name: str) -> bool:
        """Whether the values of a flag's occurrences add up."""
        known = self.flags.flag(component, minor, name)
        return known is not None and known.type in COLLECTING

    def maps(self, component: str, minor: str, name: str) -> bool:
        """Whether a flag holds a map, like --feature-gates."""
        known = self.flags.flag(component, minor, name)
        return known is not None and known.type in MAPS

    def separate(self, component: str, minor: str, name: str) -> bool:
        """Whether a flag's values must not be joined by commas."""
        known = self.flags.flag(component, minor, name)
        return known is not None and known.type in SEPARATE

    def default(self, component: str, minor: str, name: str) -> str | None:
        """What a flag is where nobody sets it, as a command line would hold it; None where the version does not say."""
        known = self.flags.flag(component, minor, name)
        return None if known is None or known.default in (None, "") else str(known.default)

    def spelled(self, component: str, minor: str, name: str, values: tuple[str, ...]) -> tuple[str, ...]:
        """A flag's values in one spelling: the components read 1, t and True as true, and kube:Gate as Gate."""
        known = self.flags.flag(component, minor, name)
        if name != _GATES and (known is None or known.type not in ("bool", "mapStringBool")):
            return values
        return tuple(_spelled(value.removeprefix("kube:") if name == _GATES else value) for value in values)

    def next_minor(self, component: str, minor: str) -> str | None:
        """The minor after this one, if there is data for it."""
        later = [other for other in self.flags.minors(component) if order(other) > order(minor)]
        return later[0] if later else None

    def _is_bool(self, component: str, minor: str, name: str) -> bool | None:
        known = self.flags.flag(component, minor, name)
        return None if known is None else known.type == "bool"

    def _known_fields(self, component: str, minor: str) -> frozenset[str]:
        """All fields, and the mappings above them."""
        key = (component, minor)
        if key not in self._fields:
            found: set[str] = set()
            for field in self.flags.kubernetes.get(minor, {}).get("fields", {}).get(component, {}):
                parts = field.split(".")
                found.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
            self._fields[key] = frozenset(found)
        return self._fields[key]


def _spelled(value: str) -> str:
    name, equals, text = value.rpartition("=")
    try:
        return f"{name.strip()}{equals}{show(truth(text.strip()))}"
    except MergeError:
        return value  # the component refuses it too
