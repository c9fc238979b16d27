"""Deliveries: the results of a round on the way to one peer, until they are stored, refused or given up."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cmmd_node.deliver import Outgoing, Verdict, send_to, verdict_of
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.index import Index, now_ms
from cmmd_node.index import deliveries as parcels
from cmmd_node.index.tables import DeliveryState
from cmmd_node.index.work import DELIVERY_QUEUE, DELIVERY_WORKFLOW
from cmmd_node.route.durable import AT_ONCE, listen_to, pause_seconds, register, try_until_over
from cmmd_node.settings import DicomwebSettings, PeerSettings, Settings

logger = logging.getLogger(__name__)


class DeliveryRoute:
    """The durable workflow of a delivery."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings = settings
        self._root = settings.node.data_dir.absolute()
        self._index = index

    def register(self) -> None:
        """Name the workflow to DBOS, before it is launched."""
        register(DELIVERY_WORKFLOW, self.deliver)

    def listen(self) -> None:
        """Take work from the queue, once DBOS is launched."""
        listen_to(DELIVERY_QUEUE, at_once_of_partition=AT_ONCE)

    def deliver(self, delivery_id: int, turn: int) -> None:
        """Bring the results of one round to one peer."""
        try_until_over(
            "send",
            self._send,
            delivery_id,
            turn,
            give_up=lambda problem: self._end(delivery_id, DeliveryState.DEAD, problem),
        )

    def _send(self, delivery_id: int, turn: int) -> float | None:
        """One attempt; seconds to wait before the next, None when there is none."""
        with self._index.read() as connection:
            delivery = parcels.find_delivery(connection, delivery_id)
            if delivery is None or delivery.turn != turn or delivery.state is not DeliveryState.WAITING:
                return None
            peer = self._settings.destination_named(delivery.peer)
            waiting = parcels.unanswered_parcels(connection, delivery, peer.results, peer.codes) if peer else ()
        state, problem, asked_to_wait = DeliveryState.WAITING, None, 0.0
        if peer is None or not peer.can_be_sent_to:
            state, problem = DeliveryState.DEAD, f"{delivery.peer} is no longer configured for results"
        else:
            try:
                problem = self._send_parcels(delivery, peer, waiting) if waiting else None
            except PeerRefused as error:
                state, problem = DeliveryState.DEAD, str(error)
            except PeerFailed as error:
                problem, asked_to_wait = str(error), error.retry_after_seconds or 0.0
            with self._index.read() as connection:
                left = parcels.unanswered_parcels(connection, delivery, peer.results, peer.codes)
                refused = parcels.refused_parcels(connection, delivery_id)
            if not left:
                state = DeliveryState.DEAD if refused else DeliveryState.DELIVERED
                problem = problem or (f"{refused} results were refused" if refused else None)
            elif now_ms() >= delivery.give_up_ms:
                state, problem = DeliveryState.DEAD, f"given up: {problem}"
        if state is not DeliveryState.WAITING:
            self._end(delivery_id, state, problem)
            return None
        with self._index.write() as connection:
            parcels.record_attempt(connection, delivery_id, state, problem)
        logger.warning("delivery %d to %s: %s; will be tried again", delivery_id, delivery.peer, problem)
        return max(
            pause_seconds(self._settings, delivery.attempts),
            min(asked_to_wait, self._settings.deliver.retry_limit_seconds),
        )

    def _send_parcels(
        self, delivery: parcels.Delivery, peer: PeerSettings | DicomwebSettings, waiting: Sequence[parcels.Parcel]
    ) -> str | None:
        """Send what is left and store each final answer as it comes; the last problem, if there was one."""
        problem = None
        outgoing = [Outgoing.from_file(self._root / parcel.path) for parcel in waiting]
        for answer in send_to(self._settings, peer, outgoing):
            verdict = Verdict.REFUSED if answer.status is None else verdict_of(answer.status)
            if verdict is not Verdict.STORED:
                problem = f"{peer.name}: {answer.problem}"
            if verdict is not Verdict.TRY_AGAIN:
                with self._index.write() as connection:
                    parcels.record_parcel(
                        connection,
                        delivery.id,
                        answer.outgoing.sop_instance_uid,
                        stored=verdict is Verdict.STORED,
                    )
        return problem

    def _end(self, delivery_id: int, state: DeliveryState, problem: str | None) -> None:
        with self._index.write() as connection:
            parcels.record_attempt(connection, delivery_id, state, problem)
        if state is DeliveryState.DELIVERED:
            logger.info("delivery %d is done", delivery_id)
        else:
            logger.error("delivery %d is dead: %s", delivery_id, problem)
