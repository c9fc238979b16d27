"""A Grayscale Softcopy Presentation State: what it is about, what it shows, where it draws (PS3.3 A.33.1).

Ours is about one image, shows it whole and as its header wants it, and has a closed outline and a text for each mark;
others may show several images, parts of them, with a window of their own, and draw what they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from pydicom.dataset import Dataset

from cmmd_node.report import header
from cmmd_node.report.check.faults import Fault
from cmmd_node.report.check.tree import inside

_RULE = "PS3.3 A.33.1"


def presentation_faults(ds: Dataset, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Check references, grayscale and drawings.

    Parameters
    ----------
    images
        Headers of the images that it may be about, as far as they are known: drawings lie inside of them.
    """
    listed = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedImageSequence") or ()
    ]
    if len(listed) != 1:
        yield _fault("ReferencedSeriesSequence", f"lists {len(listed)} images, one is wanted", ours=True)
    areas = list(ds.get("DisplayedAreaSelectionSequence") or ())
    annotations = list(ds.get("GraphicAnnotationSequence") or ())
    for keyword, holders in (
        ("DisplayedAreaSelectionSequence", areas),
        ("GraphicAnnotationSequence", annotations),
        ("SoftcopyVOILUTSequence", list(ds.get("SoftcopyVOILUTSequence") or ())),
    ):
        for holder in holders:
            shown = holder.get("ReferencedImageSequence") or ()
            if [str(one.get("ReferencedSOPInstanceUID", "")) for one in shown] != listed:
                yield _fault(keyword, "is not about the image that the state is about", ours=True)
    layers = [layer.get("GraphicLayer") for layer in ds.get("GraphicLayerSequence") or ()]
    if any(annotation.get("GraphicLayer") not in layers for annotation in annotations):
        yield _fault("GraphicLayer", "marks are in a layer that is not defined")
    if ("RescaleSlope" in ds) != ("RescaleIntercept" in ds) or ("RescaleSlope" in ds) != ("RescaleType" in ds):
        yield _fault("RescaleSlope", "slope, intercept and type are not all there")
    sizes = {str(image.SOPInstanceUID): image for image in images if str(image.SOPInstanceUID) in listed}
    for image in sizes.values():
        yield from _grayscale_faults(ds, image)
    for area in areas:
        yield from _area_faults(area, next(iter(sizes.values()), None))
        corner = area.get("DisplayedAreaBottomRightHandCorner") or (0, 0)
        yield from _graphic_faults(annotations, int(corner[0]), int(corner[1]))


def _area_faults(area: Dataset, image: Dataset | None) -> Iterator[Fault]:
    if list(area.get("DisplayedAreaTopLeftHandCorner") or ()) != [1, 1]:
        yield _fault("DisplayedAreaTopLeftHandCorner", "is not the first pixel", ours=True)
    size = [image.get("Columns"), image.get("Rows")] if image is not None else None
    if size is not None and list(area.get("DisplayedAreaBottomRightHandCorner") or ()) != size:
        yield _fault("DisplayedAreaBottomRightHandCorner", f"is not the last pixel of the image, {size}", ours=True)
    if ("PresentationPixelSpacing" in area) == ("PresentationPixelAspectRatio" in area):
        yield _fault("PresentationPixelSpacing", "spacing or aspect ratio is wanted, and one of them only")


def _grayscale_faults(ds: Dataset, image: Dataset) -> Iterator[Fault]:
    """What the image says of its grayscale holds no longer once a state is applied, so the state must say it."""
    inverse = header.text(image, "PhotometricInterpretation") == "MONOCHROME1"
    if ds.get("PresentationLUTShape") != ("INVERSE" if inverse else "IDENTITY"):
        yield _fault(
            "PresentationLUTShape", f"is {ds.get('PresentationLUTShape')}, the image would show inverted", ours=True
        )
    windows = list(ds.get("SoftcopyVOILUTSequence") or ())
    if any(not ("WindowCenter" in voi and "WindowWidth" in voi) and "VOILUTSequence" not in voi for voi in windows):
        yield _fault("WindowCenter", "is not there with a width, nor a look-up table in its place")
    center, width = header.numbers(image, "WindowCenter", 1), header.numbers(image, "WindowWidth", 1)
    if center and width and width[0] >= 1 and not windows:
        yield _fault("SoftcopyVOILUTSequence", "is missing although the image has a window", ours=True)
    functions = [voi.get("VOILUTFunction") for voi in ds.get("SoftcopyVOILUTSequence") or () if "WindowCenter" in voi]
    if functions and header.text(image, "VOILUTFunction") == "SIGMOID" and functions != ["SIGMOID"]:
        yield _fault("VOILUTFunction", "is not that of the image", ours=True)
    if header.numbers(image, "RescaleSlope", 1) not in {(), (0.0,)} and "RescaleSlope" not in ds:
        yield _fault("RescaleSlope", "is missing although the image has one", ours=True)


def _graphic_faults(annotations: list[Dataset], columns: int, rows: int) -> Iterator[Fault]:
    graphics = list(chain.from_iterable(one.get("GraphicObjectSequence") or () for one in annotations))
    texts = list(chain.from_iterable(one.get("TextObjectSequence") or () for one in annotations))
    if not graphics or len(graphics) != len(texts):
        yield _fault("GraphicObjectSequence", f"{len(graphics)} outlines with {len(texts)} texts", ours=True)
    if len({graphic.get("TrackingUID") for graphic in graphics}) != len(graphics):
        yield _fault("TrackingUID", "two outlines have the same one", ours=True)
    for graphic in graphics:
        value = graphic.get("GraphicData") or ()
        numbers = [value] if isinstance(value, float) else list(value)
        if len(numbers) != 2 * int(graphic.get("NumberOfGraphicPoints") or 0):
            yield _fault("GraphicData", f"{len(numbers)} numbers for {graphic.get('NumberOfGraphicPoints')} points")
        if len(numbers) < 8 or numbers[:2] != numbers[-2:]:
            yield _fault("GraphicData", "the outline is not closed", ours=True)
        if not inside("POLYLINE", numbers, columns, rows):
            yield _fault("GraphicData", "lies outside the image", ours=True)
    if not all(inside("POINT", text.get("AnchorPoint") or (), columns, rows) for text in texts):
        yield _fault("AnchorPoint", "lies outside the image", ours=True)


def _fault(keyword: str, message: str, *, ours: bool = False) -> Fault:
    return Fault(rule=_RULE, path=keyword, message=message, ours=ours)
