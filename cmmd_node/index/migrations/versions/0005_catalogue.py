"""The catalogue that DICOMweb searches; the web role fills it from the files of what is there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create its tables, and mark everything as not catalogued yet."""
    op.create_table(
        "catalogue_study",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_sex", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("study_time", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("referring_physician_name", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("patient_name_folded", sa.Text(), nullable=False),
        sa.Column("referring_physician_name_folded", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_catalogue_study")),
    )
    op.create_index("ix_catalogue_study_date", "catalogue_study", ["study_date", "study_instance_uid"], unique=False)
    for name in ("patient_id", "patient_name_folded", "accession_number"):
        op.create_index(
            f"ix_catalogue_study_{name}",
            "catalogue_study",
            [name],
            unique=False,
            postgresql_ops={name: "text_pattern_ops"},
        )
    op.create_table(
        "catalogue_series",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("series_description", sa.Text(), nullable=False),
        sa.Column("performed_procedure_step_start_date", sa.Text(), nullable=False),
        sa.Column("performed_procedure_step_start_time", sa.Text(), nullable=False),
        sa.Column("series_number", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", "series_instance_uid", name=op.f("pk_catalogue_series")),
    )
    op.create_index(
        "ix_catalogue_series_series_instance_uid", "catalogue_series", ["series_instance_uid"], unique=False
    )
    op.create_table(
        "catalogue_instance",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("number_of_frames", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("columns", sa.BigInteger(), nullable=True),
        sa.Column("bits_allocated", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_catalogue_instance")),
    )
    op.create_index(
        "ix_catalogue_instance_series",
        "catalogue_instance",
        ["study_instance_uid", "series_instance_uid", "sop_instance_uid"],
        unique=False,
    )
    for name in ("instance", "result"):
        op.add_column(name, sa.Column("is_catalogued", sa.Boolean(), server_default=sa.false(), nullable=False))
        where = sa.column("is_catalogued", sa.Boolean).is_(False)
        op.create_index(
            f"ix_{name}_uncatalogued",
            name,
            ["sop_instance_uid"],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
        )
