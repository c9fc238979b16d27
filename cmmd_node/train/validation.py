"""What networks are worth on images that were held out, and what is set by these: operating point and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cmmd_node.cad.mass_map import ANSWERS as MAP_ANSWERS
from cmmd_node.cad.mass_map import MassMap, added
from cmmd_node.cad.second_look import SecondLook
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
    kind: Kind, images: Sequence[PreparedImage], network: SecondLook, mass_map: MassMap | None, *, device: str = "cpu"
) -> list[torch.Tensor]:
    """What the networks of a kind say together of all candidates of each image, as `cad.native.judged`."""
    said = answers(kind, images, network, device=device)
    if mass_map is not None:
        for image, answer in zip(images, said, strict=True):
            answer[:, :MAP_ANSWERS] += added(image.sheets[0], torch.from_numpy(image.places_mm), mass_map).cpu()
    return said


def measure(images: Sequence[PreparedImage], said: Sequence[torch.Tensor]) -> dict[str, Any]:
    """FROC of the outlined lesions, and the AUC of malignant against benign ones that have a mark in them."""
    figures = froc(images, [answer[:, 0].numpy() for answer in said])
    log_odds, malignant = _of_lesions(images, said)
    if 0 < malignant.sum() < len(malignant):
        figures["auc_malignant"] = round(auc(log_odds.astype(np.float64), malignant == 1), 4)
        figures["lesions_with_result"] = len(malignant)
    return figures


def froc(images: Sequence[PreparedImage], log_odds: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Sensitivity at `RATES` over the images with outlines; nothing where nothing is outlined."""
    outlined = [number for number, image in enumerate(images) if image.outlined]
    if not any(len(images[number].malignant) for number in outlined):
        return {}
    found = sensitivities([images[number] for number in outlined], [log_odds[number] for number in outlined])
    return {f"sensitivity_at_{rate:g}": round(value, 4) for rate, value in zip(RATES, found, strict=True)}


def _of_lesions(
    images: Sequence[PreparedImage], said: Sequence[torch.Tensor]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Log odds of malignancy at the most suspicious mark in each lesion with a known result, and that result.

    Of a lesion that nobody outlined: at the most suspicious mark of all.
    """
    log_odds, malignant = [], []
    for image, answer in zip(images, said, strict=True):
        everywhere = np.ones((len(answer), 1), np.bool_)
        lesions, labels = (everywhere, [image.breast_malignant]) if image.weak else (image.hits, image.malignant)
        for lesion, label in zip(lesions.T, labels, strict=True):
            inside = np.flatnonzero(lesion)
            if label >= 0 and len(inside):
                log_odds.append(float(answer[inside[answer[inside, 0].argmax()], 1]))
                malignant.append(label)
    return np.array(log_odds, np.float32), np.array(malignant, np.int8)


@torch.no_grad()
def calibrate(kind: Kind, network: SecondLook, mass_map: MassMap | None, validation: Sequence[PreparedImage]) -> bool:
    """Set the last layers so that suspicion 0.5 means the usual false marks, and malignancy a probability (Platt).

    Returns
    -------
    bool
        Whether there were lesions enough for a probability.
    """
    said = judged(kind, validation, network, mass_map)
    false = [_false(image, answer[:, 0]) for image, answer in zip(validation, said, strict=True)]
    ranked = torch.cat(false).sort(descending=True).values
    if len(ranked):
        network.lesion.bias.sub_(ranked[min(round(_USUAL_FALSE_MARKS * len(validation)), len(ranked) - 1)])
    log_odds, malignant = _of_lesions(validation, said)
    if min((malignant == 1).sum(), (malignant == 0).sum()) < _ENOUGH:
        return False
    slope, offset = _platt(torch.from_numpy(log_odds), torch.from_numpy(malignant).float())
    network.malignant.weight *= slope
    network.malignant.bias.copy_(network.malignant.bias * slope + offset)
    if mass_map is not None:
        mass_map.share[1] *= slope
    return True


def _false(image: PreparedImage, log_odds: torch.Tensor) -> torch.Tensor:
    """Of the candidates that are no lesion; the most suspicious one is taken for that which nobody outlined."""
    if image.weak:
        return log_odds.sort().values[:-1]
    return log_odds[torch.from_numpy(~image.hits.any(axis=1))]


@torch.enable_grad()
def _platt(log_odds: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    line = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(line[0] * log_odds + line[1], truth)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(line[0].detach()), float(line[1].detach())
