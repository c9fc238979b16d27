"""Parts of speech that the readings share: codes, quantities, places, identities, sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from cmmd_node.report.check.faults import CodeKey, Node, code_meaning

#: CID 6022 and 244, as a letter.
SIDES = {
    ("80248007", "SCT"): "L",
    ("7771000", "SCT"): "L",
    ("73056007", "SCT"): "R",
    ("24028007", "SCT"): "R",
    ("63762007", "SCT"): "B",
}
BREASTS = {"L": "left breast", "R": "right breast", "B": "both breasts", "": "side not said"}

CERTAINTIES = {("111012", "DCM"), ("111011", "DCM")}
ALGORITHM_NAME = ("111001", "DCM")
_TRACKING_ID, _TRACKING_UID = ("112039", "DCM"), ("112040", "DCM")
_ALGORITHM_VERSION = ("111003", "DCM")


def algorithm(name: Node) -> str:
    """Name and version of an algorithm; the version is the next one behind the name (TID 4019)."""
    behind = name.parent.children[name.position[-1] :] if name.parent else []
    version = next((str(node.ds.get("TextValue", "")) for node in behind if node.name == _ALGORITHM_VERSION), "")
    return f"{name.ds.get('TextValue', '')} {version}".strip()


def name_of(node: Node) -> str:
    return code_meaning(node.ds, "ConceptNameCodeSequence") or _code(node.name)


def value_of(node: Node) -> str:
    return code_meaning(node.ds, "ConceptCodeSequence") or _code(node.value)


def _code(key: CodeKey) -> str:
    return " ".join(key).strip() or "not said"


def quantity(node: Node) -> str:
    """Number and unit, the unit as in UCUM; none for a bare number."""
    measured = node.ds.get("MeasuredValueSequence") or [Dataset()]
    units = measured[0].get("MeasurementUnitsCodeSequence") or [Dataset()]
    unit = str(units[0].get("CodeValue", ""))
    return f"{'?' if node.number is None else f'{node.number:g}'}{'' if unit in {'', '1'} else f' {unit}'}"


def numbers(ds: Dataset) -> Sequence[float]:
    value = ds.get("GraphicData")
    return [value] if isinstance(value, float) else list(value or ())


def day(value: object) -> str:
    return re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", str(value or ""))


def hour(value: object) -> str:
    return re.sub(r"^(\d\d)(\d\d)(\d\d).*$", r"\1:\2:\3", str(value or ""))


def printable(line: str) -> str:
    """Keep control characters of others' texts from the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()


def tracking(node: Node) -> str:
    """Identity of a finding in a document, with a space before it; "" when it has none."""
    words = [str(child.ds.get("TextValue", "")) for child in node.children if child.name == _TRACKING_ID]
    words += [str(child.ds.get("UID", "")) for child in node.children if child.name == _TRACKING_UID]
    return _in_brackets(words)


def tracking_of(ds: Dataset) -> str:
    """The same of a segment or a graphic."""
    return _in_brackets(str(ds.get(keyword)) for keyword in ("TrackingID", "TrackingUID") if ds.get(keyword))


def _in_brackets(words: Iterable[str]) -> str:
    """Words that identify, with a space before them; "" when there are none."""
    told = " ".join(words)
    return f" [{told}]" if told else ""


def extent(pairs: Sequence[float]) -> str:
    """The columns and rows that a graphic covers; "" when it has no point."""
    columns, rows = list(pairs[::2]), list(pairs[1::2])
    if not columns or not rows:
        return ""
    return f"columns {min(columns):.1f} to {max(columns):.1f}, rows {min(rows):.1f} to {max(rows):.1f}"
