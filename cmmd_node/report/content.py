"""The content tree of an SR document before it is encoded (PS3.3 C.17.3).

Template modules build items; a :class:`Link` points at the item itself, and only :func:`encoded` turns that into the
path which DICOM wants, when no sibling can move any more. highdicom's content items know no by-reference relationship
and no IMAGE without a concept name, both of which Mammography CAD SR is built on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import format_number_as_ds

from cmmd_node.facts import PointCR


class Relation(StrEnum):
    """Relationship Type (0040,A010) between an item and the one above it."""

    CONTAINS = "CONTAINS"
    HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
    HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
    HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
    HAS_PROPERTIES = "HAS PROPERTIES"
    INFERRED_FROM = "INFERRED FROM"
    SELECTED_FROM = "SELECTED FROM"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Item:
    """One content item with what hangs below it; every item is itself, whatever it says."""

    relation: Relation | None
    """None at the root only."""
    value_type: str
    name: Code | None
    value: Mapping[str, Any]
    """The attributes that hold the value, by keyword."""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A by-reference relationship to an item of the same tree."""

    relation: Relation
    target: Item


Node: TypeAlias = Item | Link


def code_item(code: Code) -> Dataset:
    """One item of a code sequence (PS3.3 8.8)."""
    ds = Dataset()
    ds.CodeValue = code.value
    ds.CodingSchemeDesignator = code.scheme_designator
    ds.CodeMeaning = code.meaning
    return ds


def template_item(identifier: str) -> Dataset:
    """One item of a Content Template Sequence (PS3.3 C.18.8)."""
    ds = Dataset()
    ds.MappingResource = "DCMR"
    ds.TemplateIdentifier = identifier
    return ds


def container(relation: Relation | None, name: Code, children: Iterable[Node], *, template: str = "") -> Item:
    """CONTAINER whose items are read one by one; with the template that it is the top of, where that is to be said."""
    value: dict[str, Any] = {"ContinuityOfContent": "SEPARATE"}
    if template:
        value["ContentTemplateSequence"] = [template_item(template)]
    return Item(relation=relation, value_type="CONTAINER", name=name, value=value, children=tuple(children))


def code(relation: Relation, name: Code, value: Code, children: Iterable[Node] = ()) -> Item:
    """CODE."""
    attributes = {"ConceptCodeSequence": [code_item(value)]}
    return Item(relation=relation, value_type="CODE", name=name, value=attributes, children=tuple(children))


def text(relation: Relation, name: Code, value: str) -> Item:
    """TEXT."""
    return Item(relation=relation, value_type="TEXT", name=name, value={"TextValue": value})


def date(relation: Relation, name: Code, value: str) -> Item:
    """DATE of a DA value."""
    return Item(relation=relation, value_type="DATE", name=name, value={"Date": value})


def time(relation: Relation, name: Code, value: str) -> Item:
    """TIME of a TM value."""
    return Item(relation=relation, value_type="TIME", name=name, value={"Time": value})


def uidref(relation: Relation, name: Code, value: str) -> Item:
    """UIDREF."""
    return Item(relation=relation, value_type="UIDREF", name=name, value={"UID": value})


def num(relation: Relation, name: Code, value: float, unit: Code) -> Item:
    """NUM with as many digits as a DS takes."""
    measured = Dataset()
    measured.NumericValue = str(value) if isinstance(value, int) else format_number_as_ds(float(value))
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    return Item(relation=relation, value_type="NUM", name=name, value={"MeasuredValueSequence": [measured]})


def image(relation: Relation, sop_class_uid: str, sop_instance_uid: str, children: Iterable[Node] = ()) -> Item:
    """IMAGE without a concept name, as the CAD templates have it."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class_uid
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    attributes = {"ReferencedSOPSequence": [reference]}
    return Item(relation=relation, value_type="IMAGE", name=None, value=attributes, children=tuple(children))


def scoord(relation: Relation, name: Code, graphic_type: str, points_cr: Iterable[PointCR], selected: Node) -> Item:
    """SCOORD; what it is selected from is a link to an image of the library, or an image of its own."""
    numbers = [float(number) for point_cr in points_cr for number in point_cr]
    value = {"GraphicType": graphic_type, "GraphicData": numbers}
    return Item(relation=relation, value_type="SCOORD", name=name, value=value, children=(selected,))


def encoded(root: Item) -> Dataset:
    """Encode a whole tree; the root's attributes are those of the document itself.

    Raises
    ------
    ValueError
        A link leads to an item outside the tree.
    """
    positions = {id(item): path for item, path in _walk(root, (1,))}
    return _encoded_item(root, positions)


def _walk(item: Item, path: tuple[int, ...]) -> Iterator[tuple[Item, tuple[int, ...]]]:
    yield item, path
    for number, child in enumerate(item.children, start=1):
        if isinstance(child, Item):
            yield from _walk(child, (*path, number))


def _encoded_item(item: Item, positions: Mapping[int, tuple[int, ...]]) -> Dataset:
    ds = Dataset()
    if item.relation is not None:
        ds.RelationshipType = item.relation.value
    ds.ValueType = item.value_type
    if item.name is not None:
        ds.ConceptNameCodeSequence = [code_item(item.name)]
    for keyword, value in item.value.items():
        setattr(ds, keyword, value)
    if item.children:
        ds.ContentSequence = [
            _encoded_item(child, positions) if isinstance(child, Item) else _encoded_link(child, positions)
            for child in item.children
        ]
    return ds


def _encoded_link(link: Link, positions: Mapping[int, tuple[int, ...]]) -> Dataset:
    if id(link.target) not in positions:
        raise ValueError(f"content tree: {link.relation} leads to an item that is not in the tree")
    ds = Dataset()
    ds.RelationshipType = link.relation.value
    ds.ReferencedContentItemIdentifier = list(positions[id(link.target)])
    return ds
