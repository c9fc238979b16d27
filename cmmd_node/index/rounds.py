"""A round of a study on its way: closing it, what it found, what it wrote; and the rounds as people ask for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from cmmd_node.facts import (
    BreastComposition,
    BreastGeometry,
    Codes,
    Finding,
    Form,
    Kind,
    Laterality,
    Mark,
    Model,
    Outcome,
    QualityFinding,
    Reference,
    Round,
    Spacing,
    StudyResult,
    View,
    ViewPosition,
    ViewResult,
    ViewStatus,
)
from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import RoundState, instance, result, round_, study, view_result


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What has come in for a round that settles."""

    state: RoundState
    first_received_ms: int
    last_received_ms: int
    paths: tuple[str, ...]
    """Files of all images of the study, relative to data_dir, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyImage:
    """One image of a study: where its bytes are, and what the index knows without them."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenResult:
    """One result object on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    form: Form
    codes: Codes | None
    """None: the same for every peer."""
    path: str
    size_bytes: int
    digest: str


def arrivals(connection: Connection, study_instance_uid: str, number: int) -> Arrivals:
    """Look at a round that settles."""
    row = connection.execute(
        select(round_.c.state, round_.c.first_received_ms, round_.c.last_received_ms).where(
            round_.c.study_instance_uid == study_instance_uid, round_.c.number == number
        )
    ).one()
    paths = connection.execute(
        select(instance.c.path)
        .where(instance.c.study_instance_uid == study_instance_uid)
        .order_by(instance.c.received_ms, instance.c.path)
    ).scalars()
    return Arrivals(
        state=RoundState(row.state),
        first_received_ms=row.first_received_ms,
        last_received_ms=row.last_received_ms,
        paths=tuple(paths),
    )


def close_round(
    connection: Connection, study_instance_uid: str, number: int, *, last_received_ms: int, created: datetime
) -> bool:
    """Close a settled round, so that the next image opens another; False when one came since we looked.

    A round of a study with an identity conflict is stopped instead.
    """
    conflict = connection.execute(
        select(study.c.identity_conflict).where(study.c.study_instance_uid == study_instance_uid).with_for_update()
    ).scalar_one()
    closed = connection.execute(
        update(round_)
        .where(
            round_.c.study_instance_uid == study_instance_uid,
            round_.c.number == number,
            round_.c.state == RoundState.SETTLING,
            round_.c.last_received_ms == last_received_ms,
        )
        .values(
            state=RoundState.ANALYSING if conflict is None else RoundState.STOPPED,
            reason=conflict,
            closed_ms=now_ms(),
            created=created.isoformat(),
        )
    )
    return bool(closed.rowcount)


def study_images(connection: Connection, study_instance_uid: str, number: int) -> tuple[StudyImage, ...]:
    """The images of a closed round: all that came for it and for the rounds before."""
    rows = connection.execute(
        select(instance.c.sop_instance_uid, instance.c.sop_class_uid, instance.c.series_instance_uid, instance.c.path)
        .where(instance.c.study_instance_uid == study_instance_uid, instance.c.round_number <= number)
        .order_by(instance.c.sop_instance_uid)
    )
    return tuple(StudyImage(**row._mapping) for row in rows)


def round_facts(connection: Connection, study_instance_uid: str, number: int, node_uid: str) -> Round:
    """What the result objects of a closed round are made from."""
    created = connection.execute(
        select(round_.c.created).where(round_.c.study_instance_uid == study_instance_uid, round_.c.number == number)
    ).scalar_one()
    latest = (
        select(func.max(result.c.number))
        .where(result.c.study_instance_uid == study_instance_uid, result.c.number < number)
        .scalar_subquery()
    )
    predecessors = connection.execute(
        select(result.c.series_instance_uid, result.c.sop_class_uid, result.c.sop_instance_uid)
        .where(
            result.c.study_instance_uid == study_instance_uid,
            result.c.number == latest,
            result.c.form.in_((Form.CAD_SR, Form.TID1500)),
        )
        .order_by(result.c.sop_instance_uid)
    )
    return Round(
        node_uid=node_uid,
        study_instance_uid=study_instance_uid,
        number=number,
        created=datetime.fromisoformat(created),
        predecessors=tuple(Reference(study_instance_uid=study_instance_uid, **row._mapping) for row in predecessors),
    )


def round_state(connection: Connection, study_instance_uid: str, number: int) -> RoundState:
    """Where the round is."""
    return RoundState(
        connection.execute(
            select(round_.c.state).where(round_.c.study_instance_uid == study_instance_uid, round_.c.number == number)
        ).scalar_one()
    )


def round_source(connection: Connection, study_instance_uid: str, number: int) -> str:
    """Who sent the image that opened the round."""
    return str(
        connection.execute(
            select(round_.c.source).where(round_.c.study_instance_uid == study_instance_uid, round_.c.number == number)
        ).scalar_one()
    )


def record_analysis(connection: Connection, number: int, analysed: StudyResult) -> None:
    """Store what the round says of each image; a second time changes nothing."""
    this_round = (view_result.c.study_instance_uid == analysed.study_instance_uid) & (view_result.c.number == number)
    connection.execute(delete(view_result).where(this_round))
    for view in analysed.views:
        connection.execute(
            insert(view_result).values(
                study_instance_uid=analysed.study_instance_uid,
                number=number,
                sop_instance_uid=view.sop_instance_uid,
                view=str(view.view) if view.view else None,
                status=view.status,
                reason=view.reason,
                remark=view.remark,
                findings=json.dumps([finding_to_json(finding) for finding in view.findings]),
                whole=json.dumps(whole_to_json(view)),
            )
        )
    connection.execute(
        update(round_)
        .where(round_.c.study_instance_uid == analysed.study_instance_uid, round_.c.number == number)
        .values(
            model_name=analysed.model.name,
            model_version=analysed.model.version,
            model_digest=analysed.model.digest,
        )
    )


def recorded_analysis(connection: Connection, study_instance_uid: str, number: int) -> StudyResult:
    """What the round says, as it was stored."""
    model = connection.execute(
        select(round_.c.model_name, round_.c.model_version, round_.c.model_digest).where(
            round_.c.study_instance_uid == study_instance_uid, round_.c.number == number
        )
    ).one()
    rows = connection.execute(
        select(view_result, instance.c.sop_class_uid)
        .join(instance, instance.c.sop_instance_uid == view_result.c.sop_instance_uid)
        .where(view_result.c.study_instance_uid == study_instance_uid, view_result.c.number == number)
        .order_by(view_result.c.sop_instance_uid)
    )
    return StudyResult(
        study_instance_uid=study_instance_uid,
        model=Model(name=model.model_name, version=model.model_version, digest=model.model_digest),
        views=tuple(
            ViewResult(
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                view=_view(row.view),
                status=ViewStatus(row.status),
                reason=row.reason,
                remark=row.remark,
                **_whole(json.loads(row.whole or "{}")),
                findings=tuple(_finding(row.sop_instance_uid, one) for one in json.loads(row.findings)),
            )
            for row in rows
        ),
    )


def earlier_findings(connection: Connection, study_instance_uid: str, number: int) -> tuple[Finding, ...]:
    """The findings of the last round before this one that was analysed."""
    latest = (
        select(func.max(view_result.c.number))
        .where(view_result.c.study_instance_uid == study_instance_uid, view_result.c.number < number)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(view_result.c.sop_instance_uid, view_result.c.findings)
        .where(view_result.c.study_instance_uid == study_instance_uid, view_result.c.number == latest)
        .order_by(view_result.c.sop_instance_uid)
    )
    return tuple(_finding(row.sop_instance_uid, one) for row in rows for one in json.loads(row.findings))


def record_answer(
    connection: Connection, study_instance_uid: str, number: int, outcome: Outcome, results: Sequence[WrittenResult]
) -> None:
    """Store the result objects and that the round is answered; a second time changes nothing."""
    connection.execute(
        delete(result).where(result.c.study_instance_uid == study_instance_uid, result.c.number == number)
    )
    for written in results:
        connection.execute(
            insert(result).values(
                study_instance_uid=study_instance_uid,
                number=number,
                sop_instance_uid=written.sop_instance_uid,
                sop_class_uid=written.sop_class_uid,
                series_instance_uid=written.series_instance_uid,
                form=written.form,
                codes=written.codes,
                path=written.path,
                size_bytes=written.size_bytes,
                digest=written.digest,
            )
        )
    _end(connection, study_instance_uid, number, state=RoundState.ANSWERED, outcome=outcome)


def record_failure(connection: Connection, study_instance_uid: str, number: int, reason: str) -> None:
    """The round ended without results; a person must look."""
    _end(connection, study_instance_uid, number, state=RoundState.FAILED, outcome=Outcome.FAILED, reason=reason)


def _end(connection: Connection, study_instance_uid: str, number: int, **values: Any) -> None:
    connection.execute(
        update(round_)
        .where(round_.c.study_instance_uid == study_instance_uid, round_.c.number == number)
        .values(answered_ms=now_ms(), **values)
    )


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """A finding in the words of ``analyze --json``; probability and calcifications are always named."""
    mark = finding.mark
    return {
        "kind": mark.kind.value,
        "center_cr": list(mark.center_cr),
        "outline_cr": [list(point) for point in mark.outline_cr],
        "suspicion": mark.suspicion,
        "probability_malignant": mark.probability_malignant,
        "calcifications_cr": [list(point) for point in mark.calcifications_cr],
        "tracking_uid": finding.tracking_uid,
        "tracking_id": finding.tracking_id,
    }


def whole_to_json(view: ViewResult) -> dict[str, Any]:
    """What is said of an image as a whole, in the words of ``analyze --json``."""
    return {
        "spacing_mm": None if view.spacing is None else {"row": view.spacing.row_mm, "column": view.spacing.column_mm},
        "breast_outline_cr": None if view.breast is None else [list(point) for point in view.breast.outline_cr],
        "nipple_cr": None if view.breast is None else list(view.breast.nipple_cr),
        "composition": view.composition,
        "quality": None if view.quality is None else list(view.quality),
    }


def _whole(words: dict[str, Any]) -> dict[str, Any]:
    """The fields of a ViewResult that `whole_to_json` wrote; none for a round from before there were any."""
    spacing, nipple, quality = words.get("spacing_mm"), words.get("nipple_cr"), words.get("quality")
    composition = words.get("composition")
    return {
        "spacing": spacing and Spacing(row_mm=spacing["row"], column_mm=spacing["column"]),
        "breast": nipple
        and BreastGeometry(
            outline_cr=tuple((column, row) for column, row in words["breast_outline_cr"]),
            nipple_cr=(nipple[0], nipple[1]),
        ),
        "composition": composition and BreastComposition(composition),
        "quality": None if quality is None else tuple(map(QualityFinding, quality)),
    }


def _finding(sop_instance_uid: str, words: dict[str, Any]) -> Finding:
    return Finding(
        sop_instance_uid=sop_instance_uid,
        tracking_uid=words["tracking_uid"],
        tracking_id=words["tracking_id"],
        mark=Mark(
            kind=Kind(words["kind"]),
            center_cr=(words["center_cr"][0], words["center_cr"][1]),
            outline_cr=tuple((column, row) for column, row in words["outline_cr"]),
            suspicion=words["suspicion"],
            probability_malignant=words["probability_malignant"],
            calcifications_cr=tuple((column, row) for column, row in words["calcifications_cr"]),
        ),
    )


def _view(words: str | None) -> View | None:
    if words is None:
        return None
    laterality, position = words.split()
    return View(Laterality(laterality), ViewPosition(position))
