"""A small collection of pictures with labels, and answers of models to it, as training and evaluation see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cmmd_node.facts import (
    BreastLabel,
    Classification,
    Kind,
    Laterality,
    Mark,
    Model,
    Spacing,
    Subtype,
    View,
    ViewPosition,
)
from cmmd_node.train.answers import Answers, BreastAnswer, ImageAnswer
from cmmd_node.train.manifest import LabelledImage, Lesion, circle_outline, write_manifest
from tests.mammograms import breast

SPACING = Spacing(row_mm=1.0, column_mm=1.0)
CENTER_CR = (24.0, 64.0)
LESION = Lesion(kind=Kind.MASS, outline_cr=circle_outline(*CENTER_CR, 8.0))


def write_collection(folder: Path, patients: int = 24) -> tuple[Path, list[LabelledImage]]:
    """CC and MLO of the left breast of so many patients: every other one malignant with an outlined mass, the others
    normal; two cohorts; five folds. The manifest and its images."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in range(patients):
        malignant = number % 2 == 1
        subtype = tuple(Subtype)[number // 2 % 4] if malignant else None
        for position in ViewPosition:
            path = folder / f"{number}-{position}.png"
            Image.fromarray(breast(seed=2 * number + (position == "CC"))).save(path)
            images.append(
                LabelledImage(
                    path=path,
                    patient=f"P{number:02d}",
                    group=f"P{number:02d}",
                    view=View(Laterality.LEFT, position),
                    spacing=SPACING,
                    age=35 + 7 * number % 40,
                    cohort="D1" if number % 3 else "D2",
                    label=BreastLabel(
                        classification=Classification.MALIGNANT if malignant else Classification.NORMAL,
                        kinds=frozenset({Kind.MASS}) if malignant else frozenset(),
                        subtype=subtype,
                    ),
                    lesions=(LESION,) if malignant else (),
                    fold=number % 5,
                    source="Somebody et al. 2020, CC BY 4.0",
                )
            )
    write_manifest(folder / "manifest.csv", images)
    return folder / "manifest.csv", images


def mark(center_cr: tuple[float, float], suspicion: float, probability: float | None = None) -> Mark:
    return Mark(
        kind=Kind.MASS,
        center_cr=center_cr,
        outline_cr=circle_outline(*center_cr, 4.0),
        suspicion=suspicion,
        probability_malignant=probability,
    )


def answers(
    images: list[LabelledImage],
    name: str = "model",
    *,
    marks: Callable[[LabelledImage], tuple[Mark, ...]] = lambda image: (),
    probability: Callable[[LabelledImage], float] | None = None,
) -> Answers:
    """Answers of a model that is told what to say."""
    rng = np.random.default_rng(1)
    breasts = {}
    if probability is not None:
        for image in images:
            shares = dict(zip(Subtype, rng.dirichlet(np.ones(4)).tolist(), strict=True))
            breasts[image.breast] = BreastAnswer(probability(image), shares)
    return Answers(
        model=Model(name=name, version="1", digest="0" * 64),
        images={image.path: ImageAnswer(marks(image), seconds=0.5) for image in images},
        breasts=breasts,
    )
