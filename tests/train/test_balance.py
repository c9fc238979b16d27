"""Results weigh so much that they cannot be told from cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cmmd_node.train.balance import balance_of
from cmmd_node.train.prepared import PreparedImage
from tests.train.test_canvas import prepared


def outlined(*results: int) -> PreparedImage:
    return prepared(malignant=np.array(results, np.int8))


def labelled(result: int) -> PreparedImage:
    """Of a breast with a mass that nobody outlined."""
    none = outlined()
    return replace(
        none, outlined=np.array(False), holds=np.array(1, np.int8), breast_malignant=np.array(result, np.int8)
    )


def told(images: Sequence[PreparedImage], cohorts: Sequence[str | None]) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in balance_of(images, cohorts)]


def test_in_each_cohort_the_same_share_is_malignant() -> None:
    images = [outlined(0, 0, 1), labelled(1), labelled(0), labelled(1), labelled(1), outlined(1, 1)]
    cohorts = ["D1", "D1", *["D2"] * 4]
    weights = balance_of(images, cohorts)
    sums = np.zeros((2, 2))
    for image, cohort, weight in zip(images, cohorts, weights, strict=True):
        for result in [int(image.breast_malignant)] if image.weak else image.malignant:
            sums[int(cohort == "D2"), result] += weight[result]
    assert sums == pytest.approx(np.array([[4 * 3 / 9, 4 * 6 / 9], [5 * 3 / 9, 5 * 6 / 9]]), rel=1e-6)


def test_one_cohort_is_left_as_it_is() -> None:
    assert told([outlined(0), outlined(1, 1), outlined(-1)], [None, None, None]) == [[1.0, 1.0]] * 3


def test_a_cohort_that_knows_one_result_teaches_none() -> None:
    images = [outlined(0, 1), outlined(1), labelled(-1)]
    assert told(images, ["both", "one", "unknown"]) == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    assert told(images[1:2], ["one"]) == [[0.0, 0.0]]
