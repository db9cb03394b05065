"""Certificates: accepted by a TLS stack other than the one that made them, and readable again."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubelb_common import pki

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
CA = pki.create_ca("test", now=NOW)
FLEET = "kubelb://tenant-a/shared"


def leaf(**options: object) -> pki.KeyPair:
    return pki.issue(CA, "someone", now=NOW, lifetime=DAY, **options)  # type: ignore[arg-type]


def test_a_leaf_says_what_was_asked_for() -> None:
    pair = pki.issue(
        CA,
        pki.Subject(common_name="admin", organizations=("system:masters", "second")),
        now=NOW,
        lifetime=DAY,
        usages=("client",),
        dns=("a.example",),
        ips=("192.0.2.1", "fd00::1"),
        uris=(FLEET,),
    )
    subject = pair.certificate.subject
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "system:masters",
        "second",
    ]
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["admin"]
    assert pki.uri_sans(pair.cert_pem) == (FLEET,)
    assert pki.dns_sans(pair.cert_pem.decode()) == ("a.example",)
    extensions = pair.certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert pki.issued_by(pair.cert_pem, CA.cert_pem)


def test_times() -> None:
    pair = leaf()
    assert pki.expires_at(pair.cert_pem) == NOW + DAY
    assert pair.certificate.not_valid_before_utc == NOW - pki.CLOCK_SKEW
    assert not pki.needs_renewal(pair.cert_pem, NOW + DAY / 2)
    assert pki.needs_renewal(pair.cert_pem, NOW + DAY * 0.7)


def test_a_leaf_never_outlives_its_ca() -> None:
    short = pki.create_ca("short", now=NOW, lifetime=DAY)
    pair = pki.issue(short, "x", now=NOW, lifetime=DAY * 30)
    assert pki.expires_at(pair.cert_pem) == pki.expires_at(short.cert_pem)


def test_an_expired_ca_issues_nothing() -> None:
    with pytest.raises(pki.PkiError, match=r"CA .* ended"):
        pki.issue(CA, "x", now=NOW + timedelta(days=5000), lifetime=DAY)


def test_another_ca_of_the_same_name_did_not_issue() -> None:
    assert not pki.issued_by(leaf().cert_pem, pki.create_ca("test", now=NOW).cert_pem)
    assert not pki.issued_by(CA.cert_pem, leaf().cert_pem)


def test_without_alternative_names_there_are_none() -> None:
    assert pki.uri_sans(leaf().cert_pem) == ()


def test_pairs_are_checked_on_loading() -> None:
    one, other = leaf(), leaf()
    assert pki.load_key_pair(one.cert_pem, one.key_pem) == one
    with pytest.raises(pki.PkiError, match="another"):
        pki.load_key_pair(one.cert_pem, other.key_pem)


@pytest.mark.parametrize(
    "pem", [b"", b"garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ü"]
)
def test_unreadable_texts(pem: bytes | str) -> None:
    with pytest.raises(pki.PkiError, match="certificate in PEM"):
        pki.load_certificate(pem)
    with pytest.raises(pki.PkiError, match="private key in PEM"):
        pki.load_private_key(pem)


def test_bad_alternative_names() -> None:
    with pytest.raises(pki.PkiError, match="alternative names"):
        leaf(ips=("no address",))
    with pytest.raises(pki.PkiError, match="alternative names"):
        leaf(dns=("bücher.example",))


def test_the_key_is_not_shown() -> None:
    assert b"PRIVATE" not in repr(leaf()).encode()


def test_signing_keys() -> None:
    for algorithm, kind in (("rsa", rsa.RSAPrivateKey), ("ec", ec.EllipticCurvePrivateKey)):
        private, public = pki.signing_key_pair(algorithm)  # type: ignore[arg-type]
        key = serialization.load_pem_private_key(private, password=None)
        assert isinstance(key, kind)
        assert key.public_key() == serialization.load_pem_public_key(public)


@pytest.mark.parametrize(
    ("server_usages", "client_usages", "works"),
    [(["server"], ["client"], True), (["client"], ["client"], False), (["server"], ["server"], False)],
)
def test_mutual_tls(tmp_path: Path, server_usages: list[str], client_usages: list[str], works: bool) -> None:
    server = context(tmp_path, ssl.PROTOCOL_TLS_SERVER, leaf(usages=server_usages, dns=("envoycp.kubelb.svc",)))
    client = context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, leaf(usages=client_usages, uris=(FLEET,)))
    assert shake_hands(server, client, "envoycp.kubelb.svc") is works


def context(folder: Path, protocol: int, pair: pki.KeyPair) -> ssl.SSLContext:
    chain, ca = folder / f"{protocol}.pem", folder / "ca.pem"
    chain.write_bytes(pair.cert_pem + pair.key_pem)
    ca.write_bytes(CA.cert_pem)
    made = ssl.SSLContext(protocol)
    made.load_verify_locations(ca)
    made.load_cert_chain(chain)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return made


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Say whether both sides accept each other; a byte each way, since TLS 1.3 reports refusals late."""
    left, right = socket.socketpair()
    left.settimeout(10)
    right.settimeout(10)
    accepted: list[bool] = []

    def serve() -> None:
        try:
            with server.wrap_socket(left, server_side=True) as stream:
                accepted.append(stream.recv(1) == b"?")
                stream.send(b"!")
        except OSError:
            accepted.append(False)
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=name) as stream:
            stream.send(b"?")
            answered = stream.recv(1) == b"!"
    except OSError:
        answered = False
        right.close()
    thread.join()
    return answered and accepted == [True]
