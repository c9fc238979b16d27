"""The network of this program before it learnt anything: a baseline for evaluation, and for nothing else.

Whatever it finds is owed to the candidates that it is given, not to training.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

import torch

from cmmd_node.cad.breast import Field
from cmmd_node.cad.classical import ClassicalDetector, breast_in, cluster_marks, reported
from cmmd_node.cad.native import NativeFinder
from cmmd_node.cad.second_look import ARCHITECTURE, SecondLook
from cmmd_node.facts import Mark, Model, Spacing, View

_SEED: Final = 0


class UntrainedDetector:
    """`SecondLook` with weights drawn by chance; calcification clusters are the classical detector's, as in bundles."""

    model: Model
    threshold: float = 0.5

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            network = SecondLook()
        torch.nn.init.zeros_(network.trust)  # or it would begin as the classical detector, which is another baseline
        digest = hashlib.sha256(f"{ARCHITECTURE} {_SEED} {ClassicalDetector().model.digest}".encode())
        self.model = Model(name="second-look-untrained", version="1", digest=digest.hexdigest())
        self._find = NativeFinder(network)

    def marks(
        self, pixels: Field, *, view: View, spacing: Spacing | None, threshold: float | None = None
    ) -> tuple[Mark, ...]:
        """Mark by chance; as `ClassicalDetector.marks`, and without probabilities of malignancy."""
        breast = breast_in(pixels, view=view, spacing=spacing)
        if breast is None:
            return ()
        marks = [replace(mark, probability_malignant=None) for mark in self._find(pixels, breast, view)]
        return reported([*marks, *cluster_marks(pixels, breast)], self.threshold if threshold is None else threshold)
