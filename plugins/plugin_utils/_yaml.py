# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that imports a YAML library: PyYAML, which ansible-core brings along.

Documents are read strictly: one document, no aliases, no merge keys, no key twice. What a kubelet or an apiserver reads is
written without them, and each of them lets two readers see two different documents.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import HALF

try:
    import yaml
except ImportError as error:  # reported when something is read, so that importing this module always works
    yaml = None  # type: ignore[assignment]
    _MISSING = str(error)
else:
    _MISSING = ""

MAX_CHARACTERS = 1 << 18
MAX_INTEGER = 1 << 63
_MAX_DEPTH = 60
# Fewer signs than this cannot open collections deep enough to exhaust the stack of the parser, which is C.
_HARMLESS_SIGNS = 5000
_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))
# Scalars that every YAML reader takes for the text that stands there.
_PLAIN = re.compile(r"[A-Za-z0-9/_.-][A-Za-z0-9/_.:=,@+*-]*", re.ASCII)
_NEVER_PLAIN = re.compile(
    r"""(?ix) [-+]?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)? | [-+]?\.[0-9][0-9_]*(e[-+]?[0-9]+)? | [-+]?0[xob][0-9a-f_]+
        | [-+]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)? | [0-9]+-[0-9]+-[0-9]+.* | [-+]?\.(inf|nan)
        | y | n | yes | no | on | off | true | false | null | ~ | - | -- | --- | \.\.\.""",
    re.ASCII,
)


class YamlError(ValueError):
    """The text is no YAML document that we read; `line` counts from 1, 0 where there is none."""

    def __init__(self, cause: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {cause}" if line else cause)
        self.cause = cause
        self.line = line


def compose(text: str) -> Any:
    """The node tree of the one document in `text`, with the place of every node; None where it is empty. Raises YamlError."""
    return _parse(text, lambda loader, node: node)


def load(text: str) -> object:
    """The one document in `text`. Dates stay text. Raises YamlError (a ValueError), RuntimeError without PyYAML."""
    return _parse(text, lambda loader, node: None if node is None else loader.construct_document(node))


def is_yaml(text: str) -> bool:
    """Whether a text is YAML at all, whatever it says; one that is nested deeply is taken for YAML. RuntimeError without PyYAML."""
    _need()
    try:
        return all(depth >= 0 for depth in itertools.takewhile(lambda depth: depth <= _MAX_DEPTH, _depths(text)))
    except (yaml.YAMLError, ValueError, OverflowError):  # the last two: an escape for a character that does not exist
        return False


def dump(value: object) -> str:
    """Block style, keys sorted, long lines not folded: what Kubernetes' own tools write."""
    _need()
    text: str = yaml.safe_dump(value, default_flow_style=False, sort_keys=True, width=1 << 30, allow_unicode=True)
    return text


def scalar(value: str | int | bool | None, style: str | None = None) -> str:
    """A scalar on one line. `style` is the quote of what it replaces: "'", '"', "json" (always double) or None."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style in ('"', "json") or not _PLAIN.fullmatch(value) or _NEVER_PLAIN.fullmatch(value) or value.endswith(":"):
        return json.dumps(value, ensure_ascii=False)
    return value


def _need() -> None:
    if yaml is None:
        raise RuntimeError(f"PyYAML is missing on the controller ({_MISSING}); install ansible-core's requirements")


def _parse(text: str, finish: Callable[[Any, Any], Any]) -> Any:
    _need()
    if len(text) > MAX_CHARACTERS:
        raise YamlError(f"is longer than {MAX_CHARACTERS} characters")
    if text.startswith("\ufeff"):
        raise YamlError("begins with a byte order mark", 1)
    if HALF.search(text):
        raise YamlError("holds a text that is not valid UTF-8")
    loader = _loader()(text)
    try:
        _refuse_depth(text)
        node = loader.get_single_node()
        _refuse(loader, node)
        return finish(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(f"is no YAML: {error.problem or error.context}", mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"is no YAML: {error}") from error
    except RecursionError as error:
        raise YamlError("is nested too deeply") from error
    finally:
        loader.dispose()


def _refuse_depth(text: str) -> None:
    """Raise for collections in collections, before anything recurses into them."""
    if sum(text.count(sign) for sign in "[{-?") < _HARMLESS_SIGNS:
        return
    if any(depth > _MAX_DEPTH for depth in _depths(text)):
        raise YamlError("is nested too deeply")


def _depths(text: str) -> Iterator[int]:
    """How deep the parser is after each event. Whoever asks stops where it is too deep: from there on it gets slower with each level."""
    depth = 0
    for event in yaml.parse(text, Loader=_base()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        yield depth


def _refuse(loader: Any, root: Any) -> None:
    """Raise for what two readers may understand in two ways."""
    seen: set[int] = set()
    waiting = [(root, 0)] if root is not None else []
    while waiting:
        node, depth = waiting.pop()
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise YamlError("uses an alias (*name); write the value out", line)
        if depth > _MAX_DEPTH:
            raise YamlError("is nested too deeply", line)
        seen.add(id(node))
        _refuse_tag(loader, node)
        if node.id == "sequence":
            waiting.extend((child, depth + 1) for child in node.value)
        elif node.id == "mapping":
            _refuse_keys(node)
            waiting.extend((child, depth + 1) for pair in node.value for child in pair)


def _refuse_tag(loader: Any, node: Any) -> None:
    """Raise for a type that is not what stands there, and for a number that no reader of Kubernetes takes."""
    line = node.start_mark.line + 1
    plain = node.id == "scalar" and node.tag != f"{_CORE}str"
    if node.tag not in _TAGS or (plain and loader.resolve(yaml.ScalarNode, node.value, (True, False)) != node.tag):
        raise YamlError("uses a tag (!type), or a sign that readers take for one; put the value in quotes", line)
    if plain and node.tag == f"{_CORE}int" and (len(node.value) > 80 or abs(loader.construct_yaml_int(node)) >= MAX_INTEGER):
        raise YamlError("holds a number that is too large", line)


def _refuse_keys(mapping: Any) -> None:
    keys: set[str] = set()
    for key, _value in mapping.value:
        line = key.start_mark.line + 1
        if key.tag == f"{_CORE}merge":
            raise YamlError("uses a merge key (<<); write the values out", line)
        if key.id != "scalar" or key.tag != f"{_CORE}str":
            raise YamlError("has a key that is no text", line)
        if key.value in keys:
            raise YamlError(f"holds the key {key.value!r} twice", line)
        keys.add(key.value)


def _base() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=1)
def _loader() -> Any:
    """PyYAML's C loader without dates and base-60 numbers, which Kubernetes' reader does not know either."""
    base = _base()
    loader = type("StrictLoader", (base,), {})
    kept = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("timestamp", "int", "float")]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    loader.yaml_implicit_resolvers = kept  # type: ignore[attr-defined]
    integer = re.compile(r"[-+]?(0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|(0|[1-9][0-9_]*))$")
    floating = re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    )
    loader.add_implicit_resolver("tag:yaml.org,2002:float", floating, list("-+0123456789."))  # type: ignore[attr-defined]
    loader.add_implicit_resolver("tag:yaml.org,2002:int", integer, list("-+0123456789"))  # type: ignore[attr-defined]
    return loader
