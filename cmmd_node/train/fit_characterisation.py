"""The fitting of `Characterisation`: outlined masses with a known result in, two lines out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from cmmd_node.cad.characterisation import Characterisation, Line
from cmmd_node.train.platt import platt
from cmmd_node.train.prepared import PreparedImage

LEAST: Final = 50
"""Benign and as many malignant masses: fewer teach no line, and the networks alone tell."""
_RIDGE: Final = 150.0
"""By how many masses' worth of doubt the weights are drawn to 0; cross-validated on CBIS-DDSM, 100 to 300 do."""


_PARTS: Final = 6
"""Patients are left out by a sixth at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class _Masses:
    """Candidates in masses, shape (n, ...) all."""

    features: torch.Tensor
    rings: torch.Tensor
    log_radius: torch.Tensor
    """Of the mass, from its outline."""
    malignant: torch.Tensor
    """1 or 0; -1 unknown."""
    weight: torch.Tensor
    """1 divided among the candidates in the mass."""
    cohort: torch.Tensor
    part: torch.Tensor
    """Which of `_PARTS` the patient is in."""

    def where(self, chosen: torch.Tensor) -> _Masses:
        return _Masses(*(getattr(self, field.name)[chosen] for field in fields(self)))


@torch.no_grad()
def fit_characterisation(
    images: Sequence[PreparedImage], cohorts: Sequence[str | None], groups: Sequence[str]
) -> Characterisation | None:
    """Fit both lines by least squares, and make what they say log odds.

    Each mass counts once, as the mean of the candidates in it. Benign and malignant ones are compared within a cohort
    only: what tells the cohorts apart tells nothing of a mass, and a cohort that knows one result teaches nothing, not
    even how large masses are: taught that by CDD-CESM, whose outlines are others', the AUC on CBIS-DDSM was 0.02 less.

    How steep the log odds are is told by what lines say that were fitted without the patient (Platt).

    Parameters
    ----------
    images
        Prepared for masses.
    cohorts, groups
        Of the images; what is in a group stays together, as the images of a patient should.

    Returns
    -------
    Characterisation or None
        None where too few masses with a known result were outlined, or nearly all in one patient.
    """
    masses = _taught(images, cohorts, groups)
    few = min(float(masses.weight[masses.malignant == result].sum()) for result in (0, 1)) < LEAST
    if few or int(masses.part.max()) + 1 < _PARTS:
        return None
    fitted, log_odds = _lines(masses), torch.zeros(len(masses.weight)).double()
    for part in range(_PARTS):
        left_out = masses.part == part
        seen = masses.where(left_out)
        log_odds[left_out] = _lines(masses.where(~left_out))(seen.features, seen.rings)
    offset, slope = platt(log_odds[:, None], masses.malignant, weight=masses.weight)
    fitted.malignant.sum.weight.mul_(slope)
    fitted.malignant.sum.bias.mul_(slope).add_(offset)
    return fitted.float()


def _taught(images: Sequence[PreparedImage], cohorts: Sequence[str | None], groups: Sequence[str]) -> _Masses:
    """The masses with a known result, of cohorts that know both."""
    seen = [_masses(image) for image in images]
    features, rings, log_radius, malignant, weight = (
        torch.from_numpy(np.concatenate(of_all)).double() for of_all in zip(*seen, strict=True)
    )
    counts = torch.tensor([len(one[0]) for one in seen])
    cohort, group = (_numbered(names).repeat_interleave(counts) for names in (cohorts, groups))
    told = malignant >= 0
    for number in set(cohort.tolist()):
        here = told & (cohort == number)
        if not 0.0 < float(malignant[here].sum()) < float(here.sum()):
            told &= ~here
    masses = _Masses(features, rings, log_radius, malignant, weight, cohort, group).where(told)
    _, counted = np.unique(masses.part.numpy(), return_inverse=True)
    return replace(masses, part=torch.from_numpy(counted % _PARTS))


def _numbered(names: Sequence[str | None]) -> torch.Tensor:
    """The same number for the same name, from 0 in the order in which they come."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def _lines(masses: _Masses) -> Characterisation:
    fitted = Characterisation().double()
    _fit(fitted.log_radius, masses.features, masses.log_radius, masses)
    _fit(fitted.malignant, fitted.described(masses.features, masses.rings), masses.malignant, masses)
    return fitted


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


def _fit(line: Line, seen: torch.Tensor, wanted: torch.Tensor, masses: _Masses) -> None:
    """Ridge regression with a level of its own for each cohort; the line is given the mean level."""
    weight, cohort = masses.weight, masses.cohort
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
