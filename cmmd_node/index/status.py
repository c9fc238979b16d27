"""What people and machines ask of the index: studies, deliveries, counts, heartbeats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, true
from sqlalchemy.dialects import postgresql, sqlite

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import (
    DeliveryState,
    RoundState,
    commitment,
    delivery,
    heartbeat,
    instance,
    prior_search,
    quarantine,
    result,
    round_,
    study,
    view_result,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much of everything there is; every accepted instance is in exactly one of `instances`."""

    instances: dict[str, int]
    rounds: dict[str, int]
    outcomes: dict[str, int]
    deliveries: dict[str, int]
    commitments: dict[str, int]
    priors: dict[str, int]
    quarantined: int
    oldest_waiting_seconds: float
    """Age of the oldest round or delivery that is not at its end; 0 when there is none."""


def counts(connection: Connection) -> Counts:
    """Count."""
    latest = select(
        round_.c.study_instance_uid, func.max(round_.c.number).label("number"), func.count().label("rounds")
    ).group_by(round_.c.study_instance_uid)
    latest_rounds = latest.subquery()
    state = func.coalesce(view_result.c.status, round_.c.state)
    per_instance = (
        select(state, func.count())
        .select_from(instance)
        .join(latest_rounds, latest_rounds.c.study_instance_uid == instance.c.study_instance_uid)
        .join(
            round_,
            and_(
                round_.c.study_instance_uid == latest_rounds.c.study_instance_uid,
                round_.c.number == latest_rounds.c.number,
            ),
        )
        .outerjoin(
            view_result,
            and_(
                view_result.c.study_instance_uid == instance.c.study_instance_uid,
                view_result.c.number == latest_rounds.c.number,
                view_result.c.sop_instance_uid == instance.c.sop_instance_uid,
            ),
        )
        .group_by(state)
    )
    waiting = [
        connection.execute(
            select(func.min(round_.c.first_received_ms)).where(
                round_.c.state.in_([RoundState.SETTLING, RoundState.ANALYSING])
            )
        ).scalar_one(),
        connection.execute(
            select(func.min(delivery.c.created_ms)).where(delivery.c.state == DeliveryState.WAITING)
        ).scalar_one(),
    ]
    oldest_ms = min((one for one in waiting if one is not None), default=None)
    return Counts(
        instances=_pairs(connection, per_instance),
        rounds=_by(connection, round_.c.state),
        outcomes=_by(connection, round_.c.outcome),
        deliveries=_by(connection, delivery.c.state),
        commitments=_by(connection, commitment.c.state),
        priors=_by(connection, prior_search.c.state),
        quarantined=connection.execute(select(func.count()).select_from(quarantine)).scalar_one(),
        oldest_waiting_seconds=0.0 if oldest_ms is None else max(0, now_ms() - oldest_ms) / 1000,
    )


def studies(connection: Connection, study_instance_uid: str | None = None) -> list[dict[str, Any]]:
    """Every study with its rounds, oldest first; without patients' names and ids."""
    wanted = true() if study_instance_uid is None else study.c.study_instance_uid == study_instance_uid
    images = _by(connection, instance.c.study_instance_uid)
    found = {
        row.study_instance_uid: {
            "StudyInstanceUID": row.study_instance_uid,
            "images": images.get(row.study_instance_uid, 0),
            "identity_conflict": row.identity_conflict,
            "priors": None,
            "rounds": [],
        }
        for row in connection.execute(select(study).where(wanted).order_by(study.c.created_ms))
    }
    for row in connection.execute(select(round_).order_by(round_.c.study_instance_uid, round_.c.number)):
        if row.study_instance_uid in found:
            found[row.study_instance_uid]["rounds"].append(
                {
                    "number": row.number,
                    "state": row.state,
                    "outcome": row.outcome,
                    "reason": row.reason,
                    "source": row.source,
                    "model": row.model_name and f"{row.model_name} {row.model_version}",
                    "images": [],
                    "results": [],
                    "deliveries": [],
                }
            )
    for row in connection.execute(select(prior_search)):
        if row.study_instance_uid in found:
            found[row.study_instance_uid]["priors"] = {
                "state": row.state,
                "studies": row.studies,
                "images": row.images,
                "problem": row.problem,
            }
    _attach(connection, found)
    return list(found.values())


def _attach(connection: Connection, found: dict[str, Any]) -> None:
    """Images, results and deliveries to the rounds that they belong to."""
    rounds = {(uid, one["number"]): one for uid, words in found.items() for one in words["rounds"]}
    for row in connection.execute(select(view_result).order_by(view_result.c.sop_instance_uid)):
        if (row.study_instance_uid, row.number) in rounds:
            rounds[row.study_instance_uid, row.number]["images"].append(
                {
                    "SOPInstanceUID": row.sop_instance_uid,
                    "view": row.view,
                    "status": row.status,
                    "reason": row.reason,
                    "remark": row.remark,
                    "findings": len(json.loads(row.findings)),
                }
            )
    for row in connection.execute(select(result).order_by(result.c.form, result.c.sop_instance_uid)):
        if (row.study_instance_uid, row.number) in rounds:
            rounds[row.study_instance_uid, row.number]["results"].append(
                {
                    "form": row.form,
                    "codes": row.codes,
                    "SOPInstanceUID": row.sop_instance_uid,
                    "path": row.path or None,
                }
            )
    for row in connection.execute(select(delivery).order_by(delivery.c.id)):
        if (row.study_instance_uid, row.number) in rounds:
            rounds[row.study_instance_uid, row.number]["deliveries"].append(
                {"id": row.id, "peer": row.peer, "state": row.state, "problem": row.problem}
            )


def deliveries(connection: Connection) -> list[dict[str, Any]]:
    """Every delivery, oldest first."""
    rows = connection.execute(select(delivery).order_by(delivery.c.id))
    return [
        {
            "id": row.id,
            "StudyInstanceUID": row.study_instance_uid,
            "round": row.number,
            "peer": row.peer,
            "state": row.state,
            "attempts": row.attempts,
            "problem": row.problem,
        }
        for row in rows
    ]


def beat(connection: Connection, role: str) -> None:
    """Say that a process of this role is alive."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    now = now_ms()
    connection.execute(
        dialect.insert(heartbeat)
        .values(role=role, at_ms=now)
        .on_conflict_do_update(index_elements=[heartbeat.c.role], set_={"at_ms": now})
    )


def silence_seconds(connection: Connection, role: str) -> float | None:
    """How long ago a process of this role was last alive; None when there was none."""
    at_ms = connection.execute(select(heartbeat.c.at_ms).where(heartbeat.c.role == role)).scalar_one_or_none()
    return None if at_ms is None else max(0, now_ms() - at_ms) / 1000


def _by(connection: Connection, column: Any) -> dict[str, int]:
    return _pairs(connection, select(column, func.count()).where(column.is_not(None)).group_by(column))


def _pairs(connection: Connection, statement: Select[Any, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}
