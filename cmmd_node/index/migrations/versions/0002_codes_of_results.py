"""Which codes a result is written with: until now SNOMED CT, where there were any."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column and fill it for what is there."""
    op.add_column("result", sa.Column("codes", sa.String(length=8), nullable=True))
    result = sa.table("result", sa.column("form", sa.String), sa.column("codes", sa.String))
    op.execute(result.update().where(result.c.form.in_(["cad-sr", "seg", "tid1500"])).values(codes="sct"))
