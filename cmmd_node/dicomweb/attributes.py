"""The attributes that searches match and return (PS3.18 tables 10.6.1-5 and 10.6.3-3 to -5), by level.

Each is a column of the catalogue under its keyword in snake case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from cmmd_node.errors import MalformedRequest
from cmmd_node.index.search import Level


@dataclass(frozen=True)
class Attribute:
    """One attribute of the catalogue."""

    keyword: str
    level: Level
    is_key: bool = True
    """Whether searches match it; others are returned only."""
    on_request: bool = False
    """Returned only when it is matched or asked for."""

    @cached_property
    def tag(self) -> str:
        """Eight hexadecimal digits."""
        return f"{tag_for_keyword(self.keyword):08X}"

    @cached_property
    def vr(self) -> str:
        """Value Representation."""
        return dictionary_VR(self.keyword)

    @cached_property
    def column(self) -> str:
        """Its name in the catalogue."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.keyword)
        return words.lower()

    def to_json(self, value: Any) -> dict[str, Any]:
        """A value of the catalogue in the DICOM JSON model (PS3.18 F.2)."""
        values = value if isinstance(value, list) else [value]
        present = [one for one in values if one not in ("", None)]
        if not present:
            return {"vr": self.vr}
        if self.vr == "PN":
            groups = ("Alphabetic", "Ideographic", "Phonetic")
            names = (dict(zip(groups, str(one).split("="), strict=False)) for one in present)
            return {"vr": "PN", "Value": [{group: text for group, text in name.items() if text} for name in names]}
        return {"vr": self.vr, "Value": present}


ATTRIBUTES = (
    Attribute("StudyDate", Level.STUDY),
    Attribute("StudyTime", Level.STUDY),
    Attribute("AccessionNumber", Level.STUDY),
    Attribute("ModalitiesInStudy", Level.STUDY),
    Attribute("ReferringPhysicianName", Level.STUDY),
    Attribute("StudyDescription", Level.STUDY, on_request=True),
    Attribute("PatientName", Level.STUDY),
    Attribute("PatientID", Level.STUDY),
    Attribute("PatientBirthDate", Level.STUDY),
    Attribute("PatientSex", Level.STUDY),
    Attribute("StudyInstanceUID", Level.STUDY),
    Attribute("StudyID", Level.STUDY),
    Attribute("NumberOfStudyRelatedSeries", Level.STUDY, is_key=False),
    Attribute("NumberOfStudyRelatedInstances", Level.STUDY, is_key=False),
    Attribute("Modality", Level.SERIES),
    Attribute("SeriesDescription", Level.SERIES),
    Attribute("SeriesInstanceUID", Level.SERIES),
    Attribute("SeriesNumber", Level.SERIES),
    Attribute("NumberOfSeriesRelatedInstances", Level.SERIES, is_key=False),
    Attribute("PerformedProcedureStepStartDate", Level.SERIES),
    Attribute("PerformedProcedureStepStartTime", Level.SERIES),
    Attribute("SOPClassUID", Level.INSTANCE),
    Attribute("SOPInstanceUID", Level.INSTANCE),
    Attribute("InstanceNumber", Level.INSTANCE),
    Attribute("NumberOfFrames", Level.INSTANCE),
    Attribute("Rows", Level.INSTANCE),
    Attribute("Columns", Level.INSTANCE),
    Attribute("BitsAllocated", Level.INSTANCE),
)
_BY_KEYWORD = {one.keyword: one for one in ATTRIBUTES}


def keyword_of(name: str) -> str:
    """The keyword of an attribute that a request names by keyword or tag.

    Raises
    ------
    MalformedRequest
        There is no such attribute in PS3.6.
    """
    keyword = keyword_for_tag(int(name, 16)) if re.fullmatch(r"[0-9A-Fa-f]{8}", name) else name
    if not keyword or tag_for_keyword(keyword) is None:
        raise MalformedRequest(f"{name[:64]} is no attribute of PS3.6, by keyword or tag of eight digits")
    return keyword


def attribute_named(name: str) -> Attribute | None:
    """An attribute of the catalogue by keyword or tag; None when the catalogue does not have it.

    Raises
    ------
    MalformedRequest
        There is no such attribute at all.
    """
    return _BY_KEYWORD.get(keyword_of(name))
