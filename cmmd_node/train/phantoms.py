"""A collection of phantoms in the shape of CMMD: DICOM files and label sheet, and a manifest that knows the truth.

::

    CMMD/D1-2001/1-1.dcm ...             as the archive's download has them
    CMMD_clinicaldata_revision.xlsx      the label sheet
    manifest.csv                         the same with every lesion outlined and five folds

Where it differs from CMMD: all cancers have a subtype, malignancy depends on neither part, age nor number of images,
and breasts without a label are known to hold no lesion, since nobody drew one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import openpyxl

from cmmd_node.cmmd.known import SHEET_NAME, cohort_of
from cmmd_node.cmmd.labels import COLUMNS
from cmmd_node.errors import NodeError
from cmmd_node.facts import BreastLabel, Subtype
from cmmd_node.phantom.cases import MOST_CASES, Case
from cmmd_node.phantom.datasets import to_dataset
from cmmd_node.phantom.exam import PhantomView
from cmmd_node.phantom.simulate import simulate
from cmmd_node.train.manifest import ABNORMALITIES, LabelledImage, Lesion, write_manifest

FOLDS: Final = 5
MANIFEST: Final = "manifest.csv"
_SUBTYPE_WORDS: Final = {
    Subtype.LUMINAL_A: "Luminal A",
    Subtype.LUMINAL_B: "Luminal B",
    Subtype.HER2_ENRICHED: "HER2-enriched",
    Subtype.TRIPLE_NEGATIVE: "triple negative",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written."""

    folder: Path
    patients: int
    images: int


def write_phantoms(
    folder: Path, *, patients: int, seed: int, tell: Callable[[int, int], None] = lambda done, all_: None
) -> Written:
    """Draw a collection; the same seed gives the same patients, and a larger number the same ones and more.

    Parameters
    ----------
    folder : Path
        Must be empty or not exist.
    tell
        Called with how many patients are done and how many there are.

    Raises
    ------
    NodeError
        Something is there already, or too many patients are wanted.
    """
    if folder.exists() and any(folder.iterdir()):
        raise NodeError(f"{folder} is not empty")
    if patients > MOST_CASES:
        raise NodeError(f"{patients} patients are wanted; CMMD's way of numbering has room for {MOST_CASES}")
    images: list[LabelledImage] = []
    rows: list[tuple[Any, ...]] = []
    for number in range(patients):
        case = Case.from_seed(seed, number)
        of_patient = folder / "CMMD" / case.patient_id
        of_patient.mkdir(parents=True)
        for image_number, view in enumerate(simulate(case), start=1):
            path = of_patient / f"1-{image_number}.dcm"
            study = f"case {seed} {number}"
            ds = to_dataset(view, study=study, patient_id=case.patient_id, age=case.age, instance_number=image_number)
            ds.save_as(path, enforce_file_format=True)
            images.append(_labelled(case, view, path))
        rows.append(_row(case))
        tell(number + 1, patients)
    _write_sheet(folder / SHEET_NAME, rows)
    write_manifest(folder / MANIFEST, images)
    return Written(folder=folder, patients=patients, images=len(images))


def _labelled(case: Case, view: PhantomView, path: Path) -> LabelledImage:
    known = view.view.laterality is case.laterality
    label = BreastLabel(classification=case.classification, kinds=case.kinds, subtype=case.subtype)
    return LabelledImage(
        path=path,
        patient=case.patient_id,
        view=view.view,
        group=case.patient_id,
        age=case.age,
        cohort=cohort_of(case.patient_id),
        label=label if known else BreastLabel(),
        lesions=tuple(
            Lesion(kind=truth.kind, outline_cr=truth.outline_cr, classification=case.classification)
            for truth in view.truths
        ),
        fold=case.number % FOLDS,
        source=f"phantoms of cmmd-node, seed {case.seed}: no patients",
    )


def _row(case: Case) -> tuple[Any, ...]:
    abnormality = next(word for word, kinds in ABNORMALITIES.items() if kinds == case.kinds)
    subtype = _SUBTYPE_WORDS[case.subtype] if case.subtype else None
    classification = case.classification.value.capitalize()
    return (case.patient_id, case.laterality.value, case.age, 2, abnormality, classification, subtype)


def _write_sheet(path: Path, rows: list[tuple[Any, ...]]) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(COLUMNS)
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
