"""The tables of the index. Times are UTC epoch milliseconds; states are the words of the enumerations here."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class RoundState(StrEnum):
    """Where a round is on the route."""

    PRIOR = "prior"
    """Images that were fetched for another exam; the first round of their study, and never analysed by itself."""
    SETTLING = "settling"
    ANALYSING = "analysing"
    STOPPED = "stopped"
    """An identity conflict; a person must look."""
    ANSWERED = "answered"
    """The results are written; delivery has states of its own."""
    FAILED = "failed"
    PURGED = "purged"
    """Answered, or a prior, and long ago: its images and results are no longer kept."""


class DeliveryState(StrEnum):
    """Where the results of a round are on the way to one peer."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up or refused; ``deliveries retry`` sends it again."""


class CommitmentState(StrEnum):
    """Where the result of a storage commitment is on the way to the peer that asked for it."""

    WAITING = "waiting"
    REPORTED = "reported"
    DEAD = "dead"
    """Given up; the peer asks again when it wants to know."""


class PriorsState(StrEnum):
    """Where the search for the priors of an exam is."""

    WAITING = "waiting"
    FETCHED = "fetched"
    """What there is within the bounds is here; it may be nothing."""
    DEAD = "dead"
    """Given up; the exam is answered without them."""


def _uid(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, String(64), primary_key=primary_key, nullable=nullable)


#: Attributes of the catalogue, by their keywords in lower case.
STUDY_TEXTS = (
    "patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "study_date",
    "study_time",
    "accession_number",
    "referring_physician_name",
    "study_id",
    "study_description",
)
SERIES_TEXTS = (
    "modality",
    "series_description",
    "performed_procedure_step_start_date",
    "performed_procedure_step_start_time",
)
INSTANCE_NUMBERS = ("instance_number", "number_of_frames", "rows", "columns", "bits_allocated")

study = Table(
    "study",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("patient_id", Text, nullable=False),
    Column("patient_name", Text, nullable=False),
    Column("patient_birth_date", Text, nullable=False),
    Column("identity_conflict", Text, nullable=True),
    Column("created_ms", BigInteger, nullable=False, index=True),
    Column("purged_ms", BigInteger, nullable=True),
)

instance = Table(
    "instance",
    metadata,
    _uid("sop_instance_uid", primary_key=True),
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), nullable=False, index=True),
    _uid("series_instance_uid"),
    _uid("sop_class_uid"),
    _uid("transfer_syntax_uid"),
    Column("patient_id", Text, nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("source", String(64), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("round_number", Integer, nullable=False),
    Column("is_catalogued", Boolean, nullable=False, server_default=false()),
)
Index(
    "ix_instance_uncatalogued",
    instance.c.sop_instance_uid,
    sqlite_where=instance.c.is_catalogued.is_(False),
    postgresql_where=instance.c.is_catalogued.is_(False),
)

#: Files whose rows are purged: they go next, and nobody takes them in again meanwhile.
purged_file = Table("purged_file", metadata, Column("path", Text, primary_key=True))

#: Objects refused because their SOP Instance UID is kept with other bytes; for a person to look at.
quarantine = Table(
    "quarantine",
    metadata,
    Column("path", Text, primary_key=True),
    _uid("sop_instance_uid"),
    Column("digest", String(64), nullable=False),
    Column("source", String(64), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
)

round_ = Table(
    "round",
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("source", String(64), nullable=False),
    Column("first_received_ms", BigInteger, nullable=False),
    Column("last_received_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger, nullable=True),
    Column("created", String(32), nullable=True),
    Column("answered_ms", BigInteger, nullable=True),
    Column("outcome", String(16), nullable=True),
    Column("reason", Text, nullable=True),
    Column("model_name", String(64), nullable=True),
    Column("model_version", String(64), nullable=True),
    Column("model_digest", String(64), nullable=True),
)

#: What the round says of each image; `findings` is JSON, a list of findings in the words of ``analyze --json``, and
#: `whole` what is said of the image as a whole.
view_result = Table(
    "view_result",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sop_instance_uid", String(64), ForeignKey("instance.sop_instance_uid"), primary_key=True),
    Column("view", String(8), nullable=True),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=True),
    Column("remark", Text, nullable=True),
    Column("findings", Text, nullable=False),
    Column("whole", Text, nullable=True),
)

result = Table(
    "result",
    metadata,
    _uid("sop_instance_uid", primary_key=True),
    _uid("study_instance_uid"),
    Column("number", Integer, nullable=False),
    _uid("series_instance_uid"),
    _uid("sop_class_uid"),
    Column("form", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("codes", String(8), nullable=True),
    Column("is_catalogued", Boolean, nullable=False, server_default=false()),
    Index("ix_result_study_instance_uid_number", "study_instance_uid", "number"),
)
Index(
    "ix_result_uncatalogued",
    result.c.sop_instance_uid,
    sqlite_where=result.c.is_catalogued.is_(False),
    postgresql_where=result.c.is_catalogued.is_(False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _uid("study_instance_uid"),
    Column("number", Integer, nullable=False),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("give_up_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("problem", Text, nullable=True),
    UniqueConstraint("study_instance_uid", "number", "peer"),
)

#: The results of a delivery that the peer has answered for good: stored, or refused.
delivered = Table(
    "delivered",
    metadata,
    Column("delivery_id", Integer, ForeignKey("delivery.id"), primary_key=True),
    Column("sop_instance_uid", String(64), ForeignKey("result.sop_instance_uid"), primary_key=True),
    Column("stored", Boolean, nullable=False),
    Column("answered_ms", BigInteger, nullable=False),
)

#: Storage commitment transactions; `requested` is JSON, a list of SOP Class and SOP Instance UIDs.
commitment = Table(
    "commitment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _uid("transaction_uid"),
    Column("peer", String(64), nullable=False),
    Column("requested", Text, nullable=False),
    Column("is_duplicate", Boolean, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("give_up_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("problem", Text, nullable=True),
    Index("ix_commitment_peer_transaction_uid", "peer", "transaction_uid"),
)

#: The search for the priors of an exam; how many studies and images there are within the bounds, once it is known.
prior_search = Table(
    "prior_search",
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("give_up_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("studies", Integer, nullable=True),
    Column("images", Integer, nullable=True),
    Column("problem", Text, nullable=True),
)

#: What DICOMweb finds: images that were received and results that were written alike, as their headers describe them.
#: `catalogue` fills these three from the files of what is not catalogued yet. Names are kept once more as they match.
catalogue_study = Table(
    "catalogue_study",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    *(Column(name, Text, nullable=False) for name in STUDY_TEXTS),
    Column("patient_name_folded", Text, nullable=False),
    Column("referring_physician_name_folded", Text, nullable=False),
    Index("ix_catalogue_study_date", "study_date", "study_instance_uid"),
    *(
        Index(f"ix_catalogue_study_{name}", name, postgresql_ops={name: "text_pattern_ops"})
        for name in ("patient_id", "patient_name_folded", "accession_number")
    ),
)

catalogue_series = Table(
    "catalogue_series",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    _uid("series_instance_uid", primary_key=True),
    *(Column(name, Text, nullable=False) for name in SERIES_TEXTS),
    Column("series_number", BigInteger, nullable=True),
    Index("ix_catalogue_series_series_instance_uid", "series_instance_uid"),
)

catalogue_instance = Table(
    "catalogue_instance",
    metadata,
    _uid("sop_instance_uid", primary_key=True),
    _uid("study_instance_uid"),
    _uid("series_instance_uid"),
    _uid("sop_class_uid"),
    _uid("transfer_syntax_uid"),
    *(Column(name, BigInteger, nullable=True) for name in INSTANCE_NUMBERS),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_catalogue_instance_series", "study_instance_uid", "series_instance_uid", "sop_instance_uid"),
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)
