"""The published split: stable, made again from its sources, balanced, and never dividing what belongs together."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from cmmd_node.cmmd.known import PUBLISHED_TWICE, cohort_of
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import FOLDS, make_split, read_split
from tests.cmmd.collections import REAL_SHEET, real_images

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")

#: Whoever changes this makes all published figures incomparable.
SHA256 = "f83a231309e1be7220f9bec8f85e60c0cf8912c7d8b730eefeca061ead84bfab"


def test_split_is_the_published_one() -> None:
    split = read_split()
    assert split.sha256 == SHA256
    assert SHA256 in README
    assert len(split.rows) == 1775
    assert sum(2 * len(row.sides) for row in split.rows.values()) == 5202
    assert Counter(row.fold for row in split.rows.values()) == dict.fromkeys(range(FOLDS), 355)


def test_no_group_is_divided() -> None:
    rows = read_split().rows
    for pair in PUBLISHED_TWICE:
        assert rows[pair.first].group == rows[pair.second].group == pair.first
        assert rows[pair.first].fold == rows[pair.second].fold
    folds = {(row.group, row.fold) for row in rows.values()}
    assert len(folds) == len({row.group for row in rows.values()}) == 1775 - len(PUBLISHED_TWICE)


@pytest.mark.shared
def test_split_is_made_again_from_sheet_and_headers() -> None:
    again = make_split(read_label_sheet(REAL_SHEET).breasts, {image.breast for image in real_images()})
    assert again.encode() == (files("cmmd_node.cmmd") / "split.csv").read_bytes()


@pytest.mark.shared
def test_folds_are_alike() -> None:
    rows = read_split().rows
    counts: dict[tuple[str, str, str], Counter[int]] = {}
    subtypes: dict[str, Counter[int]] = {}
    for breast in read_label_sheet(REAL_SHEET).breasts:
        label, fold = breast.label, rows[breast.patient_id].fold
        key = (cohort_of(breast.patient_id), str(label.classification), "+".join(sorted(label.kinds or ())))
        counts.setdefault(key, Counter())[fold] += 1
        if label.subtype:
            subtypes.setdefault(label.subtype, Counter())[fold] += 1
    for key, of_fold in (*counts.items(), *subtypes.items()):
        spread = max(of_fold[fold] for fold in range(FOLDS)) - min(of_fold[fold] for fold in range(FOLDS))
        assert spread <= 6, (key, of_fold)  # patients with two labelled breasts count twice
