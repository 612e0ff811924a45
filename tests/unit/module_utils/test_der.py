# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import der
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x05\x02\x01\x01",  # cut off
        b"\x02\x01\x01\x00",  # bytes after the end
        b"\x30\x80\x00\x00",  # no definite length
        b"\x04\x81\x01a",  # a long form where the short one would do
        b"\x04\x82\x00\x80" + b"a" * 128,  # a leading zero
        b"\x04\x84\x00\x00\x00\x01a",
        b"\x04\xff",
        b"\x1f\x01\x00",  # a tag of several bytes
    ],
)
def test_refuses_what_is_no_der(data: bytes) -> None:
    with pytest.raises(DerError):
        der.parse(data)


def test_refuses_too_much() -> None:
    with pytest.raises(DerError, match="more than"):
        der.parse(b"\x04\x83\x01\x00\x00" + b"a" * (1 << 16))


def test_members_only_of_constructed_elements() -> None:
    assert [child.content for child in der.sequence(der.parse(b"\x30\x06\x02\x01\x05\x02\x01\x06"))] == [b"\x05", b"\x06"]
    with pytest.raises(DerError):
        der.children(der.parse(b"\x04\x03\x02\x01\x05"))


@pytest.mark.parametrize("data", [b"\x02\x00", b"\x02\x02\x00\x01", b"\x02\x02\xff\x80", b"\x04\x01\x01"])
def test_integers_are_written_the_short_way(data: bytes) -> None:
    with pytest.raises(DerError):
        der.integer(der.parse(data))


@given(st.integers(min_value=-(2**200), max_value=2**200))
def test_integers_round_trip(value: int) -> None:
    content = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    if len(content) > 1 and ((content[0] == 0 and content[1] < 128) or (content[0] == 255 and content[1] > 127)):
        content = content[1:]
    assert der.integer(der.Element(der.INTEGER, content, b"")) == value


@pytest.mark.parametrize(
    ("content", "text"), [(b"\x55\x04\x03", "2.5.4.3"), (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", "1.2.840.113549.1.1.1"), (b"\x00", "0.0")]
)
def test_identifiers(content: bytes, text: str) -> None:
    assert der.oid(der.Element(der.OID, content, b"")) == text


@pytest.mark.parametrize("content", [b"", b"\x80\x01", b"\x55\x84", b"\x55" * 65])
def test_identifiers_that_are_none(content: bytes) -> None:
    with pytest.raises(DerError):
        der.oid(der.Element(der.OID, content, b""))


def test_text_with_a_control_character_is_refused() -> None:
    with pytest.raises(DerError, match="control character"):
        der.text(der.Element(0x0C, b"node\0.evil", b""))
    with pytest.raises(DerError):
        der.text(der.Element(0x0C, b"\xff", b""))
    with pytest.raises(DerError):
        der.text(der.Element(0x04, b"a", b""))


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_the_named_error_only(data: bytes) -> None:
    def walk(element: der.Element, depth: int) -> None:
        for reader in (der.integer, der.boolean, der.bits, der.oid, der.text, der.sequence):
            try:
                reader(element)
            except DerError:
                continue
        if element.tag & 0x20 and depth < 20:
            for child in der.children(element):
                walk(child, depth + 1)

    try:
        walk(der.parse(data), 0)
    except DerError:
        return
