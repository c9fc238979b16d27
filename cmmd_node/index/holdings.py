"""What is here already, as whoever fetches more wants to know."""

from __future__ import annotations

from sqlalchemy import Connection, select

from cmmd_node.index.tables import instance


def kept_of_series(connection: Connection, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
    """SOP Instance UIDs of the instances of a series that are kept; without a study, every row is looked at."""
    query = select(instance.c.sop_instance_uid).where(instance.c.series_instance_uid == series_instance_uid)
    if study_instance_uid:
        query = query.where(instance.c.study_instance_uid == study_instance_uid)
    return frozenset(connection.execute(query).scalars())
