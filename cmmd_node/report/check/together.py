"""What template rows say of several content items together, such as that two values compared have one unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cmmd_node.report.check.faults import CodeKey, Fault, Node, code_key
from cmmd_node.report.check.value_sets import VALUE_SETS

_FEATURE, _FINDING = ("111015", "DCM"), ("111059", "DCM")
_COMPOSITE_TYPE = ("111016", "DCM")
_TEMPORALLY, _CONTRALATERALLY = ("111153", "DCM"), ("111155", "DCM")
_ASYMMETRIES = {("129789007", "SCT"), ("129790003", "SCT")}
_QUALITATIVE = ("111049", "DCM")
_INTENT, _OPTIONAL = ("111056", "DCM"), ("111151", "DCM")
_MAXIMUM, _POINT, _TABLE = ("111072", "DCM"), ("111071", "DCM"), ("111093", "DCM")
_AXES = (("122698", "DCM"), ("122699", "DCM"))
_VERTEX = ("121230", "DCM")
#: The SCOORD items of TID 4021, 4008 and 4006 row 19 that stand side by side.
_PLACES = {("111010", "DCM"), ("111041", "DCM"), ("111007", "DCM"), ("111045", "DCM"), ("111030", "DCM")}


@dataclass(frozen=True, slots=True)
class _Sibling:
    """An item that may only be there, or must be there, beside others."""

    rule: str
    concept: CodeKey
    wants: frozenset[CodeKey]
    """One of these is there as well."""


_SIBLINGS = (
    # certainty of what?
    _Sibling(
        "TID 4002 row 10",
        ("111013", "DCM"),
        frozenset({("111005", "DCM"), ("111023", "DCM"), ("111033", "DCM")}),
    ),
    _Sibling("TID 4014 row 3", ("111050", "DCM"), frozenset({("111051", "DCM")})),
    _Sibling("TID 4014 row 3", ("111051", "DCM"), frozenset({("111050", "DCM")})),
    _Sibling("TID 4020 row 28", ("110910", "DCM"), frozenset({("110911", "DCM")})),
    _Sibling("TID 4020 row 28", ("110911", "DCM"), frozenset({("110910", "DCM")})),
)


def together_faults(root: Node) -> Iterator[Fault]:
    """Check the conditions that no single row can tell."""
    nodes = list(root.walk())
    items = {node.position: node for node in nodes}
    for node in nodes:
        yield from _sibling_faults(node)
        yield from _place_faults(node)
        if node.name == _FEATURE:
            yield from _feature_faults(node)
        if node.name == _QUALITATIVE or node.name in VALUE_SETS["CID 6037"]:
            yield from _compared_faults(node, items)
        if node.name == _TABLE:
            yield from _table_faults(node)
    yield from _operating_point_faults(nodes)


def _fault(rule: str, node: Node, message: str) -> Fault:
    return Fault(rule=rule, path=node.path, message=message)


def _sibling_faults(node: Node) -> Iterator[Fault]:
    names = {child.name for child in node.children}
    for one in _SIBLINGS:
        if one.concept in names and not one.wants & names:
            wanted = " or ".join(" ".join(name) for name in sorted(one.wants))
            yield _fault(one.rule, node, f"{' '.join(one.concept)} without {wanted}")


def _place_faults(node: Node) -> Iterator[Fault]:
    """Center, outlines and regions of one finding are on one image; so are the vertices of one path."""
    for names in (_PLACES | VALUE_SETS["CID 6166"].keys(), {_VERTEX}):
        places = [child for child in node.children if child.value_type == "SCOORD" and child.name in names]
        images = {below.target for place in places for below in place.children if below.target}
        # an algorithm may name regions on many images, a composite feature lies on several
        if len(images) > 1 and (node.name == _FINDING or names == {_VERTEX}):
            yield _fault("TID 4021 row 4", node, f"its coordinates are on {len(images)} images, one is wanted")


def _feature_faults(feature: Node) -> Iterator[Fault]:
    inferred = [child for child in feature.children if child.relation == "INFERRED FROM"]
    if len(inferred) < 2:
        yield _fault("TID 4004 row 6", feature, f"made of {len(inferred)} items, at least two are wanted")
    types = [child for child in feature.children if child.name == _COMPOSITE_TYPE]
    for kind in types:
        if feature.value in _ASYMMETRIES and kind.value != _CONTRALATERALLY:
            yield _fault("TID 4005 row 1", kind, "an asymmetry that is not related contra-laterally")
    for child in feature.children:
        row = 13 if child.name == _QUALITATIVE else 11 if child.name in VALUE_SETS["CID 6037"] else None
        if row and [kind.value for kind in types] != [_TEMPORALLY]:
            yield _fault(
                f"TID 4005 row {row}", child, "a change over time between items that are not related temporally"
            )


def _compared_faults(difference: Node, items: dict[tuple[int, ...], Node]) -> Iterator[Fault]:
    """The two values that were compared are of one kind."""
    compared = [items[child.target] for child in difference.children if child.target in items]
    kinds = {(one.name, one.value_type, _unit(one)) for one in compared}
    if len(kinds) > 1:
        row = 15 if difference.name == _QUALITATIVE else 12
        yield _fault(f"TID 4005 row {row}", difference, "compares values of different concepts or units")


def _unit(node: Node) -> CodeKey:
    measured = node.ds.get("MeasuredValueSequence")
    return code_key(measured[0], "MeasurementUnitsCodeSequence") if measured else ("", "")


def _table_faults(table: Node) -> Iterator[Fault]:
    """A CAD Operating Point Table (TID 4023 rows 3 to 9) holds each point once and says the same of each."""
    axes = [child.value for child in table.children if child.name in _AXES]
    points = [child for child in table.children if child.name == _POINT]
    maximum = next((one.number for one in _beside(table) if one.name == _MAXIMUM), None)
    numbers = sorted(point.number for point in points if point.number is not None)
    if maximum is not None and numbers != [float(number) for number in range(int(maximum) + 1)]:
        yield _fault("TID 4023 row 6", table, f"holds points {numbers}, wanted is each of 0 to {maximum:g} once")
    for point in points:
        if any(child.value_type == "NUM" and child.name not in axes for child in point.children):
            yield _fault("TID 4023 row 8", point, "a number of a concept that is on no axis of the table")


def _beside(node: Node) -> list[Node]:
    return node.parent.children if node.parent else []


def _operating_point_faults(nodes: list[Node]) -> Iterator[Fault]:
    """Optional findings have an operating point exactly when a detection has a scale of them (TID 4006 row 3)."""
    maxima = {node.number for node in nodes if node.name == _MAXIMUM}
    for node in nodes:
        if node.parent is None or node.parent.name != _FINDING or node.name != _INTENT:
            continue
        points = [child for child in node.children if child.name == _POINT]
        if node.value == _OPTIONAL and bool(points) != bool(maxima):
            told = "without" if maxima else "with"
            yield _fault("TID 4006 row 3", node, f"{told} a CAD Operating Point, unlike the detections")
        for point in points:
            scale = _unit(point)[0].strip("{}").rpartition(":")[2]
            if maxima and scale not in {f"{maximum:g}" for maximum in maxima if maximum is not None}:
                yield _fault("TID 4006 row 3", point, f"a scale to {scale or '?'}, which no detection has")
