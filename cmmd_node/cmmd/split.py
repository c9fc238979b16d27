"""The published split: five folds of patients, the same for everybody who reports figures on CMMD.

`split.csv` beside this module is the split; its sha256 belongs into every report. It also tells which breasts each
patient of the collection has, which is what a complete download holds. `make_split` made it, and makes it again from
the label sheet and the images' headers:

1. Patients who share images are one group, and a group is never divided.
2. Groups with the same cohort, classifications and abnormalities are a stratum. Within it they are put in order of
   subtype and then of the sha256 of seed and name, which is as good as chance and the same everywhere.
3. Each goes to the fold that has fewest patients of its stratum so far; of those, to the one with fewest patients.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from cmmd_node.cmmd.known import cohort_of, group_of
from cmmd_node.cmmd.labels import LabelledBreast
from cmmd_node.facts import Laterality

FOLDS: Final = 5
_SEED: Final = "cmmd-node split 1"
_COLUMNS: Final = ("patient", "sides", "group", "fold")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One patient of the collection."""

    patient_id: str
    sides: tuple[Laterality, ...]
    """The breasts that there are images of, each in CC and MLO."""
    group: str
    fold: int


@dataclass(frozen=True, slots=True)
class Split:
    """The fold of each patient."""

    rows: dict[str, SplitRow]
    sha256: str
    """Of the file."""


@cache
def read_split() -> Split:
    """The split that comes with this program."""
    data = (files("cmmd_node.cmmd") / "split.csv").read_bytes()
    rows = {
        row["patient"]: SplitRow(row["patient"], tuple(map(Laterality, row["sides"])), row["group"], int(row["fold"]))
        for row in csv.DictReader(io.StringIO(data.decode("ascii"), newline=""))
    }
    return Split(rows, hashlib.sha256(data).hexdigest())


def make_split(breasts: Iterable[LabelledBreast], sides: Iterable[tuple[str, Laterality]]) -> str:
    """The content of `split.csv`.

    Parameters
    ----------
    breasts
        Rows of the label sheet.
    sides
        Patient and side of each breast that there are images of.
    """
    of_patient: dict[str, set[Laterality]] = {}
    for patient_id, side in sides:
        of_patient.setdefault(patient_id, set()).add(side)
    labels: dict[str, list[LabelledBreast]] = {group_of(patient_id): [] for patient_id in of_patient}
    members: dict[str, list[str]] = {group: [] for group in labels}
    for patient_id in sorted(of_patient):
        members[group_of(patient_id)].append(patient_id)
    for breast in breasts:
        labels[group_of(breast.patient_id)].append(breast)

    folds: dict[str, int] = {}
    of_stratum: Counter[tuple[tuple[str, ...], int]] = Counter()
    of_fold: Counter[int] = Counter()
    order = sorted(labels, key=lambda group: (_stratum(group, labels[group]), _subtype(labels[group]), _chance(group)))
    for group in order:
        stratum, count = _stratum(group, labels[group]), len(members[group])
        fold = min(range(FOLDS), key=lambda fold: (of_stratum[stratum, fold], of_fold[fold], fold))
        folds[group] = fold
        of_stratum[stratum, fold] += count
        of_fold[fold] += count
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for patient_id in sorted(of_patient):
        group = group_of(patient_id)
        writer.writerow((patient_id, "".join(sorted(of_patient[patient_id])), group, folds[group]))
    return file.getvalue()


def _stratum(group: str, breasts: Iterable[LabelledBreast]) -> tuple[str, ...]:
    """Cohort, and what the sheet says of all the group's breasts together."""
    classifications: set[str] = set()
    kinds: set[str] = set()
    for breast in breasts:
        classifications.add(str(breast.label.classification))
        kinds.update(breast.label.kinds or ())
    return cohort_of(group), "+".join(sorted(classifications)), "+".join(sorted(kinds))


def _subtype(breasts: Iterable[LabelledBreast]) -> str:
    return min((breast.label.subtype for breast in breasts if breast.label.subtype), default="")


def _chance(group: str) -> str:
    return hashlib.sha256(f"{_SEED}/{group}".encode()).hexdigest()
