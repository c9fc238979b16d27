"""Studies that are no longer kept: their rows go first, in one transaction, and then their files.

Of a study that was purged the index keeps what is needed should it come again: how many rounds it had, and which
results of them a later one replaces. Nothing of it tells the patient.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select, update

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import (
    CommitmentState,
    DeliveryState,
    PriorsState,
    RoundState,
    catalogue_instance,
    catalogue_series,
    catalogue_study,
    commitment,
    delivery,
    instance,
    prior_search,
    purged_file,
    result,
    round_,
    study,
    view_result,
)
from cmmd_node.index.work import commitment_work, delivery_work, priors_work, round_work


def purgeable_studies(connection: Connection, *, before_ms: int, limit: int) -> tuple[str, ...]:
    """Studies of which nothing is left to do and nothing has happened since, the oldest first."""
    return tuple(
        connection.execute(
            select(study.c.study_instance_uid).where(_is_over(before_ms)).order_by(study.c.created_ms).limit(limit)
        ).scalars()
    )


def finished_work(connection: Connection, study_instance_uid: str) -> list[str]:
    """The workflows that a study has had."""
    rounds = connection.execute(select(round_.c.number).where(round_.c.study_instance_uid == study_instance_uid))
    sent = connection.execute(
        select(delivery.c.id, delivery.c.turn).where(delivery.c.study_instance_uid == study_instance_uid)
    )
    return [
        *(round_work(study_instance_uid, number) for number in rounds.scalars()),
        *(delivery_work(row.id, turn) for row in sent for turn in range(1, row.turn + 1)),
        priors_work(study_instance_uid),
    ]


def purge_study(connection: Connection, study_instance_uid: str, *, before_ms: int) -> bool:
    """Remove the rows of its images, and what else tells of the patient; its files are `purged_files` from then on.

    Returns
    -------
    bool
        False: something has happened to the study, and it stays.
    """
    wanted = study.c.study_instance_uid == study_instance_uid
    connection.execute(select(study.c.study_instance_uid).where(wanted).with_for_update())  # against new images
    if connection.execute(select(study.c.study_instance_uid).where(wanted, _is_over(before_ms))).first() is None:
        return False
    of_study = {"study_instance_uid": study_instance_uid}
    paths: set[str] = set()
    for table in (instance, result):
        paths |= set(connection.execute(select(table.c.path).filter_by(**of_study)).scalars()) - {""}
    if paths:
        connection.execute(insert(purged_file), [{"path": path} for path in sorted(paths)])
    connection.execute(delete(view_result).filter_by(**of_study))
    # In the order of `catalogue`, which has entered an object before its row is gone here, or finds no row.
    connection.execute(delete(instance).filter_by(**of_study))
    connection.execute(update(result).filter_by(**of_study).values(path="", size_bytes=0, is_catalogued=True))
    for table in (catalogue_instance, catalogue_series, catalogue_study, prior_search):
        connection.execute(delete(table).filter_by(**of_study))
    connection.execute(update(round_).filter_by(**of_study).values(state=RoundState.PURGED))
    connection.execute(
        update(study).where(wanted).values(patient_id="", patient_name="", patient_birth_date="", purged_ms=now_ms())
    )
    return True


def purged_files(connection: Connection, limit: int) -> tuple[str, ...]:
    """Files that are to go, relative to data_dir."""
    return tuple(connection.execute(select(purged_file.c.path).order_by(purged_file.c.path).limit(limit)).scalars())


def forget_files(connection: Connection, paths: Sequence[str]) -> None:
    """They are gone."""
    connection.execute(delete(purged_file).where(purged_file.c.path.in_(paths)))


def purge_commitments(connection: Connection, *, before_ms: int) -> list[str]:
    """Remove storage commitment transactions that ended long ago; the workflows that they have had."""
    gone = connection.execute(
        delete(commitment)
        .where(commitment.c.state != CommitmentState.WAITING, commitment.c.changed_ms < before_ms)
        .returning(commitment.c.id)
    )
    return [commitment_work(number) for number in gone.scalars()]


def _is_over(before_ms: int) -> ColumnElement[bool]:
    """Of a study: it is answered and delivered to everybody who was to get it, or a prior, since before a moment."""
    uid = study.c.study_instance_uid
    busy_round = or_(
        round_.c.state.not_in((RoundState.ANSWERED, RoundState.PRIOR, RoundState.PURGED)),
        round_.c.last_received_ms >= before_ms,
        round_.c.answered_ms >= before_ms,
    )
    busy_delivery = or_(delivery.c.state != DeliveryState.DELIVERED, delivery.c.changed_ms >= before_ms)
    return and_(
        study.c.purged_ms.is_(None),
        study.c.created_ms < before_ms,
        ~exists().where(round_.c.study_instance_uid == uid, busy_round),
        ~exists().where(delivery.c.study_instance_uid == uid, busy_delivery),
        ~exists().where(prior_search.c.study_instance_uid == uid, prior_search.c.state == PriorsState.WAITING),
    )
