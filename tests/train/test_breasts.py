"""What a model's marks say of a breast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmmd_node.facts import Laterality, Mark, Model, Subtype, View, ViewPosition
from cmmd_node.train.answers import Answers, BreastAnswer, ImageAnswer
from cmmd_node.train.breasts import breasts_of, malignancy_scores, subtype_shares
from cmmd_node.train.manifest import LabelledImage
from tests.train.collections import CENTER_CR, mark

IMAGES = [
    LabelledImage(path=Path(position), patient="P", group="P", view=View(Laterality.LEFT, position))
    for position in ViewPosition
]


def told(*views: tuple[Mark, ...], own: BreastAnswer | None = None) -> Answers:
    return Answers(
        model=Model(name="m", version="1", digest="d"),
        images={image.path: ImageAnswer(marks) for image, marks in zip(IMAGES, views, strict=False)},
        breasts={} if own is None else {("P", Laterality.LEFT): own},
    )


def score(*views: tuple[Mark, ...], own: BreastAnswer | None = None) -> float | None:
    (one,) = malignancy_scores(told(*views, own=own), breasts_of(IMAGES))
    return one


def test_the_likeliest_lesion_decides_and_not_the_most_malignant_of_many_false_marks() -> None:
    false = tuple(mark(CENTER_CR, 0.2, 0.95) for _ in range(10))
    benign, cancer = (mark(CENTER_CR, 0.99, share) for share in (0.1, 0.8))
    low, high = score((benign, *false), (benign, *false)), score((cancer, *false), (cancer, *false))
    assert low is not None
    assert high is not None
    assert low < 0.2
    assert high > 0.7


def test_log_odds_are_averaged_over_marks_by_their_odds_and_over_views() -> None:
    one = mark(CENTER_CR, 0.75, 0.5)  # odds 3 that it is a lesion, log odds 0; nothing: odds 1, log odds -log 19
    assert score((one,)) == pytest.approx(1.0 / (1.0 + 19.0 ** (1 / 4)))
    assert score((one,), (one,)) == score((one,))
    assert score((one,), ()) == pytest.approx(1.0 / (1.0 + 19.0 ** (5 / 8)))


def test_a_breast_without_marks_is_hardly_malignant_and_one_without_answers_is_unknown() -> None:
    own = BreastAnswer(0.4)
    assert score((), (mark(CENTER_CR, 1.0, 1.0),), own=own) == 0.4
    others = (mark(CENTER_CR, 0.9), mark(CENTER_CR, 0.5, 0.5))
    assert score((), others, own=BreastAnswer()) == pytest.approx(1.0 / (1.0 + 19.0**0.75))
    assert score((), ()) == 0.0  # a model that tells no probability at all is asked for suspicion
    assert score() is None


def test_subtypes_are_told_as_the_likeliest_lesion_has_them() -> None:
    luminal = {subtype: 0.7 if subtype is Subtype.LUMINAL_A else 0.1 for subtype in Subtype}
    other = {subtype: 0.97 if subtype is Subtype.TRIPLE_NEGATIVE else 0.01 for subtype in Subtype}
    sure, faint = (
        replace(mark(CENTER_CR, suspicion), subtypes=shares) for suspicion, shares in ((0.95, luminal), (0.2, other))
    )
    (breast,) = breasts_of(IMAGES)
    shares = subtype_shares(told((sure, faint), (mark(CENTER_CR, 0.9),)), breast)
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=lambda subtype: shares[subtype]) is Subtype.LUMINAL_A
    assert subtype_shares(told((mark(CENTER_CR, 0.9),)), breast) is None
    assert subtype_shares(told((sure,), own=BreastAnswer(0.5, other)), breast) == other


def test_only_what_is_malignant_has_a_subtype() -> None:
    luminal = {subtype: 0.7 if subtype is Subtype.LUMINAL_A else 0.1 for subtype in Subtype}
    other = {subtype: 0.7 if subtype is Subtype.TRIPLE_NEGATIVE else 0.1 for subtype in Subtype}
    benign, cancer = (
        replace(mark(CENTER_CR, 0.9, malignant), subtypes=shares)
        for malignant, shares in ((0.05, luminal), (0.9, other))
    )
    (breast,) = breasts_of(IMAGES)
    shares = subtype_shares(told((benign, cancer)), breast)
    assert shares is not None
    assert max(shares, key=lambda subtype: shares[subtype]) is Subtype.TRIPLE_NEGATIVE
    untold = subtype_shares(told(tuple(replace(one, probability_malignant=None) for one in (benign, cancer))), breast)
    assert untold is not None
    assert untold[Subtype.LUMINAL_A] == pytest.approx(untold[Subtype.TRIPLE_NEGATIVE])
    never = subtype_shares(told((replace(benign, probability_malignant=0.0),)), breast)
    assert never == pytest.approx(luminal)
