"""A Measurement Report (TID 1500) in words: who measured, then the measurements by breast and image."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from cmmd_node.report.check.faults import Node
from cmmd_node.report.check.tree import referenced_uid
from cmmd_node.report.reading.words import (
    ALGORITHM_NAME,
    BREASTS,
    CERTAINTIES,
    SIDES,
    algorithm,
    extent,
    name_of,
    numbers,
    quantity,
    tracking,
    value_of,
)

# TID 1001, 1500, 1600, 1410, 1419
_OBSERVERS = {("121008", "DCM"), ("121013", "DCM"), ("121015", "DCM")}
_PROCEDURE = ("121058", "DCM")
_LIBRARY = ("111028", "DCM")
_GROUP = ("125007", "DCM")
_CATEGORY, _FINDING = ("276214006", "SCT"), ("121071", "DCM")
_SITE, _LATERALITY = ("363698007", "SCT"), ("272741003", "SCT")


def measurement_report_lines(ds: Dataset) -> Iterator[str]:
    """Observer, procedure and models, then each breast with its images and what was measured on them."""
    root = Node.from_dataset(ds)
    nodes = list(root.walk())
    observers = dict.fromkeys(str(node.ds.get("TextValue", "")) for node in nodes if node.name in _OBSERVERS)
    yield f"  observer: {' '.join(filter(None, observers)) or 'not said'}"
    yield from (f"  procedure: {value_of(node)}" for node in root.children if node.name == _PROCEDURE)
    models = {algorithm(node) for node in nodes if node.name == ALGORITHM_NAME and node.parent is not None}
    yield f"  model: {', '.join(sorted(models)) or 'not said'}"
    groups = [node for node in nodes if node.name == _GROUP]
    for side, breast in BREASTS.items():
        of_side = [group for group in groups if _side(group) == side]
        if of_side:
            yield f"  {breast}"
        for uid in dict.fromkeys(map(_image, of_side)):
            yield f"    image {uid or 'not said'}"
            yield from (f"      {_words(group)}" for group in of_side if _image(group) == uid)
    library = [referenced_uid(node) for node in nodes if node.value_type == "IMAGE" and _is_in_library(node)]
    measured = set(map(_image, groups))
    clear = [uid for uid in dict.fromkeys(library) if uid not in measured]
    yield from (f"  image {uid}: no measurements" for uid in clear)


def _side(group: Node) -> str:
    values = [node.value for node in group.walk() if node.name == _LATERALITY]
    return SIDES.get(values[0], "") if values else ""


def _image(group: Node) -> str:
    """SOP Instance UID of the image that a group is on, else of its Segmentation, "" when it does not tell."""
    images = [node for node in group.walk() if node.value_type == "IMAGE"]
    images.sort(key=_is_segmentation)
    return referenced_uid(images[0]) if images else ""


def _is_segmentation(node: Node) -> bool:
    references = node.ds.get("ReferencedSOPSequence") or [Dataset()]
    return str(references[0].get("ReferencedSOPClassUID", "")) == SegmentationStorage


def _is_in_library(node: Node | None) -> bool:
    return node is not None and (node.name == _LIBRARY or _is_in_library(node.parent))


def _words(group: Node) -> str:
    """One measurement group: kind, place, scores, whatever else it says of itself, tracking identifier."""
    words = [value_of(child) for child in group.children if child.name == _FINDING]
    words += [extent(numbers(child.ds)) for child in group.children if child.value_type == "SCOORD"]
    for child in group.children:
        if child.name in CERTAINTIES:
            words.append(f"suspicion {quantity(child)}")
        elif child.value_type == "NUM":
            words.append(f"{name_of(child)} {quantity(child)}")
        elif child.relation == "CONTAINS" and child.value_type == "CODE" and child.name not in {_CATEGORY, _FINDING}:
            words.append(f"{name_of(child)}: {value_of(child)}")
    return ", ".join(filter(None, words)) + tracking(group)
