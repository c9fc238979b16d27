"""Which detector speaks: the classical one, or what a model bundle brings, the built-in one among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from cmmd_node.cad import golden
from cmmd_node.cad.both_views import BothViews
from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.bundle import Bundle, Way, bundle_named
from cmmd_node.cad.classical import ClassicalDetector, breast_in, cluster_marks, reported
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Kind, Mark, Model, Spacing, View
from cmmd_node.settings import CLASSICAL

_DECIDING: Final = {
    Way.NATIVE: (
        "both_views.py",
        "candidates.py",
        "characterisation.py",
        "margins.py",
        "mass_map.py",
        "native.py",
        "patches.py",
        "second_look.py",
        "specks.py",
    ),
    Way.EXPORTED: ("both_views.py", "exported.py"),
    Way.COMMAND: ("both_views.py", "command.py"),
}
"""Files that decide the answers of a bundle, besides its own and those of the classical detector."""


class Detector(Protocol):
    """Finds what is suspicious in one view; `ClassicalDetector.marks` says how."""

    model: Model
    threshold: float

    def marks(
        self, pixels: Field, *, view: View, spacing: Spacing | None, threshold: float | None = None
    ) -> tuple[Mark, ...]: ...


Finder = Callable[[Field, Breast, View], list[Mark]]
"""What a bundle brings: every mark of its kinds, whatever its suspicion, on a breast that was found."""


def open_detector(bundle: str) -> Detector:
    """The detector that the setting names: "builtin", "classical" or the folder of a bundle.

    Raises
    ------
    BundleRefused
        The bundle cannot be used, or does not answer as it did when it was made.
    """
    return ClassicalDetector() if bundle == CLASSICAL else BundleDetector(bundle_named(bundle))


def model_of(bundle: str) -> Model:
    """Who would speak, without opening the model.

    Raises
    ------
    BundleRefused
        The bundle's files are not what they should be.
    """
    return ClassicalDetector().model if bundle == CLASSICAL else _model(bundle_named(bundle))


def both_views_of(bundle: str) -> BothViews | None:
    """How the model weighs both views of a breast, as its bundle says.

    Raises
    ------
    BundleRefused
        The bundle's files are not what they should be.
    """
    return None if bundle == CLASSICAL else bundle_named(bundle).metadata.both_views


class BundleDetector:
    """The model of a bundle; where it does not look for calcification clusters the classical detector does."""

    model: Model
    threshold: float

    def __init__(self, bundle: Bundle, *, proven: bool = True) -> None:
        """Open a bundle that was read.

        Parameters
        ----------
        proven : bool, optional
            Whether it must repeat its golden marks; only who writes them says no.
        """
        self.model = _model(bundle)
        self.threshold = bundle.metadata.threshold
        self._bundle = bundle
        self._find = _finder(bundle)
        if proven:
            golden.compare(bundle, self.marks)

    def marks(
        self, pixels: Field, *, view: View, spacing: Spacing | None, threshold: float | None = None
    ) -> tuple[Mark, ...]:
        """Mark what looks suspicious in one view; as `ClassicalDetector.marks`.

        Raises
        ------
        NotAnalysed
            The spacing is not known.
        ModelFault
            The model's answer is none.
        """
        breast = breast_in(pixels, view=view, spacing=spacing)
        if breast is None:
            return ()
        metadata = self._bundle.metadata
        try:
            marks = self._find(pixels, breast, view)
        except (ModelFault, ValueError, RuntimeError) as error:  # RuntimeError is what torch raises
            raise ModelFault(f"model {self._bundle.label}: {error}") from error
        if not metadata.probability_malignant:
            marks = [replace(mark, probability_malignant=None) for mark in marks]
        if not metadata.subtypes:
            marks = [replace(mark, subtypes=None) for mark in marks]
        if Kind.CALCIFICATION_CLUSTER not in metadata.kinds:
            marks = [*marks, *cluster_marks(pixels, breast)]
        return reported(marks, self.threshold if threshold is None else threshold)


def _model(bundle: Bundle) -> Model:
    code = hashlib.sha256(ClassicalDetector().model.digest.encode())
    for name in _DECIDING[bundle.metadata.kind]:
        code.update((Path(__file__).parent / name).read_bytes())
    return bundle.model(code=code.hexdigest())


def _finder(bundle: Bundle) -> Finder:
    """Opens the model; torch is loaded only for those that need it."""
    if bundle.metadata.kind is Way.COMMAND:
        from cmmd_node.cad.command import CommandFinder  # noqa: PLC0415

        return CommandFinder(bundle)
    if bundle.metadata.kind is Way.EXPORTED:
        from cmmd_node.cad.exported import ExportedFinder  # noqa: PLC0415

        return ExportedFinder(bundle)
    from cmmd_node.cad.native import NativeFinder, open_networks  # noqa: PLC0415

    return NativeFinder(open_networks(bundle))
