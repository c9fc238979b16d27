"""C-STORE SCU: files to one peer over one association, each with an answer of its own.

Every wait has a deadline: for the connection, for the association, for each piece that is sent and for each response;
a peer that freezes costs one attempt and no thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from cmmd_node.association import PROGRESS_SECONDS, association, tls_args
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.tls import Client

if TYPE_CHECKING:
    from pynetdicom.association import Association

logger = logging.getLogger(__name__)

_ECHO_SECONDS = 3
SLOWEST_BYTES_PER_SECOND = 200_000
#: PS3.8 9.3.2: presentation context ids are odd and fit one byte.
_CONTEXTS = 128
#: Transfer syntaxes between which a data set can be written anew without touching its values.
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One Part 10 file to send."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @classmethod
    def from_file(cls, path: Path) -> Outgoing:
        """Read what the association needs from the File Meta Information.

        Raises
        ------
        PeerRefused
            The file is no DICOM file.
        """
        try:
            meta = read_file_meta_info(path)
            return cls(
                path,
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                str(meta.TransferSyntaxUID),
            )
        except (InvalidDicomError, AttributeError, OSError, EOFError) as error:
            raise PeerRefused(f"{path} is no DICOM file") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """How one file fared: the C-STORE status, or a problem that kept it from being asked for."""

    outgoing: Outgoing
    status: int | None
    problem: str | None


def send(
    files: Sequence[Outgoing],
    *,
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str,
    tls: Client | None = None,
) -> Iterator[Answer]:
    """Send `files` over one association, in order; answers come as they arrive.

    Parameters
    ----------
    tls
        What the association is secured with; None for a peer without TLS.

    Raises
    ------
    PeerFailed
        There is no association, or it ended before every file had an answer; what came before was answered.
    PeerRefused
        The peer rejects associations from us for good, or its certificate is not one that counts.
    """
    with association(
        _contexts(files),
        host=host,
        port=port,
        called_ae_title=called_ae_title,
        calling_ae_title=calling_ae_title,
        tls=tls,
    ) as assoc:
        for file in files:
            yield _store(assoc, file, called_ae_title)


def echo(*, host: str, port: int, called_ae_title: str, calling_ae_title: str, tls: Client | None = None) -> bool:
    """Whether the peer answers a C-ECHO within seconds."""
    ae = AE(calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _ECHO_SECONDS
    ae.add_requested_context(Verification)
    assoc = ae.associate(host, port, ae_title=called_ae_title, tls_args=tls_args(tls))
    if not assoc.is_established:
        return False
    response = assoc.send_c_echo()
    assoc.release()
    return bool(response.get("Status") == 0x0000)


def _contexts(files: Sequence[Outgoing]) -> list[object]:
    """One context for each class and transfer syntax; uncompressed data sets may go either way."""
    wanted: dict[tuple[str, str], None] = {}
    for file in files:
        wanted[(file.sop_class_uid, file.transfer_syntax_uid)] = None
        if file.transfer_syntax_uid in UNCOMPRESSED:
            wanted.update({(file.sop_class_uid, syntax): None for syntax in UNCOMPRESSED})
    if len(wanted) > _CONTEXTS:
        raise PeerRefused(f"{len(wanted)} kinds of files need as many presentation contexts; send fewer at once")
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]


def _store(assoc: Association, file: Outgoing, called_ae_title: str) -> Answer:
    accepted = {
        str(context.transfer_syntax[0])
        for context in assoc.accepted_contexts
        if context.abstract_syntax == file.sop_class_uid
    }
    syntaxes = [file.transfer_syntax_uid]
    if file.transfer_syntax_uid in UNCOMPRESSED:
        syntaxes += UNCOMPRESSED
    if accepted.isdisjoint(syntaxes):
        name = UID(file.sop_class_uid).name
        return Answer(
            file,
            None,
            f"{called_ae_title} accepted no presentation context for {name}; its administrator can enable it",
        )
    assoc.dimse_timeout = PROGRESS_SECONDS + file.path.stat().st_size / SLOWEST_BYTES_PER_SECOND
    if not assoc.is_established:
        raise PeerFailed(f"{called_ae_title} ended the association")
    response = assoc.send_c_store(dcmread(file.path))  # written anew where the peer takes the other uncompressed syntax
    if "Status" not in response:
        raise PeerFailed(f"{called_ae_title} gave no answer to a C-STORE")
    comment = response.get("ErrorComment")
    return Answer(file, int(response.Status), f"status {response.Status:04X}" + (f": {comment!r}" if comment else ""))
