# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import x509
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError, Element
from cryptography import x509 as reference
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_material import Authority, alternative_names, name, request_pem


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "RSA-2048"),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "ECDSA-P256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "ECDSA-P384"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
    ],
)
def test_summary_says_what_another_reader_says(authority: Authority, key: Any, kind: str) -> None:
    pair = authority.sign("system:node:w1", "system:nodes", dns=["w1", "w1.example.com"], ip=["10.0.0.7", "fd00::7"], key=key())
    found = x509.summary(pair.der)
    assert found["subject"] == {"cn": "system:node:w1", "o": ["system:nodes"]}
    assert found["issuer"] == pair.certificate.issuer.rfc4514_string()
    assert int(found["serial"], 16) == pair.certificate.serial_number
    assert found["not_before"] == pair.certificate.not_valid_before_utc.timestamp()
    assert found["not_after"] == pair.certificate.not_valid_after_utc.timestamp()
    assert (found["dns"], found["ip"]) == (["w1", "w1.example.com"], ["10.0.0.7", "fd00::7"])
    assert found["sha256"] == pair.certificate.fingerprint(hashes.SHA256()).hex()
    assert (found["key"], found["usages"], found["ca"]) == (kind, ["serverAuth", "clientAuth"], False)


def test_summary_of_an_authority(authority: Authority) -> None:
    found = x509.summary(authority.pair.der)
    assert found["ca"] is True
    assert found["usages"] == found["dns"] == []


def test_all_certificates_of_a_file_and_nothing_of_its_keys(authority: Authority, client_pair: Any) -> None:
    data = client_pair.pem + client_pair.key_pem + authority.pair.pem
    assert [entry["subject"]["cn"] for entry in x509.certificates(data)] == ["kubernetes-admin", "kubernetes"]


def test_broken_base64_is_named() -> None:
    with pytest.raises(DerError, match="base64"):
        x509.certificates(b"-----BEGIN CERTIFICATE-----\nMIIB!!\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("tag", "content", "seconds"),
    [
        (0x17, b"491231235959Z", 2524607999.0),
        (0x17, b"500101000000Z", -631152000.0),
        (0x18, b"20500101000000Z", 2524608000.0),
        (0x18, b"99991231235959Z", 253402300799.0),
    ],
)
def test_dates(tag: int, content: bytes, seconds: float) -> None:
    assert x509.moment(Element(tag, content, b"")) == seconds


@pytest.mark.parametrize(
    ("tag", "content"),
    [(0x17, b"20261121000000Z"), (0x18, b"261121000000Z"), (0x17, b"261321000000Z"), (0x17, b"2611210000Z"), (0x0C, b"261121000000Z")],
)
def test_dates_that_are_none(tag: int, content: bytes) -> None:
    with pytest.raises(DerError):
        x509.moment(Element(tag, content, b""))


def request_of(pem: bytes) -> x509.Request:
    return x509.request(x509.pem_blocks(pem, "CERTIFICATE REQUEST")[0])


def test_request() -> None:
    found = request_of(request_pem(name("system:node:w1", "system:nodes"), [alternative_names(["w1"], ["10.0.0.7"])]))
    assert found.subject == [(x509.ORGANIZATION, "system:nodes"), (x509.COMMON_NAME, "system:node:w1")]
    assert found.names == (["w1"], ["10.0.0.7"], [])
    assert (found.other_extensions, found.other_attributes, found.key) == ([], [], "ECDSA-P256")


def test_request_without_names() -> None:
    assert request_of(request_pem(name("x"), [])).names == ([], [], [])


def test_request_flags_other_names_and_extensions() -> None:
    names = reference.SubjectAlternativeName(
        [reference.DNSName("w1"), reference.RFC822Name("a@b.c"), reference.UniformResourceIdentifier("spiffe://x")]
    )
    found = request_of(request_pem(name("x"), [names, reference.BasicConstraints(ca=True, path_length=None)]))
    assert found.names.other == ["email", "uri"]
    assert found.other_extensions == [x509.BASIC_CONSTRAINTS]


def test_request_flags_other_attributes() -> None:
    builder = (
        reference.CertificateSigningRequestBuilder()
        .subject_name(name("x"))
        .add_attribute(reference.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
    )
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    assert request_of(pem).other_attributes == ["1.2.840.113549.1.9.7"]


def test_a_certificate_is_no_request(client_pair: Any) -> None:
    with pytest.raises(DerError):
        x509.request(client_pair.der)


def test_an_extension_that_comes_twice_is_refused() -> None:
    once = bytes.fromhex("300b0603551d1104043002 8000".replace(" ", ""))
    extensions = b"\x30" + bytes([2 * len(once)]) + once * 2
    with pytest.raises(DerError, match="twice"):
        x509._extensions([[x509.der.parse(extensions)]])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_certificates_raise_the_named_error_only(server_pair: Any, data: st.DataObject) -> None:
    _mutate(server_pair.der, data, x509.summary)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_requests_raise_the_named_error_only(request_der: bytes, data: st.DataObject) -> None:
    _mutate(request_der, data, x509.request)


@pytest.fixture(scope="module")
def request_der() -> bytes:
    return x509.pem_blocks(
        request_pem(name("system:node:w1", "system:nodes"), [alternative_names(["w1"], ["10.0.0.7"])]), "CERTIFICATE REQUEST"
    )[0]


def _mutate(original: bytes, data: st.DataObject, reader: Any) -> None:
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    for candidate in (bytes(changed), bytes(changed[:cut])):
        try:
            reader(candidate)
        except DerError:
            continue
