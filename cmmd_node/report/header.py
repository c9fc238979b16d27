"""What can be taken over from an image's header as it stands.

Peers send headers with missing attributes, words of their own for the sex and ids that are too long. A value that does
not fit its Value Representation is treated as absent and never shortened or mended: a shortened id is another id. The
same holds for characters that the header does not declare.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from cmmd_node.errors import InvalidResult

#: Attributes of Patient, General Study and Patient Study that each result repeats; type 2 ones may be empty.
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
TYPE_3 = ("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientIdentityRemoved", "DeidentificationMethod")

_ENUMERATED = {"PatientSex": {"F", "M", "O"}, "PatientIdentityRemoved": {"YES", "NO"}}
_LENGTH = {"LO": 64, "SH": 16, "CS": 16, "AS": 4, "DA": 8, "TM": 14}
_FORM = {
    "CS": re.compile(r"[A-Z0-9 _]+"),
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "DA": re.compile(r"[0-9]{8}"),
    "TM": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?"),
}
#: Categories of control characters and of halves of characters; zero-width joiners belong to some scripts.
_UNREADABLE = {"Cc", "Cs"}
_ASCII_ONLY = {"", "ISO_IR 6", "ISO 2022 IR 6"}


def raw(ds: Dataset, keyword: str) -> Any:
    """Return the value of an attribute, None when it is absent, empty or cannot be decoded."""
    try:
        value = ds.get(keyword)
    except (ValueError, TypeError, LookupError, OverflowError, NotImplementedError):
        return None
    return None if value is None or value == "" else value


def text(ds: Dataset, keyword: str) -> str:
    """Return the one value of a textual attribute, or "" when it cannot be taken over."""
    value = raw(ds, keyword)
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str)):
        return ""
    words = str(value).strip(" \0")
    return words if fits(words, dictionary_VR(keyword)) and (words.isascii() or _declares_characters(ds)) else ""


def fits(words: str, vr: str) -> bool:
    """Tell whether words are a single value of a Value Representation (PS3.5 6.2)."""
    if "\\" in words or "\ufffd" in words or any(unicodedata.category(letter) in _UNREADABLE for letter in words):
        return False
    if vr == "PN":
        groups = words.split("=")
        return len(groups) <= 3 and all(len(group) <= 64 and group.count("^") <= 4 for group in groups)
    if len(words) > _LENGTH[vr] or (vr in _FORM and not _FORM[vr].fullmatch(words)):
        return False
    return vr != "DA" or _is_date(words)


def values(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a CS attribute of several values, () unless each one fits."""
    value = raw(ds, keyword)
    if value is None or isinstance(value, str) or not isinstance(value, Sequence):
        return ()
    words = tuple(str(part).strip() for part in value)
    return words if all(fits(word, "CS") for word in words) else ()


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Return the values of a numeric attribute, () unless there are ``count`` finite ones."""
    value = raw(ds, keyword)
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        return ()
    return found if len(found) == count and all(map(math.isfinite, found)) else ()


def coded(ds: Dataset, keyword: str) -> list[tuple[Code, Dataset]]:
    """Return the codes of a code sequence, each with the item that it stands in."""
    items = raw(ds, keyword)
    if not isinstance(items, Sequence) or isinstance(items, str):
        return []
    pairs = [(Code(text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), ""), item) for item in items]
    return [(code, item) for code, item in pairs if code.value and code.scheme_designator]


def patient_orientation(ds: Dataset) -> tuple[str, str] | None:
    """Return the directions of rows and columns (PS3.3 C.7.6.1.1.1), None when they are not both there."""
    directions = values(ds, "PatientOrientation")
    if len(directions) == 2 and all(re.fullmatch("[APRLHF]{1,3}", direction) for direction in directions):
        return directions[0], directions[1]
    return None


def identity(study_instance_uid: str, images: Sequence[Dataset]) -> Dataset:
    """Patient and study attributes of a result, from the first image that has each of them.

    Raises
    ------
    InvalidResult
        The images name several patients or another study: no result may end under the wrong one.
    """
    studies = {str(raw(ds, "StudyInstanceUID")) for ds in images}
    if studies != {study_instance_uid}:
        raise InvalidResult(f"study {study_instance_uid}: its images belong to {len(studies)} studies, not just to it")
    patients = {str(raw(ds, "PatientID") or "").strip() for ds in images} - {""}
    if len(patients) > 1:
        raise InvalidResult(f"study {study_instance_uid}: its images name {len(patients)} patients, one is wanted")
    found = Dataset()
    found.StudyInstanceUID = UID(study_instance_uid)
    for keyword in (*TYPE_2, *TYPE_3):
        value = next(filter(None, (text(ds, keyword) for ds in images)), "")
        if keyword in _ENUMERATED and value not in _ENUMERATED[keyword]:
            value = ""
        if value or keyword in TYPE_2:
            setattr(found, keyword, value)
    if "DeidentificationMethod" not in found and "PatientIdentityRemoved" in found:
        del found.PatientIdentityRemoved  # the one wants the other (PS3.3 C.7.1.1)
    return found


def _declares_characters(ds: Dataset) -> bool:
    declared = raw(ds, "SpecificCharacterSet")
    names = [declared] if declared is None or isinstance(declared, str) else list(declared)
    return any(str(name or "") not in _ASCII_ONLY for name in names)


def _is_date(words: str) -> bool:
    try:
        datetime.strptime(words, "%Y%m%d")  # noqa: DTZ007 - a DA has no zone
    except ValueError:
        return False
    return True
