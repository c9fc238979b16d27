"""What the IOD allows in a content tree, whatever the template: relationships, references, coordinates, evidence."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from pydicom.dataset import Dataset

from cmmd_node.report import header
from cmmd_node.report.check.faults import Fault, Node

_RULE = "PS3.3 A.35.5"
_COORDINATES = "PS3.3 C.18.6"
_VALUES = {"TEXT", "CODE", "NUM", "DATE", "IMAGE", "SCOORD", "UIDREF"}
_OBSERVATION = {"TEXT", "CODE", "NUM", "DATE", "TIME", "PNAME", "UIDREF", "COMPOSITE"}

#: (value type above, relationship) to the value types that may stand below.
_ALLOWED = {
    ("CONTAINER", "CONTAINS"): {"CODE", "NUM", "SCOORD", "IMAGE", "CONTAINER", "TEXT", "DATE"},
    **{(source, "HAS OBS CONTEXT"): _OBSERVATION for source in ("TEXT", "CODE", "NUM", "CONTAINER")},
    ("IMAGE", "HAS ACQ CONTEXT"): {"TEXT", "CODE", "DATE", "TIME", "NUM", "UIDREF"},
    **{(source, "HAS CONCEPT MOD"): {"TEXT", "CODE"} for source in ("CONTAINER", "CODE", "NUM", "COMPOSITE")},
    # CONTAINER for the table of operating points; older tools take it for a mistake
    **{(source, "HAS PROPERTIES"): _VALUES | {"CONTAINER"} for source in ("TEXT", "CODE", "NUM")},
    **{
        (source, "INFERRED FROM"): {"CODE", "NUM", "SCOORD", "CONTAINER", "TEXT", "IMAGE"} for source in ("CODE", "NUM")
    },
    ("SCOORD", "SELECTED FROM"): {"IMAGE"},
}
_BY_REFERENCE = {"HAS PROPERTIES", "INFERRED FROM", "SELECTED FROM"}
#: The attribute that holds the value of each value type (PS3.3 C.17.3, C.18).
VALUE_ATTRIBUTE = {
    "TEXT": "TextValue",
    "CODE": "ConceptCodeSequence",
    "NUM": "MeasuredValueSequence",
    "DATE": "Date",
    "TIME": "Time",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "SCOORD": "GraphicData",
    "COMPOSITE": "ReferencedSOPSequence",
    "IMAGE": "ReferencedSOPSequence",
    "CONTAINER": "ContinuityOfContent",
}
_ASCII = {"", "ISO_IR 6", "ISO 2022 IR 6"}
_LINES = {"UT", "ST", "LT"}
_TEXTUAL = {"LO", "SH", "PN", "UT", "ST", "LT", "UC"}
#: Least and most pairs of each graphic type (PS3.3 C.18.6).
_PAIRS = {
    "POINT": (1, 1),
    "MULTIPOINT": (1, math.inf),
    "POLYLINE": (2, math.inf),
    "CIRCLE": (2, 2),
    "ELLIPSE": (4, 4),
}
_SIZE = (("110911", "DCM"), ("110910", "DCM"))  # Pixel Data Columns, Rows
Size: TypeAlias = tuple[float | None, float | None]  # columns, rows
_IMAGE_LIBRARY = ("111028", "DCM")
_PATH = ("121055", "DCM")


def tree_faults(root: Node, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Check every item of a document.

    Parameters
    ----------
    images
        Headers of the images that the document is about, as far as they are known: their size bounds coordinates.
    """
    items = {node.position: node for node in root.walk()}
    sizes = {str(ds.get("SOPInstanceUID", "")): header_size(ds) for ds in images}
    for node in items.values():
        yield from _relation_faults(node, items)
        if node.target is None:
            yield from value_faults(node)
        if node.value_type == "SCOORD":
            yield from _coordinate_faults(node, items, sizes)
    yield from evidence_faults(root)


def is_library_image(node: Node | None) -> bool:
    """Tell whether an item is an image of the Image Library."""
    return (
        node is not None
        and node.value_type == "IMAGE"
        and node.parent is not None
        and node.parent.name == _IMAGE_LIBRARY
    )


def referenced_uid(node: Node) -> str:
    """SOP Instance UID that an IMAGE or COMPOSITE names, "" when it names none."""
    references = node.ds.get("ReferencedSOPSequence") or [Dataset()]
    return str(references[0].get("ReferencedSOPInstanceUID", ""))


def _fault(node: Node, message: str, rule: str = _RULE, *, ours: bool = False) -> Fault:
    return Fault(rule=rule, path=node.path, message=message, ours=ours)


def _relation_faults(node: Node, items: Mapping[tuple[int, ...], Node]) -> Iterator[Fault]:
    if node.parent is None:
        if node.relation:
            yield _fault(node, "the root has a relationship type")
        return
    below = node.value_type
    if node.target is not None:
        target = items.get(node.target)
        if below or node.name != ("", ""):
            yield _fault(node, "a by-reference item has a value type or a concept name")
        if node.relation not in _BY_REFERENCE:
            yield _fault(node, f"{node.relation} may not be by reference")
        if target is None:
            yield _fault(node, f"reference to {node.target}, which does not exist")
            return
        if target.position == node.position[: len(target.position)]:
            yield _fault(node, f"reference to its own ancestor {target.path}")
        if node.relation != "INFERRED FROM" and not is_library_image(target):
            yield _fault(node, f"reference to {target.path}, which is not an image of the Image Library")
        below = target.value_type
    if below not in _ALLOWED.get((node.parent.value_type, node.relation), ()):
        yield _fault(node, f"{node.parent.value_type} {node.relation} {below or 'nothing'} is not allowed")


def value_faults(node: Node) -> Iterator[Fault]:
    """Check that an item has the attributes of its value type."""
    attribute = VALUE_ATTRIBUTE.get(node.value_type)
    if attribute is None:
        yield _fault(node, f"value type {node.value_type!r} is not allowed")
    elif not node.ds.get(attribute):
        yield _fault(node, f"{node.value_type} without {attribute}", "PS3.3 C.17.3")
    if node.name == ("", "") and node.value_type != "IMAGE":
        yield _fault(node, f"{node.value_type} without a concept name", "PS3.3 C.17.3")


def graphic_faults(node: Node) -> Iterator[Fault]:
    """Check the form of an SCOORD, wherever it lies."""
    kind, numbers = graphic(node)
    low, high = _PAIRS.get(kind, (math.inf, 0))
    if len(numbers) % 2 or not low <= len(numbers) // 2 <= high:
        yield _fault(node, f"{kind or 'no graphic type'} with {len(numbers)} numbers", _COORDINATES)
    if not all(map(math.isfinite, numbers)):
        yield _fault(node, "a coordinate is not finite", _COORDINATES)
    if kind == "POLYLINE" and numbers[:2] != numbers[-2:] and node.name != _PATH:
        yield _fault(node, "the outline is not closed", _COORDINATES, ours=True)
    if not node.children:
        yield _fault(node, "coordinates without the image that they are on", _COORDINATES)


def graphic(node: Node) -> tuple[str, list[float]]:
    """Graphic Type and Graphic Data of an SCOORD."""
    value = node.ds.get("GraphicData")
    return str(node.ds.get("GraphicType", "")), [value] if isinstance(value, float) else list(value or ())


def size_faults(node: Node, columns: float | None, rows: float | None) -> Iterator[Fault]:
    """Check that an SCOORD lies inside an image, as far as its size is known."""
    if columns and rows and not inside(*graphic(node), columns, rows):
        message = f"{graphic(node)[0]} outside the image of {columns:g} columns and {rows:g} rows"
        yield _fault(node, message, _COORDINATES)


def _coordinate_faults(node: Node, items: Mapping[tuple[int, ...], Node], sizes: Mapping[str, Size]) -> Iterator[Fault]:
    yield from graphic_faults(node)
    for child in node.children:
        image = items.get(child.target) if child.target else None
        if image is None:
            yield _fault(child, "only a reference into the Image Library says which image the coordinates are on")
            continue
        for columns, rows in (sizes.get(referenced_uid(image), (None, None)), _library_size(image)):
            yield from size_faults(node, columns, rows)


def inside(kind: str, numbers: Sequence[float], columns: float, rows: float) -> bool:
    """Tell whether every coordinate is one of the image (PS3.3 C.18.6.1.2)."""
    bounded = numbers[:2] if kind == "CIRCLE" else numbers  # the second point only tells the radius
    return all(0 <= value <= (rows if index % 2 else columns) for index, value in enumerate(bounded))


def header_size(ds: Dataset) -> Size:
    """Columns and Rows of an image, as far as its header tells."""
    columns, rows = header.numbers(ds, "Columns", 1), header.numbers(ds, "Rows", 1)
    return (columns[0], rows[0]) if columns and rows else (None, None)


def _library_size(image: Node) -> Size:
    found = {child.name: child.number for child in image.children}
    columns, rows = map(found.get, _SIZE)
    return columns, rows


def evidence_faults(root: Node) -> Iterator[Fault]:
    """Check that the evidence sequences name all that the content refers to."""
    evidence = {
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in root.ds.get(keyword) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedSOPSequence") or ()
    }
    for node in root.walk():
        if node.value_type in {"IMAGE", "COMPOSITE"} and referenced_uid(node) not in evidence:
            yield _fault(node, f"{referenced_uid(node) or 'an object'} is in no evidence sequence", "PS3.3 C.17.2")


def text_faults(ds: Dataset) -> Iterator[Fault]:
    """Find characters that do not belong into an object: undeclared, unreadable, or invisible in a meaning."""
    declared = str(ds.get("SpecificCharacterSet") or "")
    for element in ds.iterall():
        if element.VR not in _TEXTUAL:
            continue
        words = str(element.value)
        unwanted = {"Cc", "Cf"} if element.keyword == "CodeMeaning" else {"Cc"}
        odd = [letter for letter in words if unicodedata.category(letter) in unwanted or letter == "\ufffd"]
        if odd:
            message = f"holds the character {odd[0]!r}"
            line_ends = element.VR in _LINES and set(odd) <= set("\t\n\f\r")
            yield Fault(rule="PS3.5 6.1", path=element.keyword, message=message, ours=line_ends)
        if declared != "ISO_IR 192" and not words.isascii():
            message = "is not ASCII, and the character set is not ISO_IR 192"
            yield Fault(rule="PS3.3 C.12.1", path=element.keyword, message=message, ours=declared not in _ASCII)
