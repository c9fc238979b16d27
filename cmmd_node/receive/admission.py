"""Who may talk to us: calling and called AE title, host and certificate of an association request."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

from cmmd_node.settings import CHECK_AE_TITLE, PRIOR_SOURCE, Settings
from cmmd_node.tls import Certificate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4), and the reason for the log."""

    result: int
    source: int
    diagnostic: int
    reason: str


def calling_ae_unknown(reason: str) -> Rejection:
    """Rejected permanent, service user, calling AE title not recognised."""
    return Rejection(1, 1, 3, reason)


def called_ae_unknown() -> Rejection:
    """Rejected permanent, service user, called AE title not recognised."""
    return Rejection(1, 1, 7, "it called another AE title than ours")


def temporary_congestion(reason: str) -> Rejection:
    """Rejected transient, service provider (presentation), temporary congestion."""
    return Rejection(2, 3, 1, reason)


def local_limit_exceeded() -> Rejection:
    """Rejected transient, service provider (presentation), local limit exceeded."""
    return Rejection(2, 3, 2, "too many associations")


@dataclass(frozen=True, slots=True)
class _Known:
    """One peer of an AE title; several may share it."""

    hosts: frozenset[str] | None
    """None: from anywhere."""
    certificate: str

    def is_at(self, host: str) -> bool:
        return self.hosts is None or host in self.hosts

    def shows(self, certificate: Certificate | None) -> bool:
        return not self.certificate or (certificate is not None and certificate.is_of(self.certificate))


class Admission:
    """The peers of the configuration, with their hosts resolved once."""

    def __init__(self, settings: Settings) -> None:
        self._ae_title = settings.node.ae_title
        self._accept_any = settings.receive.accept == "any"
        self._known: dict[str, list[_Known]] = {}
        for peer in settings.peer:
            known = _Known(_addresses(peer.host) if peer.host else None, peer.certificate)
            self._known.setdefault(peer.ae_title, []).append(known)
        self._known[CHECK_AE_TITLE] = [_Known(_addresses("localhost") | {"127.0.0.1", "::1"}, "")]

    def judge(
        self, *, calling_ae_title: str, called_ae_title: str, host: str, certificate: Certificate | None
    ) -> Rejection | None:
        """Why the request is rejected, None when it is not."""
        if called_ae_title != self._ae_title:
            return called_ae_unknown()
        if calling_ae_title == PRIOR_SOURCE:
            return calling_ae_unknown("its AE title is that of our own priors")
        if calling_ae_title not in self._known:
            return None if self._accept_any else calling_ae_unknown("its AE title is not that of a configured peer")
        shown = [peer for peer in self._known[calling_ae_title] if peer.shows(certificate)]
        if not shown:
            return calling_ae_unknown("its certificate is not that of the configured peer")
        if not any(peer.is_at(host) for peer in shown) and not (
            self._accept_any and calling_ae_title != CHECK_AE_TITLE
        ):
            return calling_ae_unknown("its host is not that of the configured peer")
        return None


def _addresses(host: str) -> frozenset[str]:
    """All addresses of a host name; nobody matches a name that does not resolve."""
    try:
        return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
    except OSError as error:
        logger.warning("peer host %s does not resolve: %s", host, error.strerror)
        return frozenset()
