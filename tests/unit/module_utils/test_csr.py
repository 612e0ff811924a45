# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster import csr
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.cluster.csr import NEWER, OK
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tls_material import alternative_names, name, request_pem

ALLOWED = csr.allowed(["w1.example.com", "10.0.0.7", "fd00:0::7"])
NODE = "system:node:w1"


def document(pem: bytes | None = None, *, label: str = "csr-1", created: str = "2026-11-21T13:00:00Z", **spec: Any) -> dict[str, Any]:
    if pem is None:
        pem = request_pem(name(NODE, "system:nodes"), [alternative_names(["w1"], ["10.0.0.7"])])
    return {
        "metadata": {"name": label, "creationTimestamp": created, "resourceVersion": "7"},
        "spec": {
            "signerName": csr.SIGNER,
            "username": NODE,
            "groups": ["system:nodes", "system:authenticated"],
            "usages": ["digital signature", "server auth"],
            "request": base64.b64encode(pem).decode(),
            **spec,
        },
        "status": {},
    }


def with_subject(*attributes: tuple[Any, str]) -> bytes:
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    return request_pem(subject, [alternative_names(["w1"], ["10.0.0.7"])])


def with_names(dns: list[str], ip: list[str]) -> bytes:
    return request_pem(name(NODE, "system:nodes"), [alternative_names(dns, ip)])


def with_password() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(NODE, "system:nodes"))
    builder = builder.add_extension(alternative_names(["w1"], []), critical=False)
    builder = builder.add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("dns", "ip"),
    [(["w1"], ["10.0.0.7"]), ([], ["10.0.0.7", "fd00::7"]), (["W1.example.com"], []), (["w1", "w1.example.com"], ["10.0.0.7"])],
)
def test_good_requests(dns: list[str], ip: list[str]) -> None:
    assert csr.verdict(document(with_names(dns, ip)), ALLOWED) == OK


@pytest.mark.parametrize("node", ["kubernetes", "kubernetes.default.svc", "x.y.svc.cluster.local", "localhost", "w1"])
def test_a_node_that_has_the_name_of_a_service_does_not_get_it(node: str) -> None:
    pem = request_pem(name(f"system:node:{node}", "system:nodes"), [alternative_names([node], [])])
    verdict = csr.verdict(document(pem, username=f"system:node:{node}"), csr.allowed(["10.0.0.7"]))
    assert (verdict == OK) == (node == "w1"), verdict


def test_a_key_of_rsa_may_encipher_keys() -> None:
    assert csr.verdict(document(usages=["key encipherment", "server auth", "digital signature"]), ALLOWED) == OK


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signerName": "kubernetes.io/kube-apiserver-client-kubelet"}, "signer"),
        ({"username": "system:serviceaccount:x:y"}, "not requested by a node"),
        ({"username": "system:node:"}, "not requested by a node"),
        ({"username": None}, "not requested by a node"),
        ({"username": "system:node:w2"}, "the subject is"),
        ({"groups": ["system:authenticated"]}, "not in the group"),
        ({"groups": None}, "not in the group"),
        ({"usages": ["digital signature", "client auth"]}, "usages"),
        ({"usages": ["digital signature", "server auth", "client auth"]}, "usages"),
        ({"usages": ["server auth"]}, "usages"),
        ({"usages": []}, "usages"),
        ({"expirationSeconds": 400 * 86400}, "seconds"),
        ({"expirationSeconds": "600"}, "seconds"),
        ({"request": "!!"}, "cannot be read"),
        ({"request": None}, "exactly one"),
        ({"request": base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").decode()}, "exactly one"),
    ],
)
def test_what_the_request_object_says(change: dict[str, Any], reason: str) -> None:
    assert reason in csr.verdict(document(**change), ALLOWED)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (lambda: with_subject((NameOID.COMMON_NAME, NODE)), "the subject is CN='system:node:w1'"),
        (lambda: with_subject((NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, NODE)), "system:masters"),
        (
            lambda: with_subject(
                (NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, NODE)
            ),
            "subject",
        ),
        (lambda: with_subject((NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:w2")), "subject"),
        (
            lambda: with_subject((NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "admin"), (NameOID.COMMON_NAME, NODE)),
            "subject",
        ),
        (
            lambda: with_subject((NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, NODE), (NameOID.LOCALITY_NAME, "x")),
            "subject",
        ),
        (lambda: with_names(["w1", "w2"], []), "'w2'"),
        (lambda: with_names(["*.example.com"], []), "*.example.com"),
        (lambda: with_names(["w1"], ["10.0.0.8"]), "10.0.0.8"),
        (lambda: with_names(["w1"], ["::ffff:10.0.0.7"]), "::ffff:10.0.0.7"),
        (lambda: with_names(["10.0.0.7"], []), "10.0.0.7"),  # an address in the clothes of a host name
        (lambda: request_pem(name(NODE, "system:nodes"), []), "no name and no address"),
        (
            lambda: request_pem(
                name(NODE, "system:nodes"), [alternative_names(["w1"], []), x509.BasicConstraints(ca=True, path_length=None)]
            ),
            "2.5.29.19",
        ),
        (
            lambda: request_pem(name(NODE, "system:nodes"), [x509.SubjectAlternativeName([x509.DNSName("w1"), x509.RFC822Name("a@b.c")])]),
            "email",
        ),
        (
            lambda: request_pem(name(NODE, "system:nodes"), [x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://x")])]),
            "uri",
        ),
        (with_password, "1.2.840.113549.1.9.7"),
        (lambda: with_names(["w1"], []) * 2, "exactly one"),
        (lambda: b"junk\n" + with_names(["w1"], []), "exactly one"),
    ],
)
def test_what_the_certificate_request_says(pem: Callable[[], bytes], reason: str) -> None:
    assert reason in csr.verdict(document(pem()), ALLOWED)


def test_a_node_that_nobody_named() -> None:
    assert "ninepaths_node_addresses" in csr.verdict(document(), None)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4),
    st.sampled_from(["username", "usages", "groups", "request", "expirationSeconds"]),
)
def test_hostile_fields_give_a_reason_and_no_exception(value: Any, field: str) -> None:
    changed = document(b"", **{field: value})
    assert csr.verdict(changed, ALLOWED) != OK
    csr.review([changed], {})


def test_allowed_tells_names_from_addresses() -> None:
    assert csr.allowed(["W1", "10.0.0.1", "::1", "10.0.0.1.5"]) == (
        frozenset({"w1", "10.0.0.1.5"}),
        frozenset({b"\x0a\0\0\1", b"\0" * 15 + b"\1"}),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.250000Z", 10.25),
        ("1970-13-01T00:00:10Z", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("1970-01-01T00:00:10+01:00", 0.0),
    ],
)
def test_seconds(text: Any, seconds: float) -> None:
    assert csr.seconds(text) == seconds


def test_only_the_newest_pending_request_of_a_node_is_good() -> None:
    old = document(label="csr-old", created="2026-11-21T12:00:00Z")
    new = document(label="csr-new", created="2026-11-21T13:00:00Z")
    done = document(label="csr-done", created="2026-11-21T14:00:00Z")
    done["status"] = {"conditions": [{"type": "Approved"}]}
    found = csr.review([new, done, old], {"w1": ALLOWED})
    assert [(entry.name, entry.state, entry.verdict) for entry in found] == [
        ("csr-old", "pending", NEWER),
        ("csr-new", "pending", OK),
        ("csr-done", "approved", OK),
    ]


def test_a_newer_request_of_somebody_else_does_not_outdate_it() -> None:
    mine = document(label="csr-a", created="2026-11-21T12:00:00Z")
    other = document(label="csr-b", created="2026-11-21T13:00:00Z", username="system:node:w2")
    assert csr.review([mine, other], {"w1": ALLOWED})[0].verdict == OK


@pytest.mark.parametrize(
    ("kinds", "state"), [([], "pending"), (["Approved"], "approved"), (["Denied"], "denied"), (["Approved", "Failed"], "failed")]
)
def test_state_of(kinds: list[str], state: str) -> None:
    assert csr.state_of({"status": {"conditions": [{"type": kind} for kind in kinds]}}) == state


class Recorder:
    """Takes what approve sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def put(self, path: str, body: Any) -> Any:
        self.sent.append((path, body))
        return body


def test_approve_sends_the_object_back_as_it_was_read() -> None:
    original = document()
    api, entry = Recorder(), csr.review([copy.deepcopy(original)], {"w1": ALLOWED})[0]
    csr.approve(api, entry)  # type: ignore[arg-type]
    [(path, sent)] = api.sent
    assert path == "/apis/certificates.k8s.io/v1/certificatesigningrequests/csr-1/approval"
    assert (sent["spec"], sent["metadata"]) == (original["spec"], original["metadata"])
    assert [(c["type"], c["status"]) for c in sent["status"]["conditions"]] == [("Approved", "True")]
    assert entry.document == original


def test_approve_refuses_what_was_not_judged_good() -> None:
    api = Recorder()
    for changed in (document(usages=[]), {**document(), "status": {"conditions": [{"type": "Denied"}]}}):
        with pytest.raises(ValueError, match="csr-1"):
            csr.approve(api, csr.review([changed], {"w1": ALLOWED})[0])  # type: ignore[arg-type]
    assert api.sent == []
