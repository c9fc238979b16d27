"""What networks are worth on images that were held out, and what is set by these: operating point and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch

from cmmd_node.cad.native import Networks, completed
from cmmd_node.cad.second_look import ANSWERS, SecondLook
from cmmd_node.facts import Kind
from cmmd_node.train.fit import RATES, answers, sensitivities
from cmmd_node.train.platt import platt
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.roc import auc

_USUAL_FALSE_MARKS = 1.0
"""False marks per validation image at suspicion 0.5."""
MAP_SHARE: Final = torch.tensor([1.6, 1.0])
"""By what answers of the maps are multiplied before they are added to those of a second look.

The focal loss draws log odds of lesions towards 0: it is least where they are those of the truth divided by 2.7. Part
of what the map says the second look has said as well; held-out images of CBIS-DDSM chose 1.6, and 1 is about as good.
Log odds of malignancy are what they are.
"""
_ENOUGH = 20
"""Benign and as many malignant lesions of a kind on images that validate: fewer calibrate no probability."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What was told of the marks in one image, and which lesions they lie in."""

    answer: torch.Tensor
    """Shape (marks, answers), that it is a lesion first."""
    hits: npt.NDArray[np.bool_]
    """Shape (marks, lesions)."""


@torch.inference_mode()
def judged(kind: Kind, images: Sequence[PreparedImage], networks: Networks, *, device: str = "cpu") -> list[Told]:
    """What the networks of a kind tell together of each image, as `cad.native.judged`."""
    said = []
    for image, answer in zip(images, answers(kind, images, networks.second_looks[kind], device=device), strict=True):
        marks = completed(kind, image, answer, networks)
        hits = image.hits_of(marks.centers_mm) if kind is Kind.MASS else image.hits[marks.candidate]
        said.append(Told(marks.answer, hits))
    return said


def measure(images: Sequence[PreparedImage], said: Sequence[Told]) -> dict[str, Any]:
    """FROC of the outlined lesions, and the AUC of malignant against benign ones that have a mark in them."""
    figures = froc(images, said)
    told, malignant = _of_lesions(images, said)
    if 0 < malignant.sum() < len(malignant):
        figures["auc_malignant"] = round(auc(told[:, 1].double().numpy(), malignant.numpy() == 1), 4)
        figures["lesions_with_result"] = len(malignant)
    return figures


def froc(images: Sequence[PreparedImage], said: Sequence[Told]) -> dict[str, Any]:
    """Sensitivity at `RATES` over the images with outlines; nothing where nothing is outlined."""
    outlined = [told for image, told in zip(images, said, strict=True) if image.outlined]
    if not any(told.hits.shape[1] for told in outlined):
        return {}
    found = sensitivities([told.hits for told in outlined], [told.answer[:, 0].numpy() for told in outlined])
    return {f"sensitivity_at_{rate:g}": round(value, 4) for rate, value in zip(RATES, found, strict=True)}


def _of_lesions(images: Sequence[PreparedImage], said: Sequence[Told]) -> tuple[torch.Tensor, torch.Tensor]:
    """What is said of the most suspicious mark in each lesion with a known result, and that result.

    Of a lesion that nobody outlined: of the most suspicious mark of all.
    """
    told, malignant = [], []
    for image, one in zip(images, said, strict=True):
        everywhere = np.ones((len(one.answer), 1), np.bool_)
        lesions, labels = (everywhere, [image.breast_malignant]) if image.weak else (one.hits, image.malignant)
        for lesion, label in zip(lesions.T, labels, strict=True):
            inside = np.flatnonzero(lesion)
            if label >= 0 and len(inside):
                told.append(one.answer[inside[one.answer[inside, 0].argmax()]])
                malignant.append(float(label))
    return torch.stack(told).float() if told else torch.empty(0, ANSWERS), torch.tensor(malignant)


@torch.no_grad()
def calibrate(kind: Kind, networks: Networks, validation: Sequence[PreparedImage]) -> bool:
    """Set the last layers so that suspicion 0.5 means the usual false marks, and malignancy a probability (Platt).

    The characterisation is calibrated by more lesions than these, and left as it is; how much second look and maps add
    to it is set here.

    Returns
    -------
    bool
        Whether there were lesions enough for a probability.
    """
    second_looks = cast("Iterable[SecondLook]", networks.second_looks[kind].members)
    mass_maps, characterisation = networks.mass_maps, networks.characterisation
    said = judged(kind, validation, networks)
    ranked = (
        torch.cat([_false(image, told) for image, told in zip(validation, said, strict=True)])
        .sort(descending=True)
        .values
    )
    if len(ranked):
        usual = ranked[min(round(_USUAL_FALSE_MARKS * len(validation)), len(ranked) - 1)]
        for second_look in second_looks:
            second_look.lesion.bias.sub_(usual)
    told, malignant = _of_lesions(validation, said)
    if min((malignant == 1).sum(), (malignant == 0).sum()) < _ENOUGH:
        return False
    by_rings = torch.zeros(len(told))
    if characterisation is not None:
        without = _of_lesions(validation, judged(kind, validation, replace(networks, characterisation=None)))[0]
        by_rings = told[:, 1] - without[:, 1]
    offset, slope = platt((told[:, 1] - by_rings)[:, None], malignant, known=by_rings)
    for second_look in second_looks:
        second_look.malignant.weight *= slope
        second_look.malignant.bias.copy_(second_look.malignant.bias * slope + offset)
    if mass_maps is not None:
        mass_maps.share[1].mul_(slope)
    return True


def _false(image: PreparedImage, told: Told) -> torch.Tensor:
    """Log odds of the marks that are no lesion; the most suspicious one is taken for that which nobody outlined."""
    log_odds = told.answer[:, 0]
    if image.weak:
        return log_odds.sort().values[:-1]
    return log_odds[torch.from_numpy(~told.hits.any(axis=1))]
