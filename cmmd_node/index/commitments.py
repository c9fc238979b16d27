"""Storage commitment transactions of our peers (PS3.4 annex J): asked for, judged, reported.

::

    waiting --> reported
       |
       v
      dead      the peer could not be told in time
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from dbos import DBOSClient
from sqlalchemy import Connection, insert, select, update

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import CommitmentState, commitment, instance
from cmmd_node.index.work import enqueue_commitment


@dataclass(frozen=True, slots=True)
class SOPReference:
    """What a peer names: a SOP Instance and the class that it takes it for."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One transaction."""

    id: int
    transaction_uid: str
    peer: str
    references: tuple[SOPReference, ...]
    is_duplicate: bool
    state: CommitmentState
    attempts: int
    give_up_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptObject:
    """What the index knows of an object that somebody asks about."""

    sop_class_uid: str
    path: str
    size_bytes: int
    digest: str


def record_commitment(
    connection: Connection,
    client: DBOSClient,
    *,
    transaction_uid: str,
    peer: str,
    references: tuple[SOPReference, ...],
    give_up_ms: int,
) -> None:
    """Take a request, with the durable work that answers it.

    The same request again, while it waits, changes nothing; its Transaction UID with anything else is a duplicate,
    which every reference is refused for.
    """
    words = json.dumps([[one.sop_class_uid, one.sop_instance_uid] for one in references])
    earlier = connection.execute(
        select(commitment.c.state, commitment.c.requested).where(
            commitment.c.peer == peer, commitment.c.transaction_uid == transaction_uid
        )
    ).all()
    if any(row.state == CommitmentState.WAITING and row.requested == words for row in earlier):
        return
    now = now_ms()
    row_id = connection.execute(
        insert(commitment)
        .values(
            transaction_uid=transaction_uid,
            peer=peer,
            requested=words,
            is_duplicate=bool(earlier),
            state=CommitmentState.WAITING,
            attempts=0,
            created_ms=now,
            give_up_ms=give_up_ms,
            changed_ms=now,
        )
        .returning(commitment.c.id)
    ).scalar_one()
    enqueue_commitment(client, connection, row_id, peer)


def find_commitment(connection: Connection, commitment_id: int) -> Commitment | None:
    """The transaction of that number, None when there is none."""
    row = connection.execute(select(commitment).where(commitment.c.id == commitment_id)).one_or_none()
    if row is None:
        return None
    return Commitment(
        id=row.id,
        transaction_uid=row.transaction_uid,
        peer=row.peer,
        references=tuple(SOPReference(*one) for one in json.loads(row.requested)),
        is_duplicate=row.is_duplicate,
        state=CommitmentState(row.state),
        attempts=row.attempts,
        give_up_ms=row.give_up_ms,
    )


def record_report(connection: Connection, commitment_id: int, state: CommitmentState, problem: str | None) -> None:
    """One attempt more to tell the peer, and how it ended."""
    connection.execute(
        update(commitment)
        .where(commitment.c.id == commitment_id)
        .values(state=state, attempts=commitment.c.attempts + 1, problem=problem, changed_ms=now_ms())
    )


def indexed_object(connection: Connection, sop_instance_uid: str) -> KeptObject | None:
    """Where the object should be and what it should be; None when there is no row."""
    row = connection.execute(
        select(instance.c.sop_class_uid, instance.c.path, instance.c.size_bytes, instance.c.digest).where(
            instance.c.sop_instance_uid == sop_instance_uid
        )
    ).one_or_none()
    return None if row is None else KeptObject(**row._mapping)
