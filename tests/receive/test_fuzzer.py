"""Damaged conversations and data sets, a good sender meanwhile; see `fuzzer`.

The nightly run takes as many minutes as ``CMMD_NODE_TEST_FUZZ_MINUTES`` says, 60 unless it is set.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.receive.fuzzer import damage_conversation, damage_data_set, fuzz, originals


@pytest.mark.fault("C58")
def test_a_short_fuzzing_costs_nobody_anything(tmp_path: Path, database_url: str) -> None:
    figures = fuzz(tmp_path, seconds=8, seed=1, database_url=database_url, dcmtk=bool(shutil.which("dcmsend")))
    print(figures.summary)
    assert figures.conversations > 10
    assert figures.data_sets > 10
    assert figures.good > 3
    assert len(figures.statuses) > 3


@pytest.mark.fault("C58")
@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_an_hour_of_fuzzing_costs_nobody_anything(tmp_path: Path, database_url: str) -> None:
    minutes = float(os.environ.get("CMMD_NODE_TEST_FUZZ_MINUTES", "60"))
    figures = fuzz(tmp_path, seconds=60 * minutes, seed=2, database_url=database_url)
    print(figures.summary)
    figures.check_memory()


def test_a_case_is_the_same_in_every_run() -> None:
    corpus = [[b"\1" * 50, b"\4" * 80], [b"\4" * 300, b"\5" * 10]]
    (_, data, _), *_ = originals()
    for number in range(50):
        once, again = (random.Random(f"7 {number}") for _ in range(2))
        assert damage_conversation(once, corpus) == damage_conversation(again, corpus)
        assert damage_data_set(once, data) == damage_data_set(again, data)
