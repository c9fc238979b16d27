"""Pixels of a labelled image, read as the node reads what it is sent, whatever the kind of file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmmd_node.assemble.intensity import brightness
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.views import mammogram_of, read_header, spacing_of
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Spacing
from cmmd_node.pictures import read_grey
from cmmd_node.train.manifest import LabelledImage


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image as models see it."""

    pixels: npt.NDArray[np.float32]
    """Shape (rows, columns), 0 air to 1 densest, in the orientation in which it is stored (`assemble.intensity`)."""
    spacing: Spacing | None
    """None: sizes are unknown."""


def read_picture(image: LabelledImage) -> Picture:
    """Decode one image of a collection.

    Raises
    ------
    NotAnalysed
        The node would not analyse it, its header names another breast or view than the label does, or it is a picture
        that cannot be decoded.
    """
    if _is_picture(image):
        return Picture(_read_png_or_jpeg(image), image.spacing)
    mammogram = mammogram_of(read_header(image.path))
    if mammogram.view != image.view:
        raise NotAnalysed(f"{image.path}: labelled as {image.view}, its header says {mammogram.view}")
    return Picture(read_pixels(image.path), image.spacing or mammogram.spacing)


def image_spacing(image: LabelledImage) -> Spacing | None:
    """Distance of pixel centres, from the manifest or the DICOM header, without reading pixels."""
    if image.spacing is not None or _is_picture(image):
        return image.spacing
    return spacing_of(read_header(image.path))


def _is_picture(image: LabelledImage) -> bool:
    return image.path.suffix.lower() in (".png", ".jpg", ".jpeg")


def _read_png_or_jpeg(image: LabelledImage) -> npt.NDArray[np.float32]:
    """Colours are taken as their brightness."""
    try:
        stored = read_grey(image.path, formats=("PNG", "JPEG"), converts_colour=True)
    except NotAnalysed as error:
        raise NotAnalysed(f"{image.path}: {error}") from error
    bits = stored.dtype.itemsize * 8
    return brightness(
        stored,
        PixelFormat(
            rows=stored.shape[0],
            columns=stored.shape[1],
            bits_allocated=bits,
            bits_stored=bits,
            high_bit=bits - 1,
            signed=False,
            low_is_bright=False,
            padding=None,
        ),
    )
