"""Which of the four standard views an image shows, and whether the CAD takes it.

Reception asks `view_of` to know when an exam is complete; the route asks `mammogram_of` and puts the reason of a
refusal into the result. What the header leaves open or tells in two ways is refused, never guessed.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
)

from cmmd_node.assemble.header import items, numbers, shown, text, texts, uid
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Laterality, Mammogram, Spacing, View, ViewPosition

#: Values longer than this stay on disk until somebody asks for them.
_DEFERRED_BYTES = 1 << 20

#: CID 4014 View for Mammography, by code value in SCT and in its older form (SRT, SNM3); the values of both are unique,
#: so designators, which senders spell in many ways, and meanings are not looked at.
_VIEW_CODES = {
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
    **dict.fromkeys(("399099002", "R-10230"), "LMO"),
    **dict.fromkeys(("399196006", "R-10244"), "FB"),
    **dict.fromkeys(("399188001", "R-102D0"), "SIO"),
    **dict.fromkeys(("441555000", "R-40AAA"), "ISO"),
    **dict.fromkeys(("399192008", "R-1024A"), "XCCL"),
    **dict.fromkeys(("399101009", "R-1024B"), "XCCM"),
    **dict.fromkeys(("127457009", "G-8310"), "specimen"),
}

#: CID 4015 View Modifier for Mammography: with these the standard view still shows the whole breast as it is.
_HARMLESS_MODIFIERS = frozenset(
    (
        *("442581004", "R-40AB3"),  # nipple in profile
        *("441752004", "P2-00161"),  # anterior compression
        *("442593008", "R-40ABE"),  # infra-mammary fold
    )
)
_DISQUALIFYING_MODIFIERS = {
    **dict.fromkeys(("399163009", "R-102D6"), "a magnification view"),
    **dict.fromkeys(("399055006", "R-102D7"), "a spot compression view"),
    **dict.fromkeys(("399209000", "R-102D5"), "an implant displaced view"),
    **dict.fromkeys(("399110001", "R-102C2"), "a tangential view"),
    **dict.fromkeys(("399161006", "R-102D2"), "a cleavage view"),
    **dict.fromkeys(("399011000", "R-102D1"), "an axillary tail view"),
    **dict.fromkeys(("442580003", "R-40AB2"), "an axillary tissue view"),
    **dict.fromkeys(("399197002", "R-102D3"), "a rolled view"),
    **dict.fromkeys(("399226006", "R-102D4"), "a rolled view"),
    **dict.fromkeys(("415670009", "R-102C9"), "a rolled view"),
    **dict.fromkeys(("414493004", "R-102CA"), "a rolled view"),
}

#: Image Type from the third value on (PS3.3 C.8.11.7.1.4 and makers' own words) that tells of something else than one
#: plain exposure.
_OTHER_IMAGE_TYPES = re.compile(
    r"TOMO|GENERATED_2D|STEREO|CONTRAST|SUBTRACT|RECOMBINED|LOW_ENERGY|HIGH_ENERGY|SPECIMEN|MAGNIF"
)

#: Estimated Radiographic Magnification Factor of a breast lying on the detector stays below; magnification stands have
#: 1.5 and more.
_CONTACT_MAGNIFICATION = 1.3


def read_header(path: Path) -> Dataset:
    """Read a kept object without its pixel data; large values are left on disk until asked for.

    Raises
    ------
    NotAnalysed
        The file is gone, no DICOM file, cut short within the header, nested too deep, or deflated.
    """
    return read_file(path, stop_before_pixels=True)


def read_file(path: Path, *, stop_before_pixels: bool) -> Dataset:
    """Read a kept object; see `read_header`."""
    try:
        transfer_syntax = uid(read_file_meta_info(path), "TransferSyntaxUID")
        if transfer_syntax and transfer_syntax != DeflatedExplicitVRLittleEndian:
            defer_size = _DEFERRED_BYTES if stop_before_pixels else None
            return dcmread(path, stop_before_pixels=stop_before_pixels, defer_size=defer_size)
    except Exception as error:  # bytes of a peer: the parser may raise anything, RecursionError and MemoryError too
        raise NotAnalysed("The file cannot be read as a DICOM object") from error
    if transfer_syntax:
        raise NotAnalysed("The file is deflated; the CAD does not inflate what a peer sends")
    raise NotAnalysed("The file does not say which transfer syntax it has")


def view_of(ds: Dataset) -> View | None:
    """The standard view of an image that the CAD takes; None for every other object. Never raises."""
    try:
        return mammogram_of(ds).view
    except NotAnalysed:
        return None


def mammogram_of(ds: Dataset) -> Mammogram:
    """What the CAD needs to know of an image before its pixels are read.

    Raises
    ------
    NotAnalysed
        The image is not one that the CAD takes; the message is a sentence that says why.
    """
    _refuse_other_objects(ds)
    position = _position(ds)
    _refuse_modifiers(ds)
    _refuse_other_breasts(ds)
    laterality = _laterality(ds)
    _refuse_orientation(ds, laterality, position)
    pixel_format = PixelFormat.from_dataset(ds)
    sop_instance_uid = uid(ds, "SOPInstanceUID")
    if not sop_instance_uid:
        raise NotAnalysed("SOP Instance UID is missing or malformed")
    return Mammogram(
        sop_instance_uid=str(sop_instance_uid),
        sop_class_uid=str(uid(ds, "SOPClassUID")),
        view=View(laterality, position),
        rows=pixel_format.rows,
        columns=pixel_format.columns,
        spacing=spacing_of(ds),
    )


def spacing_of(ds: Dataset) -> Spacing | None:
    """Distance of pixel centres in the breast, or None when the header does not tell.

    Imager Pixel Spacing is measured at the detector; Estimated Radiographic Magnification Factor, where it is given,
    brings it to the breast (PS3.3 10.7.1.3). A factor that is no positive number leaves the size unknown. Pixel Spacing
    serves where there is no usable Imager Pixel Spacing.
    """
    factor = 1.0
    if text(ds, "EstimatedRadiographicMagnificationFactor"):
        factors = numbers(ds, "EstimatedRadiographicMagnificationFactor")
        if len(factors) != 1 or factors[0] <= 0:
            return None
        factor = factors[0]
    for keyword, divisor in (("ImagerPixelSpacing", factor), ("PixelSpacing", 1.0)):
        values = numbers(ds, keyword)
        if len(values) == 2:
            try:
                return Spacing(row_mm=values[0] / divisor, column_mm=values[1] / divisor)
            except ValueError:
                continue
    return None


def _refuse_other_objects(ds: Dataset) -> None:
    """Refuse what is not one plain exposure, For Presentation."""
    sop_class = uid(ds, "SOPClassUID")
    intent = text(ds, "PresentationIntentType")
    if sop_class == DigitalMammographyXRayImageStorageForProcessing:
        raise NotAnalysed("The image is For Processing; the CAD takes the For Presentation image of the same view")
    if sop_class != DigitalMammographyXRayImageStorageForPresentation:
        name = sop_class.name if sop_class.name != sop_class else "of an unknown SOP Class"
        raise NotAnalysed(f"The object is {name}, not a Digital Mammography X-Ray Image For Presentation")
    if intent not in ("", "FOR PRESENTATION"):
        raise NotAnalysed("Presentation Intent Type contradicts the SOP Class, which is For Presentation")
    if text(ds, "Modality") not in ("", "MG"):
        raise NotAnalysed(f"Modality is {shown(text(ds, 'Modality'))}, not MG")
    for word in texts(ds, "ImageType")[2:]:
        if _OTHER_IMAGE_TYPES.search(word):
            raise NotAnalysed(f"Image Type says {shown(word)}; the CAD takes plain exposures only")
    for keyword, what in (("QualityControlImage", "quality control"), ("CalibrationImage", "calibration")):
        if text(ds, keyword) in ("YES", "BOTH"):
            raise NotAnalysed(f"The image is made for {what}")
    if text(ds, "PositionerType") == "NONE" or items(ds, "SpecimenDescriptionSequence"):
        raise NotAnalysed("The image shows a specimen: Positioner Type is NONE or a specimen is described")


def _refuse_other_breasts(ds: Dataset) -> None:
    """Refuse breasts that no model of ours has seen."""
    if text(ds, "BreastImplantPresent") == "YES":
        raise NotAnalysed("The breast has an implant; the CAD does not take breasts with implants")
    if text(ds, "PatientSex") == "M":
        raise NotAnalysed("Patient's Sex is M; the CAD is made for the breasts of women")


def _position(ds: Dataset) -> ViewPosition:
    """CC or MLO, from View Code Sequence, then View Position."""
    codes = {text(item, "CodeValue") for item in items(ds, "ViewCodeSequence")}
    told = text(ds, "ViewPosition")
    if len(codes) > 1:
        raise NotAnalysed("View Code Sequence holds several views")
    name = told
    if codes:
        code = codes.pop()
        if code not in _VIEW_CODES:
            raise NotAnalysed(f"View code {shown(code)} is none of the mammography views (CID 4014)")
        name = _VIEW_CODES[code]
        if told in _VIEW_CODES.values() and told != name:
            raise NotAnalysed(f"View Code Sequence says {name}, View Position says {told}")
    if not name:
        raise NotAnalysed("The view is unknown: View Code Sequence and View Position are empty")
    if name not in list(ViewPosition):
        raise NotAnalysed(f"The view is {shown(name.upper())}, not CC or MLO")
    return ViewPosition(name)


def _refuse_modifiers(ds: Dataset) -> None:
    """Refuse views that show a part, an enlargement or a displaced breast, and modifiers that nobody knows."""
    factors = numbers(ds, "EstimatedRadiographicMagnificationFactor")
    if any(factor > _CONTACT_MAGNIFICATION for factor in factors):
        raise NotAnalysed(f"The image is a magnification view: radiographic magnification factor {factors[0]:g}")
    holders = (ds, *items(ds, "ViewCodeSequence"))  # PS3.3 has it in the item; some senders beside the sequence
    for modifier in (item for holder in holders for item in items(holder, "ViewModifierCodeSequence")):
        code = text(modifier, "CodeValue")
        if code in _DISQUALIFYING_MODIFIERS:
            raise NotAnalysed(f"The image is {_DISQUALIFYING_MODIFIERS[code]}")
        if code not in _HARMLESS_MODIFIERS:
            raise NotAnalysed(f"View modifier {shown(code) or 'without code'} is unknown (CID 4015)")


def _laterality(ds: Dataset) -> Laterality:
    """Image Laterality; the series' Laterality only where there is none."""
    of_image, of_series = text(ds, "ImageLaterality"), text(ds, "Laterality")
    if of_image in ("L", "R") and of_series in ("L", "R") and of_image != of_series:
        raise NotAnalysed(f"Image Laterality says {of_image}, Laterality of the series {of_series}")
    side = of_image or of_series
    if not side:
        raise NotAnalysed("The laterality is unknown: Image Laterality and Laterality are empty")
    if side == "B":
        raise NotAnalysed("Image Laterality is B: the CAD takes images of one breast")
    if side not in ("L", "R"):
        raise NotAnalysed(f"Image Laterality is {shown(side)}, not L or R")
    return Laterality(side)


def _refuse_orientation(ds: Dataset, laterality: Laterality, position: ViewPosition) -> None:
    """Refuse a Patient Orientation that is rotated or belongs to the other breast (PS3.3 C.7.6.1.1.1).

    The beam of an MLO runs towards the foot and the outer side of the breast. Across it, an image of the left breast
    runs from head and left to foot and right, one of the right breast from head and right to foot and left.
    """
    orientation = texts(ds, "PatientOrientation")
    if len(orientation) != 2:
        return
    along_rows, along_columns = orientation
    if not set(along_rows) & set("AP") and set(along_columns) & set("AP"):
        raise NotAnalysed(f"Patient Orientation {shown(along_rows)}, {shown(along_columns)}: the image is rotated")
    if position is ViewPosition.MLO:
        of_breast = {frozenset("FR"): "L", frozenset("HL"): "L", frozenset("FL"): "R", frozenset("HR"): "R"}
        if of_breast.get(frozenset(along_columns), laterality) != laterality:
            raise NotAnalysed(
                f"Laterality {laterality} contradicts Patient Orientation {shown(along_rows)}, {shown(along_columns)}"
            )
