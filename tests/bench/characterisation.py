"""How well rings and both views tell malignant masses from benign ones: ``python -m tests.bench.characterisation``.

Takes the official train split of CBIS-DDSM. Each mass is characterised by lines that were fitted without its patient;
which mark of the other view is the same mass is left to the suspicion of the built-in model, which saw five sixths of
the films. Prints the AUC by one view and by both, and the slopes of the logistic regression that weighs them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cmmd_node.cad.both_views import APART_MM
from cmmd_node.cad.breast import find_breast
from cmmd_node.cad.bundle import bundle_named
from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.native import completed, open_networks
from cmmd_node.facts import Kind
from cmmd_node.settings import BUILTIN
from cmmd_node.train.fit import answers
from cmmd_node.train.fit_characterisation import fit_characterisation
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage, read_manifest
from cmmd_node.train.prepared import PreparedImage, Unprepared, prepared_images
from cmmd_node.train.roc import auc

_GROUPS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One image: the marks of the built-in model, what it suspects, log odds of malignancy, mm from the nipple."""

    label: LabelledImage
    prepared: PreparedImage
    hits: np.ndarray
    suspicion: np.ndarray
    malignant: np.ndarray
    from_nipple_mm: np.ndarray


def fitted(images: list[tuple[LabelledImage, PreparedImage]]) -> Characterisation:
    network = fit_characterisation(
        [one for _, one in images], [label.cohort for label, _ in images], [label.patient for label, _ in images]
    )
    if network is None:
        raise SystemExit("too few masses")
    return network.eval()


@torch.no_grad()
def characterised(images: list[tuple[LabelledImage, PreparedImage]], draw: int) -> list[np.ndarray]:
    """Log odds of all candidates, by lines that were fitted without the patient."""
    patients = sorted({label.patient for label, _ in images})
    groups = dict(zip(patients, np.random.default_rng(draw).permutation(len(patients)) % _GROUPS, strict=True))
    lines = [fitted([one for one in images if groups[one[0].patient] != group]) for group in range(_GROUPS)]
    return [
        lines[groups[label.patient]](torch.from_numpy(one.features), torch.from_numpy(one.rings)).numpy()
        for label, one in images
    ]


def masses(seen: list[Seen]) -> np.ndarray:
    """Of each mass its result, and log odds by its own view and by the other (nan: no mark there), shape (n, 3)."""
    breasts = defaultdict(list)
    for one in seen:
        breasts[one.label.breast].append(one)
    told = []
    for one in seen:
        for hits, result in zip(one.hits.T, one.prepared.malignant, strict=True):
            inside = np.flatnonzero(hits)
            if result < 0 or not len(inside):
                continue
            mark = inside[one.suspicion[inside].argmax()]
            others = [
                np.stack(
                    [
                        other.suspicion - ((other.from_nipple_mm - one.from_nipple_mm[mark]) / APART_MM) ** 2,
                        other.malignant,
                    ]
                )
                for other in breasts[one.label.breast]
                if other.label.view.position is not one.label.view.position and len(other.malignant)
            ]
            same, malignant = np.concatenate(others, axis=1) if others else np.array([[0.0], [np.nan]])
            told.append((result, one.malignant[mark], np.average(malignant, weights=np.exp(same))))
    return np.array(told, np.float64)


def logistic(inputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Slopes and offset, by Newton's method."""
    inputs, line = np.column_stack([inputs, np.ones(len(inputs))]), np.zeros(inputs.shape[1] + 1)
    for _ in range(30):
        share = 1.0 / (1.0 + np.exp(-inputs @ line))
        line += np.linalg.solve((inputs.T * share * (1.0 - share)) @ inputs, inputs.T @ (truth - share))
    return line


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="train.csv of tests.bench.free_collections")
    parser.add_argument("prepared", type=Path, help="where train keeps prepared images: WORK/prepared")
    parser.add_argument("--draws", type=int, default=3)
    asked = parser.parse_args()
    labels = [image for image in read_manifest(asked.manifest).images if image.cohort == "cbis-train"]
    prepared = prepared_images(labels, asked.prepared, processes=2)
    pairs = zip(labels, prepared, strict=True)
    images = [(label, one[Kind.MASS]) for label, one in pairs if not isinstance(one, Unprepared)]
    networks = open_networks(bundle_named(BUILTIN))
    networks.named().eval()
    prepared_ones = [one for _, one in images]
    answered = answers(Kind.MASS, prepared_ones, networks.second_looks[Kind.MASS])
    marks = [completed(Kind.MASS, *one, networks) for one in zip(prepared_ones, answered, strict=True)]
    distances = []
    for (label, _), told in zip(images, marks, strict=True):
        picture = read_picture(label)
        assert picture.spacing is not None
        breast = find_breast(picture.pixels, position=label.view.position, spacing=picture.spacing)
        assert breast is not None
        distances.append(np.linalg.norm(told.centers_mm - np.array(breast.nipple_mm), axis=1))
    for draw in range(asked.draws):
        said = characterised(images, draw)
        seen = [
            Seen(label, one, one.hits_of(told.centers_mm), told.answer[:, 0].numpy(), lines[told.candidate], far)
            for (label, one), told, lines, far in zip(images, marks, said, distances, strict=True)
        ]
        truth, own, other = masses(seen).T
        slope, offset = logistic(own[:, None], truth)
        own, other = slope * own + offset, slope * other + offset
        both = ~np.isnan(other)
        weights = logistic(np.column_stack([own, other])[both], truth[both])
        together = np.where(both, weights[0] * own + weights[1] * np.nan_to_num(other) + weights[2], own)
        print(
            f"{len(truth)} masses, {both.sum()} with a mark in the other view: AUC by one view "
            f"{auc(own, truth == 1):.3f}, by both {auc(together, truth == 1):.3f}; slopes own {weights[0]:.2f}, "
            f"other {weights[1]:.2f}, offset {weights[2]:.2f}"
        )


if __name__ == "__main__":
    main()
