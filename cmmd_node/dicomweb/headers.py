"""What the headers of kept objects say, read for the catalogue before anybody searches it."""

from __future__ import annotations

import logging
import mmap
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID
from sqlalchemy.exc import SQLAlchemyError

from cmmd_node.errors import RefusedInstance, UnreadableInstance
from cmmd_node.index import Index
from cmmd_node.index.catalogue import Description, Uncatalogued, catalogue, uncatalogued
from cmmd_node.receive.part10 import FileMeta, read_file_meta
from cmmd_node.receive.structure import text_decoder, top_level_values

logger = logging.getLogger(__name__)

_BATCH = 500
_PAUSE_SECONDS = 2.0
_HEAD_BYTES = 65_536
_CHARACTER_SET = 0x00080005


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword")
    return tag


#: Fields of a Description and their elements.
_TEXTS = {
    "patient_id": _tag("PatientID"),
    "patient_name": _tag("PatientName"),
    "patient_birth_date": _tag("PatientBirthDate"),
    "patient_sex": _tag("PatientSex"),
    "study_date": _tag("StudyDate"),
    "study_time": _tag("StudyTime"),
    "accession_number": _tag("AccessionNumber"),
    "referring_physician_name": _tag("ReferringPhysicianName"),
    "study_id": _tag("StudyID"),
    "study_description": _tag("StudyDescription"),
    "modality": _tag("Modality"),
    "series_description": _tag("SeriesDescription"),
    "performed_procedure_step_start_date": _tag("PerformedProcedureStepStartDate"),
    "performed_procedure_step_start_time": _tag("PerformedProcedureStepStartTime"),
}
_INTEGER_STRINGS = {
    "series_number": _tag("SeriesNumber"),
    "instance_number": _tag("InstanceNumber"),
    "number_of_frames": _tag("NumberOfFrames"),
}
_UNSIGNED_SHORTS = {"rows": _tag("Rows"), "columns": _tag("Columns"), "bits_allocated": _tag("BitsAllocated")}
_WANTED = frozenset({_CHARACTER_SET, *_TEXTS.values(), *_INTEGER_STRINGS.values(), *_UNSIGNED_SHORTS.values()})


class Cataloguer:
    """Keeps the catalogue of a node up with what it keeps; safe to use from many threads."""

    def __init__(self, index: Index, data_dir: Path) -> None:
        self._index = index
        self._data_dir = data_dir
        self._turn = threading.Lock()

    def catch_up(self) -> None:
        """Catalogue everything that is kept at this moment, so that a search that follows finds it."""
        while self._next_batch():
            pass

    def keep_up(self, stop: threading.Event) -> None:
        """Catch up from time to time until `stop` is set, so that no search has much to catch up with."""
        while not stop.is_set():
            try:
                more = self._next_batch()
            except SQLAlchemyError as error:  # the next round, or the next search, tries again
                logger.warning("the catalogue is not kept up: %s", type(error).__name__)
                more = False
            stop.wait(0 if more else _PAUSE_SECONDS)

    def _next_batch(self) -> bool:
        """Catalogue some of what is not yet; False when there is nothing."""
        if not self._pending(1):
            return False
        with self._turn:  # whoever waited finds less to do, or nothing
            described = [self._describe(one) for one in self._pending(_BATCH)]
            if described:
                with self._index.write() as connection:
                    catalogue(connection, described)
        return True

    def _pending(self, limit: int) -> list[Uncatalogued]:
        with self._index.read() as connection:
            return uncatalogued(connection, limit)

    def _describe(self, one: Uncatalogued) -> tuple[Uncatalogued, str, Description]:
        """What its file says; of one that cannot be read, no more than the index knows."""
        try:
            with mapped(self._data_dir / one.path) as data:
                meta = file_meta(data)
                return one, meta.transfer_syntax_uid, read_description(data, meta)
        except (OSError, RefusedInstance) as error:
            logger.warning("%s cannot be read for the catalogue: %s", one.sop_instance_uid, error)
            return one, "", Description()


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file, without reading them."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        yield data


def file_meta(data: mmap.mmap) -> FileMeta:
    """File Meta Information of a whole file.

    Raises
    ------
    UnreadableInstance
        It is none.
    """
    found = read_file_meta(data[:_HEAD_BYTES], is_all=len(data) <= _HEAD_BYTES)
    if found is None:
        raise UnreadableInstance("File Meta Information is too long")
    return found


def read_description(data: mmap.mmap, meta: FileMeta) -> Description:
    """The attributes of the catalogue; values that cannot be understood are left out."""
    values = top_level_values(data, meta.size_bytes, meta.transfer_syntax_uid, _WANTED)
    text_of = text_decoder(values.get(_CHARACTER_SET, b""))
    order = "<" if UID(meta.transfer_syntax_uid).is_little_endian else ">"
    integers: dict[str, Any] = {
        field: _integer(text_of(values.get(tag, b""))) for field, tag in _INTEGER_STRINGS.items()
    }
    shorts: dict[str, Any] = {
        field: int(struct.unpack(f"{order}H", values[tag])[0])
        for field, tag in _UNSIGNED_SHORTS.items()
        if len(values.get(tag, b"")) == 2
    }
    texts: dict[str, Any] = {field: text_of(values.get(tag, b"")) for field, tag in _TEXTS.items()}
    return Description(**texts, **integers, **shorts)


def _integer(text: str) -> int | None:
    """A value of VR IS: at most twelve characters (PS3.5 6.2)."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,11}", text, re.ASCII) else None
