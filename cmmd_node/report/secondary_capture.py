"""The Secondary Capture: the marks burned in beside the untouched image, for viewers that show pictures only.

Left the image as the CAD sees it, right the same with the outlines, below both who made it and what it is not. Both
halves are in the orientation in which the image is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from cmmd_node.facts import Finding, Form, Model, Round, View
from cmmd_node.report import header
from cmmd_node.report.codes import SOURCE_IMAGE
from cmmd_node.report.content import code_item
from cmmd_node.report.envelope import NOTICE, ResultObject, describe, sealed
from cmmd_node.report.presentation import label

LEGEND = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE"

_ROWS = 1200
#: Findings whose tracking UIDs find room in Image Comments (LT, 10240 characters).
_TRACKED = 75
_YELLOW, _WHITE, _DARK = (255, 255, 0), (255, 255, 255), (40, 40, 40)


def secondary_capture(
    findings: Sequence[Finding],
    image: Dataset,
    pixels: npt.NDArray[np.float32],
    *,
    view: View | None,
    identity: Dataset,
    round_: Round,
    model: Model,
    instance_number: int,
) -> ResultObject:
    """Write the Secondary Capture Image (PS3.3 A.8.1) of one image with findings.

    Parameters
    ----------
    image
        Header of the image that the findings are on.
    pixels
        Its brightness, 0 to 1, shape (rows, columns), as it is stored.
    identity
        Patient and study attributes, as :func:`cmmd_node.report.header.identity` returns them.
    instance_number
        Place of this object in its series, from 1.
    """
    drawn = picture(findings, pixels, title=f"{view or 'unknown view'}   {model.name} {model.version}")
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    describe(ds, identity, round_, model, Form.SC)
    ds.ConversionType = "WSD"
    ds.InstanceNumber = instance_number
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = list(header.patient_orientation(image) or ())
    if view is not None:
        ds.ImageLaterality = view.laterality.value
    ds.BurnedInAnnotation = "NO"  # marks and a legend, nothing that names the patient (PS3.3 C.7.6.1)
    ds.DerivationDescription = NOTICE
    # the only place that a picture has for what the other forms say in codes
    ds.ImageComments = "; ".join(f"{one.tracking_id}: {one.tracking_uid}" for one in findings[:_TRACKED])
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    ds.SourceImageSequence = [source]
    ds.LossyImageCompression = "01" if header.text(image, "LossyImageCompression") == "01" else "00"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = drawn.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = drawn.tobytes()
    ds["PixelData"].VR = "OB"
    return sealed(ds, round_, model, Form.SC, image=image.SOPInstanceUID)


def picture(findings: Sequence[Finding], pixels: npt.NDArray[np.float32], *, title: str) -> npt.NDArray[np.uint8]:
    """Draw the untouched image, the marked one and the legend.

    Returns
    -------
    numpy.ndarray, uint8, shape (rows, columns, 3)
        Each half has the size of the image, brought to 1200 rows when it has more; the legend is below them.
    """
    rows, columns = pixels.shape
    scale = min(1.0, _ROWS / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    grey = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    width = max(2 * size[0], 640)
    text_rows = max(24, size[1] // 40)
    canvas = Image.new("RGB", (width + width % 2, size[1] + 3 * text_rows), _DARK)
    canvas.paste(grey.convert("RGB"), (0, 0))
    marked = grey.convert("RGB")
    draw = ImageDraw.Draw(marked)
    font = ImageFont.load_default(0.7 * text_rows)
    for finding in findings:
        corners = [(column * scale, row * scale) for column, row in finding.mark.outline_cr]
        draw.line([*corners, corners[0]], fill=_YELLOW, width=max(1, size[1] // 400))
        words = label(finding)
        left = min(max(0.0, min(column for column, _ in corners)), max(0.0, size[0] - draw.textlength(words, font)))
        low = max(row for _, row in corners)
        top = low + 2 if low + text_rows < size[1] else min(row for _, row in corners) - text_rows
        draw.text((left, top), words, fill=_YELLOW, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    canvas.paste(marked, (size[0], 0))
    draw = ImageDraw.Draw(canvas)
    draw.text((4, size[1] + 2), LEGEND, fill=_YELLOW, font=font)
    draw.text((4, size[1] + text_rows + 2), title, fill=_WHITE, font=font)
    draw.text((4, size[1] + 2 * text_rows + 2), "left: image, right: image with marks", fill=_WHITE, font=font)
    return np.asarray(canvas)
