# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches bytes for secrets, however they are written: as they are, in base64 at any alignment, in hex, in a URL, in JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SHORTEST = 12  # bytes of a secret; less could be anywhere by chance
CHUNK = 24  # bytes of a key's number; a line of PEM holds two of them
BEGIN, END = b"-----BEGIN ", b"-----END "


@dataclass(frozen=True)
class Secret:
    """Something that may stand nowhere; `name` says what it is."""

    name: str
    value: bytes


def text(name: str, value: str) -> Secret:
    """A token, a password, or any other text."""
    return Secret(name, value.encode())


def private_keys(name: str, data: bytes) -> list[Secret]:
    """Pieces of every private key in a PEM file: of the numbers that nobody may know, and of the lines that hold them."""
    found: list[Secret] = []
    for block in _blocks(data):
        key = load_pem_private_key(block, None)
        number = _number(key)
        found += [Secret(name, number[at : at + CHUNK]) for at in range(0, len(number) - CHUNK + 1, CHUNK)][:6]
        lines = block.split(b"\n")[1:-1]
        # The first lines of an RSA key hold its public modulus; those of an EC key the number itself.
        private = lines[len(lines) // 2 :] if isinstance(key, rsa.RSAPrivateKey) else lines[:1]
        found += [Secret(f"{name} (PEM)", line[10:42]) for line in private if len(line) >= 60][:4]
    return found


def _number(key: object) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        exponent = key.private_numbers().d
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        exponent = key.private_numbers().private_value
    else:
        raise TypeError(f"a {type(key).__name__}, which is not looked into")
    return exponent.to_bytes((exponent.bit_length() + 7) // 8, "big")


def _blocks(data: bytes) -> list[bytes]:
    """PEM blocks of private keys."""
    found, rest = [], data
    while (at := rest.find(BEGIN)) >= 0:
        end = rest.find(b"-----", rest.find(END, at) + len(END)) + 5
        block, rest = rest[at:end], rest[end:]
        if b"PRIVATE KEY-----" in block:
            found.append(block)
    return found


def forms(value: bytes) -> dict[str, bytes]:
    """How a secret may be written. Of base64 what does not depend on the bytes before and behind it, at each of three alignments."""
    found = {"as it is": value, "hex": value.hex().encode(), "HEX": value.hex().upper().encode()}
    for shift in range(3):
        written = base64.b64encode(b"\0" * shift + value)
        kept = written[(0, 2, 3)[shift] :].rstrip(b"=")
        inner = kept[: len(kept) - (0 if (shift + len(value)) % 3 == 0 else 1)]
        found[f"base64 at {shift}"] = inner
        found[f"URL-safe base64 at {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    try:
        words = value.decode()
    except UnicodeDecodeError:
        return found
    found["URL"] = quote(words, safe="").encode()
    found["JSON"] = json.dumps(words)[1:-1].encode()
    found["JSON that is not ASCII"] = json.dumps(words, ensure_ascii=False)[1:-1].encode()
    found["JSON in JSON"] = json.dumps(json.dumps(words)[1:-1])[1:-1].encode()
    return found


class Search:
    """Looks for many secrets at once; the same bytes are searched once."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._needles: dict[bytes, str] = {}
        self._seen: set[bytes] = set()
        for secret in secrets:
            if len(secret.value) < SHORTEST:
                raise ValueError(f"{secret.name} is too short to be told from chance")
            for form, needle in forms(secret.value).items():
                self._needles.setdefault(needle, f"{secret.name}, {form}")

    def found(self, where: str, data: bytes) -> list[str]:
        """One line for each secret in some bytes, without the secret."""
        digest = hashlib.sha256(data).digest()
        if digest in self._seen:
            return []
        self._seen.add(digest)
        return sorted({f"{where}: {name}" for needle, name in self._needles.items() if needle in data})
