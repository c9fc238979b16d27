"""An association that we request: every wait has a deadline, and a failure is one sentence that says whose it is.

Whoever sends to a peer, asks it or fetches from it does so here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydicom.uid import UID
from pynetdicom import AE, evt

from cmmd_node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.tls import Client, mistake

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

CONNECT_SECONDS = 10
ASSOCIATE_SECONDS = 30
PROGRESS_SECONDS = 30
#: Largest PDU that we take as requestor.
PDU_BYTES = 131072
_PERMANENT = 0x01


@contextmanager
def association(
    contexts: Sequence[object],
    *,
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str,
    tls: Client | None,
    roles: Sequence[object] = (),
    handlers: Sequence[tuple[object, object]] = (),
) -> Iterator[Association]:
    """An association to a peer, with a deadline on every wait; released in the end.

    Parameters
    ----------
    tls
        What the association is secured with; None for a peer without TLS.
    roles
        Role selections (PS3.7 D.3.3.4), where we are to be the SCP.
    handlers
        Events of pynetdicom and who handles them.

    Raises
    ------
    PeerFailed
        There is no association.
    PeerRefused
        The peer rejects associations from us for good, or its certificate is not one that counts.
    """
    ae = AE(calling_ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = CONNECT_SECONDS
    ae.acse_timeout = ASSOCIATE_SECONDS
    ae.network_timeout = PROGRESS_SECONDS
    assoc = ae.associate(
        host,
        port,
        contexts=contexts,
        ae_title=called_ae_title,
        max_pdu=PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_CONN_OPEN, _limit_waiting), *handlers],
        tls_args=tls_args(tls),
    )
    if not assoc.is_established:
        _explain(assoc, called_ae_title, tls)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def tls_args(tls: Client | None) -> tuple[Client, str] | None:
    """As pynetdicom wants them."""
    return (tls, tls.peer_name) if tls else None


def _limit_waiting(event: Event) -> None:
    """Sending blocks without limit otherwise: pynetdicom's timers do not reach into the socket."""
    event.assoc.dul.socket.socket.settimeout(PROGRESS_SECONDS)


def _explain(assoc: Association, called_ae_title: str, tls: Client | None) -> None:
    if tls and tls.problem:
        text = f"{called_ae_title} has no secure connection for us: {mistake(tls.problem)}"
        if isinstance(tls.problem, ssl.SSLCertVerificationError):
            raise PeerRefused(text)
        raise PeerFailed(text)
    rejection = getattr(assoc.acceptor, "primitive", None)
    if assoc.is_rejected and rejection is not None:
        text = f"{called_ae_title} rejected the association: {rejection.reason_str}"
        if rejection.result == _PERMANENT:
            raise PeerRefused(text)
        raise PeerFailed(text)
    if assoc.rejected_contexts:
        names = ", ".join(sorted({UID(context.abstract_syntax).name for context in assoc.rejected_contexts}))
        raise PeerRefused(
            f"{called_ae_title} accepted no presentation context for {names}; its administrator can enable it"
        )
    raise PeerFailed(f"{called_ae_title} cannot be reached or gave no answer")
