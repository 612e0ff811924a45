# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for secrets finds each of them in each form, and nothing where there is none: otherwise its green would mean nothing."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import leaks

PLANTED = "pla/nted+pa\"ss\\wörd-0123"
FORMATS = (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8)


def search(*secrets: leaks.Secret) -> leaks.Search:
    return leaks.Search(secrets)


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: json.dumps({"a": text}),
        lambda text: json.dumps({"a": text}, ensure_ascii=False),
        lambda text: json.dumps({"a": json.dumps({"b": text})}),
        lambda text: urllib.parse.quote(f"x={text}", safe=""),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(b"1" + text.encode() + b"2").decode(),
        lambda text: base64.b64encode(b"12" + text.encode() + b"34").decode(),
        lambda text: base64.urlsafe_b64encode(b"123" + text.encode() + b"4").decode(),
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
    ],
)
def test_a_text_is_found_however_it_is_written(written: Callable[[str], str]) -> None:
    found = search(leaks.text("the password", PLANTED)).found("the output", f"before {written(PLANTED)} behind".encode())
    assert found and all(line.startswith("the output: the password, ") for line in found)
    assert PLANTED not in "".join(found)


@given(st.binary(min_size=leaks.SHORTEST, max_size=60), st.binary(max_size=5), st.binary(max_size=5))
def test_any_bytes_are_found_in_base64_whatever_is_around_them(value: bytes, before: bytes, behind: bytes) -> None:
    assert search(leaks.Secret("it", value)).found("there", base64.b64encode(before + value + behind))


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_private_key_is_found_and_its_public_half_is_not(kind: str, style: PrivateFormat) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, style, NoEncryption())
    der = key.private_bytes(Encoding.DER, style, NoEncryption())
    public = key.public_key()
    secrets = leaks.private_keys("the key", b"# a kubelet's file has its certificate first\n" + pem)
    assert secrets
    for written in (pem, der, der.hex().encode(), base64.b64encode(pem), base64.b64encode(der), json.dumps(pem.decode()).encode()):
        assert search(*secrets).found("there", b"x" + written)
    for encoding in (Encoding.PEM, Encoding.DER):
        harmless = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        assert search(*secrets).found("there", harmless + base64.b64encode(harmless) + harmless.hex().encode()) == []


def test_a_part_of_a_key_is_found_too() -> None:
    """An error message that quotes a line, or some bytes in the middle."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    number = key.private_numbers().d.to_bytes(256, "big").lstrip(b"\0")
    secrets = leaks.private_keys("the key", pem)
    assert search(*secrets).found("there", number[:60])
    assert search(*secrets).found("there", pem.split(b"\n")[len(pem.split(b"\n")) // 2 + 1])


def test_nothing_is_found_where_nothing_is() -> None:
    assert search(leaks.Secret("it", os.urandom(24))).found("there", os.urandom(1 << 20)) == []


def test_what_could_be_chance_is_no_secret() -> None:
    with pytest.raises(ValueError, match="too short"):
        search(leaks.text("it", "hunter2"))


def test_the_same_bytes_are_told_once() -> None:
    looking = search(leaks.text("it", PLANTED))
    assert looking.found("one", PLANTED.encode()) and not looking.found("other", PLANTED.encode())
