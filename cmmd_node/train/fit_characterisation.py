"""The fitting of `Characterisation`: outlined masses with a known result in, two lines out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from cmmd_node.cad.characterisation import Characterisation, Line
from cmmd_node.train.prepared import PreparedImage

LEAST: Final = 50
"""Benign and as many malignant masses: fewer teach no line, and the networks alone tell."""
_RIDGE: Final = 150.0
"""By how many masses' worth of doubt the weights are drawn to 0; cross-validated on CBIS-DDSM, 100 to 300 do."""


@torch.no_grad()
def fit_characterisation(images: Sequence[PreparedImage], cohorts: Sequence[str | None]) -> Characterisation | None:
    """Fit both lines by least squares.

    Each mass counts once, as the mean of the candidates in it. Benign and malignant ones are compared within a cohort
    only: what tells the cohorts apart tells nothing of a mass, and a cohort that knows one result teaches nothing, not
    even how large masses are: taught that by CDD-CESM, whose outlines are others', the AUC on CBIS-DDSM was 0.02 less.

    Parameters
    ----------
    images
        Prepared for masses.
    cohorts
        Of the images.

    Returns
    -------
    Characterisation or None
        None where too few masses with a known result were outlined.
    """
    masses = [_masses(image) for image in images]
    together = [torch.from_numpy(np.concatenate(of_all)).double() for of_all in zip(*masses, strict=True)]
    numbers = {cohort: number for number, cohort in enumerate(dict.fromkeys(cohorts))}
    cohort = torch.tensor([numbers[one] for one, mass in zip(cohorts, masses, strict=True) for _ in mass[0]])
    malignant = together[3]
    told = malignant >= 0
    for number in range(len(numbers)):
        here = told & (cohort == number)
        if not 0.0 < float(malignant[here].sum()) < float(here.sum()):
            told &= ~here
    features, rings, log_radius, malignant, weight = (values[told] for values in together)
    if min(float(weight[malignant == result].sum()) for result in (0, 1)) < LEAST:
        return None
    fitted = Characterisation().double()
    _fit(fitted.log_radius, features, log_radius, weight, cohort[told])
    _fit(fitted.malignant, fitted.described(features, rings), malignant, weight, cohort[told])
    return fitted.float()


def _masses(image: PreparedImage) -> tuple[npt.NDArray[np.float32], ...]:
    """Of each candidate in a mass: features, rings, log radius of the mass, whether it is malignant, and its weight."""
    candidate, mass = np.nonzero(image.hits)
    sides = np.maximum(image.boxes_mm[mass, 1] - image.boxes_mm[mass, 0], 1.0)
    return (
        image.features[candidate],
        image.rings[candidate],
        np.log(sides).mean(axis=1) - np.float32(np.log(2.0)),
        image.malignant[mass].astype(np.float32),
        (1.0 / np.maximum(image.hits.sum(axis=0), 1))[mass].astype(np.float32),
    )


def _fit(line: Line, seen: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor, cohort: torch.Tensor) -> None:
    """Ridge regression with a level of its own for each cohort; the line is given the mean level."""
    mean, spread = _moments(seen, weight)
    line.center.copy_(mean)
    line.spread.copy_(spread + 1e-3)
    standard = line.standardised(seen)
    inner, target = standard.clone(), wanted.clone()
    for number in sorted(set(cohort.tolist())):
        here = cohort == number
        inner[here] -= _moments(standard[here], weight[here])[0]
        target[here] -= _moments(wanted[here, None], weight[here])[0]
    weighted = (inner * weight[:, None]).T
    slopes = torch.linalg.solve(weighted @ inner + _RIDGE * torch.eye(inner.shape[1]).double(), weighted @ target)
    level = _moments(wanted[:, None], weight)[0] - _moments(standard, weight)[0] @ slopes
    line.sum.weight.copy_(slopes[None])
    line.sum.bias.copy_(level)


def _moments(values: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean and standard deviation of each column."""
    share = (weight / weight.sum())[:, None]
    mean = (values * share).sum(dim=0)
    return mean, ((values - mean) ** 2 * share).sum(dim=0).sqrt()
