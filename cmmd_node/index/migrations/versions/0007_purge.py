"""Studies that are no longer kept, and their files that are about to go."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the column and the table."""
    op.add_column("study", sa.Column("purged_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "purged_file",
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_purged_file")),
    )
