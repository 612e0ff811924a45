# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration documents of kubelet and kube-proxy: fields by dotted path, layers, and names that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import YamlError, load
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.merge import MergeError, Value, show
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents import edit

_TYPE_META = frozenset({"apiVersion", "kind"})


class ConfigError(ValueError):
    """The document cannot be judged; the text says why."""


@dataclass(frozen=True)
class ConfigFile:
    """One document."""

    text: str
    data: Mapping[str, Any]

    def get(self, field: str) -> Value | None:
        """The value of a field; None where it is not set or null. Raises ConfigError."""
        node: Any = self.data
        done: list[str] = []
        for key in field.split("."):
            if node is None:
                return None
            if not isinstance(node, dict):
                raise ConfigError(f"{'.'.join(done)} is no mapping")
            node = node.get(key)
            done.append(key)
        return _value(field, node)


def parse(text: str, kind: str) -> ConfigFile:
    """Read a document of a kind like KubeletConfiguration. Raises ConfigError."""
    try:
        data = load(text)
    except YamlError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(data, dict):
        raise ConfigError("is no mapping")
    if data.get("kind") != kind:
        raise ConfigError(f"has the kind {str(data.get('kind'))[:80]!r}, not {kind}")
    return ConfigFile(text, data)


def unknown_fields(config: ConfigFile, known: Callable[[str], bool]) -> tuple[str, ...]:
    """Fields that the running version does not know. `known` is asked for every field and every mapping above one."""
    return tuple(_unknown(config.data, "", known))


def _unknown(data: Mapping[str, Any], prefix: str, known: Callable[[str], bool]) -> list[str]:
    found = []
    for key, value in data.items():
        if not prefix and key in _TYPE_META:
            continue
        path = prefix + str(key)
        if not known(path):
            found.append(path)
        elif isinstance(value, dict):
            found += _unknown(value, path + ".", known)
    return found


def effective(layers: Sequence[ConfigFile], field: str) -> Value | None:
    """The value of the last layer that sets the field: the kubelet merges its drop-ins over its configuration. Raises ConfigError."""
    found: Value | None = None
    for layer in layers:
        value = layer.get(field)
        if value is not None or nulls(layer, field):
            found = value
    return found


def edited(config: ConfigFile, fields: Mapping[str, Value | None]) -> str:
    """The text with these fields (None: gone). Raises EditError."""
    text = config.text
    for field in sorted(fields):
        value = fields[field]
        path = field.split(".")
        if value is None:
            text = edit.remove(text, path)
        elif isinstance(value, tuple):
            text = edit.set_list(text, path, list(value))
        else:
            text = edit.set_value(text, path, value)
    return text


def nulls(layer: ConfigFile, field: str) -> bool:
    """Whether a drop-in takes the field away, or something above it: JSON merge patches delete what is null."""
    data: Any = layer.data
    for key in field.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
        if data is None:
            return True
    return False


def _value(field: str, node: Any) -> Value | None:
    if node is None or isinstance(node, (str, bool, int)):
        return node
    if isinstance(node, list) and all(isinstance(item, (str, int)) for item in node):
        return tuple(str(item) for item in node)
    raise ConfigError(f"{field} is neither text, number, boolean nor a list of texts")


def typed(field: str, value: Value | None, wanted: Value | None) -> Value | None:
    """The value, if it is of the wanted kind. Raises ConfigError."""
    if value is None or wanted is None or type(value) is type(wanted) or value == "":
        return value
    if isinstance(wanted, str) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{field} is {show(value)!r}, must be of the kind of {show(wanted)!r}")


__all__ = ["ConfigError", "ConfigFile", "MergeError", "edited", "effective", "nulls", "parse", "typed", "unknown_fields"]
