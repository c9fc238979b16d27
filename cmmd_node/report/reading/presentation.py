"""A Grayscale Softcopy Presentation State in words: on which image it draws, what and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from cmmd_node.report.reading.words import BREASTS, extent, numbers, tracking_of


def presentation_lines(ds: Dataset) -> Iterator[str]:
    """Side and label of the state, then the drawings on each image."""
    yield f"  {BREASTS.get(str(ds.get('Laterality') or ''), 'side not said')}"
    label = [str(ds.get(keyword) or "") for keyword in ("ContentLabel", "ContentDescription")]
    yield f"  {': '.join(filter(None, label)) or 'no label'}"
    listed = [
        _uid(reference)
        for series in ds.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedImageSequence") or ()
    ]
    annotations = list(ds.get("GraphicAnnotationSequence") or ())
    # an annotation that names no image belongs to all (PS3.3 C.10.5)
    drawn = [(annotation, [_uid(one) for one in _images(annotation)] or listed) for annotation in annotations]
    for uid in dict.fromkeys([*listed, *(uid for _, uids in drawn for uid in uids)]):
        lines = [line for annotation, uids in drawn if uid in uids for line in _annotation_lines(annotation)]
        yield f"  image {uid}"
        yield from (f"    {line}" for line in lines or ["no marks"])


def _images(annotation: Dataset) -> Sequence[Dataset]:
    return annotation.get("ReferencedImageSequence") or ()


def _uid(reference: Dataset) -> str:
    return str(reference.get("ReferencedSOPInstanceUID", ""))


def _annotation_lines(annotation: Dataset) -> Iterator[str]:
    """A line for each graphic with the text that is drawn for it; where they do not pair off, one for each."""
    graphics = list(annotation.get("GraphicObjectSequence") or ())
    texts = [str(one.get("UnformattedTextValue") or "") for one in annotation.get("TextObjectSequence") or ()]
    paired = len(graphics) == len(texts)
    for number, graphic in enumerate(graphics):
        place = extent(numbers(graphic))
        if graphic.get("GraphicAnnotationUnits") == "DISPLAY":
            place = "" if not place else f"{place} of the display"
        words = (texts[number] if paired else str(graphic.get("GraphicType") or "").lower(), place)
        yield ", ".join(filter(None, words)) + tracking_of(graphic)
    yield from () if paired else (text for text in texts if text)
