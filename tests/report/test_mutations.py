"""Our checker finds every single row that is wrong."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from cmmd_node.report.check import check_object
from tests.report.mutations import KINDS, exam, mutations, valid_report

VALID = valid_report()
MUTATIONS = list(mutations(dcmread(BytesIO(VALID))))


def test_there_is_nothing_to_find_in_the_valid_report() -> None:
    assert check_object(dcmread(BytesIO(VALID)), exam()) == []


def test_mutations_are_many_and_of_every_kind() -> None:
    assert len(MUTATIONS) >= 60
    assert {mutation.kind for mutation in MUTATIONS} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_mutation_is_found(kind: str) -> None:
    tried = [mutation for mutation in MUTATIONS if mutation.kind == kind][::3]  # tests.bench.mutations tries all
    missed = [str(mutation) for mutation in tried if not check_object(mutation.applied(VALID), exam())]
    assert missed == []
    print(f"{kind}: all of {len(tried)} found")
