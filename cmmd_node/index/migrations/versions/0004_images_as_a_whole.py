"""What a round says of an image as a whole: spacing, breast, composition, quality."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; of rounds that were analysed before nothing is known."""
    op.add_column("view_result", sa.Column("whole", sa.Text(), nullable=True))
