# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate or a certificate request says, read with the strict DER reader. Signatures are not checked here."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import der
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError, Element

COMMON_NAME, ORGANIZATION = "2.5.4.3", "2.5.4.10"
ATTRIBUTES = {COMMON_NAME: "CN", ORGANIZATION: "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST"}
BASIC_CONSTRAINTS, ALTERNATIVE_NAMES, EXTENDED_USAGE = "2.5.29.19", "2.5.29.17", "2.5.29.37"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
USAGES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "2.5.29.37.0": "any",
}
RSA, EC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
CURVES = {"1.2.840.10045.3.1.7": "P256", "1.3.132.0.34": "P384", "1.3.132.0.35": "P521"}
OTHER_KEYS = {"1.3.101.112": "Ed25519", "1.3.101.113": "Ed448", "1.2.840.113549.1.1.10": "RSA-PSS"}
GENERAL_NAMES = {0xA0: "otherName", 0x81: "email", 0xA3: "x400", 0xA4: "directory", 0xA5: "ediParty", 0x86: "uri", 0x88: "registeredID"}

BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\s")
MAX_ENDLESS = 16
MOST_ATTRIBUTES, MOST_NAMES = 32, 1000


class Names(NamedTuple):
    """Subject alternative names: host names, addresses as text, and the kinds of all others."""

    dns: list[str]
    ip: list[str]
    other: list[str]


class Request(NamedTuple):
    """A certificate request: subject as (attribute, value) in its order, alternative names, and what else it asks for."""

    subject: list[tuple[str, str]]
    names: Names
    other_extensions: list[str]
    other_attributes: list[str]
    key: str


def pem_blocks(data: bytes, label: str) -> list[bytes]:
    """DER of all blocks with this label; others, private keys among them, are not decoded. Raises DerError for broken base64."""
    blocks = []
    for name, start, end in _pem(data):
        if name == label.encode("ascii"):
            try:
                blocks.append(base64.b64decode(b"".join(data[start:end].split()), validate=True))
            except binascii.Error as error:
                raise DerError(f"a {label} block that is not base64") from error
    return blocks


def is_one_block(data: bytes) -> bool:
    """Whether a PEM text is one block and nothing else."""
    text = data.strip()
    for label, start, end in _pem(text):  # the first one has to begin with the text and to end with it
        head, tail = b"-----BEGIN " + label + b"-----", b"-----END " + label + b"-----"
        return text.startswith(head) and start == len(head) + 1 and text[end:] == tail
    return False


def _pem(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Label of each block, and where its content begins and ends. Raises DerError where many have no end: each is looked for once."""
    endless: set[bytes] = set()
    begin = BEGIN.search(data)
    while begin:
        label = begin.group(1)
        end = -1 if label in endless else data.find(b"-----END " + label + b"-----", begin.end())
        if end >= 0:
            yield label, begin.end(), end
        else:
            endless.add(label)
        if len(endless) > MAX_ENDLESS:
            raise DerError("blocks without an end")
        begin = BEGIN.search(data, max(end, begin.end()))


def certificates(data: bytes) -> list[dict[str, Any]]:
    """Summaries of all certificates in a PEM file; raises DerError."""
    return [summary(block) for block in pem_blocks(data, "CERTIFICATE")]


def summary(data: bytes) -> dict[str, Any]:
    """A certificate (DER) as docs/development/interfaces.md defines it; raises DerError."""
    certificate = der.sequence(der.parse(data))
    if len(certificate) != 3:
        raise DerError("not a certificate")
    fields = der.sequence(certificate[0])
    if fields and fields[0].tag == 0xA0:  # the version; absent in version 1
        fields = fields[1:]
    if len(fields) < 6:
        raise DerError("not a certificate")
    serial, _algorithm, issuer, validity, subject, key = fields[:6]
    attributes, dates = name(subject), der.sequence(validity)
    if len(dates) != 2:
        raise DerError("a validity that is not two dates")
    extensions = _extensions([der.children(field) for field in fields[6:] if field.tag == 0xA3])
    names = alternative_names(extensions.get(ALTERNATIVE_NAMES))
    return {
        "subject": subject_of(attributes),
        "issuer": ",".join(f"{ATTRIBUTES.get(kind, kind)}={value}" for kind, value in reversed(name(issuer))),
        "serial": f"{_serial(serial):x}",
        "not_before": moment(dates[0]),
        "not_after": moment(dates[1]),
        "dns": names.dns,
        "ip": names.ip,
        "sha256": hashlib.sha256(data).hexdigest(),
        "key": public_key(key),
        "usages": _usages(extensions.get(EXTENDED_USAGE)),
        "ca": _is_ca(extensions.get(BASIC_CONSTRAINTS)),
    }


def _serial(element: Element) -> int:
    if len(element.content) > 64:
        raise DerError("a serial number that is too large")
    return der.integer(element)


def request(data: bytes) -> Request:
    """What a certificate request (DER) asks for; raises DerError, also where two readers could understand it differently."""
    outer = der.sequence(der.parse(data))
    if len(outer) != 3:
        raise DerError("not a certificate request")
    fields = der.sequence(outer[0])
    if len(fields) != 4 or der.integer(fields[0]) != 0:
        raise DerError("not a certificate request of version 1")
    wanted, others = _request_attributes(der.expect(fields[3], 0xA0))
    extensions = _extensions([[element] for element in wanted])
    return Request(
        subject=name(fields[1]),
        names=alternative_names(extensions.pop(ALTERNATIVE_NAMES, None)),
        other_extensions=sorted(extensions),
        other_attributes=others,
        key=public_key(fields[2]),
    )


def _request_attributes(element: Element) -> tuple[list[Element], list[str]]:
    wanted: list[Element] = []
    others = []
    for attribute in der.children(element):
        parts = der.sequence(attribute)
        if len(parts) != 2:
            raise DerError("not an attribute")
        kind, values = der.oid(parts[0]), der.children(der.expect(parts[1], der.SET))
        if kind != EXTENSION_REQUEST:
            others.append(kind)
        elif wanted or len(values) != 1:
            raise DerError("more than one list of extensions")
        else:
            wanted = values
    return wanted, others


def name(element: Element) -> list[tuple[str, str]]:
    """Attributes of a distinguished name as (dotted identifier, value), in its order."""
    found = []
    for relative in der.sequence(element):
        for attribute in der.children(der.expect(relative, der.SET)):
            parts = der.sequence(attribute)
            if len(parts) != 2:
                raise DerError("not an attribute of a name")
            found.append((der.oid(parts[0]), der.text(parts[1])))
            if len(found) > MOST_ATTRIBUTES:
                raise DerError(f"a name of more than {MOST_ATTRIBUTES} parts")
    if sum(len(value) for _kind, value in found) > der.MAX_TEXT:
        raise DerError(f"a name of more than {der.MAX_TEXT} characters")
    return found


def subject_of(attributes: list[tuple[str, str]]) -> dict[str, Any]:
    """Common name (the last one, as Go takes it) and organizations."""
    common = [value for kind, value in attributes if kind == COMMON_NAME]
    return {"cn": common[-1] if common else "", "o": [value for kind, value in attributes if kind == ORGANIZATION]}


def moment(element: Element) -> float:
    """A validity date in unix seconds."""
    length = {der.UTC_TIME: 12, der.GENERALIZED_TIME: 14}.get(element.tag, -1)
    written = der.decode(element.content, "ascii")
    if len(written) != length + 1 or not re.fullmatch(r"[0-9]+Z", written):
        raise DerError("not a date")
    if element.tag == der.UTC_TIME:  # two digits of a year: 1950 to 2049, RFC 5280 section 4.1.2.5.1
        written = ("20" if written < "50" else "19") + written
    digits = [int(written[:4])] + [int(written[at : at + 2]) for at in range(4, 14, 2)]
    try:
        return datetime.datetime(*digits, tzinfo=datetime.timezone.utc).timestamp()  # type: ignore[arg-type, misc]
    except ValueError as error:
        raise DerError("a date that does not exist") from error


def public_key(element: Element) -> str:
    """Kind and size of a public key, such as `RSA-2048` or `ECDSA-P256`."""
    parts = der.sequence(element)
    if len(parts) != 2:
        raise DerError("not a public key")
    algorithm = der.sequence(parts[0])
    if not algorithm:
        raise DerError("a public key without an algorithm")
    kind = der.oid(algorithm[0])
    if kind == RSA:
        numbers = der.sequence(der.parse(der.bits(parts[1])))
        if len(numbers) != 2:
            raise DerError("not an RSA key")
        return f"RSA-{der.integer(numbers[0]).bit_length()}"
    if kind == EC and len(algorithm) == 2:
        curve = der.oid(algorithm[1])
        return f"ECDSA-{CURVES.get(curve, curve)}"
    return OTHER_KEYS.get(kind, kind)


def _extensions(lists: list[list[Element]]) -> dict[str, bytes]:
    """Values by identifier; raises DerError when one comes twice."""
    found: dict[str, bytes] = {}
    for members in lists:
        if len(members) != 1:
            raise DerError("not a list of extensions")
        for extension in der.sequence(members[0]):
            parts = der.sequence(extension)
            if len(parts) not in (2, 3) or (len(parts) == 3 and parts[1].tag != der.BOOLEAN):
                raise DerError("not an extension")
            kind = der.oid(parts[0])
            if kind in found:
                raise DerError(f"extension {kind} comes twice")
            found[kind] = der.expect(parts[-1], der.OCTET_STRING).content
    return found


def alternative_names(value: bytes | None) -> Names:
    """Content of a subjectAltName extension."""
    names = Names([], [], [])
    for member in der.sequence(der.parse(value)) if value is not None else []:
        if member.tag == 0x82:
            names.dns.append(der.decode(member.content, "ascii"))
        elif member.tag == 0x87:
            names.ip.append(address(member.content))
        elif member.tag in GENERAL_NAMES:
            names.other.append(GENERAL_NAMES[member.tag])
        else:
            raise DerError(f"tag {member.tag:#04x} is no alternative name")
        if sum(map(len, names)) > MOST_NAMES:
            raise DerError(f"more than {MOST_NAMES} alternative names")
    return names


def address(packed: bytes) -> str:
    """An IP address as text."""
    if len(packed) not in (4, 16):
        raise DerError("an IP address of a strange length")
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _usages(value: bytes | None) -> list[str]:
    kinds = [der.oid(member) for member in der.sequence(der.parse(value))] if value is not None else []
    if len(kinds) > MOST_ATTRIBUTES:
        raise DerError(f"more than {MOST_ATTRIBUTES} usages")
    return [USAGES.get(kind, kind) for kind in kinds]


def _is_ca(value: bytes | None) -> bool:
    members = der.sequence(der.parse(value)) if value is not None else []
    return bool(members) and members[0].tag == der.BOOLEAN and der.boolean(members[0])
