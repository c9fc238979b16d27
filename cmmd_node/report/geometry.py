"""Where something is on an image of the library: TID 4021 of a mark, TID 4008 of the breast."""

from __future__ import annotations

from cmmd_node.facts import BreastGeometry, Mark, PointCR
from cmmd_node.report import codes
from cmmd_node.report.content import Item, Link, Relation, scoord


def geometry(mark: Mark, on: Item) -> tuple[Item, ...]:
    """Geometry (PS3.16 TID 4021) of a mark; the outline is a closed POLYLINE."""
    selected = Link(Relation.SELECTED_FROM, on)  # row 4
    outline_cr = closed(mark.outline_cr)
    return (
        center(mark.center_cr, on),  # row 1
        scoord(Relation.HAS_PROPERTIES, codes.OUTLINE, "POLYLINE", outline_cr, selected),  # row 3
    )


def center(center_cr: PointCR, on: Item) -> Item:
    """The center alone (PS3.16 TID 4021 rows 1, 2)."""
    return scoord(Relation.HAS_PROPERTIES, codes.CENTER, "POINT", [center_cr], Link(Relation.SELECTED_FROM, on))


def breast_outline(breast: BreastGeometry, on: Item) -> Item:
    """Breast Geometry (PS3.16 TID 4008 rows 1, 2)."""
    selected = Link(Relation.SELECTED_FROM, on)
    return scoord(Relation.HAS_PROPERTIES, codes.BREAST_OUTLINE, "POLYLINE", closed(breast.outline_cr), selected)


def closed(outline_cr: tuple[PointCR, ...]) -> tuple[PointCR, ...]:
    """Corners of a polygon, the first repeated at the end."""
    return (*outline_cr, outline_cr[0])
