"""Labels and images of the collection brought together, breast by breast, with whatever does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cmmd_node.cmmd.images import CmmdImage, by_breast
from cmmd_node.cmmd.known import cohort_of
from cmmd_node.cmmd.labels import LabelledBreast, LabelSheet
from cmmd_node.facts import BreastLabel, Laterality

#: In this part of the collection only the breast with the cancer is labelled.
_UNLABELLED_SIDES = "D2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breast:
    """A breast that there are images of."""

    patient_id: str
    laterality: Laterality
    images: tuple[CmmdImage, ...]
    row: LabelledBreast | None
    """None: the sheet says nothing about it. It is unknown and never counts as benign."""

    @property
    def label(self) -> BreastLabel:
        return self.row.label if self.row else BreastLabel()

    @property
    def age(self) -> int | None:
        ages = [image.age for image in self.images if image.age is not None]
        return self.row.age if self.row else next(iter(ages), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """All breasts that there are images of."""

    breasts: tuple[Breast, ...]
    problems: tuple[str, ...]
    """Rows of the sheet that cannot be read or that have no images, images that should have a label, and images that
    contradict their row; a sentence each."""

    @property
    def labelled(self) -> tuple[Breast, ...]:
        return tuple(breast for breast in self.breasts if breast.row)


def join(sheet: LabelSheet, images: Iterable[CmmdImage]) -> Joined:
    """Bring labels to images by Patient ID and Image Laterality."""
    rows = {(row.patient_id, row.laterality): row for row in sheet.breasts}
    breasts = tuple(
        Breast(patient_id=patient_id, laterality=side, images=tuple(found), row=rows.get((patient_id, side)))
        for (patient_id, side), found in by_breast(images).items()
    )
    with_images = {(breast.patient_id, breast.laterality) for breast in breasts}
    patients = {breast.patient_id for breast in breasts}
    with_label = {row.patient_id for row in sheet.breasts}
    problems = [f"label sheet, {problem}" for problem in sheet.problems]
    for key, row in rows.items():
        if key not in with_images:
            lacking = "there is no image of this breast" if row.patient_id in patients else "the patient has no images"
            problems.append(f"label sheet, row {row.row}: {row.patient_id} {row.laterality}: {lacking}")
    for breast in breasts:
        name = f"{breast.patient_id} {breast.laterality}"
        if breast.row is not None:
            problems += [f"label sheet, row {breast.row.row}: {name}: {fault}" for fault in _faults(breast, breast.row)]
        elif breast.patient_id not in with_label:
            problems.append(f"{name}: there are images, and no label of the patient")
        elif cohort_of(breast.patient_id) != _UNLABELLED_SIDES:
            problems.append(f"{name}: there are images, and no label of this breast")
    return Joined(breasts=breasts, problems=tuple(problems))


def _faults(breast: Breast, row: LabelledBreast) -> list[str]:
    faults = []
    if len(breast.images) != row.number:
        faults.append(f"number is {row.number}, but there are {len(breast.images)} images")
    ages = {image.age for image in breast.images if image.age is not None}
    if ages - {row.age}:
        faults.append(f"Age is {row.age}, but the headers say {', '.join(map(str, sorted(ages)))}")
    return faults
