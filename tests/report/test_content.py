"""The content tree before it is encoded."""

from __future__ import annotations

import pytest
from pydicom.sr.coding import Code

from cmmd_node.report.content import Item, Link, Relation, container, encoded, image, num, text

TITLE = Code("111036", "DCM", "Mammography CAD Report")
WORDS = Code("111033", "DCM", "Impression Description")


def make_image() -> Item:
    return image(Relation.CONTAINS, "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3", [])


def test_links_become_paths_from_the_root() -> None:
    first, second = make_image(), make_image()  # alike, and still two items
    library = container(Relation.CONTAINS, TITLE, [first, second])
    links = container(Relation.CONTAINS, TITLE, [Link(Relation.HAS_PROPERTIES, item) for item in (second, first)])
    ds = encoded(container(None, TITLE, [text(Relation.CONTAINS, WORDS, "words"), library, links]))
    found = [item.ReferencedContentItemIdentifier for item in ds.ContentSequence[2].ContentSequence]
    assert found == [[1, 2, 2], [1, 2, 1]]
    assert "RelationshipType" not in ds
    assert all("ValueType" not in item for item in ds.ContentSequence[2].ContentSequence)


def test_a_link_out_of_the_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the tree"):
        encoded(container(None, TITLE, [Link(Relation.HAS_PROPERTIES, make_image())]))


@pytest.mark.parametrize(("value", "written"), [(3, "3"), (0.094090909, "0.094090909"), (1 / 3, "0.33333333333333")])
def test_numbers_have_as_many_digits_as_fit(value: float, written: str) -> None:
    item = num(Relation.HAS_PROPERTIES, WORDS, value, Code("1", "UCUM", "no units"))
    assert str(item.value["MeasuredValueSequence"][0].NumericValue) == written
