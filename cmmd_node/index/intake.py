"""What a received instance changes in the index: its row, its study, and the round that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import RoundState, instance, purged_file, quarantine, round_, study
from cmmd_node.settings import PRIOR_SOURCE

# The statements of every image, built once: building one takes longer than SQLite needs to run it.
_KEPT = select(instance.c.path, instance.c.size_bytes, instance.c.digest, instance.c.source).where(
    instance.c.sop_instance_uid == bindparam("uid")
)
_IDENTITY = ("patient_id", "patient_name", "patient_birth_date")
_PATIENT = (
    select(*(study.c[name] for name in _IDENTITY), study.c.purged_ms)
    .where(study.c.study_instance_uid == bindparam("uid"))
    .with_for_update()
)
_ANEW = (
    update(study)
    .where(study.c.study_instance_uid == bindparam("uid"))
    .values({name: bindparam(f"new_{name}") for name in _IDENTITY} | {"purged_ms": None})
)
_NEW_STUDY = {
    "sqlite": sqlite.insert(study).on_conflict_do_nothing().returning(study.c.study_instance_uid),
    "postgresql": postgresql.insert(study).on_conflict_do_nothing().returning(study.c.study_instance_uid),
}
_JOIN_ROUND = (
    update(round_)
    .where(round_.c.study_instance_uid == bindparam("uid"), round_.c.state == RoundState.SETTLING)
    .values(last_received_ms=bindparam("now"))
    .returning(round_.c.number)
)
_JOIN_PRIORS = (
    update(round_)
    .where(round_.c.study_instance_uid == bindparam("uid"), round_.c.state == RoundState.PRIOR)
    .values(last_received_ms=bindparam("now"))
    .returning(round_.c.number)
)
_LATEST_ROUND = select(func.max(round_.c.number)).where(round_.c.study_instance_uid == bindparam("uid"))
_NEW_ROUND = insert(round_)
_NEW_INSTANCE = insert(instance)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """One object whose bytes are on disk for good."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    path: str
    size_bytes: int
    digest: str
    source: str
    """Calling AE title of the sender, or the name of the way it came in; `PRIOR_SOURCE` for a prior."""


@dataclass(frozen=True, slots=True)
class KeptInstance:
    """What the index knows of an instance that came before."""

    path: str
    size_bytes: int
    digest: str
    source: str


def kept_instance(connection: Connection, sop_instance_uid: str) -> KeptInstance | None:
    """The instance of that UID, None when there is none."""
    row = connection.execute(_KEPT, {"uid": sop_instance_uid}).one_or_none()
    return None if row is None else KeptInstance(*row)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedObject:
    """Where an object should be and what it should be."""

    sop_instance_uid: str
    path: str
    size_bytes: int
    digest: str


def indexed_objects(connection: Connection) -> list[IndexedObject]:
    """Every instance, oldest first."""
    columns = select(instance.c.sop_instance_uid, instance.c.path, instance.c.size_bytes, instance.c.digest)
    return [IndexedObject(**row._mapping) for row in connection.execute(columns.order_by(instance.c.received_ms))]


def is_empty(connection: Connection) -> bool:
    """Whether there never was an instance."""
    return connection.execute(select(study.c.study_instance_uid).limit(1)).first() is None


def indexed_paths(connection: Connection) -> set[str]:
    """The files that have a row, or had one and are about to go; relative to data_dir."""
    return set(connection.execute(union_all(select(instance.c.path), select(purged_file.c.path))).scalars())


def record_instance(connection: Connection, new: NewInstance) -> int | None:
    """Insert the instance; the number of the round that it opens, None when it joins one.

    A prior is in a round that nobody works on, unless its study is an exam: then it is an image of that. A study that
    was purged begins anew, with the next round.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        The SOP Instance UID has a row already: a twin was faster.
    """
    identity = _lock_study(connection, new)
    now = now_ms()
    if identity is None:  # the first of its study
        number, opened = 1, new.source != PRIOR_SOURCE
        state = RoundState.SETTLING if opened else RoundState.PRIOR
        _open_round(connection, new.study_instance_uid, number, state=state, source=new.source, now=now)
    elif new.source == PRIOR_SOURCE and not is_exam(connection, new.study_instance_uid):
        number, opened = _round_of_priors(connection, new.study_instance_uid, now), False
    else:
        number, opened = _round_of(connection, new.study_instance_uid, new.source, now)
    connection.execute(
        _NEW_INSTANCE,
        {
            "sop_instance_uid": new.sop_instance_uid,
            "study_instance_uid": new.study_instance_uid,
            "series_instance_uid": new.series_instance_uid,
            "sop_class_uid": new.sop_class_uid,
            "transfer_syntax_uid": new.transfer_syntax_uid,
            "patient_id": new.patient_id,
            "path": new.path,
            "size_bytes": new.size_bytes,
            "digest": new.digest,
            "source": new.source,
            "received_ms": now,
            "round_number": number,
        },
    )
    conflict = None if identity is None else _conflict(identity, new)
    if conflict is not None:
        connection.execute(
            update(study)
            .where(study.c.study_instance_uid == new.study_instance_uid, study.c.identity_conflict.is_(None))
            .values(identity_conflict=conflict)
        )
    return number if opened else None


def is_exam(connection: Connection, study_instance_uid: str) -> bool:
    """Whether the study has a round of an exam that is kept."""
    none = (RoundState.PRIOR, RoundState.PURGED)
    return (
        connection.execute(
            select(round_.c.number)
            .where(round_.c.study_instance_uid == study_instance_uid, round_.c.state.not_in(none))
            .limit(1)
        ).first()
        is not None
    )


def record_collision(connection: Connection, *, path: str, sop_instance_uid: str, digest: str, source: str) -> None:
    """Remember an object that was put aside."""
    connection.execute(
        insert(quarantine).values(
            path=path, sop_instance_uid=sop_instance_uid, digest=digest, source=source, received_ms=now_ms()
        )
    )


def take_up_prior(connection: Connection, sop_instance_uid: str, source: str) -> tuple[str, int] | None:
    """A prior has been sent as an image of an exam: its study is an exam from now on.

    Returns
    -------
    tuple[str, int] or None
        The study and the number of the round that this opens; None where another image did, or a twin was faster.
    """
    study_instance_uid: str = connection.execute(
        select(instance.c.study_instance_uid).where(instance.c.sop_instance_uid == sop_instance_uid)
    ).scalar_one()
    connection.execute(_PATIENT, {"uid": study_instance_uid})  # locks the study
    taken_up = connection.execute(
        update(instance)
        .where(instance.c.sop_instance_uid == sop_instance_uid, instance.c.source == PRIOR_SOURCE)
        .values(source=source)
    )
    # A round of the exam has the images of the rounds before it, this one among them.
    if not taken_up.rowcount or is_exam(connection, study_instance_uid):
        return None
    number, _ = _round_of(connection, study_instance_uid, source, now_ms())
    return study_instance_uid, number


def _round_of(connection: Connection, study_instance_uid: str, source: str, now: int) -> tuple[int, bool]:
    """The number of the round that takes an image of an exam, and whether it had to be opened."""
    joined = {"uid": study_instance_uid, "now": now}
    settling: int | None = connection.execute(_JOIN_ROUND, joined).scalar_one_or_none()
    if settling is not None:
        return settling, False
    return _open_next_round(connection, study_instance_uid, RoundState.SETTLING, source, now), True


def _round_of_priors(connection: Connection, study_instance_uid: str, now: int) -> int:
    """The number of the round that takes a prior."""
    there: int | None = connection.execute(_JOIN_PRIORS, {"uid": study_instance_uid, "now": now}).scalar_one_or_none()
    if there is not None:
        return there
    return _open_next_round(connection, study_instance_uid, RoundState.PRIOR, PRIOR_SOURCE, now)


def _open_next_round(connection: Connection, study_instance_uid: str, state: RoundState, source: str, now: int) -> int:
    number: int = (connection.execute(_LATEST_ROUND, {"uid": study_instance_uid}).scalar_one() or 0) + 1
    _open_round(connection, study_instance_uid, number, state=state, source=source, now=now)
    return number


def _open_round(
    connection: Connection, study_instance_uid: str, number: int, *, state: RoundState, source: str, now: int
) -> None:
    values = {
        "study_instance_uid": study_instance_uid,
        "number": number,
        "state": state,
        "source": source,
        "first_received_ms": now,
        "last_received_ms": now,
    }
    connection.execute(_NEW_ROUND, values)


def _lock_study(connection: Connection, new: NewInstance) -> tuple[str, str, str] | None:
    """Find the study's row, or make it; it is locked until the transaction ends.

    Returns
    -------
    tuple[str, str, str] or None
        Patient id, name and birth date of a study that was there, those of the new instance where it was purged; None
        when the row is new.
    """
    uid = {"uid": new.study_instance_uid}
    row = connection.execute(_PATIENT, uid).one_or_none()
    if row is None:
        values = {
            "study_instance_uid": new.study_instance_uid,
            **{name: getattr(new, name) for name in _IDENTITY},
            "created_ms": now_ms(),
        }
        # The row comes back when it was made; SQLAlchemy's count of inserted rows is -1 on PostgreSQL, made or not.
        if connection.execute(_NEW_STUDY[connection.dialect.name], values).first() is not None:
            return None
        row = connection.execute(_PATIENT, uid).one()  # a twin was faster
    if row.purged_ms is not None:
        connection.execute(_ANEW, {**uid, **{f"new_{name}": getattr(new, name) for name in _IDENTITY}})
        return new.patient_id, new.patient_name, new.patient_birth_date
    return row.patient_id, row.patient_name, row.patient_birth_date


def _conflict(identity: tuple[str, str, str], new: NewInstance) -> str | None:
    """Which attribute says that this is another patient; no values, since the text reaches pages and logs."""
    patient_id, patient_name, birth_date = identity
    if patient_id != new.patient_id:
        return "images of one study have different Patient IDs"
    if _differ(plain_name(patient_name), plain_name(new.patient_name)):
        return "images of one study have different Patient's Names"
    if _differ(birth_date, new.patient_birth_date):
        return "images of one study have different Patient's Birth Dates"
    return None


def _differ(one: str, other: str) -> bool:
    """Two values that are both there and not the same."""
    return bool(one) and bool(other) and one != other


def plain_name(name: str) -> str:
    """A person's name (PS3.5 6.2, PN) without what modalities write differently for the same person."""
    return "^".join(part.strip() for part in name.casefold().split("^")).rstrip("^")
