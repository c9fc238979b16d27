"""Reading single attributes of a peer's header without surprises.

pydicom converts values when they are touched: it may raise anything then, warn, and quote the value in its log. What
decides about an image is therefore taken from the raw bytes here, for data sets from a file as for those made in
memory. An absent, empty or unusable value is nothing, never an exception; only a sequence that cannot be read is
refused, because what it might have said could disqualify the image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from cmmd_node.errors import NotAnalysed

#: No value that is looked at here is longer; the rest of a longer one is not decoded.
_LONGEST_VALUE = 1024
_SHOWABLE = re.compile(r"[A-Z0-9 _.\-]{1,24}")


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of a text attribute (CS, DS, IS, LO, SH, UI), without padding; () when absent or empty."""
    value = _raw_value(ds, keyword)
    if isinstance(value, bytes):
        value = value[:_LONGEST_VALUE].decode("ascii", "replace")
    if isinstance(value, str):
        parts: Iterable[object] = value.split("\\")
    elif value is None:
        return ()
    elif isinstance(value, Iterable):
        parts = value
    else:
        parts = (value,)
    stripped = tuple(str(part).strip(" \0") for part in parts)
    return stripped if any(stripped) else ()


def text(ds: Dataset, keyword: str) -> str:
    """The only value of a text attribute; several values stay joined by a backslash, so that they equal nothing."""
    return "\\".join(texts(ds, keyword))


def uid(ds: Dataset, keyword: str) -> UID:
    """The only value of a UI attribute; "" when absent, empty or no UID (PS3.5 9.1)."""
    value = UID(text(ds, keyword), validation_mode=IGNORE)
    return value if value.is_valid else UID("")


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a DS or IS attribute; () when one of them is no finite number."""
    try:
        values = tuple(float(value) for value in texts(ds, keyword))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()


def integer(ds: Dataset, keyword: str) -> int | None:
    """The only value of a US, SS or IS attribute; two raw bytes are taken as unsigned."""
    element = _raw_element(ds, keyword)
    if isinstance(element, RawDataElement) and element.value and _vr(element) not in ("IS", "DS"):
        if len(element.value) != 2:
            return None
        return int.from_bytes(element.value, "little" if element.is_little_endian else "big")
    try:
        return int(text(ds, keyword))
    except ValueError:
        return None


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence; () when absent or empty.

    Raises
    ------
    NotAnalysed
        There is something, but it cannot be read as a sequence.
    """
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds:
        return ()
    try:
        value = ds[tag].value
    except Exception as error:  # bytes of a peer: pydicom's parser may raise anything
        raise NotAnalysed(f"{dictionary_description(tag)} cannot be read") from error
    if value is None:
        return ()
    if not isinstance(value, Sequence):
        raise NotAnalysed(f"{dictionary_description(tag)} is not a sequence")
    return tuple(value)


def shown(value: str) -> str:
    """A peer's value as a reason may quote it: short and of the characters that codes are made of."""
    return value if _SHOWABLE.fullmatch(value) else "(not a code)"


def _raw_value(ds: Dataset, keyword: str) -> object:
    element = _raw_element(ds, keyword)
    return None if element is None else getattr(element, "value", None)


def _vr(element: RawDataElement) -> str:
    """As it says itself, or in Implicit VR as the dictionary says."""
    return element.VR or dictionary_VR(element.tag)


def _raw_element(ds: Dataset, keyword: str) -> object:
    """The element as it came, unconverted, or None."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds:
        return None
    try:
        return ds.get_item(tag)
    except Exception:  # a deferred value whose file has changed or is gone reads as nothing
        return None
