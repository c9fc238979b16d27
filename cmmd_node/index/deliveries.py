"""Deliveries: the results of one round on the way to one peer.

::

    waiting --> delivered
       |  ^
       v  |  deliveries retry
      dead
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbos import DBOSClient
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cmmd_node.facts import Codes, Form
from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import DeliveryState, delivered, delivery, result
from cmmd_node.index.work import enqueue_delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One row."""

    id: int
    study_instance_uid: str
    number: int
    peer: str
    state: DeliveryState
    attempts: int
    turn: int
    give_up_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One result object that the peer has not answered for good."""

    sop_instance_uid: str
    sop_class_uid: str
    path: str
    size_bytes: int


def create_delivery(
    connection: Connection, client: DBOSClient, study_instance_uid: str, number: int, peer: str, *, give_up_ms: int
) -> None:
    """Let the results of a round go to a peer; a second time changes nothing."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    now = now_ms()
    row_id = connection.execute(
        dialect.insert(delivery)
        .values(
            study_instance_uid=study_instance_uid,
            number=number,
            peer=peer,
            state=DeliveryState.WAITING,
            attempts=0,
            turn=1,
            created_ms=now,
            give_up_ms=give_up_ms,
            changed_ms=now,
        )
        .on_conflict_do_nothing()
        .returning(delivery.c.id)
    ).scalar_one_or_none()
    if row_id is not None:
        enqueue_delivery(client, connection, row_id, 1, peer)


def find_delivery(connection: Connection, delivery_id: int) -> Delivery | None:
    """The delivery of that number, None when there is none."""
    row = connection.execute(
        select(
            delivery.c.id,
            delivery.c.study_instance_uid,
            delivery.c.number,
            delivery.c.peer,
            delivery.c.state,
            delivery.c.attempts,
            delivery.c.turn,
            delivery.c.give_up_ms,
        ).where(delivery.c.id == delivery_id)
    ).one_or_none()
    return None if row is None else Delivery(**{**row._mapping, "state": DeliveryState(row.state)})


def unanswered_parcels(
    connection: Connection, one: Delivery, forms: Sequence[Form], codes: Codes
) -> tuple[Parcel, ...]:
    """The results that the peer is to get and has not answered for good; the CAD SR last, so that it ends the exam.

    Of objects that differ in their codes it gets those with the codes that it wants, or those that there are: its
    settings may have changed since the round was written.
    """
    of_round = (result.c.study_instance_uid == one.study_instance_uid) & (result.c.number == one.number)
    written = select(result.c.codes).distinct().where(of_round, result.c.codes.is_not(None)).order_by(result.c.codes)
    there = connection.execute(written).scalars().all()
    chosen = [codes] if codes in there else there[:1]
    answered = select(delivered.c.sop_instance_uid).where(delivered.c.delivery_id == one.id)
    rows = connection.execute(
        select(result.c.sop_instance_uid, result.c.sop_class_uid, result.c.path, result.c.size_bytes)
        .where(
            of_round,
            result.c.form.in_(forms),
            result.c.codes.is_(None) | result.c.codes.in_(chosen),
            result.c.sop_instance_uid.not_in(answered),
        )
        .order_by(result.c.form == Form.CAD_SR, result.c.form, result.c.sop_instance_uid)
    )
    return tuple(Parcel(**row._mapping) for row in rows)


def record_parcel(connection: Connection, delivery_id: int, sop_instance_uid: str, *, stored: bool) -> None:
    """The peer answered for good."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(
        dialect.insert(delivered)
        .values(delivery_id=delivery_id, sop_instance_uid=sop_instance_uid, stored=stored, answered_ms=now_ms())
        .on_conflict_do_nothing()
    )


def record_attempt(connection: Connection, delivery_id: int, state: DeliveryState, problem: str | None) -> None:
    """One attempt more, and how it ended."""
    connection.execute(
        update(delivery)
        .where(delivery.c.id == delivery_id)
        .values(state=state, attempts=delivery.c.attempts + 1, problem=problem, changed_ms=now_ms())
    )


def retry_delivery(connection: Connection, client: DBOSClient, delivery_id: int, *, give_up_ms: int) -> bool:
    """Send a dead delivery again, with what the peer refused; False when it is not dead."""
    revived = connection.execute(
        update(delivery)
        .where(delivery.c.id == delivery_id, delivery.c.state == DeliveryState.DEAD)
        .values(
            state=DeliveryState.WAITING,
            turn=delivery.c.turn + 1,
            give_up_ms=give_up_ms,
            changed_ms=now_ms(),
            problem=None,
        )
        .returning(delivery.c.turn, delivery.c.peer)
    ).one_or_none()
    if revived is None:
        return False
    connection.execute(delete(delivered).where(delivered.c.delivery_id == delivery_id, delivered.c.stored.is_(False)))
    enqueue_delivery(client, connection, delivery_id, revived.turn, revived.peer)
    return True


def refused_parcels(connection: Connection, delivery_id: int) -> int:
    """How many results the peer refused for good."""
    return int(
        connection.execute(
            select(func.count()).where(delivered.c.delivery_id == delivery_id, delivered.c.stored.is_(False))
        ).scalar_one()
    )


def dead_deliveries(connection: Connection) -> tuple[int, ...]:
    """All that wait for a person."""
    return tuple(
        connection.execute(
            select(delivery.c.id).where(delivery.c.state == DeliveryState.DEAD).order_by(delivery.c.id)
        ).scalars()
    )
