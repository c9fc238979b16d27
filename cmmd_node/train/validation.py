"""What networks are worth on images that were held out, and what is set by these: operating point and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cmmd_node.cad.mass_map import ANSWERS as MAP_ANSWERS
from cmmd_node.cad.mass_map import added
from cmmd_node.cad.native import Networks
from cmmd_node.cad.second_look import ANSWERS
from cmmd_node.facts import Kind
from cmmd_node.train.fit import RATES, answers, sensitivities
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.roc import auc

_USUAL_FALSE_MARKS = 1.0
"""False marks per validation image at suspicion 0.5."""
MAP_SHARE: Final = torch.tensor([1.6, 1.0])
"""By what answers of the map are multiplied before they are added to those of a second look.

The focal loss draws log odds of lesions towards 0: it is least where they are those of the truth divided by 2.7. Part
of what the map says the second look has said as well; held-out images of CBIS-DDSM chose 1.6, and 1 is about as good.
Log odds of malignancy are what they are.
"""
_ENOUGH = 20
"""Benign and as many malignant lesions of a kind on images that validate: fewer calibrate no probability."""


@torch.inference_mode()
def judged(
    kind: Kind, images: Sequence[PreparedImage], networks: Networks, *, device: str = "cpu"
) -> list[torch.Tensor]:
    """What the networks of a kind say together of all candidates of each image, as `cad.native.judged`."""
    said = answers(kind, images, networks.second_looks[kind], device=device)
    for image, answer in zip(images, said, strict=True) if kind is Kind.MASS else ():
        if networks.mass_map is not None:
            places = torch.from_numpy(image.places_mm)
            answer[:, :MAP_ANSWERS] += added(image.sheets[0], places, networks.mass_map).cpu()
        if networks.characterisation is not None:
            answer[:, 1] += networks.characterisation(torch.from_numpy(image.features), torch.from_numpy(image.rings))
    return said


def measure(images: Sequence[PreparedImage], said: Sequence[torch.Tensor]) -> dict[str, Any]:
    """FROC of the outlined lesions, and the AUC of malignant against benign ones that have a mark in them."""
    figures = froc(images, [answer[:, 0].numpy() for answer in said])
    told, malignant = _of_lesions(images, said)
    if 0 < malignant.sum() < len(malignant):
        figures["auc_malignant"] = round(auc(told[:, 1].double().numpy(), malignant.numpy() == 1), 4)
        figures["lesions_with_result"] = len(malignant)
    return figures


def froc(images: Sequence[PreparedImage], log_odds: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Sensitivity at `RATES` over the images with outlines; nothing where nothing is outlined."""
    outlined = [number for number, image in enumerate(images) if image.outlined]
    if not any(len(images[number].malignant) for number in outlined):
        return {}
    found = sensitivities([images[number] for number in outlined], [log_odds[number] for number in outlined])
    return {f"sensitivity_at_{rate:g}": round(value, 4) for rate, value in zip(RATES, found, strict=True)}


def _of_lesions(images: Sequence[PreparedImage], said: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What is said of the most suspicious mark in each lesion with a known result, and that result.

    Of a lesion that nobody outlined: of the most suspicious mark of all.
    """
    told, malignant = [], []
    for image, answer in zip(images, said, strict=True):
        everywhere = np.ones((len(answer), 1), np.bool_)
        lesions, labels = (everywhere, [image.breast_malignant]) if image.weak else (image.hits, image.malignant)
        for lesion, label in zip(lesions.T, labels, strict=True):
            inside = np.flatnonzero(lesion)
            if label >= 0 and len(inside):
                told.append(answer[inside[answer[inside, 0].argmax()]])
                malignant.append(float(label))
    return torch.stack(told) if told else torch.empty(0, ANSWERS), torch.tensor(malignant)


@torch.no_grad()
def calibrate(kind: Kind, networks: Networks, validation: Sequence[PreparedImage]) -> bool:
    """Set the last layers so that suspicion 0.5 means the usual false marks, and malignancy a probability (Platt).

    How much second look and map on one side and the characterisation on the other count for malignancy is set by the
    same lesions.

    Returns
    -------
    bool
        Whether there were lesions enough for a probability.
    """
    second_look, characterisation = networks.second_looks[kind], networks.characterisation
    mass_map = networks.mass_map
    said = judged(kind, validation, networks)
    false = [_false(image, answer[:, 0]) for image, answer in zip(validation, said, strict=True)]
    ranked = torch.cat(false).sort(descending=True).values
    if len(ranked):
        second_look.lesion.bias.sub_(ranked[min(round(_USUAL_FALSE_MARKS * len(validation)), len(ranked) - 1)])
    told, malignant = _of_lesions(validation, said)
    if min((malignant == 1).sum(), (malignant == 0).sum()) < _ENOUGH:
        return False
    parts = told[:, 1:2]
    if characterisation is not None:
        without = _of_lesions(validation, judged(kind, validation, replace(networks, characterisation=None)))[0][:, 1:2]
        parts = torch.cat([without, parts - without], dim=1)
    offset, *slopes = _platt(parts, malignant)
    second_look.malignant.weight *= slopes[0]
    second_look.malignant.bias.copy_(second_look.malignant.bias * slopes[0] + offset)
    if mass_map is not None:
        mass_map.share[1].mul_(slopes[0])
    if characterisation is not None:
        characterisation.malignant.sum.weight.mul_(slopes[1])
        characterisation.malignant.sum.bias.mul_(slopes[1])
    return True


def _false(image: PreparedImage, log_odds: torch.Tensor) -> torch.Tensor:
    """Of the candidates that are no lesion; the most suspicious one is taken for that which nobody outlined."""
    if image.weak:
        return log_odds.sort().values[:-1]
    return log_odds[torch.from_numpy(~image.hits.any(axis=1))]


@torch.enable_grad()
def _platt(parts: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Offset and slopes with which the parts of the log odds, shape (n, parts), add up to those of the truth."""
    parts = torch.cat([torch.ones(len(parts), 1), parts], dim=1)
    line = torch.ones(parts.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(parts @ line, truth)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    told: list[float] = line.tolist()
    return told
