"""Where a mark is: TID 4021."""

from __future__ import annotations

from cmmd_node.facts import Mark
from cmmd_node.report import codes
from cmmd_node.report.content import Item, Link, Relation, scoord


def geometry(mark: Mark, on: Item) -> tuple[Item, ...]:
    """Geometry (PS3.16 TID 4021) of a mark on an image of the library; the outline is a closed POLYLINE."""
    selected = Link(Relation.SELECTED_FROM, on)  # rows 2, 4
    closed_cr = (*mark.outline_cr, mark.outline_cr[0])
    return (
        scoord(Relation.HAS_PROPERTIES, codes.CENTER, "POINT", [mark.center_cr], selected),  # row 1
        scoord(Relation.HAS_PROPERTIES, codes.OUTLINE, "POLYLINE", closed_cr, selected),  # row 3
    )
