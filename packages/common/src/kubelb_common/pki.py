"""Certificates: a CA, leaves under it, and signing keys; ECDSA on P-256, everything in PEM.

Used by the manager for the mTLS between Envoy and the control plane, and by the testbed for the API
servers. Times are passed in; serial numbers and keys come from the system's random source.
Validity begins five minutes before `now`, so that a peer whose clock is a little behind accepts it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_SKEW = timedelta(minutes=5)
_CURVE = ec.SECP256R1


class PkiError(ValueError):
    """A PEM text is not what it should be; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both in PEM.

    Attributes:
        cert_pem: the certificate; for a leaf without its issuer.
        key_pem: the private key, PKCS #8 without a password.
    """

    cert_pem: bytes
    key_pem: bytes = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return load_certificate(self.cert_pem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who a certificate names; in Kubernetes CN is the user and each O a group."""

    common_name: str
    organizations: Sequence[str] = ()

    def name(self) -> x509.Name:
        """Return the distinguished name."""
        groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in self.organizations]
        return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])


def create_ca(common_name: str, *, now: datetime, lifetime: timedelta = timedelta(days=3650)) -> KeyPair:
    """Return a self-signed CA that may issue leaves only."""
    key = ec.generate_private_key(_CURVE())
    subject = Subject(common_name=common_name).name()
    builder = (
        _builder(subject, subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


def issue(
    ca: KeyPair,
    subject: Subject | str,
    *,
    now: datetime,
    lifetime: timedelta,
    usages: Sequence[Literal["client", "server"]] = ("client", "server"),
    dns: Sequence[str] = (),
    ips: Sequence[str] = (),
    uris: Sequence[str] = (),
) -> KeyPair:
    """Return a leaf under `ca`, which never outlives it.

    Args:
        ca: the issuer, with its key.
        subject: whom the certificate names; a string is its common name.
        now: the present time, aware.
        lifetime: how long it holds.
        usages: what TLS may use it for.
        dns: DNS names among the subject's alternative names.
        ips: the same for IP addresses, in text.
        uris: the same for URIs.

    Raises:
        PkiError: `ca` is unreadable or has ended, or an alternative name is none.
    """
    issuer = ca.certificate
    issuer_key = load_private_key(ca.key_pem)
    key = ec.generate_private_key(_CURVE())
    named = Subject(common_name=subject) if isinstance(subject, str) else subject
    lifetime = min(lifetime, issuer.not_valid_after_utc - now)
    if lifetime <= timedelta(0):
        raise PkiError(
            f"the CA {issuer.subject.rfc4514_string()} ended at {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    builder = (
        _builder(named.name(), issuer.subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in usages]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    names = _alternative_names(dns, ips, uris)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _signed(builder, key, issuer_key)


def load_certificate(pem: bytes | str) -> x509.Certificate:
    """Return the first certificate of a PEM text; raises PkiError."""
    try:
        return x509.load_pem_x509_certificate(_bytes(pem))
    except ValueError as error:
        raise PkiError(f"expected a certificate in PEM: {error}") from error


def load_private_key(pem: bytes | str) -> ec.EllipticCurvePrivateKey:
    """Return an ECDSA private key from PEM without a password; raises PkiError."""
    try:
        key = serialization.load_pem_private_key(_bytes(pem), password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"expected a private key in PEM without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError("expected an ECDSA private key")
    return key


def load_key_pair(cert_pem: bytes | str, key_pem: bytes | str) -> KeyPair:
    """Return certificate and key after a check that they belong together; raises PkiError."""
    certificate, key = load_certificate(cert_pem), load_private_key(key_pem)
    if certificate.public_key() != key.public_key():
        raise PkiError("expected the private key of the certificate, found another one")
    return KeyPair(_bytes(cert_pem), _bytes(key_pem))


def expires_at(pem: bytes | str) -> datetime:
    """Return when a certificate in PEM ends, aware, UTC; raises PkiError."""
    return load_certificate(pem).not_valid_after_utc


def needs_renewal(pem: bytes | str, now: datetime, *, used: float = 2 / 3) -> bool:
    """Say whether more than the share `used` of a certificate's lifetime is over; raises PkiError."""
    certificate = load_certificate(pem)
    begin = certificate.not_valid_before_utc
    return now >= begin + (certificate.not_valid_after_utc - begin) * used


def issued_by(pem: bytes | str, ca_pem: bytes | str) -> bool:
    """Say whether `ca_pem` signed `pem`; validity in time is not looked at. Raises PkiError."""
    try:
        load_certificate(pem).verify_directly_issued_by(load_certificate(ca_pem))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def uri_sans(pem: bytes | str) -> tuple[str, ...]:
    """Return the URIs among the alternative names of a certificate in PEM; raises PkiError."""
    return _sans(pem, x509.UniformResourceIdentifier)


def dns_sans(pem: bytes | str) -> tuple[str, ...]:
    """Return the DNS names among the alternative names of a certificate in PEM; raises PkiError."""
    return _sans(pem, x509.DNSName)


def signing_key_pair(algorithm: Literal["rsa", "ec"] = "rsa") -> tuple[bytes, bytes]:
    """Return (private, public) PEM of a key that signs service-account tokens: RSA 2048 or ECDSA P-256."""
    key = rsa.generate_private_key(65537, 2048) if algorithm == "rsa" else ec.generate_private_key(_CURVE())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _key_pem(key), public


_USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(dns: Sequence[str], ips: Sequence[str], uris: Sequence[str]) -> list[x509.GeneralName]:
    try:
        return [
            *(x509.DNSName(item) for item in dns),
            *(x509.IPAddress(ipaddress.ip_address(item)) for item in ips),
            *(x509.UniformResourceIdentifier(item) for item in uris),
        ]
    except ValueError as error:
        raise PkiError(f"expected DNS names, IP addresses and URIs as alternative names: {error}") from error


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer_key: ec.EllipticCurvePrivateKey
) -> KeyPair:
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sans(pem: bytes | str, kind: type[x509.UniformResourceIdentifier | x509.DNSName]) -> tuple[str, ...]:
    try:
        extension = load_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value.get_values_for_type(kind))


def _bytes(pem: bytes | str) -> bytes:
    return pem.encode() if isinstance(pem, str) else pem
