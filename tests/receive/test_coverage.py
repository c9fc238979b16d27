"""Every fault of the project's list that concerns receiving has a test, or is here with the reason why it has none.

Rows are those of the reliability list: A network and upper layer, B DIMSE, C data sets, E disk and database, H the
DICOMweb server, I the DICOMweb client. A test says with ``@pytest.mark.fault`` which it covers.
"""

from __future__ import annotations

import re
from pathlib import Path

ROWS = (
    {f"A{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 16, 17, 19, 20, 22)}
    | {f"B{number}" for number in (23, 25, 26, 28, 29, 31, 32, 33, 34, 35, 37, 38)}
    | {f"C{number}" for number in (40, 41, 43, 44, 46, 47, 49, 50, 55, 56, 58)}
    | {f"E{number}" for number in (67, 68, 69, 70, 71, 72, 73, 74, 76, 77, 79, 80, 82, 83, 85)}
    | {f"H{number}" for number in (115, 116, 118, 119, 121, 122, 124, 125, 127, 128)}
    | {f"I{number}" for number in (130, 131, 133, 134, 136, 137, 139)}
)

#: Rows of these groups that concern what happens after receiving; tests/assemble, tests/e2e and others have them.
ELSEWHERE = {"C52", "C53", "J140", "J145"}

WITHOUT_A_TEST: dict[str, str] = {}


def covered() -> set[str]:
    marks = [
        re.findall(r"mark\.fault\(([^)]*)\)", path.read_text(encoding="utf-8"))
        for path in Path(__file__).parents[1].rglob("test_*.py")
    ]
    return {row for found in marks for arguments in found for row in re.findall(r'"([A-Z]\d+)"', arguments)}


def test_every_row_has_a_test_or_a_reason() -> None:
    assert ROWS - covered() - WITHOUT_A_TEST.keys() == set(), "neither a test nor a reason"
    assert covered() & WITHOUT_A_TEST.keys() == set(), "a reason although there is a test"


def test_no_test_claims_a_row_that_is_not_on_the_list() -> None:
    assert covered() - ROWS - ELSEWHERE == set()
    assert WITHOUT_A_TEST.keys() - ROWS == set()
