"""Searches of the catalogue: matching as PS3.4 C.2.2.2 has it, pages in an order that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, exists, func, literal_column, or_, select
from sqlalchemy import join as join_tables

from cmmd_node.index.intake import plain_name
from cmmd_node.index.tables import catalogue_instance, catalogue_series, catalogue_study

#: How many further matches are counted; beyond, it is only known that there are more.
COUNTED = 1000


class Level(IntEnum):
    """What a search finds."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of these (single value and UID list matching)."""

    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """The value matches a pattern with ``*`` and ``?`` (wild card matching)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """The value lies in between, both ends included (range matching); an empty end is open."""

    low: str
    high: str


Condition = OneOf | Like | Between


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search; `conditions` by the names of columns, and ``modalities_in_study``."""

    level: Level
    conditions: dict[str, Condition]
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class Page:
    """Matches in their order, as columns of the level and of those above; and how many more there are."""

    rows: list[dict[str, Any]]
    remaining: int
    """At most `COUNTED` + 1, which stands for any number more than `COUNTED`."""


def search(connection: Connection, wanted: Search) -> Page:
    """The page of matches that is wanted: newest study first, then by UIDs."""
    chosen = _where(select(literal_column("1")).select_from(_tables(wanted.level)), wanted, connection.dialect.name)
    page = chosen.with_only_columns(*_columns(wanted.level)).order_by(*_order(wanted.level))
    rows = connection.execute(page.limit(wanted.limit).offset(wanted.offset)).all()
    remaining = 0
    if rows and len(rows) == wanted.limit:
        behind = chosen.offset(wanted.offset + wanted.limit).limit(COUNTED + 1).subquery()
        remaining = connection.execute(select(func.count()).select_from(behind)).scalar_one()
    found = [dict(row._mapping) for row in rows]
    _add_counts(connection, found, wanted.level)
    return Page(found, remaining)


def _tables(level: Level) -> Any:
    tables: Any = catalogue_study
    if level >= Level.SERIES:
        tables = join_tables(
            tables, catalogue_series, catalogue_series.c.study_instance_uid == catalogue_study.c.study_instance_uid
        )
    if level >= Level.INSTANCE:
        tables = join_tables(
            tables,
            catalogue_instance,
            and_(
                catalogue_instance.c.study_instance_uid == catalogue_series.c.study_instance_uid,
                catalogue_instance.c.series_instance_uid == catalogue_series.c.series_instance_uid,
            ),
        )
    return tables


def _columns(level: Level) -> list[Column[Any]]:
    """Of the level and those above, each name once."""
    named: dict[str, Column[Any]] = {}
    for table in (catalogue_study, catalogue_series, catalogue_instance)[: level + 1]:
        for column in table.c:
            named.setdefault(column.name, column)
    return list(named.values())


def _order(level: Level) -> list[ColumnElement[Any]]:
    order: list[ColumnElement[Any]] = [
        catalogue_study.c.study_date.desc(),
        catalogue_study.c.study_instance_uid.desc(),
    ]
    if level >= Level.SERIES:
        order.append(catalogue_series.c.series_instance_uid)
    if level >= Level.INSTANCE:
        order.append(catalogue_instance.c.sop_instance_uid)
    return order


def _where(query: Select[Any], wanted: Search, dialect: str) -> Select[Any]:
    columns = {column.name: column for column in _columns(wanted.level)}
    conditions = dict(wanted.conditions)
    date, time = conditions.get("study_date"), conditions.get("study_time")
    if isinstance(date, Between) and isinstance(time, Between):  # combined date and time (PS3.18 8.3.4.1.1)
        del conditions["study_date"], conditions["study_time"]
        query = query.where(_between_moments(columns["study_date"], columns["study_time"], date, time))
    for name, condition in conditions.items():
        if name == "modalities_in_study":
            any_series = catalogue_series.alias("any_series").c
            in_study = any_series.study_instance_uid == columns["study_instance_uid"]
            query = query.where(exists().where(in_study, _matches(any_series.modality, condition, dialect)))
        elif f"{name}_folded" in columns:
            query = query.where(_matches(columns[f"{name}_folded"], _folded(condition), dialect))
        elif name.endswith("_time"):
            query = query.where(_matches(_padded(columns[name]), condition, dialect))
        else:
            query = query.where(_matches(columns[name], condition, dialect))
    return query


def _matches(column: ColumnElement[Any], condition: Condition, dialect: str) -> ColumnElement[bool]:
    if isinstance(condition, OneOf):
        return column == condition.values[0] if len(condition.values) == 1 else column.in_(condition.values)
    if isinstance(condition, Between):
        low = column >= condition.low
        high = and_(column <= condition.high, column != "")
        return and_(low, high) if condition.low and condition.high else low if condition.low else high
    if dialect == "sqlite":  # whose LIKE does not tell letters' cases apart, and uses no index
        return column.op("GLOB")(condition.pattern.replace("[", "[[]"))
    pattern = condition.pattern.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return column.like(pattern.replace("*", "%").replace("?", "_"), escape="\\")


def _folded(condition: Condition) -> Condition:
    """Names match whatever the case of their letters and empty components behind (PS3.4 C.2.2.2.1)."""
    if isinstance(condition, OneOf):
        return OneOf(tuple(plain_name(str(value)) for value in condition.values))
    return Like(plain_name(condition.pattern)) if isinstance(condition, Like) else condition


def _padded(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A TM value as long as HHMMSS at least."""
    return column + func.substr("000000", func.length(column) + 1)


def _between_moments(
    date: ColumnElement[Any], time: ColumnElement[Any], dates: Between, times: Between
) -> ColumnElement[bool]:
    """From the first date's low time to the last date's high time."""
    parts = []
    padded = _padded(time)
    if dates.low:
        parts.append(and_(date >= dates.low, or_(date > dates.low, padded >= times.low)))
    if dates.high:
        high = or_(date < dates.high, padded <= times.high) if times.high else date <= dates.high
        parts.append(and_(date <= dates.high, high, date != ""))
    return and_(*parts)


def _add_counts(connection: Connection, rows: Sequence[dict[str, Any]], level: Level) -> None:
    """Numbers of related series and instances, and modalities, of the studies and series on the page."""
    studies = list({row["study_instance_uid"] for row in rows})
    if not studies:
        return
    series, instances = catalogue_series.c, catalogue_instance.c
    modalities: dict[str, list[str]] = {uid: [] for uid in studies}
    for uid, modality in connection.execute(
        select(series.study_instance_uid, series.modality).where(series.study_instance_uid.in_(studies))
    ):
        modalities[uid].append(modality)
    in_series = {
        (study, one): number
        for study, one, number in connection.execute(
            select(instances.study_instance_uid, instances.series_instance_uid, func.count())
            .where(instances.study_instance_uid.in_(studies))
            .group_by(instances.study_instance_uid, instances.series_instance_uid)
        )
    }
    in_study = dict.fromkeys(studies, 0)
    for (study, _), number in in_series.items():
        in_study[study] += number
    for row in rows:
        uid = row["study_instance_uid"]
        row["modalities_in_study"] = sorted({one for one in modalities[uid] if one})
        row["number_of_study_related_series"] = len(modalities[uid])
        row["number_of_study_related_instances"] = in_study[uid]
        if level >= Level.SERIES:
            row["number_of_series_related_instances"] = in_series.get((uid, row["series_instance_uid"]), 0)
