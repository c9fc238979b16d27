"""The networks of this program before they learnt anything: a baseline for evaluation, and for nothing else.

Whatever they find is owed to the candidates that they are given, not to training.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

import torch

from cmmd_node.cad.breast import Field
from cmmd_node.cad.classical import ClassicalDetector, breast_in, reported
from cmmd_node.cad.native import NativeFinder, Networks
from cmmd_node.cad.second_look import ARCHITECTURE, SecondLook, SecondLooks
from cmmd_node.facts import Kind, Mark, Model, Spacing, View

_SEED: Final = 0


class UntrainedDetector:
    """A `SecondLook` for each kind, with weights drawn by chance.

    Without a map of masses: to begin with it says of every place that nearly nothing is a mass, and marks would tie.
    """

    model: Model
    threshold: float = 0.5

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            networks = Networks({kind: SecondLooks([SecondLook(kind)]) for kind in Kind})
        digest = hashlib.sha256(f"{ARCHITECTURE} {_SEED} {ClassicalDetector().model.digest}".encode())
        self.model = Model(name="second-look-untrained", version="1", digest=digest.hexdigest())
        self._find = NativeFinder(networks)

    def marks(
        self, pixels: Field, *, view: View, spacing: Spacing | None, threshold: float | None = None
    ) -> tuple[Mark, ...]:
        """Mark by chance; as `ClassicalDetector.marks`, and without probabilities of malignancy."""
        breast = breast_in(pixels, view=view, spacing=spacing)
        if breast is None:
            return ()
        found = self._find(pixels, breast, view)
        marks = [replace(mark, probability_malignant=None, subtypes=None) for mark in found]
        return reported(marks, self.threshold if threshold is None else threshold)
