"""The manifest: a CSV file that describes any collection of mammograms with its labels, one row an image.

Training and evaluation read collections through this module only. The columns, of which the first four are needed:

============== =====================================================================================================
path           the DICOM, PNG or JPEG file; relative paths begin at the manifest's folder
patient        who it is; the images of one patient never lie on both sides of a split
side           L or R
view           CC or MLO
group          what else must stay together, such as patients whose images were published twice; empty: the patient
row_mm         distance of pixel centres between rows; for PNG and JPEG, DICOM tells it itself
column_mm      the same between columns
age            years
cohort         the part of the collection that it belongs to, such as D1
classification malignant, benign or normal, of the breast; empty: unknown, which is not normal
abnormality    mass, calcification, both or none, of the breast; empty: unknown
subtype        luminal-a, luminal-b, her2-enriched or triple-negative; empty: unknown
lesions        JSON list of what was outlined on this image; [] where a reader looked and outlined nothing; empty:
               nobody outlined. A lesion is an object with ``kind`` (mass or calcification-cluster), one of
               ``polygon`` ([[column, row], ...]), ``box`` ([left, top, right, bottom]) or ``circle`` ([column, row,
               radius]) in image coordinates of `cmmd_node.facts`, and maybe ``classification``
fold           number of the cross-validation fold, the same for all of a group
excluded       why the image is left out of training and of figures; empty: it is used
source         whom to cite and under which licence it is; told wherever the image is used
============== =====================================================================================================
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmmd_node.facts import (
    BreastLabel,
    Classification,
    Kind,
    Laterality,
    PointCR,
    RowProblem,
    Spacing,
    Subtype,
    View,
    ViewPosition,
)
from cmmd_node.rows import Row, natural, read_rows

COLUMNS = (
    *("path", "patient", "side", "view", "group", "row_mm", "column_mm", "age", "cohort"),
    *("classification", "abnormality", "subtype", "lesions", "fold", "excluded", "source"),
)
NEEDED = COLUMNS[:4]
ABNORMALITIES = {
    "mass": frozenset({Kind.MASS}),
    "calcification": frozenset({Kind.CALCIFICATION_CLUSTER}),
    "both": frozenset(Kind),
    "none": frozenset(),
}
_CIRCLE_CORNERS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion that somebody outlined on an image."""

    kind: Kind
    outline_cr: tuple[PointCR, ...]
    """Corners of a polygon, the first not repeated; circles have 180."""
    classification: Classification | None = None
    """Of this lesion; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """One image of a collection and what is known of it."""

    path: Path
    patient: str
    view: View
    group: str
    """What a split must keep together; the patient where nothing else is told."""
    spacing: Spacing | None = None
    """Of a PNG or JPEG; None for DICOM, which tells it itself, or unknown."""
    age: int | None = None
    cohort: str | None = None
    label: BreastLabel = field(default_factory=BreastLabel)
    """Of the breast, not of this image."""
    lesions: tuple[Lesion, ...] | None = None
    """None: nobody outlined; empty: a reader looked and outlined nothing."""
    fold: int | None = None
    excluded: str | None = None
    """Why it is left out; None: it is used."""
    source: str | None = None
    """Whom to cite and under which licence it is."""

    @property
    def breast(self) -> tuple[str, Laterality]:
        """Patient and side: what labels are about."""
        return self.patient, self.view.laterality


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A collection."""

    images: tuple[LabelledImage, ...]
    problems: tuple[RowProblem, ...]
    sha256: str
    """Of the manifest file; the images' own digests are not in it."""


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; a row with a fault becomes a problem, the others are read.

    Raises
    ------
    NodeError
        The file is no CSV in UTF-8, a needed column is missing, a column is unknown, or it has no rows.
    """
    data = path.read_bytes()
    read: list[tuple[int, LabelledImage]] = []
    problems: list[RowProblem] = []
    for row in read_rows(path, data, columns=COLUMNS, needed=NEEDED):
        try:
            read.append((row.number, _image(row, path.parent)))
        except ValueError as error:
            problems.append(RowProblem(row.number, str(error)))
    images, disputed = _without_contradictions(read)
    problems = sorted([*problems, *disputed], key=lambda problem: problem.row)
    return Manifest(images=images, problems=tuple(problems), sha256=hashlib.sha256(data).hexdigest())


def write_manifest(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write images as a manifest that `read_manifest` reads back; paths below its folder become relative."""
    words = {kinds: word for word, kinds in ABNORMALITIES.items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for image in images:
            inside = image.path.is_relative_to(path.parent)
            writer.writerow(
                {
                    "path": (image.path.relative_to(path.parent) if inside else image.path).as_posix(),
                    "patient": image.patient,
                    "side": image.view.laterality,
                    "view": image.view.position,
                    "group": "" if image.group == image.patient else image.group,
                    "row_mm": image.spacing.row_mm if image.spacing else "",
                    "column_mm": image.spacing.column_mm if image.spacing else "",
                    "age": image.age,
                    "cohort": image.cohort,
                    "classification": image.label.classification,
                    "abnormality": "" if image.label.kinds is None else words[image.label.kinds],
                    "subtype": image.label.subtype,
                    "lesions": None if image.lesions is None else json.dumps([_lesion_json(o) for o in image.lesions]),
                    "fold": image.fold,
                    "excluded": image.excluded,
                    "source": image.source,
                }
            )


def circle_outline(column: float, row: float, radius: float) -> tuple[PointCR, ...]:
    """A circle as a polygon of 180 corners."""
    angles = [2.0 * math.pi * corner / _CIRCLE_CORNERS for corner in range(_CIRCLE_CORNERS)]
    return tuple((column + radius * math.cos(a), row + radius * math.sin(a)) for a in angles)


def _image(row: Row, folder: Path) -> LabelledImage:
    """One row as an image; ValueError says what is wrong with it."""
    path = folder / row.needed("path", Path, "a file")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    patient = row.needed("patient", str, "who it is")
    view = View(row.needed("side", Laterality, "L or R"), row.needed("view", ViewPosition, "CC or MLO"))
    mm = [row.value(name, float, "a number of millimetres") for name in ("row_mm", "column_mm")]
    if (mm[0] is None) != (mm[1] is None):
        raise ValueError("only one of row_mm and column_mm is given")
    return LabelledImage(
        path=path,
        patient=patient,
        view=view,
        group=row.text("group") or patient,
        spacing=None if mm[0] is None or mm[1] is None else Spacing(row_mm=mm[0], column_mm=mm[1]),
        age=row.value("age", natural, "a number of years"),
        cohort=row.text("cohort") or None,
        label=BreastLabel(
            classification=row.value("classification", Classification, "one of " + ", ".join(Classification)),
            kinds=row.value("abnormality", ABNORMALITIES.__getitem__, "one of " + ", ".join(ABNORMALITIES)),
            subtype=row.value("subtype", Subtype, "one of " + ", ".join(Subtype)),
        ),
        lesions=_lesions(row.text("lesions")),
        fold=row.value("fold", natural, "a whole number from 0"),
        excluded=row.text("excluded") or None,
        source=row.text("source") or None,
    )


def _lesions(text: str) -> tuple[Lesion, ...] | None:
    if not text:
        return None
    try:
        objects = json.loads(text)
    except ValueError as error:
        raise ValueError(f"lesions is not JSON: {error}") from error
    if not isinstance(objects, list):
        raise ValueError("lesions is not a JSON list")  # noqa: TRY004 - a fault of the row, not of the program
    return tuple(map(_lesion, objects))


def _lesion(value: Any) -> Lesion:
    shapes = {"polygon": _polygon, "box": _box, "circle": _circle}
    if not isinstance(value, dict) or not set(value) <= {"kind", "classification", *shapes}:
        raise ValueError(f"a lesion is {value!r}, not an object of kind, {', '.join(shapes)} and classification")
    given = [name for name in shapes if name in value]
    if value.get("kind") not in list(Kind) or len(given) != 1:
        raise ValueError(f"a lesion needs a kind ({', '.join(Kind)}) and one of {', '.join(shapes)}")
    try:
        outline = shapes[given[0]](value[given[0]])
        if not all(math.isfinite(number) for point in outline for number in point):
            raise ValueError("not finite")
    except (TypeError, ValueError) as error:
        raise ValueError(f"the {given[0]} of a lesion is {value[given[0]]!r}") from error
    classification = value.get("classification")
    if classification not in (None, *Classification):
        raise ValueError(f"the classification of a lesion is {classification!r}")
    return Lesion(
        kind=Kind(value["kind"]),
        outline_cr=outline,
        classification=None if classification is None else Classification(classification),
    )


def _polygon(points: Any) -> tuple[PointCR, ...]:
    outline = tuple((float(column), float(row)) for column, row in points)
    if len(outline) < 3:
        raise ValueError("fewer than 3 corners")
    return outline


def _box(corners: Any) -> tuple[PointCR, ...]:
    left, top, right, bottom = map(float, corners)
    if not (left < right and top < bottom):
        raise ValueError("empty")
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _circle(values: Any) -> tuple[PointCR, ...]:
    column, row, radius = map(float, values)
    if not radius > 0.0:
        raise ValueError("empty")
    return circle_outline(column, row, radius)


def _lesion_json(lesion: Lesion) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": lesion.kind.value, "polygon": [list(point) for point in lesion.outline_cr]}
    return told if lesion.classification is None else told | {"classification": lesion.classification.value}


def _without_contradictions(
    rows: list[tuple[int, LabelledImage]],
) -> tuple[tuple[LabelledImage, ...], list[RowProblem]]:
    """The images that contradict none before them, and a problem for each of the others."""
    kept: list[LabelledImage] = []
    problems: list[RowProblem] = []
    first: dict[tuple[str, Hashable], tuple[int, Any]] = {}
    for number, image in rows:
        facts: dict[tuple[str, Hashable], Any] = {
            ("the file came before,", image.path): number,
            ("the breast has another label", image.breast): image.label,
            ("the patient is in another group", image.patient): image.group,
            ("the group is in another fold", image.group): image.fold,
        }
        reasons = [
            f"{what[0]} in row {first[what][0]}"
            for what, told in facts.items()
            if what in first and first[what][1] != told
        ]
        if reasons:
            problems.append(RowProblem(number, "; ".join(reasons)))
            continue
        kept.append(image)
        for what, told in facts.items():
            first.setdefault(what, (number, told))
    return tuple(kept), problems
