"""TLS under DICOM associations, both ways: contexts, whose certificate it is, and whether ours can be used.

The profile is BCP 195 with RFC 8996 and RFC 9325 (PS3.15 B.12): TLS 1.2 with the four recommended cipher suites, or
TLS 1.3. Nothing older is negotiated, and nobody falls back to a connection without TLS.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cmmd_node.errors import StartRefused

if TYPE_CHECKING:
    from cmmd_node.settings import PeerSettings, Settings, TLSSettings

#: For TLS 1.2, as RFC 9325 4.2 recommends; those of TLS 1.3 are all of that strength.
CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)

#: What the library calls the mistakes of others, in words for an administrator.
_MISTAKES = {
    "HTTP_REQUEST": "it speaks HTTP",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is strong enough",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours and was shown none",
    "UNSUPPORTED_PROTOCOL": "it offers nothing newer than TLS 1.1",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whom a peer's certificate, which an authority of ours has signed, belongs to."""

    names: frozenset[str]
    """DNS names and IP addresses of its Subject Alternative Name, and its Common Name; lower case."""
    fingerprint: str
    """SHA-256 of the whole, hexadecimal."""

    def is_of(self, wanted: str) -> bool:
        """Whether it has that name, or that fingerprint."""
        return wanted == self.fingerprint or wanted.casefold() in self.names


class Client(ssl.SSLContext):
    """How one association to a peer is secured; `problem` tells why there is none.

    pynetdicom reports that there is no connection, and not why; its sockets come from here and remember.
    """

    peer_name: str
    pinned: str | None
    problem: OSError | None

    def __new__(cls, peer_name: str, *, pinned: str | None = None) -> Client:
        """Trust nobody yet."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.peer_name = peer_name
        context.pinned = pinned
        context.problem = None
        context.check_hostname = pinned is None
        context.sslsocket_class = _ClientSocket
        _restrict(context)
        return context


class _ClientSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        client = cast(Client, self.context)
        try:
            super().do_handshake(block)
            found = certificate_of(self)
            if client.pinned is not None and (found is None or found.fingerprint != client.pinned):
                other = ssl.SSLCertVerificationError("another certificate")
                other.verify_message = "it has another fingerprint than the configured one"
                raise other
        except OSError as error:
            client.problem = error
            raise

    def shutdown(self, how: int) -> None:
        try:
            super().shutdown(how)
        except OSError:  # the peer was faster; pynetdicom would leave the rest to the garbage collector
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:  # in TLS 1.3 a server that refuses our certificate says so after the handshake
            cast(Client, self.context).problem = error
            raise


def server_context(settings: TLSSettings) -> ssl.SSLContext | None:
    """What our SCP secures associations with; None when it takes them without TLS.

    Raises
    ------
    StartRefused
        A file cannot be read, or key and certificate do not belong together.
    """
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    # Tickets would be written after the handshake to peers that may never read them.
    context.num_tickets = 0
    _show_ours(context, settings)
    if settings.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, settings.ca)
        context.load_verify_locations(cadata=_own_certificate(settings.certificate))  # the node's own C-ECHO
    return context


def to_peer(settings: Settings, peer: PeerSettings) -> Client | None:
    """What an association to the peer is secured with; None when it is configured without TLS."""
    if not peer.tls:
        return None
    pinned = peer.certificate if peer.certificate_is_fingerprint else None
    client = Client(peer.host if pinned else peer.certificate or peer.host, pinned=pinned)
    if settings.tls.ca is None:
        client.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _trust(client, settings.tls.ca)
    if settings.tls.certificate is not None:
        _show_ours(client, settings.tls)
    return client


def to_ourselves(settings: Settings) -> Client | None:
    """What an association to our own SCP is secured with: it shows our certificate, and takes no other."""
    if settings.tls.certificate is None:
        return None
    own = _own_certificate(settings.tls.certificate)
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(own)).hexdigest()
    client = Client(settings.own_host, pinned=fingerprint)
    client.load_verify_locations(cadata=own)
    _show_ours(client, settings.tls)
    return client


def check_certificate(settings: Settings) -> datetime | None:
    """Prove by a handshake with ourselves that the node's certificate can be used, and say when it ends.

    Returns
    -------
    datetime.datetime or None
        Of the certificate's last moment, UTC; None when the node has none.

    Raises
    ------
    StartRefused
        What is wrong with certificate, key or authorities, in one sentence.
    """
    for peer in settings.peer:
        to_peer(settings, peer)
    server, client = server_context(settings.tls), to_ourselves(settings)
    if server is None or client is None:
        return None
    try:
        seen = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise StartRefused(
            f"tls.certificate {settings.tls.certificate}: {error.verify_message}; a valid one for TLS servers and "
            "clients is wanted"
        ) from error
    except ssl.SSLError as error:
        raise StartRefused(f"tls.certificate {settings.tls.certificate} cannot be used: {error.reason}") from error
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(seen["notAfter"])), UTC)


def certificate_of(channel: object) -> Certificate | None:
    """The verified certificate that the other end of a socket has shown; None without one."""
    if not isinstance(channel, ssl.SSLSocket):
        return None
    binary, told = channel.getpeercert(binary_form=True), cast(dict[str, Any], channel.getpeercert())
    if not binary or not told:
        return None
    attributes = [*told.get("subjectAltName", ()), *itertools.chain(*told.get("subject", ()))]
    names = {value.casefold() for kind, value in attributes if kind in {"DNS", "IP Address", "commonName"}}
    return Certificate(frozenset(names), hashlib.sha256(binary).hexdigest())


def mistake(error: OSError) -> str:
    """Why there is no secure connection, in words for whoever configures the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return _MISTAKES.get(
            error.reason or "", f"TLS failed ({(error.reason or 'no reason').replace('_', ' ').lower()})"
        )
    if isinstance(error, TimeoutError):
        return "the TLS handshake did not end in time"
    return f"the connection ended in the TLS handshake ({error.strerror or type(error).__name__})"


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHER_SUITES))
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Whatever is in a file of authorities counts, also a peer's own certificate without the authority behind it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _show_ours(context: ssl.SSLContext, settings: TLSSettings) -> None:
    if settings.certificate is None or settings.key is None:
        return
    _own_certificate(settings.certificate)
    try:
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except ssl.SSLError as error:
        raise StartRefused(
            f"tls.key {settings.key} is not the unencrypted private key (PEM) of tls.certificate "
            f"{settings.certificate}: {(error.reason or 'unreadable').replace('_', ' ').lower()}"
        ) from error
    except OSError as error:
        raise StartRefused(f"tls.key {settings.key} cannot be read: {error.strerror}") from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError as error:
        raise StartRefused(f"tls.ca {ca} holds no certificates (PEM)") from error
    except OSError as error:
        raise StartRefused(f"tls.ca {ca} cannot be read: {error.strerror}") from error


def _own_certificate(path: Path) -> str:
    """The first certificate of the file; those behind it lead to the authority and are nobody to trust."""
    try:
        found = _FIRST_CERTIFICATE.search(path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise StartRefused(f"tls.certificate {path} cannot be read: {error.strerror}") from error
    if found is None:
        raise StartRefused(f"tls.certificate {path} holds no certificate (PEM)")
    return found[0]


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """A handshake in memory; the server's certificate as the client sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):  # flights of the longest handshake
        for end in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return cast(dict[str, Any], near.getpeercert())
