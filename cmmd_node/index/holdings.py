"""What is here already, as whoever fetches more wants to know."""

from __future__ import annotations

from sqlalchemy import Connection, select

from cmmd_node.index.tables import instance
from cmmd_node.settings import PRIOR_SOURCE


def kept_of_series(
    connection: Connection, study_instance_uid: str, series_instance_uid: str, *, with_priors: bool = True
) -> frozenset[str]:
    """SOP Instance UIDs of the instances of a series that are kept; without a study, every row is looked at.

    Parameters
    ----------
    with_priors
        Without them, a study that is here as a prior is fetched again, and so becomes an exam.
    """
    query = select(instance.c.sop_instance_uid).where(instance.c.series_instance_uid == series_instance_uid)
    if study_instance_uid:
        query = query.where(instance.c.study_instance_uid == study_instance_uid)
    if not with_priors:
        query = query.where(instance.c.source != PRIOR_SOURCE)
    return frozenset(connection.execute(query).scalars())
