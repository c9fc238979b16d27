"""The catalogue: what DICOMweb finds, and where the objects are.

Receiving and answering do not write it; they leave rows that are not catalogued, and the web role reads the headers of
those before it searches. So it costs the receiver nothing, knows images of every way in and results alike, and an index
from before there was one is caught up with in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from cmmd_node.index.intake import plain_name
from cmmd_node.index.tables import (
    INSTANCE_NUMBERS,
    SERIES_TEXTS,
    STUDY_TEXTS,
    catalogue_instance,
    catalogue_series,
    catalogue_study,
    instance,
    result,
)

_PENDING_COLUMNS = (
    "sop_instance_uid",
    "study_instance_uid",
    "series_instance_uid",
    "sop_class_uid",
    "path",
    "size_bytes",
    "digest",
)
# In the words of the partial indexes, or a database would not use them.
_PENDING = union_all(
    *(
        select(*(table.c[name] for name in _PENDING_COLUMNS)).where(table.c.is_catalogued.is_(False))
        for table in (instance, result)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a header says that searches look at; text without padding, empty or None where it says nothing."""

    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""
    study_id: str = ""
    study_description: str = ""
    modality: str = ""
    series_description: str = ""
    performed_procedure_step_start_date: str = ""
    performed_procedure_step_start_time: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    number_of_frames: int | None = None
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncatalogued:
    """An object that is kept and cannot be found yet."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """Where an object of the catalogue is, and what is needed to hand it out."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    size_bytes: int
    digest: str


def uncatalogued(connection: Connection, limit: int) -> list[Uncatalogued]:
    """Objects that nobody can find yet."""
    return [Uncatalogued(**row._mapping) for row in connection.execute(_PENDING.limit(limit))]


def catalogue(connection: Connection, described: Sequence[tuple[Uncatalogued, str, Description]]) -> None:
    """Enter objects with their transfer syntax and what their headers say; a second time changes nothing.

    Of a study or series, the first object that is entered speaks. What has been purged meanwhile is left out.
    """
    uids, kept = [one.sop_instance_uid for one, _, _ in described], set()
    for table in (instance, result):
        kept |= set(
            connection.execute(
                update(table)
                .where(table.c.sop_instance_uid.in_(uids), table.c.is_catalogued.is_(False))
                .values(is_catalogued=True)
                .returning(table.c.sop_instance_uid)
            ).scalars()
        )
    studies: dict[Any, dict[str, Any]] = {}
    series: dict[Any, dict[str, Any]] = {}
    instances: dict[Any, dict[str, Any]] = {}
    for one, transfer_syntax_uid, header in described:
        if one.sop_instance_uid not in kept:
            continue
        values = asdict(header)
        studies.setdefault(
            one.study_instance_uid,
            {
                "study_instance_uid": one.study_instance_uid,
                **{name: values[name] for name in STUDY_TEXTS},
                "patient_name_folded": plain_name(header.patient_name),
                "referring_physician_name_folded": plain_name(header.referring_physician_name),
            },
        )
        series.setdefault(
            (one.study_instance_uid, one.series_instance_uid),
            {
                "study_instance_uid": one.study_instance_uid,
                "series_instance_uid": one.series_instance_uid,
                **{name: values[name] for name in (*SERIES_TEXTS, "series_number")},
            },
        )
        instances[one.sop_instance_uid] = {
            **asdict(one),
            "transfer_syntax_uid": transfer_syntax_uid,
            **{name: values[name] for name in INSTANCE_NUMBERS},
        }
    enter: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    for table, rows in ((catalogue_study, studies), (catalogue_series, series), (catalogue_instance, instances)):
        if rows:
            connection.execute(enter(table).on_conflict_do_nothing(), list(rows.values()))


def stored_objects(
    connection: Connection, study_instance_uid: str, series_instance_uid: str = "", sop_instance_uid: str = ""
) -> list[StoredObject]:
    """The objects of a study, of one of its series, or one of them, by series and instance."""
    table = catalogue_instance
    query = select(*(table.c[name] for name in StoredObject.__slots__)).where(
        table.c.study_instance_uid == study_instance_uid
    )
    if series_instance_uid:
        query = query.where(table.c.series_instance_uid == series_instance_uid)
    if sop_instance_uid:
        query = query.where(table.c.sop_instance_uid == sop_instance_uid)
    rows = connection.execute(query.order_by(table.c.series_instance_uid, table.c.sop_instance_uid))
    return [StoredObject(**row._mapping) for row in rows]
