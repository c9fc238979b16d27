"""A Mammography CAD SR in words: summary, what was done, marks by breast and view, what ties them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pydicom.dataset import Dataset

from cmmd_node.report.check.faults import Node
from cmmd_node.report.check.tree import is_library_image, referenced_uid
from cmmd_node.report.reading.words import (
    ALGORITHM_NAME,
    BREASTS,
    CERTAINTIES,
    SIDES,
    algorithm,
    name_of,
    numbers,
    quantity,
    tracking,
    value_of,
)

# TID 4000, 4001, 4004, 4006, 4015 to 4021
_IMPRESSION = ("111033", "DCM")
_SUMMARY = ("111017", "DCM")
_DONE = {("111064", "DCM"): "detections", ("111065", "DCM"): "analyses"}
_PERFORMED = {("111022", "DCM"), ("111004", "DCM")}
_FAILED = {("111025", "DCM"), ("111024", "DCM")}
_FINDING, _FEATURE = ("111059", "DCM"), ("111015", "DCM")
_LATERALITY, _VIEW = ("111027", "DCM"), ("111031", "DCM")
_CENTER = ("111010", "DCM")

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


def cad_sr_lines(ds: Dataset) -> Iterator[str]:
    """Summary, what was done, then the marks by breast and view, and what ties them together."""
    nodes = list(Node.from_dataset(ds).walk())
    items = {node.position: node for node in nodes}
    images = {node.position: _library_image(node) for node in nodes if is_library_image(node)}
    models = {algorithm(node) for node in nodes if node.name == ALGORITHM_NAME and node.parent is not None}
    yield f"  model: {', '.join(sorted(models)) or 'not said'}"
    outcomes: dict[_Position | None, str] = {}
    for node in nodes:
        if node.name == _SUMMARY:
            yield f"  summary: {value_of(node)}"
        elif node.name == _IMPRESSION:
            yield f"    {node.ds.get('TextValue', '')}"
        elif node.name in _DONE:
            yield f"  {_DONE[node.name]}: {value_of(node)}"
        elif node.name in _PERFORMED and node.parent is not None:
            on = sorted({str(images[child.target]) for child in node.children if child.target in images})
            yield f"    {name_of(node.parent)}: {value_of(node)} on {', '.join(on) or 'no image of the library'}"
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
    for side, breast in BREASTS.items():
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
    side = SIDES.get(found[_LATERALITY].value, "") if _LATERALITY in found else ""
    view = found.get(_VIEW)
    word = "" if view is None else _VIEWS.get(view.value) or value_of(view)
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
    places = [numbers(child.ds) for child in node.children if child.name == _CENTER]
    words = [value_of(node), *(f"at column {cr[0]:.1f}, row {cr[1]:.1f}" for cr in places if len(cr) == 2)]
    for child in node.children:
        if child.name in CERTAINTIES:
            words.append(f"suspicion {quantity(child)}")
        elif child.relation == "HAS PROPERTIES" and child.value_type == "NUM":
            words.append(f"{name_of(child)} {quantity(child)}")
        elif child.relation == "HAS PROPERTIES" and child.value_type == "CODE":
            words.append(f"{name_of(child)}: {value_of(child)}")
    return ", ".join(words) + tracking(node)


def _parts(feature: Node, images: dict[_Position, _Image], items: dict[_Position, Node]) -> Iterator[str]:
    for child in feature.children:
        part = items.get(child.target) if child.target else child
        if child.relation == "INFERRED FROM" and part is not None:
            position = _place(part, images)
            yield f"{value_of(part)}{f' on {images[position]}' if position else ''}"
