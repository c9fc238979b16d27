"""What a check has to say, and the content tree as the checks read it from a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pydicom.dataset import Dataset

from cmmd_node.report.srt import current_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with an object."""

    rule: str
    """Where the rule stands, such as "TID 4006 row 8" or "PS3.3 C.17.3"."""
    path: str
    """The content item by position ("1.3.1.2") or the attribute by keyword; "" for the whole object."""
    message: str
    ours: bool = False
    """The standard leaves it open, but no object of ours is like that."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.path or 'object'}: {self.message}"


#: A code without its meaning: value and coding scheme designator.
CodeKey = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Node:
    """A content item in its place; what it says of itself is read once, since every row asks for it."""

    ds: Dataset
    position: tuple[int, ...]
    parent: Node | None
    children: list[Node] = field(default_factory=list)

    @classmethod
    def from_dataset(cls, ds: Dataset, position: tuple[int, ...] = (1,), parent: Node | None = None) -> Node:
        """Read the tree below a content item; the root is the document itself."""
        node = cls(ds, position, parent)
        for number, child in enumerate(ds.get("ContentSequence") or (), start=1):
            node.children.append(cls.from_dataset(child, (*position, number), node))
        return node

    def walk(self) -> Iterator[Node]:
        """Visit this item and all below it, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def path(self) -> str:
        return ".".join(map(str, self.position))

    @cached_property
    def relation(self) -> str:
        return str(self.ds.get("RelationshipType", ""))

    @cached_property
    def value_type(self) -> str:
        return str(self.ds.get("ValueType", ""))

    @cached_property
    def target(self) -> tuple[int, ...] | None:
        """Position that a by-reference item points at, None for an item by value."""
        identifier = self.ds.get("ReferencedContentItemIdentifier")
        if identifier is None:
            return None
        return (identifier,) if isinstance(identifier, int) else tuple(identifier)

    @cached_property
    def name(self) -> CodeKey:
        """The concept name, ("", "") when it has none."""
        return code_key(self.ds, "ConceptNameCodeSequence")

    @cached_property
    def value(self) -> CodeKey:
        """The value of a CODE item, ("", "") when it is none."""
        return code_key(self.ds, "ConceptCodeSequence")

    @property
    def number(self) -> float | None:
        """The value of a NUM item, None when it has none."""
        measured = self.ds.get("MeasuredValueSequence")
        try:
            return float(measured[0].NumericValue)
        except (TypeError, ValueError, LookupError, AttributeError):
            return None


def code_key(ds: Dataset, keyword: str) -> CodeKey:
    """Return the first code of a code sequence, ("", "") when there is none; an older one as the code of today."""
    items = ds.get(keyword)
    if not items:
        return "", ""
    return current_code(str(items[0].get("CodeValue", "")), str(items[0].get("CodingSchemeDesignator", "")))


def code_meaning(ds: Dataset, keyword: str) -> str:
    """Return the meaning of the first code of a code sequence."""
    items = ds.get(keyword)
    return str(items[0].get("CodeMeaning", "")) if items else ""
