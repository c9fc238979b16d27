"""Every way of being wrong in one row, made from a valid CAD SR of ours: one mutation of each kind for each place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from cmmd_node.facts import BreastComposition, Form, QualityFinding
from cmmd_node.report import write_results
from tests.report.exams import CLUSTER, MASS, code_item, make_header, make_result, make_round

#: Rows that may be absent by the standard and in our objects: taking one away is no fault.
OPTIONAL = {"111002", "111012", "111038", "111041", "111047", "112039", "103339001", "42798000"}
#: Rows that may be there several times: one more or less is no fault.
REPEATED = {"111022", "111004", "111034", "111052"}
#: Rows of which one more is no fault: parameters, features, findings, images, sizes.
SEVERAL = {"111002", "111015", "111059", "IMAGE", "103339001", "42798000"}


@dataclass(frozen=True)
class Place:
    """A content item by its path from the root, and by the concept names on that path."""

    path: tuple[int, ...]
    names: tuple[str, ...]

    def item(self, root: Dataset) -> Dataset:
        for index in self.path:
            root = root.ContentSequence[index]
        return root

    def parent(self, root: Dataset) -> Dataset:
        return Place(self.path[:-1], self.names[:-1]).item(root)

    def __str__(self) -> str:
        return "/".join(self.names)


@dataclass(frozen=True)
class Mutation:
    """One change in one place."""

    kind: str
    place: Place
    change: Callable[[Dataset, Place], object]

    def applied(self, data: bytes) -> Dataset:
        ds = dcmread(BytesIO(data))
        self.change(ds, self.place)
        return ds

    def __str__(self) -> str:
        return f"{self.kind}: {self.place}"


def valid_report() -> bytes:
    """The CAD SR of two images with a cluster and a mass that is seen in both."""
    result = make_result(
        names=["L CC", "L MLO"],
        marks={"L CC": (CLUSTER, MASS), "L MLO": (MASS,)},
        pairs=[(("L CC", 1), ("L MLO", 0))],
        composition=BreastComposition.SCATTERED,
        quality=(QualityFinding.MOTION_BLUR,),
    )
    written = write_results(result, exam(), make_round())
    [found] = [found for found in written if found.form is Form.CAD_SR]
    return found.data


def exam() -> list[Dataset]:
    return [make_header("L CC"), make_header("L MLO")]


def mutations(ds: Dataset) -> Iterator[Mutation]:
    """All of them, in a stable order; of places with the same names only the first."""
    seen = set()
    for place, item in places(ds):
        if place.names in seen:
            continue
        seen.add(place.names)
        for kind, (applies, change) in KINDS.items():
            if applies(place, item):
                yield Mutation(kind, place, change)


def places(ds: Dataset, path: tuple[int, ...] = (), names: tuple[str, ...] = ()) -> Iterator[tuple[Place, Dataset]]:
    name = ds.get("ConceptNameCodeSequence")
    here = (*names, name[0].CodeValue if name else ds.get("ValueType", "reference"))
    yield Place(path, here), ds
    for index, child in enumerate(ds.get("ContentSequence", ())):
        yield from places(child, (*path, index), here)


def remove(root: Dataset, place: Place) -> None:
    parent = place.parent(root)
    parent.ContentSequence = [item for item in parent.ContentSequence if item is not place.item(root)]
    if not parent.ContentSequence:
        del parent.ContentSequence


def repeat(root: Dataset, place: Place) -> None:
    place.parent(root).ContentSequence.insert(place.path[-1], place.item(root))


def move_to_front(root: Dataset, place: Place) -> None:
    parent = place.parent(root)
    items = list(parent.ContentSequence)
    parent.ContentSequence = [items.pop(place.path[-1]), *items]


def relate_otherwise(root: Dataset, place: Place) -> None:
    item = place.item(root)
    item.RelationshipType = "HAS OBS CONTEXT" if item.RelationshipType == "CONTAINS" else "CONTAINS"


def name_otherwise(root: Dataset, place: Place) -> None:
    place.item(root).ConceptNameCodeSequence = [code_item("121106", "DCM", "Comment")]


def name_in_another_scheme(root: Dataset, place: Place) -> None:
    place.item(root).ConceptNameCodeSequence[0].CodingSchemeDesignator = "99CMMD"


def add_zero_width_space(root: Dataset, place: Place) -> None:
    place.item(root).ConceptNameCodeSequence[0].CodeMeaning += "\u200b"


def make_text(root: Dataset, place: Place) -> None:
    place.item(root).ValueType, place.item(root).TextValue = "TEXT", "words"


def make_code(root: Dataset, place: Place) -> None:
    place.item(root).ValueType = "CODE"
    place.item(root).ConceptCodeSequence = [code_item("111222", "DCM", "Succeeded")]


def value_otherwise(root: Dataset, place: Place) -> None:
    place.item(root).ConceptCodeSequence = [code_item("121106", "DCM", "Comment")]


def empty_text(root: Dataset, place: Place) -> None:
    place.item(root).TextValue = ""


def measure_in_seconds(root: Dataset, place: Place) -> None:
    unit = code_item("s", "UCUM", "second")
    place.item(root).MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]


def number(value: str) -> Callable[[Dataset, Place], object]:
    def change(root: Dataset, place: Place) -> None:
        place.item(root).MeasuredValueSequence[0].NumericValue = value

    return change


def link(*position: int) -> Callable[[Dataset, Place], object]:
    def change(root: Dataset, place: Place) -> None:
        place.item(root).ReferencedContentItemIdentifier = list(position)

    return change


def graphic(kind: str, *numbers: float) -> Callable[[Dataset, Place], object]:
    def change(root: Dataset, place: Place) -> None:
        place.item(root).GraphicType, place.item(root).GraphicData = kind, list(numbers)

    return change


def lose_evidence(root: Dataset, _place: Place) -> None:
    del root.CurrentRequestedProcedureEvidenceSequence


def reference_otherwise(root: Dataset, place: Place) -> None:
    place.item(root).ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _holds(*keywords: str) -> Callable[[Place, Dataset], bool]:
    return lambda _place, item: all(keyword in item for keyword in keywords)


def _is_percent(_place: Place, item: Dataset) -> bool:
    measured = item.get("MeasuredValueSequence")
    return bool(measured) and measured[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"


def _may_go(place: Place, _item: Dataset) -> bool:
    of_cluster = place.names[-2:] == ("111059", "111059")
    return bool(place.path) and place.names[-1] not in OPTIONAL | REPEATED and not of_cluster and not _is_listed(place)


def _is_single(place: Place, item: Dataset) -> bool:
    return bool(place.path) and place.names[-1] not in REPEATED | SEVERAL and not _is_listed(place)


def _is_listed(place: Place) -> bool:
    """One image of several that an algorithm was run on, or what a finding was inferred from, which may be open."""
    return place.names[-1] == "reference" and place.names[-2] in {"111022", "111004", "111059"}


def _has_a_place(place: Place, _item: Dataset) -> bool:
    return bool(place.path) and place.path[-1] > 0 and place.names[-1] not in REPEATED | {"111059"}


#: What is done, and where it applies.
KINDS: dict[str, tuple[Callable[[Place, Dataset], bool], Callable[[Dataset, Place], object]]] = {
    "row removed": (_may_go, remove),
    "row repeated": (_is_single, repeat),
    "row before its siblings": (_has_a_place, move_to_front),
    "wrong relationship": (_holds("RelationshipType"), relate_otherwise),
    "wrong concept": (_holds("ConceptNameCodeSequence"), name_otherwise),
    "wrong scheme": (_holds("ConceptNameCodeSequence"), name_in_another_scheme),
    "zero-width space": (_holds("ConceptNameCodeSequence"), add_zero_width_space),
    "text instead": (lambda _, item: item.get("ValueType", "TEXT") != "TEXT", make_text),
    "code instead": (lambda _, item: item.get("ValueType", "CODE") != "CODE", make_code),
    "wrong value": (_holds("ConceptCodeSequence"), value_otherwise),
    "empty text": (_holds("TextValue"), empty_text),
    "wrong unit": (_holds("MeasuredValueSequence"), measure_in_seconds),
    "negative number": (_holds("MeasuredValueSequence"), number("-1")),
    "more than all": (_is_percent, number("100.5")),
    "dangling reference": (_holds("ReferencedContentItemIdentifier"), link(1, 2, 77)),
    "reference to no image": (_holds("ReferencedContentItemIdentifier"), link(1, 1)),
    "outside the image": (_holds("GraphicData"), graphic("POINT", 9999.0, 9999.0)),
    "on the other side of the edge": (_holds("GraphicData"), graphic("POLYLINE", -1.0, 5.0, 9.0, 9.0, -1.0, 5.0)),
    "half a point": (_holds("GraphicData"), graphic("POLYLINE", 1.0, 2.0, 3.0)),
    "open outline": (_holds("GraphicData"), graphic("POLYLINE", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
    "no evidence": (lambda place, _: not place.path, lose_evidence),
    "image without evidence": (_holds("ReferencedSOPSequence"), reference_otherwise),
}
