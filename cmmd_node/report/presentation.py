"""The Grayscale Softcopy Presentation State: the findings on one image as drawings over it (PS3.3 A.33.1).

A presentation state replaces the image's own grayscale settings, so what the image says of window and rescale is
copied into it. highdicom's class is not used: of a MONOCHROME1 image it would say IDENTITY, and it dies of headers
that lack what it copies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from cmmd_node.facts import Finding, Form, Kind, Laterality, Model, Round
from cmmd_node.report import header
from cmmd_node.report.envelope import NOTICE, ResultObject, describe, sealed

#: Graphic Layer of all marks, so that a reader can switch them off.
LAYER = "CAD"

_WORDS = {Kind.MASS: "mass", Kind.CALCIFICATION_CLUSTER: "calcification cluster"}
_YELLOW_CIELAB = [63720, 27264, 56944]  # PS3.3 C.10.7.1.1 of L* 97, a* -22, b* 94


def presentation_state(
    findings: Sequence[Finding],
    image: Dataset,
    *,
    sides: Collection[Laterality],
    identity: Dataset,
    round_: Round,
    model: Model,
    instance_number: int,
) -> ResultObject:
    """Write the GSPS of one image, with outline and text for each finding on it.

    Parameters
    ----------
    image
        Header of the image that the findings are on; needs Rows and Columns.
    sides
        Breasts that the states of this series are about: Laterality belongs to the series (PS3.3 C.7.3.1).
    identity
        Patient and study attributes, as :func:`cmmd_node.report.header.identity` returns them.
    instance_number
        Place of this object in its series, from 1.
    """
    ds = Dataset()
    ds.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    describe(ds, identity, round_, model, Form.GSPS)
    ds.Laterality = next(iter(sides)).value if len(sides) == 1 else ""
    # Presentation State Identification (PS3.3 C.11.10)
    ds.InstanceNumber = instance_number
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "CAD_FINDINGS", NOTICE, ""
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime  # no attributes of a presentation state
    # Presentation State Relationship (PS3.3 C.11.11)
    series = Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedImageSequence = [_reference(image)]
    ds.ReferencedSeriesSequence = [series]
    ds.DisplayedAreaSelectionSequence = [_displayed_area(image)]
    _copy_grayscale(ds, image)
    # Graphic Layer and Graphic Annotation (PS3.3 C.10.7, C.10.5)
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = LAYER, 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = _YELLOW_CIELAB
    layer.GraphicLayerDescription = NOTICE
    ds.GraphicLayerSequence = [layer]
    annotation = Dataset()
    annotation.ReferencedImageSequence = [_reference(image)]
    annotation.GraphicLayer = LAYER
    annotation.GraphicObjectSequence = [_outline(finding) for finding in findings]
    annotation.TextObjectSequence = [_label(finding) for finding in findings]
    ds.GraphicAnnotationSequence = [annotation]
    return sealed(ds, round_, model, Form.GSPS, image=image.SOPInstanceUID)


def label(finding: Finding) -> str:
    """What is written beside a drawn mark: its kind, and how suspicious it looks."""
    return f"{_WORDS[finding.mark.kind]}, suspicion {100 * finding.mark.suspicion:.0f} %"


def _reference(image: Dataset) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID = image.SOPClassUID
    ds.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return ds


def _displayed_area(image: Dataset) -> Dataset:
    """The whole image, as large as the viewer has room (PS3.3 C.10.4)."""
    ds = Dataset()
    ds.ReferencedImageSequence = [_reference(image)]
    ds.DisplayedAreaTopLeftHandCorner = [1, 1]
    ds.DisplayedAreaBottomRightHandCorner = [image.Columns, image.Rows]
    ds.PresentationSizeMode = "SCALE TO FIT"
    spacing = header.numbers(image, "ImagerPixelSpacing", 2) or header.numbers(image, "PixelSpacing", 2)
    if spacing and min(spacing) > 0:
        ds.PresentationPixelSpacing = [format_number_as_ds(value) for value in spacing]
    else:
        ds.PresentationPixelAspectRatio = [1, 1]
    return ds


def _copy_grayscale(ds: Dataset, image: Dataset) -> None:
    """Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, C.11.8, C.11.6) of the image."""
    rescale = (*header.numbers(image, "RescaleIntercept", 1), *header.numbers(image, "RescaleSlope", 1))
    if len(rescale) == 2 and rescale[1] != 0:
        ds.RescaleIntercept, ds.RescaleSlope = map(format_number_as_ds, rescale)
        ds.RescaleType = header.text(image, "RescaleType") or "US"
    voi = _window(image) or _look_up_table(image)
    if voi is not None:
        voi.ReferencedImageSequence = [_reference(image)]
        ds.SoftcopyVOILUTSequence = [voi]
    inverse = header.text(image, "PhotometricInterpretation") == "MONOCHROME1"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _window(image: Dataset) -> Dataset | None:
    """The first window of the image; a viewer shows that one unless it is told otherwise."""
    center, width = (_first_number(image, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    function = header.text(image, "VOILUTFunction")
    # PS3.3 C.11.2.1.2: a LINEAR window is at least 1 wide, the others are wider than 0
    if center is None or width is None or width <= 0 or (width < 1 and function in {"", "LINEAR"}):
        return None
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth = format_number_as_ds(center), format_number_as_ds(width)
    if function in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        ds.VOILUTFunction = function
    return ds


def _first_number(image: Dataset, keyword: str) -> float | None:
    value = header.raw(image, keyword)
    count = len(value) if isinstance(value, Sequence) and not isinstance(value, str) else 1
    return next(iter(header.numbers(image, keyword, count)), None)


def _look_up_table(image: Dataset) -> Dataset | None:
    """The first VOI LUT of the image, as it is, when it can be read."""
    items = header.raw(image, "VOILUTSequence")
    if not isinstance(items, Sequence) or not items:
        return None
    descriptor, data = header.numbers(items[0], "LUTDescriptor", 3), header.raw(items[0], "LUTData")
    if not descriptor or data is None:
        return None
    table = Dataset()
    table.add(items[0]["LUTDescriptor"])
    table.add(items[0]["LUTData"])
    ds = Dataset()
    ds.VOILUTSequence = [table]
    return ds


def _outline(finding: Finding) -> Dataset:
    """Graphic Object; its PIXEL coordinates have the origin and unit of SCOORD (PS3.3 C.10.5.1.2)."""
    closed_cr = (*finding.mark.outline_cr, finding.mark.outline_cr[0])
    ds = Dataset()
    ds.GraphicAnnotationUnits = "PIXEL"
    ds.GraphicDimensions = 2
    ds.NumberOfGraphicPoints = len(closed_cr)
    ds.GraphicData = [float(number) for point_cr in closed_cr for number in point_cr]
    ds.GraphicType, ds.GraphicFilled = "POLYLINE", "N"
    ds.TrackingID, ds.TrackingUID = finding.tracking_id, finding.tracking_uid
    return ds


def _label(finding: Finding) -> Dataset:
    """Text Object at the lowest corner of the outline."""
    anchor_cr = max(finding.mark.outline_cr, key=lambda point_cr: (point_cr[1], point_cr[0]))
    ds = Dataset()
    ds.UnformattedTextValue = label(finding)
    ds.AnchorPointAnnotationUnits = "PIXEL"
    ds.AnchorPoint = [float(number) for number in anchor_cr]
    ds.AnchorPointVisibility = "N"
    return ds
