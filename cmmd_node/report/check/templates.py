"""A content tree against the template rows: what is missing, what does not belong, what has a wrong value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from cmmd_node.report.check.faults import CodeKey, Fault, Node, code_key, code_meaning
from cmmd_node.report.check.measurements import MEASUREMENT_TEMPLATES
from cmmd_node.report.check.rows import INCLUDE, TEMPLATES, Row
from cmmd_node.report.check.value_sets import VALUE_SETS


@dataclass(frozen=True, slots=True)
class _Branch:
    """A row with those nested below it."""

    tid: str
    row: Row
    below: tuple[_Branch, ...]

    @property
    def rule(self) -> str:
        return f"TID {self.tid} row {self.row.number}"

    @property
    def included(self) -> str:
        return self.row.concept.removeprefix("TID ")


def _branches(tid: str, rows: Sequence[Row]) -> tuple[_Branch, ...]:
    if not rows:
        return ()
    depth = len(rows[0].nest)
    starts = [index for index, row in enumerate(rows) if len(row.nest) == depth]
    ends = [*starts[1:], len(rows)]
    return tuple(
        _Branch(tid, rows[start], _branches(tid, rows[start + 1 : end]))
        for start, end in zip(starts, ends, strict=True)
    )


_TEMPLATES = {**TEMPLATES, **MEASUREMENT_TEMPLATES}
_COMPILED = {tid: _branches(tid, template.rows) for tid, template in _TEMPLATES.items()}


class TemplateCheck:
    """One pass over one document (PS3.16 section 6: order is significant, unknown items are faults)."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._items = {node.position: node for node in root.walk()}
        self._faults: list[Fault] = []

    def faults(self, tid: str) -> list[Fault]:
        """Compare the document with a root template."""
        [branch] = _COMPILED[tid]
        if self._fits(branch, "", self._root):
            self._check_item(branch, self._root)
        else:
            self._fault(branch, self._root, f"the root is {_words(self._root)}, not {branch.row.concept}")
        return self._faults

    def _fault(self, branch: _Branch, node: Node, message: str) -> None:
        self._faults.append(Fault(rule=branch.rule, path=node.path, message=message))

    def _fits(self, branch: _Branch, relation: str, node: Node) -> bool:
        """Tell whether an item can stand for a row, by relationship, value type and concept name."""
        row = branch.row
        wanted = row.relation or relation
        if row.value_type == INCLUDE:
            return any(self._fits(inner, wanted, node) for inner in _COMPILED[branch.included])
        if wanted.removeprefix("R-") != node.relation or wanted.startswith("R-") != (node.target is not None):
            return False
        if node.target is not None:
            target = self._items.get(node.target)
            return target is not None and target.value_type == row.value_type
        return node.value_type == row.value_type and (node.name in _members(row.concept) or not row.concept)

    def _check_item(self, branch: _Branch, node: Node) -> None:
        for message in _value_faults(branch.row, node):
            self._fault(branch, node, message)
        known = []
        for child in node.children:
            if any(self._fits(below, "", child) for below in branch.below):
                known.append(child)
            elif not _TEMPLATES[branch.tid].extensible:
                self._fault(branch, child, f"{_words(child)} is not in the template below {_words(node)}")
        matched = self._check_sequence(branch.below, "", known, 0, node)
        for child in known[matched:]:
            self._fault(branch, child, f"{_words(child)} stands out of order or too often")

    def _check_sequence(
        self, branches: Sequence[_Branch], relation: str, nodes: Sequence[Node], position: int, parent: Node
    ) -> int:
        """Match items from a position with rows in their order; return the position behind the last match."""
        seen = set()
        for branch in branches:
            wanted = branch.row.relation or relation
            count = 0
            while position < len(nodes) and self._fits(branch, relation, nodes[position]):
                if branch.row.value_type == INCLUDE:
                    position = self._check_sequence(_COMPILED[branch.included], wanted, nodes, position, parent)
                elif count and branch.row.vm == "1":
                    break  # a repetition of the template, or one too many
                else:
                    self._check_item(branch, nodes[position])
                    position += 1
                count += 1
            if count:
                seen.add(branch.row.number)
            self._check_count(branch, count, parent)
        if branches:
            self._check_choice(branches[0].tid, branches, seen, parent)
        return position

    def _check_count(self, branch: _Branch, count: int, parent: Node) -> None:
        row = branch.row
        allowed = _condition_holds(row.only, parent.value)
        required = row.requirement == "M" or (row.requirement == "MC" and row.only and allowed)
        if count == 0 and required:
            self._fault(branch, parent, f"{row.concept or row.value_type} is missing")
        if count and not allowed:
            self._fault(branch, parent, f"{row.concept or row.value_type} may not be there with {_words(parent)}")
        if count > 1 and row.vm == "1":
            self._fault(branch, parent, f"{row.concept or row.value_type} is there {count} times, once is allowed")

    def _check_choice(self, tid: str, branches: Sequence[_Branch], seen: set[str], parent: Node) -> None:
        choice = {branch.row.number for branch in branches} & set(_TEMPLATES[tid].one_of)
        if choice and not choice & seen:
            self._fault(branches[0], parent, f"none of rows {', '.join(_TEMPLATES[tid].one_of)} is there")


def _members(concept: str) -> Mapping[CodeKey, str]:
    """A concept of the table as a value set: one code, or all of a context group."""
    if concept.startswith("CID "):
        return VALUE_SETS[concept]
    if not concept:
        return {}
    value, scheme, meaning = concept.split(maxsplit=2)
    return {(value, scheme): meaning}


def _condition_holds(only: str, value: CodeKey) -> bool:
    codes = only.split()
    return not codes or (value[0] in codes) != (codes[0] == "not")


def _value_faults(row: Row, node: Node) -> Iterator[str]:
    if node.target is not None:
        return
    yield from _code_faults(node.ds, "ConceptNameCodeSequence", row.concept)
    if row.values:
        yield from _code_faults(node.ds, "ConceptCodeSequence", row.values)
    if row.value_type == "NUM":
        yield from _number_faults(row, node)
    if row.value_type == "TEXT" and not str(node.ds.get("TextValue", "")).strip():
        yield "the text is empty"
    if row.graphic and node.ds.get("GraphicType") not in row.graphic.split():
        yield f"graphic type is {node.ds.get('GraphicType')}, wanted is {row.graphic}"


def _code_faults(ds: Dataset, keyword: str, wanted: str) -> Iterator[str]:
    members = _members(wanted)
    found = code_key(ds, keyword)
    if members and found not in members:
        yield f"{found[0]} {found[1]} is not in {wanted}"
    elif members and code_meaning(ds, keyword) != members[found]:
        yield f"{found[0]} {found[1]} means {members[found]!r}, not {code_meaning(ds, keyword)!r}"


def _number_faults(row: Row, node: Node) -> Iterator[str]:
    measured = node.ds.get("MeasuredValueSequence") or []
    if len(measured) != 1:
        yield f"{len(measured)} measured values, one is wanted"
        return
    words = str(measured[0].get("NumericValue", ""))
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", words):
        yield f"{words!r} is no number"
        return
    if not row.limits[0] <= float(words) <= row.limits[1]:
        yield f"{words} is not within {row.limits[0]:g} to {row.limits[1]:g}"
    if row.whole and not float(words).is_integer():
        yield f"{words} is not a whole number"
    if row.unit:
        yield from _code_faults(measured[0], "MeasurementUnitsCodeSequence", row.unit)


def _words(node: Node) -> str:
    if node.target is not None:
        return f"{node.relation} reference to {'.'.join(map(str, node.target))}"
    name, value = " ".join(node.name).strip(), " ".join(node.value).strip()
    return f"{node.value_type} {name}" + (f" = {value}" if value else "")
