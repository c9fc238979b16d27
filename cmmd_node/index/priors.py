"""The search for the priors of an exam: earlier mammograms of the same patient.

::

    waiting --> fetched
       |
       v
      dead      given up; the exam is answered without them
"""

from __future__ import annotations

from dataclasses import dataclass

from dbos import DBOSClient
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import PriorsState, instance, prior_search, study
from cmmd_node.index.work import enqueue_priors


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSearch:
    """One search."""

    state: PriorsState
    attempts: int
    give_up_ms: int
    identity_conflict: str | None
    """Of the exam."""
    path: str
    """File of one of its images, relative to data_dir."""


def create_search(connection: Connection, client: DBOSClient, study_instance_uid: str, *, give_up_ms: int) -> None:
    """Let the priors of an exam be looked for; a second time changes nothing."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    now = now_ms()
    created = connection.execute(
        dialect.insert(prior_search)
        .values(
            study_instance_uid=study_instance_uid,
            state=PriorsState.WAITING,
            attempts=0,
            created_ms=now,
            give_up_ms=give_up_ms,
            changed_ms=now,
        )
        .on_conflict_do_nothing()
    )
    if created.rowcount:
        enqueue_priors(client, connection, study_instance_uid)


def find_search(connection: Connection, study_instance_uid: str) -> PriorSearch:
    """The search for the priors of that exam."""
    image = (
        select(instance.c.path)
        .where(instance.c.study_instance_uid == study_instance_uid)
        .order_by(instance.c.received_ms, instance.c.path)
        .limit(1)
        .scalar_subquery()
    )
    row = connection.execute(
        select(
            prior_search.c.state,
            prior_search.c.attempts,
            prior_search.c.give_up_ms,
            study.c.identity_conflict,
            image.label("path"),
        )
        .join(study, study.c.study_instance_uid == prior_search.c.study_instance_uid)
        .where(prior_search.c.study_instance_uid == study_instance_uid)
    ).one()
    return PriorSearch(**{**row._mapping, "state": PriorsState(row.state)})


def record_search(
    connection: Connection,
    study_instance_uid: str,
    state: PriorsState,
    *,
    problem: str | None,
    studies: int | None = None,
    images: int | None = None,
) -> None:
    """One attempt more, and how it ended."""
    connection.execute(
        update(prior_search)
        .where(prior_search.c.study_instance_uid == study_instance_uid)
        .values(
            state=state,
            attempts=prior_search.c.attempts + 1,
            problem=problem,
            studies=studies,
            images=images,
            changed_ms=now_ms(),
        )
    )
