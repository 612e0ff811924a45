# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small strict reader for DER, for certificates and certificate requests that somebody else sent.

It takes definite, minimal lengths and single-byte tags only, never recurses by itself, and raises DerError for everything else.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import CONTROL

MAX_BYTES = 1 << 16  # no certificate or request that Kubernetes takes is near this

MAX_INTEGER = 1 << 12  # bytes; a serial number has 20, the modulus of a key some hundred
MAX_TEXT = 1024  # names have 64, host names 253

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
SEQUENCE, SET = 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18

# Text types of names, with the codec of each; T61 is read as Latin-1, as everybody does.
TEXT = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}


class DerError(ValueError):
    """Bytes that are not the DER that was expected."""


class Element(NamedTuple):
    """One tag-length-value; `raw` includes the header."""

    tag: int
    content: bytes
    raw: bytes


def parse(data: bytes) -> Element:
    """Return the one element that `data` is; raises DerError also for bytes after it."""
    if len(data) > MAX_BYTES:
        raise DerError(f"more than {MAX_BYTES} bytes")
    element, end = _element(data, 0)
    if end != len(data):
        raise DerError("bytes follow after the end")
    return element


def children(element: Element) -> list[Element]:
    """Elements inside a constructed one; raises DerError for a primitive one."""
    if not element.tag & 0x20:
        raise DerError("a primitive element has no members")
    found, position = [], 0
    while position < len(element.content):
        member, position = _element(element.content, position)
        found.append(member)
    return found


def _element(data: bytes, start: int) -> tuple[Element, int]:
    if len(data) - start < 2:
        raise DerError("cut off")
    tag, size, position = data[start], data[start + 1], start + 2
    if tag & 0x1F == 0x1F:
        raise DerError("a tag of more than one byte")
    if size >= 0x80:
        size, position = _long_length(data, position, size & 0x7F)
    end = position + size
    if end > len(data):
        raise DerError("cut off")
    return Element(tag, data[position:end], data[start:end]), end


def _long_length(data: bytes, position: int, count: int) -> tuple[int, int]:
    if not 1 <= count <= 3:
        raise DerError("a length without end, or far too long")
    digits = data[position : position + count]
    if len(digits) < count:
        raise DerError("cut off")
    size = int.from_bytes(digits, "big")
    if digits[0] == 0 or size < 0x80:
        raise DerError("a length that is not written the short way")
    return size, position + count


def expect(element: Element, tag: int) -> Element:
    """Return the element if it has this tag, else raise DerError."""
    if element.tag != tag:
        raise DerError(f"tag {element.tag:#04x} where {tag:#04x} belongs")
    return element


def sequence(element: Element) -> list[Element]:
    """Members of a SEQUENCE."""
    return children(expect(element, SEQUENCE))


def integer(element: Element) -> int:
    """Value of an INTEGER, written the shortest way."""
    content = expect(element, INTEGER).content
    if len(content) > MAX_INTEGER:
        raise DerError("an integer that is too large")
    if not content or (len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80):
        raise DerError("an integer that is not written the short way")
    return int.from_bytes(content, "big", signed=True)


def boolean(element: Element) -> bool:
    """Value of a BOOLEAN."""
    content = expect(element, BOOLEAN).content
    if content not in (b"\x00", b"\xff"):
        raise DerError("a boolean that is neither true nor false")
    return content == b"\xff"


def bits(element: Element) -> bytes:
    """Whole bytes of a BIT STRING."""
    content = expect(element, BIT_STRING).content
    if not content or content[0] != 0:
        raise DerError("a bit string of broken bytes")
    return content[1:]


def oid(element: Element) -> str:
    """Dotted text of an OBJECT IDENTIFIER."""
    content = expect(element, OID).content
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise DerError("not an object identifier")
    arcs, value, fresh = [], 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise DerError("an object identifier that is not written the short way")
        value, fresh = value << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in [first, arcs[0] - 40 * first, *arcs[1:]])


def text(element: Element) -> str:
    """Characters of any string type that names use."""
    codec = TEXT.get(element.tag)
    if codec is None:
        raise DerError(f"tag {element.tag:#04x} is no text")
    return decode(element.content, codec)


def decode(content: bytes, codec: str) -> str:
    """Bytes as text; raises DerError instead of the codec's error, and for control characters: other readers cut at some of them."""
    try:
        result = content.decode(codec)
    except UnicodeDecodeError as error:
        raise DerError(f"text that is no {codec}") from error
    if len(result) > MAX_TEXT:
        raise DerError(f"text of more than {MAX_TEXT} characters")
    if CONTROL.search(result):
        raise DerError("text with a control character in it")
    return result
