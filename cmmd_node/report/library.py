"""The Image Library: every image of the study, with what its header says of it (TID 4020)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cmmd_node.facts import Laterality, View, ViewPosition
from cmmd_node.report import codes, header
from cmmd_node.report.content import Item, Relation, code, date, image, num, text, time

_ACQ = Relation.HAS_ACQ_CONTEXT

#: CID 6022
_SIDE = {
    "L": Code("80248007", "SCT", "Left breast"),
    "R": Code("73056007", "SCT", "Right breast"),
    "B": Code("63762007", "SCT", "Both breasts"),
}

#: CID 4014, by the code in SNOMED CT and the one that older devices write
_VIEW = {
    "R-10224": Code("399260004", "SCT", "medial-lateral"),
    "R-10226": Code("399368009", "SCT", "medio-lateral oblique"),
    "R-10228": Code("399352003", "SCT", "latero-medial"),
    "R-10230": Code("399099002", "SCT", "latero-medial oblique"),
    "R-10242": Code("399162004", "SCT", "cranio-caudal"),
    "R-10244": Code("399196006", "SCT", "caudo-cranial"),
    "R-102D0": Code("399188001", "SCT", "superolateral to inferomedial oblique"),
    "R-40AAA": Code("441555000", "SCT", "inferomedial to superolateral oblique"),
    "R-1024A": Code("399192008", "SCT", "cranio-caudal exaggerated laterally"),
    "R-1024B": Code("399101009", "SCT", "cranio-caudal exaggerated medially"),
    "G-8310": Code("127457009", "SCT", "tissue specimen from breast"),
}

#: CID 4015, likewise
_MODIFIER = {
    "R-102D2": Code("399161006", "SCT", "Cleavage"),
    "R-102D1": Code("399011000", "SCT", "Axillary Tail"),
    "R-102D3": Code("399197002", "SCT", "Rolled Lateral"),
    "R-102D4": Code("399226006", "SCT", "Rolled Medial"),
    "R-102CA": Code("414493004", "SCT", "Rolled Inferior"),
    "R-102C9": Code("415670009", "SCT", "Rolled Superior"),
    "R-102D5": Code("399209000", "SCT", "Implant Displaced"),
    "R-102D6": Code("399163009", "SCT", "Magnification"),
    "R-102D7": Code("399055006", "SCT", "Spot Compression"),
    "R-102C2": Code("399110001", "SCT", "tangential"),
    "R-40AB3": Code("442581004", "SCT", "Nipple in profile"),
    "P2-00161": Code("441752004", "SCT", "Anterior compression"),
    "R-40ABE": Code("442593008", "SCT", "Infra-mammary fold"),
    "R-40AB2": Code("442580003", "SCT", "Axillary tissue"),
}

_POSITION = {ViewPosition.CC: _VIEW["R-10242"], ViewPosition.MLO: _VIEW["R-10226"]}


def image_entry(ds: Dataset, view: View | None) -> Item:
    """CAD Image Library Entry (PS3.16 TID 4020; extensible, order significant).

    Parameters
    ----------
    ds
        The header; what it has not, or not as the standard wants it, has no row.
    view
        Laterality and view as they were read from the header by other means; taken when the coded ones are missing.
    """
    children = (
        *_laterality(ds, view.laterality if view else None),
        *_view(ds, view.position if view else None),
        *_orientation(ds),
        *_dates(ds),
        *_spacing(ds),
        *_size(ds),
    )
    return image(Relation.CONTAINS, ds.SOPClassUID, ds.SOPInstanceUID, children)  # row 1


def _laterality(ds: Dataset, known: Laterality | None) -> Iterator[Item]:
    side = _SIDE.get(header.text(ds, "ImageLaterality") or header.text(ds, "Laterality") or str(known))
    if side:
        yield code(_ACQ, codes.IMAGE_LATERALITY, side)  # row 2


def _view(ds: Dataset, known: ViewPosition | None) -> Iterator[Item]:
    for found, item in header.coded(ds, "ViewCodeSequence")[:1]:
        view = _member(_VIEW, found)
        if view:
            modifiers = [_member(_MODIFIER, modifier) for modifier, _ in header.coded(item, "ViewModifierCodeSequence")]
            rows = [code(Relation.HAS_CONCEPT_MOD, codes.IMAGE_VIEW_MODIFIER, value) for value in modifiers if value]
            yield code(_ACQ, codes.IMAGE_VIEW, view, rows)  # rows 3, 4
            return
    if known:
        yield code(_ACQ, codes.IMAGE_VIEW, _POSITION[known])  # row 3


def _member(value_set: dict[str, Code], found: Code) -> Code | None:
    if found.scheme_designator in {"SRT", "SNM3"}:
        return value_set.get(found.value)
    current = (code for code in value_set.values() if code.value == found.value)
    return next(current, None) if found.scheme_designator == "SCT" else None


def _orientation(ds: Dataset) -> Iterator[Item]:
    directions = header.patient_orientation(ds)
    if directions:
        yield text(_ACQ, codes.PATIENT_ORIENTATION_ROW, directions[0])  # row 5
        yield text(_ACQ, codes.PATIENT_ORIENTATION_COLUMN, directions[1])  # row 6


def _dates(ds: Dataset) -> Iterator[Item]:
    for build, name, keyword in (
        (date, codes.STUDY_DATE, "StudyDate"),  # row 7
        (time, codes.STUDY_TIME, "StudyTime"),  # row 8
        (date, codes.CONTENT_DATE, "ContentDate"),  # row 9
        (time, codes.CONTENT_TIME, "ContentTime"),  # row 10
    ):
        value = header.text(ds, keyword)
        if value:
            yield build(_ACQ, name, value)


def _spacing(ds: Dataset) -> Iterator[Item]:
    spacing = header.numbers(ds, "ImagerPixelSpacing", 2) or header.numbers(ds, "PixelSpacing", 2)
    if spacing and min(spacing) > 0:
        between_rows, between_columns = spacing
        yield num(_ACQ, codes.HORIZONTAL_PIXEL_SPACING, between_columns, codes.MILLIMETER)  # row 11
        yield num(_ACQ, codes.VERTICAL_PIXEL_SPACING, between_rows, codes.MILLIMETER)  # row 12


def _size(ds: Dataset) -> Iterator[Item]:
    size = (*header.numbers(ds, "Rows", 1), *header.numbers(ds, "Columns", 1))
    if len(size) == 2 and min(size) >= 1:
        yield num(_ACQ, codes.PIXEL_DATA_ROWS, int(size[0]), codes.PIXELS)  # row 27
        yield num(_ACQ, codes.PIXEL_DATA_COLUMNS, int(size[1]), codes.PIXELS)  # row 28
