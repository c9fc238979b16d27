"""Storage commitment: what a peer asked for is judged, and the peer is told until it has heard or is given up."""

from __future__ import annotations

import logging

from cmmd_node.deliver import report_commitment
from cmmd_node.errors import PeerFailed
from cmmd_node.index import Index, commitments, now_ms
from cmmd_node.index.tables import CommitmentState
from cmmd_node.index.work import COMMITMENT_QUEUE, COMMITMENT_WORKFLOW
from cmmd_node.receive.commitment import judge, result_of
from cmmd_node.receive.scp import STORAGE_CLASSES
from cmmd_node.route.durable import AT_ONCE, listen_to, pause_seconds, register, try_until_over
from cmmd_node.settings import Settings
from cmmd_node.tls import to_peer

logger = logging.getLogger(__name__)


class CommitmentRoute:
    """The durable workflow of a storage commitment transaction."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings = settings
        self._root = settings.node.data_dir.absolute()
        self._index = index

    def register(self) -> None:
        """Name the workflow to DBOS, before it is launched."""
        register(COMMITMENT_WORKFLOW, self.vouch)

    def listen(self) -> None:
        """Take work from the queue, once DBOS is launched."""
        listen_to(COMMITMENT_QUEUE, at_once_of_partition=AT_ONCE)

    def vouch(self, commitment_id: int) -> None:
        """Answer a peer that asked for storage commitment."""
        try_until_over(
            "report",
            self._report,
            commitment_id,
            give_up=lambda problem: self._end(commitment_id, CommitmentState.DEAD, problem),
        )

    def _report(self, commitment_id: int) -> float | None:
        """One attempt; what is vouched for is judged anew each time. Seconds to the next, None when there is none."""
        with self._index.read() as connection:
            one = commitments.find_commitment(connection, commitment_id)
        if one is None or one.state is not CommitmentState.WAITING:
            return None
        peer = self._settings.peer_named(one.peer)
        if peer is None or not peer.port:
            self._end(commitment_id, CommitmentState.DEAD, f"{one.peer} is no longer configured")
            return None
        event_type, result = result_of(one, judge(one, self._index, self._root, STORAGE_CLASSES))
        try:
            report_commitment(
                event_type,
                result,
                host=peer.host,
                port=peer.port,
                called_ae_title=peer.ae_title,
                calling_ae_title=self._settings.node.ae_title,
                tls=to_peer(self._settings, peer),
            )
        except PeerFailed as error:
            if now_ms() >= one.give_up_ms:
                self._end(commitment_id, CommitmentState.DEAD, f"given up: {error}")
                return None
            with self._index.write() as connection:
                commitments.record_report(connection, commitment_id, CommitmentState.WAITING, str(error))
            logger.warning("storage commitment %d: %s; will be tried again", commitment_id, error)
            return pause_seconds(self._settings, one.attempts)
        self._end(commitment_id, CommitmentState.REPORTED, None)
        return None

    def _end(self, commitment_id: int, state: CommitmentState, problem: str | None) -> None:
        with self._index.write() as connection:
            commitments.record_report(connection, commitment_id, state, problem)
        if state is CommitmentState.REPORTED:
            logger.info("storage commitment %d is reported", commitment_id)
        else:
            logger.error("storage commitment %d is dead: %s", commitment_id, problem)
