# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes single values of a YAML or JSON document and leaves every other byte as it is.

The parser says where each node begins and ends; an edit replaces, adds or removes exactly these characters. Comments, order,
quoting, folding and indentation of everything else therefore survive by construction. Every edit is then read back: the
document must say what it said before plus the edit, or the edit is refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Union

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils._yaml import YamlError, compose, load, scalar

Step = Union[str, int]
Path = Sequence[Step]
_INDENT = 2
_LONE_NEWLINE = re.compile(r"(?<!\r)\n")


class EditError(ValueError):
    """The document cannot be edited safely; the text says what is in the way."""


def set_value(text: str, path: Path, value: object) -> str:
    """The document with `value` at `path`; mappings on the way are made. Raises EditError, YamlError."""
    expected = _with(load(text), path, value)
    return _checked(_set(text, path, value), expected, path)


def remove(text: str, path: Path) -> str:
    """The document without what is at `path`; unchanged where nothing is. Raises EditError, YamlError."""
    data = load(text)
    if not _has(data, path):
        return text
    return _checked(_remove(text, path), _without(data, path), path)


def append(text: str, path: Path, items: Sequence[object]) -> str:
    """The document with items at the end of the list at `path`, which is made where it is missing. Raises EditError, YamlError."""
    if not items:
        return text
    data = load(text)
    found = _get(data, path) if _has(data, path) else None
    if not found:
        return set_value(text, path, list(items))
    if not isinstance(found, list):
        raise EditError(f"{_shown(path)} is no list")
    expected = _with(data, path, [*found, *items])
    return _checked(_append(text, path, items), expected, path)


def set_list(text: str, path: Path, items: Sequence[object]) -> str:
    """The document with these items in the list at `path`; items that stay keep their lines. Raises EditError, YamlError."""
    data = load(text)
    found = _get(data, path) if _has(data, path) else None
    if not isinstance(found, list) or not found:
        return set_value(text, path, list(items))
    kept = [item for item in found if item in items]
    if kept != list(items[: len(kept)]) or not kept:
        return set_value(text, path, list(items))
    for index in reversed([index for index, item in enumerate(found) if item not in items]):
        text = remove(text, [*path, index])
    return append(text, path, list(items[len(kept) :]))


def _checked(text: str, expected: object, path: Path) -> str:
    if "\r\n" in text:
        text = _LONE_NEWLINE.sub("\r\n", text)
    try:
        found = load(text)
    except YamlError as error:
        raise EditError(f"an edit of {_shown(path)} would break the document ({error}); edit it by hand") from error
    if found != expected or repr(found) != repr(expected):
        raise EditError(f"an edit of {_shown(path)} would change more than that; edit it by hand")
    return text


# What the document must say afterwards.


def _has(data: object, path: Path) -> bool:
    try:
        _get(data, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _get(data: Any, path: Path) -> Any:
    for step in path:
        if isinstance(data, list) is not isinstance(step, int):
            raise KeyError(step)
        data = data[step]
    return data


def _with(data: Any, path: Path, value: object) -> Any:
    """A copy with `value` at `path`. Mappings keep their order, a new key stands where `_place` puts it."""
    if not path:
        return copy.deepcopy(value)
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        if not isinstance(data, list) or step >= len(data):
            raise EditError(f"there is no item {step}")
        return [_with(item, rest, value) if index == step else item for index, item in enumerate(data)]
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise EditError(f"{step} cannot be set in what is no mapping")
    if step in data:
        return {key: _with(item, rest, value) if key == step else item for key, item in data.items()}
    names = list(data)
    place = _place(names, step)
    made = _with(None, rest, value)
    items = list(data.items())
    return dict([*items[:place], (step, made), *items[place:]])


def _without(data: Any, path: Path) -> Any:
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return [_without(item, rest) if rest and index == step else item for index, item in enumerate(data) if rest or index != step]
    return {key: _without(item, rest) if rest and key == step else item for key, item in data.items() if rest or key != step}


def _place(names: Sequence[str], new: str) -> int:
    """Where a key belongs: sorted, where the others are, but never before the first; at the end where they are not."""
    if len(names) < 2 or list(names) != sorted(names):
        return len(names)
    return max(1, sum(1 for name in names if name < new))


# Where in the text it stands.


def _walk(text: str, path: Path) -> tuple[Any, int]:
    """The deepest node on the path that is there, and how many steps lead to it."""
    node = compose(text)
    for depth, step in enumerate(path):
        child = _child(node, step)
        if child is None:
            return node, depth
        node = child
    return node, len(path)


def _child(node: Any, step: Step) -> Any:
    if node is None:
        return None
    if isinstance(step, int):
        return node.value[step] if node.id == "sequence" and step < len(node.value) else None
    if node.id != "mapping":
        return None
    return next((value for key, value in node.value if key.value == step), None)


def _set(text: str, path: Path, value: object) -> str:
    node, depth = _walk(text, path)
    if node is None:
        return text + ("" if not text or text.endswith("\n") else "\n") + _block(_nested(path, value), 0)
    rest = path[depth:]
    if not rest:
        return _replace(text, node, value, path)
    if _is_null(node) or (node.id == "mapping" and not node.value):
        return _replace(text, node, _nested(rest, value), path[:depth])
    if node.id != "mapping":
        raise EditError(f"{_shown(path[:depth])} is no mapping")
    return _insert(text, node, str(rest[0]), _nested(rest[1:], value))


def _nested(path: Path, value: object) -> object:
    for step in reversed(path):
        value = {step: value}
    return value


def _is_null(node: Any) -> bool:
    return bool(node.id == "scalar" and node.tag == "tag:yaml.org,2002:null")


def _replace(text: str, node: Any, value: object, path: Path) -> str:
    """Put a value in the place of a node."""
    start, end = node.start_mark.index, _end(text, node)
    collection = isinstance(value, (dict, list)) and bool(value)
    if _is_block(node):
        return _replace_block(text, node, value)
    if not collection or _in_flow(text, path) or (_is_flow(node) and node.value):
        quote = _style(node) or ("json" if _in_flow(text, path) else None)
        made = _flow(value) if collection else _scalar_or_empty(value, quote)
        space = " " if start > 0 and text[start - 1] in ":-" and start == end else ""
        return text[:start] + space + made + text[end:]
    column = _parent_column(text, path) - (_INDENT if path and isinstance(value, list) else 0)
    rest = text[end : _line_end(text, end)].rstrip("\r\n")
    head = text[:start].rstrip(" ")
    return head + (" " + rest.strip() if rest.strip() else "") + "\n" + _block(value, column) + text[_line_end(text, end) :]


def _replace_block(text: str, node: Any, value: object) -> str:
    """Put a value in the place of a collection that stands on lines of its own."""
    if not isinstance(value, (dict, list)) or not value:
        return _collapse(text, node, _scalar_or_empty(value, None))
    start = node.start_mark.index
    first = text.rfind("\n", 0, start) + 1
    if node.id == "mapping" and text[first:start].strip():
        raise EditError(f"line {node.start_mark.line + 1} holds more than what is replaced")
    column = node.start_mark.column if node.id == "mapping" else _dash_column(text, node.value[0])
    return text[:first] + _block(value, column) + text[_line_end(text, _end(text, node)) :]


def _insert(text: str, mapping: Any, key: str, value: object) -> str:
    """Add a key to a mapping that holds at least one."""
    names = [name.value for name, _value in mapping.value]
    place = _place(names, key)
    if mapping.flow_style:
        previous = mapping.value[place - 1][1]
        at = _end(text, previous)
        return text[:at] + f", {scalar(key, _flow_quote(mapping.value[0][0]))}: {_flow(value)}" + text[at:]
    column = mapping.value[0][0].start_mark.column
    at = _line_end(text, _end(text, mapping.value[place - 1][1]))
    return _splice(text, at, _block({key: value}, column))


def _append(text: str, path: Path, items: Sequence[object]) -> str:
    node, _depth = _walk(text, path)
    last = node.value[-1]
    at = _end(text, last)
    if node.flow_style:
        return text[:at] + "".join(f", {_flow(item)}" for item in items) + text[at:]
    return _splice(text, _line_end(text, at), _block(list(items), _dash_column(text, last)))


def _remove(text: str, path: Path) -> str:
    parent, _depth = _walk(text, path[:-1])
    pairs = list(parent.value) if parent.id == "mapping" else [(item, item) for item in parent.value]
    index = next(
        number for number, (key, _value) in enumerate(pairs) if number == path[-1] or (parent.id == "mapping" and key.value == path[-1])
    )
    first, last = pairs[index]
    if len(pairs) == 1:
        if not path[:-1]:
            raise EditError(f"{_shown(path)} is all that the document holds")
        return _collapse(text, parent, "{}" if parent.id == "mapping" else "[]")
    if parent.flow_style:
        if index:
            start, end = _end(text, pairs[index - 1][1]), _end(text, last)
        else:
            start, end = first.start_mark.index, pairs[1][0].start_mark.index
        return text[:start] + text[end:]
    start = text.rfind("\n", 0, first.start_mark.index) + 1
    lead = text[start : first.start_mark.index]
    if lead.strip() not in (("",) if parent.id == "mapping" else ("-",)):
        raise EditError(f"{_shown(path)} shares its line with something else")
    return text[:start] + text[_line_end(text, _end(text, last)) :]


def _collapse(text: str, parent: Any, made: str) -> str:
    """Put something short in the place of a whole collection, behind the key that holds it."""
    start, end = parent.start_mark.index, _end(text, parent)
    if _is_flow(parent):
        return text[:start] + made + text[end:]
    # The collection begins on a line of its own; the key that holds it ends the line above, maybe before a comment.
    first = text.rfind("\n", 0, start) + 1
    head = text[:first].rstrip("\r\n")
    line = head.rfind("\n") + 1
    key, mark, comment = head[line:].partition(" #")
    if text[first:start].strip(" -") or not key.rstrip().endswith(":"):
        raise EditError(f"line {parent.start_mark.line + 1} is laid out in a way that is not understood")
    return head[:line] + key.rstrip() + " " + made + (mark + comment if mark else "") + "\n" + text[_line_end(text, end) :]


def _splice(text: str, at: int, lines: str) -> str:
    lead = "" if at == 0 or text[at - 1] == "\n" else "\n"
    return text[:at] + lead + lines + text[at:]


def _end(text: str, node: Any) -> int:
    """Where the node's own characters end, without the comments and blank lines that follow."""
    if not _is_block(node):
        end = node.end_mark.index
        if node.id == "scalar" and node.style in ("|", ">"):
            end = len(text[:end].rstrip("\r\n \t"))
        return max(int(end), int(node.start_mark.index))
    last = node.value[-1]
    return _end(text, last[1] if node.id == "mapping" else last)


def _line_end(text: str, index: int) -> int:
    """Where the next line begins."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _dash_column(text: str, item: Any) -> int:
    """The column of the dash before an item of a block list."""
    start = item.start_mark.index
    first = text.rfind("\n", 0, start) + 1
    lead = text[first:start]
    if lead.strip(" ") != "-":
        raise EditError(f"line {item.start_mark.line + 1} is laid out in a way that is not understood")
    return lead.index("-")


def _parent_column(text: str, path: Path) -> int:
    """The column for the content of a collection that is put at `path`."""
    node = compose(text)
    column = -_INDENT
    for step in path:
        if node.id == "mapping" and node.value:
            column = node.value[0][0].start_mark.column
        elif node.id == "sequence" and node.value:
            column = node.value[0].start_mark.column
        child = _child(node, step)
        if child is None:
            break
        node = child
    return column + _INDENT


def _in_flow(text: str, path: Path) -> bool:
    """Whether a node above the path's end is written as [ ] or { }."""
    node = compose(text)
    for step in path:
        if _is_flow(node):
            return True
        child = _child(node, step)
        if child is None:
            return False
        node = child
    return False


def _is_flow(node: Any) -> bool:
    return bool(node.id != "scalar" and node.flow_style)


def _is_block(node: Any) -> bool:
    return bool(node.id != "scalar" and not node.flow_style and node.value)


def _style(node: Any) -> str | None:
    return node.style if node.id == "scalar" and node.style in ("'", '"') else None


def _flow_quote(key: Any) -> str | None:
    return "json" if key.style == '"' else None


def _scalar_or_empty(value: object, style: str | None) -> str:
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if value is None or isinstance(value, (str, int, bool)):
        return scalar(value, style if isinstance(value, str) else None)
    raise EditError(f"a {type(value).__name__} cannot be written")


def _flow(value: object) -> str:
    """The value on one line, as JSON: valid in both."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key), 'json')}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar_or_empty(value, "json")


def _block(value: object, column: int) -> str:
    """The lines of a collection, its first character in `column`; lists are not indented below their key."""
    pad = " " * column
    lines = ""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines += f"{pad}{scalar(str(key))}:\n" + _block(item, column if isinstance(item, list) else column + _INDENT)
            else:
                lines += f"{pad}{scalar(str(key))}: {_scalar_or_empty(item, None)}\n"
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (dict, list)) and item:
                inner = _block(item, column + _INDENT)
                lines += f"{pad}- {inner[column + _INDENT :]}"
            else:
                lines += f"{pad}- {_scalar_or_empty(item, None)}\n"
    return lines


def _shown(path: Path) -> str:
    return ".".join(str(step) for step in path) or "the document"
