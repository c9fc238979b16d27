"""What the node keeps, as requests name it: objects by their UIDs, their files, their addresses."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import HTTPException

from cmmd_node.dicomweb.decoder import Decode
from cmmd_node.dicomweb.headers import Cataloguer
from cmmd_node.index import Index
from cmmd_node.index.catalogue import StoredObject, stored_objects

logger = logging.getLogger(__name__)


class Store:
    """Objects received and results written, for reading."""

    def __init__(self, index: Index, data_dir: Path, cataloguer: Cataloguer, decode: Decode) -> None:
        self.index = index
        self.decode = decode
        self._data_dir = data_dir.absolute()
        self._cataloguer = cataloguer

    def find(self, study: str, series: str = "", instance: str = "") -> list[StoredObject]:
        """The objects of a study, a series or one instance; at least one.

        Raises
        ------
        HTTPException
            404: there is none.
        """
        self._cataloguer.catch_up()
        with self.index.read() as connection:
            found = stored_objects(connection, study, series, instance)
        if not found:
            raise HTTPException(404, "there is no such study, series or instance")
        return found

    def path(self, one: StoredObject) -> Path:
        """Its file.

        Raises
        ------
        HTTPException
            404: it is gone, which a person must look at.
        """
        path = self._data_dir / one.path
        if not path.is_file():
            logger.error("the file of %s is missing; `cmmd-node verify` tells what else is", one.sop_instance_uid)
            raise HTTPException(404, "the object is damaged; an operator must look")
        return path

    def url(self, base: str, one: StoredObject) -> str:
        """The address of the instance."""
        series = f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        return f"{series}/instances/{one.sop_instance_uid}"
