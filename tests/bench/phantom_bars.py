"""Whether a collection of phantoms is as hard as it should be.

``python -m tests.bench.phantom_bars MANIFEST [--images N]``

Two bars. On the masses of phantoms the classical detector finds at 2 false marks per image what it finds on those of
mini-MIAS, 0.828 (`tests.bench.froc`), within 0.1. And nothing that needs no look at the lesion tells malignancy: age,
number of images, area of the breast, mean and spread of its grey values stay between AUC 0.4 and 0.6 over the labelled
breasts. Ends with status 1 when one is missed. An AUC over 240 breasts has a standard error of about 0.04.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmmd_node.cad import ClassicalDetector
from cmmd_node.facts import Kind
from cmmd_node.train.breasts import Breast, breasts_of
from cmmd_node.train.froc import RATES, Froc, MarkedImage, score_marks
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage, read_manifest
from cmmd_node.train.roc import auc

ON_MINI_MIAS = 0.828
"""Of the masses at 2 false marks per image."""
WITHIN = 0.1
MOST_AUC = 0.6


def trivial_statistics(breast: Breast, of_patient: Counter[str]) -> dict[str, float]:
    """What can be said of a breast without looking for anything in it: means over its images."""
    told = []
    for image in breast.images:
        picture = read_picture(image)
        inside = picture.pixels[picture.pixels > 0.0]
        told.append((float(inside.size), float(inside.mean()), float(inside.std())))
    area, mean, spread = np.mean(told, axis=0)
    return {
        "age": float(breast.first.age or 0),
        "number of images": float(of_patient[breast.first.patient]),
        "breast area": area,
        "mean grey": mean,
        "spread of grey": spread,
    }


def classical_on_masses(images: Sequence[LabelledImage]) -> Froc:
    """Of the classical detector on images with masses."""
    detector, marked = ClassicalDetector(), list[MarkedImage]()
    for image in images:
        picture = read_picture(image)
        marks = detector.marks(picture.pixels, view=image.view, spacing=picture.spacing, threshold=0.0)
        marked.append(score_marks(marks, image.lesions or ()))
    return Froc(marked, Kind.MASS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--images", type=int, default=150, help="how many with masses; default 150")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest)
    missed = 0

    of_patient = Counter(image.patient for image in manifest.images)
    labelled = [breast for breast in breasts_of(manifest.images) if breast.label.classification is not None]
    truth = np.array([breast.malignant for breast in labelled])
    told = [trivial_statistics(breast, of_patient) for breast in labelled]
    print(f"{len(labelled)} labelled breasts, {truth.sum()} malignant; AUC for malignancy of")
    for name in told[0]:
        value = auc(np.array([one[name] for one in told]), truth)
        missed += not 1.0 - MOST_AUC < value < MOST_AUC
        print(f"  {name:18} {value:.3f}", flush=True)

    masses = [i for i in manifest.images if any(lesion.kind is Kind.MASS for lesion in i.lesions or ())]
    froc = classical_on_masses(masses[: arguments.images])
    shares = {rate: froc.sensitivity(rate) for rate in RATES}
    missed += abs(shares[2.0] - ON_MINI_MIAS) > WITHIN
    print(f"classical detector, {froc.lesions} masses: " + ", ".join(f"{s:.3f} at {r:g}" for r, s in shares.items()))
    print(f"{missed} bars missed" if missed else "both bars are kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
