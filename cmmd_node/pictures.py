"""Grey pictures of 8 or 16 bits that are no DICOM objects: PNG, TIFF and JPEG files as their stored values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import MOST_PIXELS

#: What Pillow calls pictures of 16-bit grey.
_DEEP_MODES = {"I;16", "I;16B", "I;16L"}
_LOSSY = ("jpeg", "webp")
_PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0, section 8


def read_grey(
    path: Path, *, formats: tuple[str, ...], converts_colour: bool = False
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """The stored values of a picture, rows by columns; black is 0.

    Parameters
    ----------
    formats
        As Pillow calls them; nothing else is tried.
    converts_colour
        Colours, and whatever is neither 8 nor 16 bits of grey, are taken as their brightness instead of refused.

    Raises
    ------
    NotAnalysed
        The file cannot be used; the message says why, as half a sentence.
    """
    try:
        with Image.open(path, formats=formats) as file:
            if file.width * file.height > MOST_PIXELS:
                raise NotAnalysed(f"{file.width} x {file.height} pixels are more than any mammogram has")
            pages = getattr(file, "n_frames", 1)
            if pages != 1:
                raise NotAnalysed(f"it has {pages} pages")
            if file.format == "TIFF" and file.info.get("compression") in _LOSSY:
                raise NotAnalysed("it is a TIFF with lossy compression; store it without")
            if file.mode in _DEEP_MODES:
                # Pillow turns these round with 8 bits, and not with 16.
                if getattr(file, "tag_v2", {}).get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
                    raise NotAnalysed("its white is 0 in 16 bits; store it with black as 0")
                return np.asarray(file).astype(np.uint16)
            if file.mode != "L" and not converts_colour:
                raise NotAnalysed(f"it is no grey picture of 8 or 16 bits, but {file.mode}")
            return np.asarray(file.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAnalysed(f"it cannot be decoded as {' or '.join(formats)}: {error}") from error
