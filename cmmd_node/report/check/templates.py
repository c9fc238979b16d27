"""A content tree against the template rows: what is missing, what does not belong, what has a wrong value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydicom.dataset import Dataset

from cmmd_node.report.check.faults import CodeKey, Fault, Node, code_key, code_meaning
from cmmd_node.report.check.measurements import MEASUREMENT_TEMPLATES
from cmmd_node.report.check.rows import ANY, INCLUDE, TEMPLATES, Row
from cmmd_node.report.check.value_sets import NOT_EXTENSIBLE, VALUE_SETS

#: What is wrong with a value, and whether only we want it so.
_Told: TypeAlias = tuple[str, bool]
_TRACKING = {("112039", "DCM"), ("112040", "DCM")}


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
        """Template that the row includes, "" when it is an item itself."""
        return self.row.concept.removeprefix("TID ") if self.row.value_type == INCLUDE else ""


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
        self.rows: dict[str, set[str]] = {}
        """Templates that were met, each with the rows that an item of the document stands for."""

    def faults(self, tid: str) -> list[Fault]:
        """Compare the document with a root template."""
        [branch] = _COMPILED[tid]
        if self._fits(branch, "", self._root):
            self._check_item(branch, self._root)
        else:
            self._fault(branch, self._root, f"the root is {_words(self._root)}, not {branch.row.concept}")
        return self._faults

    def _fault(self, branch: _Branch, node: Node, message: str, *, ours: bool = False) -> None:
        self._faults.append(Fault(rule=branch.rule, path=node.path, message=message, ours=ours))

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
        if row.value_type == ANY:
            return node.name not in _TRACKING
        return node.value_type == row.value_type and (node.name in _members(row.concept) or not row.concept)

    def _check_item(self, branch: _Branch, node: Node) -> None:
        self.rows.setdefault(branch.tid, set()).add(branch.row.number)
        for message, ours in _value_faults(branch.row, node):
            self._fault(branch, node, message, ours=ours)
        if branch.row.value_type == ANY:
            self._fault(branch, node, "context of content that was taken over, which we never do", ours=True)
            return
        target = self._items.get(node.target) if node.target else None
        if branch.row.points_at and target is not None and target.value[0] != branch.row.points_at:
            self._fault(branch, node, f"the reference is to {_words(target)}, not to a {branch.row.points_at}")
        known = []
        for child in node.children:
            if any(self._fits(below, "", child) for below in branch.below):
                known.append(child)
            elif any(child.name in _members(below.row.concept) for below in branch.below if below.included == ""):
                self._fault(branch, child, f"{_words(child)} has another value type or relationship than its row")
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
        for index, branch in enumerate(branches):
            wanted = branch.row.relation or relation
            count = 0
            if position < len(nodes) and self._is_for_another(branch, branches[index + 1 :], relation, nodes[position]):
                continue
            while position < len(nodes) and self._fits(branch, relation, nodes[position]):
                if branch.row.value_type == INCLUDE:
                    position = self._check_sequence(_COMPILED[branch.included], wanted, nodes, position, parent)
                elif count >= _bounds(branch.row.vm)[1]:
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

    def _is_for_another(self, branch: _Branch, later: Sequence[_Branch], relation: str, node: Node) -> bool:
        """Tell whether a row that may not be there could only take an item from a later one that may.

        Sizes (TID 1400 to 1402) are included by several rows of TID 4006, each for another value of the finding.
        """
        if node.parent is None or _condition_holds(branch.row.only, node.parent):
            return False
        allowed = (other for other in later if _condition_holds(other.row.only, node.parent))
        return any(self._fits(other, relation, node) for other in allowed)

    def _check_count(self, branch: _Branch, count: int, parent: Node) -> None:
        row = branch.row
        allowed = _condition_holds(row.only, parent)
        low, high = _bounds(row.vm)
        required = row.requirement == "M" or (row.requirement == "MC" and row.only and allowed)
        if count == 0 and required:
            self._fault(branch, parent, f"{row.concept or row.value_type} is missing")
        if count and not allowed:
            self._fault(branch, parent, f"{row.concept or row.value_type} may not be there with {_words(parent)}")
        if count > high or 0 < count < low:
            wanted = "once is allowed" if row.vm == "1" else f"{row.vm} are wanted"
            self._fault(branch, parent, f"{row.concept or row.value_type} is there {count} times, {wanted}")

    def _check_choice(self, tid: str, branches: Sequence[_Branch], seen: set[str], parent: Node) -> None:
        template = _TEMPLATES[tid]
        choice = {branch.row.number for branch in branches} & set(template.one_of)
        if choice and not choice & seen and _condition_holds(template.one_of_only, parent):
            self._fault(branches[0], parent, f"none of rows {', '.join(template.one_of)} is there")
        if len(seen & set(template.not_both)) > 1:
            self._fault(branches[0], parent, f"more than one of rows {', '.join(template.not_both)} is there")


def _bounds(vm: str) -> tuple[int, float]:
    low, _, high = vm.partition("-")
    return int(low), float("inf") if high == "n" else int(high or low)


def _members(concept: str) -> Mapping[CodeKey, str]:
    """A concept of the table as a value set: one code, all of a context group, or several of these."""
    members: dict[CodeKey, str] = {}
    for part in concept.split("|") if concept else ():
        if part.startswith("CID "):
            members |= VALUE_SETS[part]
        else:
            value, scheme, meaning = part.split(maxsplit=2)
            members[value, scheme] = meaning
    return members


def _condition_holds(only: str, parent: Node) -> bool:
    codes = only.split()
    code, _ = parent.value if parent.value_type == "CODE" else parent.name
    return not codes or (code in codes) != (codes[0] == "not")


def _value_faults(row: Row, node: Node) -> Iterator[_Told]:
    if node.target is not None or row.value_type == ANY:
        return
    yield from _code_faults(node.ds, "ConceptNameCodeSequence", row.concept)
    if row.values:
        yield from _code_faults(node.ds, "ConceptCodeSequence", row.values)
    if row.value_type == "NUM":
        yield from _number_faults(row, node)
    if row.value_type == "TEXT" and not str(node.ds.get("TextValue", "")).strip():
        yield "the text is empty", False
    for wanted, ours in ((row.graphic, False), (row.our_graphic, True)):
        if wanted and node.ds.get("GraphicType") not in wanted.split():
            yield f"graphic type is {node.ds.get('GraphicType')}, wanted is {wanted}", ours


def _code_faults(ds: Dataset, keyword: str, wanted: str) -> Iterator[_Told]:
    """Compare a code with a value set; the meaning is for people, so that another one is a fault in ours only."""
    found = code_key(ds, keyword)
    if wanted.startswith("scheme "):
        if found[1] != wanted.removeprefix("scheme "):
            yield f"{found[0]} {found[1]} is of another {wanted}", False
        return
    members = _members(wanted)
    if members and found not in members:
        may_be_extended = wanted in VALUE_SETS and wanted not in NOT_EXTENSIBLE
        yield f"{found[0]} {found[1]} is not in {wanted}", may_be_extended and found != ("", "")
    elif members and code_meaning(ds, keyword) != members[found]:
        yield f"{found[0]} {found[1]} means {members[found]!r}, not {code_meaning(ds, keyword)!r}", True


def _number_faults(row: Row, node: Node) -> Iterator[_Told]:
    measured = node.ds.get("MeasuredValueSequence") or []
    if len(measured) != 1:
        yield f"{len(measured)} measured values, one is wanted", False
        return
    words = str(measured[0].get("NumericValue", ""))
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", words):
        yield f"{words!r} is no number", False
        return
    low, high = row.limits
    if row.unit in {"{0:n}", "{1:n}"}:
        code, scheme = code_key(measured[0], "MeasurementUnitsCodeSequence")
        bounds = re.fullmatch(r"\{([01]):([0-9]+)\}", code)
        if bounds is None or bounds[1] != row.unit[1] or scheme != "UCUM":
            yield f"{code} {scheme} is not a range {row.unit} UCUM", False
        else:
            low, high = map(float, bounds.groups())
    elif row.unit:
        yield from _code_faults(measured[0], "MeasurementUnitsCodeSequence", row.unit)
    if not low <= float(words) <= high:
        yield f"{words} is not within {low:g} to {high:g}", False
    if row.whole and not float(words).is_integer():
        yield f"{words} is not a whole number", False


def _words(node: Node) -> str:
    if node.target is not None:
        return f"{node.relation} reference to {'.'.join(map(str, node.target))}"
    name, value = " ".join(node.name).strip(), " ".join(node.value).strip()
    return f"{node.value_type} {name}" + (f" = {value}" if value else "")
