"""The Image Library against the images: each row of TID 4020 is there when the image has the attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from cmmd_node.report import header
from cmmd_node.report.check.faults import Fault, Node, code_key
from cmmd_node.report.check.tree import is_library_image, referenced_uid
from cmmd_node.report.check.value_sets import VALUE_SETS

_SIDE = {"L": "80248007", "R": "73056007", "B": "63762007"}  # CID 6022
_TIMES = {"111060": "StudyDate", "111061": "StudyTime", "111018": "ContentDate", "111019": "ContentTime"}
_ROW = {"111027": 2, "111031": 3, "111044": 5, "111043": 6, "111060": 7, "111061": 8, "111018": 9, "111019": 10}


def library_faults(root: Node, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Compare the entries with the headers that are at hand."""
    headers = {str(ds.get("SOPInstanceUID", "")): ds for ds in images}
    for entry in filter(is_library_image, root.walk()):
        ds = headers.get(referenced_uid(entry))
        if ds is None:
            continue
        written = {child.name[0]: child for child in entry.children if child.name[1] == "DCM"}
        for concept, value in _expected(ds).items():
            found = _plain(written[concept]) if concept in written else None
            if found != value:
                message = f"{concept} DCM is {found}, the image has {value}"
                yield Fault(rule=f"TID 4020 row {_ROW[concept]}", path=entry.path, message=message)
        yield from _number_faults(entry, written, ds)


def _expected(ds: Dataset) -> dict[str, str]:
    """What the rows without a unit must say; attributes that the standard cannot express have none."""
    values = {}
    side = header.text(ds, "ImageLaterality")
    if side in _SIDE:
        values["111027"] = _SIDE[side]
    for view, _ in header.coded(ds, "ViewCodeSequence")[:1]:
        if (view.value, view.scheme_designator) in VALUE_SETS["CID 4014"]:
            values["111031"] = view.value
    values.update(zip(("111044", "111043"), header.patient_orientation(ds) or (), strict=False))
    values.update({concept: header.text(ds, keyword) for concept, keyword in _TIMES.items()})
    return {concept: value for concept, value in values.items() if value}


def _plain(node: Node) -> str:
    ds = node.ds
    return node.value[0] or str(ds.get("TextValue") or ds.get("Date") or ds.get("Time"))


def _number_faults(entry: Node, written: dict[str, Node], ds: Dataset) -> Iterator[Fault]:
    """Rows with a unit: the first value of a spacing lies between rows, so it is the vertical one."""
    spacing = header.numbers(ds, "ImagerPixelSpacing", 2) or header.numbers(ds, "PixelSpacing", 2)
    size = (*header.numbers(ds, "Rows", 1), *header.numbers(ds, "Columns", 1))
    for rows, concepts, values in (((12, 11), ("111066", "111026"), spacing), ((27, 28), ("110910", "110911"), size)):
        if len(values) != 2 or min(values) <= 0:
            continue
        for row, concept, value in zip(rows, concepts, values, strict=True):
            found = _measured(written[concept]) if concept in written else None
            if found is None or not math.isclose(found, value, rel_tol=1e-9):
                message = f"{concept} DCM is {found}, the image has {value:g}"
                # rows 27 and 28 are optional; and which of two spacings is meant is not said
                left_open = found is None if row in {27, 28} else found in _spacings(ds, row)
                yield Fault(rule=f"TID 4020 row {row}", path=entry.path, message=message, ours=left_open)


def _measured(node: Node) -> float | None:
    """The number of a row, lengths in millimetres."""
    units = code_key((node.ds.get("MeasuredValueSequence") or [Dataset()])[0], "MeasurementUnitsCodeSequence")
    scale = 1e-3 if units == ("um", "UCUM") else 1.0
    return None if node.number is None else node.number * scale


def _spacings(ds: Dataset, row: int) -> set[float]:
    """The value that every spacing of an image has for row 11, between columns, or row 12, between rows."""
    pairs = (header.numbers(ds, keyword, 2) for keyword in ("ImagerPixelSpacing", "PixelSpacing"))
    return {pair[12 - row] for pair in pairs if pair}
