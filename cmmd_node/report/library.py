"""The Image Library: every image of the study, with what its header says of it (TID 4020)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cmmd_node.facts import Laterality, View, ViewPosition
from cmmd_node.report import codes, header
from cmmd_node.report.content import Item, Relation, code, date, image, num, text, time
from cmmd_node.report.srt import current_code

_ACQ = Relation.HAS_ACQ_CONTEXT

#: CID 6022
_SIDE = {
    "L": Code("80248007", "SCT", "Left breast"),
    "R": Code("73056007", "SCT", "Right breast"),
    "B": Code("63762007", "SCT", "Both breasts"),
}

_CC = Code("399162004", "SCT", "cranio-caudal")
_MLO = Code("399368009", "SCT", "medio-lateral oblique")
_POSITION = {ViewPosition.CC: _CC, ViewPosition.MLO: _MLO}

#: CID 4014
_VIEW = (
    Code("399260004", "SCT", "medial-lateral"),
    _MLO,
    Code("399352003", "SCT", "latero-medial"),
    Code("399099002", "SCT", "latero-medial oblique"),
    _CC,
    Code("399196006", "SCT", "caudo-cranial"),
    Code("399188001", "SCT", "superolateral to inferomedial oblique"),
    Code("441555000", "SCT", "inferomedial to superolateral oblique"),
    Code("399192008", "SCT", "cranio-caudal exaggerated laterally"),
    Code("399101009", "SCT", "cranio-caudal exaggerated medially"),
    Code("127457009", "SCT", "tissue specimen from breast"),
)

#: CID 4015
_MODIFIER = (
    Code("399161006", "SCT", "Cleavage"),
    Code("399011000", "SCT", "Axillary Tail"),
    Code("399197002", "SCT", "Rolled Lateral"),
    Code("399226006", "SCT", "Rolled Medial"),
    Code("414493004", "SCT", "Rolled Inferior"),
    Code("415670009", "SCT", "Rolled Superior"),
    Code("399209000", "SCT", "Implant Displaced"),
    Code("399163009", "SCT", "Magnification"),
    Code("399055006", "SCT", "Spot Compression"),
    Code("399110001", "SCT", "tangential"),
    Code("442581004", "SCT", "Nipple in profile"),
    Code("441752004", "SCT", "Anterior compression"),
    Code("442593008", "SCT", "Infra-mammary fold"),
    Code("442580003", "SCT", "Axillary tissue"),
)


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


def _member(value_set: Iterable[Code], found: Code) -> Code | None:
    current = current_code(found.value, found.scheme_designator)
    return next((code for code in value_set if (code.value, code.scheme_designator) == current), None)


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
