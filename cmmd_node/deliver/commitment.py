"""N-EVENT-REPORT on an association of our own: the result of a storage commitment to the peer that asked for it."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from cmmd_node.association import association
from cmmd_node.errors import PeerFailed
from cmmd_node.tls import Client


def report_commitment(
    event_type: int,
    result: Dataset,
    *,
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str,
    tls: Client | None = None,
) -> None:
    """Tell the peer what we vouch for; we stay the SCP, although we request the association (PS3.4 J.3.3).

    Raises
    ------
    PeerFailed
        The peer was not reached, takes no reports, or did not answer with success.
    """
    with association(
        [build_context(StorageCommitmentPushModel)],
        host=host,
        port=port,
        called_ae_title=called_ae_title,
        calling_ae_title=calling_ae_title,
        tls=tls,
        roles=[build_role(StorageCommitmentPushModel, scp_role=True)],
    ) as assoc:
        if not any(context.as_scp for context in assoc.accepted_contexts):
            raise PeerFailed(f"{called_ae_title} takes no results of storage commitment from us as SCP")
        response, _ = assoc.send_n_event_report(
            result, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        if "Status" not in response:
            raise PeerFailed(f"{called_ae_title} gave no answer to an N-EVENT-REPORT")
        if response.Status != 0x0000:
            raise PeerFailed(f"{called_ae_title} answered an N-EVENT-REPORT with {response.Status:04X}")
