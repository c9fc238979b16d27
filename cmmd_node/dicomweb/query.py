"""The query of a search (PS3.18 8.3.4): what it matches, what it wants returned, which page of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cmmd_node.dicomweb.attributes import ATTRIBUTES, Attribute, attribute_named, keyword_of
from cmmd_node.errors import MalformedRequest
from cmmd_node.index.search import Between, Condition, Level, Like, OneOf
from cmmd_node.receive.structure import is_uid

_NOT_ATTRIBUTES = {"limit", "offset", "includefield", "fuzzymatching", "accept", "charset"}
_LARGEST = 2**31 - 1
#: Longer than any value of the Value Representations that are matched (PS3.5 6.2), and lists of UIDs.
_VALUE_LIMIT = 65_536
_TIME = r"(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What stands behind the question mark."""

    conditions: dict[str, Condition]
    """By the names of columns."""
    included: frozenset[str]
    """Keywords that are wanted in the answer beside the usual ones."""
    all_included: bool
    limit: int | None
    offset: int
    fuzzy: bool


def read_query(pairs: Iterable[tuple[str, str]], level: Level) -> Query:
    """Understand the parameters of a search at a level.

    Raises
    ------
    MalformedRequest
        One of them is unknown, repeated, cannot be matched at this level or has a value that is none.
    """
    conditions: dict[str, Condition] = {}
    included: set[str] = set()
    single: dict[str, str] = {}
    all_included = False
    seen: set[str] = set()
    for name, value in pairs:
        if len(value) > _VALUE_LIMIT:
            raise MalformedRequest(f"{name[:64]} is longer than {_VALUE_LIMIT} characters")
        if name == "includefield":
            for one in filter(None, value.split(",")):
                all_included = all_included or one == "all"
                included |= set() if one == "all" else {keyword_of(one)}
            continue
        key = name if name in _NOT_ATTRIBUTES else keyword_of(name.split(".", maxsplit=1)[0])
        if key in seen:
            raise MalformedRequest(f"{key} is given twice")
        seen.add(key)
        if name in _NOT_ATTRIBUTES:
            single[name] = value
            continue
        attribute = _key(name, level)
        included.add(attribute.keyword)
        condition = _condition(attribute, value)
        if condition is not None:
            conditions[attribute.column] = condition
    fuzzy = single.get("fuzzymatching", "false")
    if fuzzy not in ("true", "false"):
        raise MalformedRequest("fuzzymatching is neither true nor false")
    return Query(
        conditions=conditions,
        included=frozenset(included),
        all_included=all_included,
        limit=_number("limit", single["limit"]) if "limit" in single else None,
        offset=_number("offset", single.get("offset", "0")),
        fuzzy=fuzzy == "true",
    )


def _key(name: str, level: Level) -> Attribute:
    """The attribute to match."""
    attribute = None if "." in name else attribute_named(name)
    if attribute is None or not attribute.is_key or attribute.level > level:
        known = ", ".join(one.keyword for one in ATTRIBUTES if one.is_key and one.level <= level)
        raise MalformedRequest(f"{name[:64]} cannot be searched for here; these can: {known}")
    return attribute


def _condition(attribute: Attribute, value: str) -> Condition | None:
    """What a value asks for by its VR (PS3.4 C.2.2.2); None for universal matching."""
    if "\0" in value:
        raise MalformedRequest(f"{attribute.keyword} holds a NUL character")
    value = value.strip(" ")
    if value in ("", "*"):
        return None
    if attribute.vr == "UI":
        return OneOf(tuple(_uids(attribute, value)))
    if attribute.vr in ("DA", "TM"):
        return _range(attribute, value)
    if attribute.vr in ("IS", "US"):
        return OneOf((_number(attribute.keyword, value, r"[+-]?\d{1,11}"),))
    if attribute.keyword == "ModalitiesInStudy" and re.search(r"[,\\]", value):
        return OneOf(tuple(re.split(r"[,\\]", value)))
    return Like(value) if re.search(r"[*?]", value) else OneOf((value,))


def _uids(attribute: Attribute, value: str) -> list[str]:
    uids = [one for one in re.split(r"[,\\]", value) if one]
    if not uids or not all(map(is_uid, uids)):
        raise MalformedRequest(f"{attribute.keyword} is no UID and no list of UIDs")
    return uids


def _range(attribute: Attribute, value: str) -> Between:
    """A date or time, or two of them with a dash between, one of which may be missing."""
    low, dash, high = value.partition("-")
    ends = _date_ends if attribute.vr == "DA" else _time_ends
    if not (low or high) or "-" in high:
        raise MalformedRequest(f"{attribute.keyword} is no {attribute.vr} value and no range of them")
    first = ends(attribute, low) if low else ("", "")
    last = (ends(attribute, high) if high else ("", "")) if dash else first
    return Between(first[0], last[1])


def _date_ends(attribute: Attribute, text: str) -> tuple[str, str]:
    digits = text.replace(".", "") if re.fullmatch(r"\d{4}\.\d{2}\.\d{2}", text, re.ASCII) else text
    try:
        datetime.strptime(digits if re.fullmatch(r"\d{8}", digits, re.ASCII) else "", "%Y%m%d")  # noqa: DTZ007
    except ValueError:
        raise MalformedRequest(f"{attribute.keyword}: YYYYMMDD or a range like YYYYMMDD-YYYYMMDD is wanted") from None
    return digits, digits


def _time_ends(attribute: Attribute, text: str) -> tuple[str, str]:
    """The first and the last moment that a time of some precision stands for."""
    found = re.fullmatch(_TIME, text.replace(":", ""), re.ASCII)
    if found is None or found[1] > "23" or (found[2] or "00") > "59" or (found[3] or "00") > "60":
        raise MalformedRequest(f"{attribute.keyword}: HHMMSS or a range like HHMMSS-HHMMSS is wanted")
    hours, minutes, seconds, fraction = found.groups()
    if fraction and not seconds:
        raise MalformedRequest(f"{attribute.keyword}: a fraction follows seconds only")
    low = hours + (minutes or "00") + (seconds or "00") + (f".{fraction}" if fraction else "")
    high = f"{hours}{minutes or '59'}{seconds or '59'}.{(fraction or '').ljust(6, '9')}"
    return low, high


def _number(name: str, text: str, pattern: str = r"\d{1,10}") -> int:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise MalformedRequest(f"{name} is no number that it may be")
    return min(int(text), _LARGEST)
