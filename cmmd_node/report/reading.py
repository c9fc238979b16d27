"""Mammography CAD SR and Segmentation objects as a person reads them: from files, ours and others', to lines of text.

Nothing here decides whether an object is right; :mod:`cmmd_node.report.check` does. What is missing is left out, and
patients are not named.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian, MammographyCADSRStorage, SegmentationStorage

from cmmd_node.errors import NodeError
from cmmd_node.report.check.faults import CodeKey, Node, code_meaning
from cmmd_node.report.check.tree import is_library_image, referenced_uid

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, NotImplementedError, EOFError)

# TID 4000, 4001, 4004, 4006, 4015 to 4021
_IMPRESSION = ("111033", "DCM")
_SUMMARY = ("111017", "DCM")
_DONE = {("111064", "DCM"): "detections", ("111065", "DCM"): "analyses"}
_PERFORMED = {("111022", "DCM"), ("111004", "DCM")}
_FAILED = {("111025", "DCM"), ("111024", "DCM")}
_FINDING, _FEATURE = ("111059", "DCM"), ("111015", "DCM")
_ALGORITHM_NAME, _ALGORITHM_VERSION = ("111001", "DCM"), ("111003", "DCM")
_LATERALITY, _VIEW = ("111027", "DCM"), ("111031", "DCM")
_CENTER = ("111010", "DCM")
_TRACKING_ID, _TRACKING_UID = ("112039", "DCM"), ("112040", "DCM")
_CERTAINTIES = {("111012", "DCM"), ("111011", "DCM")}

_SIDES = {
    ("80248007", "SCT"): "L",
    ("7771000", "SCT"): "L",
    ("73056007", "SCT"): "R",
    ("24028007", "SCT"): "R",
    ("63762007", "SCT"): "B",
}
_BREASTS = {"L": "left breast", "R": "right breast", "B": "both breasts", "": "side not said"}
_Position: TypeAlias = tuple[int, ...]
_VIEWS = {("399162004", "SCT"): "CC", ("399368009", "SCT"): "MLO"}


@dataclass(frozen=True, slots=True)
class _Image:
    """An image of the library, as far as the report tells."""

    side: str
    """L, R, B or "" when it is not said."""
    view: str
    sop_instance_uid: str

    def __str__(self) -> str:
        return f"{self.side or '?'} {self.view or '?'}"


def read_object(path: Path, *, pixels: bool = True) -> Dataset:
    """Read an object with all of its values, so that whatever cannot be decoded shows here.

    Raises
    ------
    NodeError
        The file is no DICOM file, is nested too deep, or holds a value that cannot be decoded.
    """
    with warnings.catch_warnings(action="ignore"):  # values of wrong form are the check's to tell
        try:
            ds = dcmread(path, stop_before_pixels=not pixels)
            for _ in ds.iterall():
                pass
        except InvalidDicomError as error:
            raise NodeError(f"{path} is no DICOM file") from error
        except (*_UNREADABLE, BytesLengthException, RecursionError, struct.error, zlib.error) as error:
            raise NodeError(f"{path} cannot be read: {type(error).__name__}") from error
    return ds


def reading(ds: Dataset) -> list[str]:
    """Say what a Mammography CAD SR or a Segmentation holds, in lines.

    Raises
    ------
    NodeError
        It is of another SOP class.
    """
    kind = UID(str(ds.get("SOPClassUID", "")))
    if kind == MammographyCADSRStorage:
        lines = _report_lines(Node.from_dataset(ds))
    elif kind == SegmentationStorage:
        lines = _segmentation_lines(ds)
    else:
        raise NodeError(f"{kind.name or 'an object without a class'} is nothing that can be shown")
    return [_printable(line) for line in (*_heading(ds, kind), *lines)]


def _heading(ds: Dataset, kind: UID) -> Iterator[str]:
    made = " ".join(filter(None, (_date(ds.get("ContentDate")), _time(ds.get("ContentTime")))))
    yield f"{kind.name.removesuffix(' Storage')}{' of ' if made else ''}{made}"
    description = str(ds.get("SeriesDescription") or "")
    if description:
        yield f"  {description}"
    yield f"  study {ds.get('StudyInstanceUID')} of {_date(ds.get('StudyDate')) or 'an unknown day'}"
    maker = [str(ds.get(keyword) or "") for keyword in ("Manufacturer", "ManufacturerModelName")]
    yield f"  made by {' '.join(dict.fromkeys(filter(None, maker))) or 'nobody who says so'}"
    predecessors = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for study in ds.get("PredecessorDocumentsSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedSOPSequence") or ()
    ]
    yield from (f"  replaces {uid}" for uid in predecessors)


def _report_lines(root: Node) -> Iterator[str]:
    """Summary, what was done, then the marks by breast and view, and what ties them together."""
    nodes = list(root.walk())
    items = {node.position: node for node in nodes}
    images = {node.position: _library_image(node) for node in nodes if is_library_image(node)}
    models = {_algorithm(node) for node in nodes if node.name == _ALGORITHM_NAME and node.parent is not None}
    yield f"  model: {', '.join(sorted(models)) or 'not said'}"
    outcomes: dict[_Position | None, str] = {}
    for node in nodes:
        if node.name == _SUMMARY:
            yield f"  summary: {_value(node)}"
        elif node.name == _IMPRESSION:
            yield f"    {node.ds.get('TextValue', '')}"
        elif node.name in _DONE:
            yield f"  {_DONE[node.name]}: {_value(node)}"
        elif node.name in _PERFORMED and node.parent is not None:
            on = sorted({str(images[child.target]) for child in node.children if child.target in images})
            yield f"    {_name(node.parent)}: {_value(node)} on {', '.join(on) or 'no image of the library'}"
            outcome = "failed" if node.parent.name in _FAILED else "no marks"
            outcomes |= {child.target: outcome for child in node.children}
    marks: dict[_Position | None, list[Node]] = {}
    for node in nodes:
        if node.name == _FINDING:
            marks.setdefault(_place(node, images), []).append(node)
    yield from _breast_lines(images, marks, outcomes)
    for node in marks.get(None, ()):
        yield f"  on no single image: {_mark_words(node)}"
    for node in nodes:
        if node.name == _FEATURE:
            yield f"  {_mark_words(node)}, made of {' and '.join(_parts(node, images, items))}"


def _breast_lines(
    images: dict[_Position, _Image], marks: dict[_Position | None, list[Node]], outcomes: dict[_Position | None, str]
) -> Iterator[str]:
    for side, breast in _BREASTS.items():
        of_side = [(position, image) for position, image in images.items() if image.side == side]
        if of_side:
            yield f"  {breast}"
        for position, image in sorted(of_side, key=lambda pair: (pair[1].view, pair[0])):
            yield f"    {image} (image {image.sop_instance_uid})"
            for node in marks.get(position, ()):
                yield f"      {_mark_words(node)}"
            if position not in marks:
                yield f"      {outcomes.get(position, 'not analysed')}"


def _library_image(node: Node) -> _Image:
    found = {child.name: child for child in node.children}
    side = _SIDES.get(found[_LATERALITY].value, "") if _LATERALITY in found else ""
    view = found.get(_VIEW)
    word = "" if view is None else _VIEWS.get(view.value) or _value(view)
    return _Image(side, word, referenced_uid(node))


def _place(finding: Node, images: dict[_Position, _Image]) -> _Position | None:
    """Position of the library image that a finding is on."""
    for child in finding.children:
        for node in (child, *child.children) if child.name not in {_FINDING, _FEATURE} else ():
            if node.target in images:
                return node.target
    return None


def _mark_words(node: Node) -> str:
    """One finding or feature: kind, place, scores, whatever else it says of itself, tracking identifier."""
    places = [_numbers(child.ds) for child in node.children if child.name == _CENTER]
    words = [_value(node), *(f"at column {cr[0]:.1f}, row {cr[1]:.1f}" for cr in places if len(cr) == 2)]
    for child in node.children:
        if child.name in _CERTAINTIES:
            words.append(f"suspicion {_quantity(child)}")
        elif child.relation == "HAS PROPERTIES" and child.value_type == "NUM":
            words.append(f"{_name(child)} {_quantity(child)}")
        elif child.relation == "HAS PROPERTIES" and child.value_type == "CODE":
            words.append(f"{_name(child)}: {_value(child)}")
    tracking = [str(child.ds.get("TextValue", "")) for child in node.children if child.name == _TRACKING_ID]
    tracking += [str(child.ds.get("UID", "")) for child in node.children if child.name == _TRACKING_UID]
    return ", ".join(words) + (f" [{' '.join(tracking)}]" if tracking else "")


def _parts(feature: Node, images: dict[_Position, _Image], items: dict[_Position, Node]) -> Iterator[str]:
    for child in feature.children:
        part = items.get(child.target) if child.target else child
        if child.relation == "INFERRED FROM" and part is not None:
            position = _place(part, images)
            yield f"{_value(part)}{f' on {images[position]}' if position else ''}"


def _segmentation_lines(ds: Dataset) -> Iterator[str]:
    """The segments with kind, side, area and tracking identifier."""
    of_images = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedInstanceSequence") or ()
    ]
    yield from (f"  of image {uid}" for uid in of_images)
    yield f"  {ds.get('SegmentationType', 'unknown type')}, {ds.get('Columns')} columns, {ds.get('Rows')} rows"
    areas = _areas(ds)
    for segment in ds.get("SegmentSequence") or ():
        number = segment.get("SegmentNumber")
        words = [code_meaning(segment, "SegmentedPropertyTypeCodeSequence") or "unknown kind"]
        for region in segment.get("AnatomicRegionSequence") or ():
            side = code_meaning(region, "AnatomicRegionModifierSequence")
            words.append(" ".join(filter(None, (side.lower(), str(region.get("CodeMeaning", "")).lower()))))
        if number in areas:
            words.append(f"area {areas[number]} pixels")
        algorithms = segment.get("SegmentationAlgorithmIdentificationSequence") or ()
        words += [f"by {item.get('AlgorithmName', '')} {item.get('AlgorithmVersion', '')}" for item in algorithms]
        tracking = [str(segment.get(keyword)) for keyword in ("TrackingID", "TrackingUID") if segment.get(keyword)]
        label = str(segment.get("SegmentLabel", ""))
        yield f"  segment {number} {label}: {', '.join(words)}" + (f" [{' '.join(tracking)}]" if tracking else "")


def _areas(ds: Dataset) -> dict[int, int]:
    """Pixels of each segment, over all frames; {} where they are not bits (PS3.5 8.1.1, first pixel lowest)."""
    meta = getattr(ds, "file_meta", Dataset())
    is_native = not UID(meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)).is_compressed
    if ds.get("SegmentationType") != "BINARY" or not is_native:
        return {}
    size = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0)
    bits = int.from_bytes(ds.get("PixelData") or b"", "little")
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    areas: dict[int, int] = {}
    for index, frame in enumerate(ds.get("PerFrameFunctionalGroupsSequence") or ()):
        identification = frame.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        if identification:
            number = identification[0].get("ReferencedSegmentNumber")
            frame_bits = (bits >> (index * size)) & ((1 << size) - 1)
            areas[number] = areas.get(number, 0) + frame_bits.bit_count()
    return areas


def _algorithm(name: Node) -> str:
    """Name and version of an algorithm; the version is the next one behind the name (TID 4019)."""
    behind = name.parent.children[name.position[-1] :] if name.parent else []
    version = next((str(node.ds.get("TextValue", "")) for node in behind if node.name == _ALGORITHM_VERSION), "")
    return f"{name.ds.get('TextValue', '')} {version}".strip()


def _name(node: Node) -> str:
    return code_meaning(node.ds, "ConceptNameCodeSequence") or _code(node.name)


def _value(node: Node) -> str:
    return code_meaning(node.ds, "ConceptCodeSequence") or _code(node.value)


def _code(key: CodeKey) -> str:
    return " ".join(key).strip() or "not said"


def _quantity(node: Node) -> str:
    """Number and unit, the unit as in UCUM; none for a bare number."""
    measured = node.ds.get("MeasuredValueSequence") or [Dataset()]
    units = measured[0].get("MeasurementUnitsCodeSequence") or [Dataset()]
    unit = str(units[0].get("CodeValue", ""))
    return f"{'?' if node.number is None else f'{node.number:g}'}{'' if unit in {'', '1'} else f' {unit}'}"


def _numbers(ds: Dataset) -> Sequence[float]:
    value = ds.get("GraphicData")
    return [value] if isinstance(value, float) else list(value or ())


def _date(value: object) -> str:
    return re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", str(value or ""))


def _time(value: object) -> str:
    return re.sub(r"^(\d\d)(\d\d)(\d\d).*$", r"\1:\2:\3", str(value or ""))


def _printable(line: str) -> str:
    """Keep control characters of others' texts from the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()
