# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile variants of real input: bytes changed in place, and parts of a structure replaced, doubled, taken away or nested."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

# What has a meaning somewhere: to YAML, JSON, Jinja, shells, terminals, file systems, HTTP, PEM, DER, and to our own frames.
TOKENS: Sequence[bytes] = (
    b"{{ lookup('pipe', 'touch /tmp/x') }}", b"{% for x in range(9**9) %}", b"$(touch /tmp/x)", b"`touch /tmp/x`", b"; touch /tmp/x;", b"\x1b[2J\x1b]0;x\x07",
    b"\xc2\x9b31m", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xff\xfe", b"\x00", b"\r\n", b"\n\n", b"../../../etc/passwd", b"/proc/self/environ",
    b"-----BEGIN NINEPATHS RESULT-----\n{}\n-----END NINEPATHS RESULT-----\n", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN RSA PRIVATE KEY-----\n",
    b"9" * 400, b"0x" + b"f" * 100, b"-1", b"1e999", b"NaN", b"-Infinity", b".nan", b".inf", b"18446744073709551616", b"\xc2\xb2", b"!!timestamp x",
    b"!!int ''", b"!!binary aGk=", b"!!python/object/apply:os.system [x]", b"&a [*a]", b"<<: {a: b}", b"? [a]\n: b\n", b"[" * 80, b"{" * 80, b"- " * 80,
    b"\"\\ud800\"", b"'", b'"', b"\\", b"#", b"|\n  x\n", b": ", b"\t", b"null", b"~", b"true", b"[]", b"{}", b"--- \n", b"%YAML 9.9\n", b"=",
    b"$(A)$(A)",
    b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 99999999999\r\n", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80",
    b"\xa0\x82\xff\xff",
)  # fmt: skip

VALUES: Sequence[Any] = (
    None, True, False, 0, -1, 1, 1 << 62, -(1 << 62), 0.5, -1e300, "", " ", "x", "0", "-1", "²", "9" * 300, [], {}, [None], [[]], [{}], {"": None},
    {"a": {"b": {"c": []}}}, ["x"] * 300, *(token.decode("utf-8", "backslashreplace") for token in TOKENS),
)  # fmt: skip

hostile_text = st.one_of(st.sampled_from([value for value in VALUES if isinstance(value, str)]), st.text(max_size=30))
hostile_values = st.one_of(
    st.sampled_from(VALUES),
    st.text(max_size=20),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.recursive(st.sampled_from(VALUES), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6),
)


@st.composite
def changed_bytes(draw: st.DrawFn, seeds: Sequence[bytes], most: int = 6) -> bytes:
    """A seed after some edits: bytes overwritten, a token put in, a slice taken away, doubled or moved, the end cut off."""
    data = draw(st.sampled_from(seeds))
    for _edit in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        kind = draw(st.integers(0, 6))
        piece = data[start : start + length]
        if kind == 0:
            data = data[:start] + draw(st.binary(min_size=1, max_size=8)) + data[start + 1 :]
        elif kind in (1, 2):
            data = data[:start] + draw(st.sampled_from(TOKENS)) + data[start + (length if kind == 2 else 0) :]
        elif kind == 3:
            data = data[:start] + data[start + length :]
        elif kind == 4:
            data = data[:start] + piece * draw(st.integers(2, 5)) + data[start:]
        elif kind == 5:
            rest = data[:start] + data[start + length :]
            other = draw(st.integers(0, len(rest)))
            data = rest[:other] + piece + rest[other:]
        else:
            data = data[:start]
    return data


def changed_text(seeds: Sequence[str], most: int = 6) -> st.SearchStrategy[str]:
    """The same of texts."""
    return changed_bytes([seed.encode() for seed in seeds], most).map(lambda data: data.decode("utf-8", "replace"))


@st.composite
def changed_data(draw: st.DrawFn, seeds: Sequence[Any], most: int = 3) -> Any:
    """Plain data after some edits at places that are drawn level by level, so that small parts are met as often as large ones."""
    data = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _edit in range(draw(st.integers(1, most))):
        parent, key = _place(draw, data)
        if parent is None:
            return copy.deepcopy(draw(hostile_values))
        draw(st.sampled_from(_EDITS))(parent, key, copy.deepcopy(draw(hostile_values)), draw(hostile_text))
    return data


@st.composite
def changed_words(draw: st.DrawFn, seeds: Sequence[Any], most: int = 4) -> Any:
    """The same, but every part keeps its type: what a liar says who knows the form."""
    data = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _edit in range(draw(st.integers(1, most))):
        parent, key = _place(draw, data)
        if parent is not None:
            parent[key] = _alike(draw, parent[key])
    return data


def _place(draw: st.DrawFn, data: Any) -> tuple[Any, Any]:
    """Where to edit: a container and a key in it; None where the data is none, or empty."""
    parent, place, node, depth = None, None, data, 0
    while isinstance(node, (dict, list)) and node and (depth == 0 or draw(st.integers(0, 6))):
        parent, depth = node, depth + 1
        place = draw(st.sampled_from(sorted(node))) if isinstance(node, dict) else draw(st.integers(0, len(node) - 1))
        node = node[place]
    return parent, place


def _alike(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        other = draw(hostile_text)
        return draw(st.sampled_from([other, value + other, other + value, value[: len(value) // 2] + other + value[len(value) // 2 :]]))
    if isinstance(value, int):
        return draw(st.sampled_from([0, 1, value + 1, (1 << 53) + 1, (1 << 63) - 1]))
    if isinstance(value, float):
        return draw(st.sampled_from([0.0, -1.0, value + 1e9, 1e300]))
    if isinstance(value, list):
        return draw(st.sampled_from([[], value + value, value[::-1], value[:1]]))
    return value if value is None or draw(st.booleans()) else {key: value[key] for key in sorted(value)[: draw(st.integers(0, len(value)))]}


def _replace(parent: Any, key: Any, value: Any, text: str) -> None:
    parent[key] = value


def _take_away(parent: Any, key: Any, value: Any, text: str) -> None:
    del parent[key]


def _nest(parent: Any, key: Any, value: Any, text: str) -> None:
    parent[key] = {text: parent[key]} if isinstance(value, dict) else [parent[key], value]


def _spoil(parent: Any, key: Any, value: Any, text: str) -> None:
    """Text stays text, but says more than it did."""
    parent[key] = f"{parent[key]}{text}" if isinstance(parent[key], str) else value


def _rename(parent: Any, key: Any, value: Any, text: str) -> None:
    if isinstance(parent, dict):
        parent[text] = parent.pop(key)
    else:
        parent.insert(key, copy.deepcopy(parent[key]))


_EDITS: Sequence[Callable[[Any, Any, Any, str], None]] = (_replace, _replace, _take_away, _nest, _spoil, _spoil, _rename)
