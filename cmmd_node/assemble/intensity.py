"""Stored pixel values to brightness from 0 to 1: the one intensity path of training and service.

The rule, for every maker and bit depth. No window, VOI LUT or SIGMOID function of the header is applied: they are made
for eyes, differ between makers and would compress what the model should see (CMMD's 8-bit pixels are already for
presentation and still carry a SIGMOID window). Instead every image is brought to its own breast:

1. MONOCHROME1 and a negative Rescale Slope turn the order of values round; apart from that, scaling changes nothing
   here, since the rule gives the same result for a * v + b.
2. Air is what the header calls pixel padding, and the background that is found in the histogram. Air becomes 0 exactly
   and nothing else does, so that `pixels > 0` is the breast (with whatever else lies on the detector).
3. Of the pixels that are not air, the 5th percentile becomes 0.1 and the 98th 0.7, straight in between and beyond, up
   to 1, where brighter pixels end; from air to the 5th percentile, the skin line, the way is straight too. The head
   room above 0.7 keeps the contrast of calcifications and of lead letters from deciding about the tissue.

All of this depends on the value of a pixel only, not on its place: it is one look-up table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmmd_node.assemble.codecs import Stored
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.errors import NotAnalysed

_FAINT, _FAINT_BRIGHTNESS = 0.05, 0.1
_DENSE, _DENSE_BRIGHTNESS = 0.98, 0.7
#: The least that a pixel of the breast gets; far below what 16 bits tell apart, but not 0.
_LEAST_BRIGHTNESS = 1e-6

#: Pixel padding is the background when it is at least so much of an image; what the histogram shows, so much.
_PADDING_SHARE, _BACKGROUND_SHARE = 0.01, 0.05
#: A background that one value makes up: the next value is rarer by this factor.
_CONSTANT_BACKGROUND_FACTOR = 20
#: So much of an image in its brightest value is a background that somebody inverted.
_INVERTED_SHARE = 0.2
_HISTOGRAM_BINS = 64
_FLAT_SHARE = 0.05


def brightness(stored: Stored, pixel_format: PixelFormat) -> npt.NDArray[np.float32]:
    """Brightness of each pixel, 0 (air) to 1 (densest).

    Parameters
    ----------
    stored : numpy.ndarray, uint8 or uint16, shape (rows, columns)
        Bits stored, already shifted to bit 0 and masked, below 2 ** bits_stored.

    Raises
    ------
    NotAnalysed
        There is no picture in it, or it looks inverted.
    """
    counts = np.bincount(stored.ravel(), minlength=1 << pixel_format.bits_stored)
    bits = np.arange(counts.size)
    values = np.where(bits >= counts.size // 2, bits - counts.size, bits) if pixel_format.signed else bits
    padding = np.zeros(counts.size, bool)
    if pixel_format.padding is not None:
        lowest, highest = pixel_format.padding
        padding = (values >= lowest) & (values <= highest)
    levels = -values if pixel_format.low_is_bright else values
    order = np.argsort(levels)
    table = np.empty(counts.size, np.float32)
    table[order] = _table(levels[order], counts[order], padding[order])
    return table[stored]


def _table(
    levels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], padding: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Brightness of each level; levels rise."""
    image = np.where(padding, 0, counts)
    present = np.flatnonzero(image)
    if present.size == 0:
        raise NotAnalysed("The image is empty: all its pixels are Pixel Padding")
    air = padding.copy()
    if counts[padding].sum() < _PADDING_SHARE * counts.sum():
        if present.size == 1:
            raise NotAnalysed("The image is empty: all its pixels have the same value")
        _refuse_inverted(image, present)
        air |= levels <= _air_level(levels, image, present)
    breast = np.where(air, 0, counts)
    inside = np.flatnonzero(breast)
    shares = np.cumsum(breast) / breast.sum()
    faint, dense = (float(levels[np.searchsorted(shares, share)]) for share in (_FAINT, _DENSE))
    below = np.flatnonzero(air[: inside[0]] & (counts[: inside[0]] > 0))
    floor = float(levels[below[-1]] if below.size else levels[inside[0]])
    if dense == faint:  # hardly any grey: there is no skin line to tell from tissue
        faint = floor
    slope = (_DENSE_BRIGHTNESS - _FAINT_BRIGHTNESS) / max(dense - faint, 1.0)
    skin = _FAINT_BRIGHTNESS * (levels - floor) / max(faint - floor, 1.0)
    tissue = _FAINT_BRIGHTNESS + slope * (levels - faint)
    return np.where(air, 0.0, np.clip(np.where(levels < faint, skin, tissue), _LEAST_BRIGHTNESS, 1.0))


def _refuse_inverted(image: npt.NDArray[np.int64], present: npt.NDArray[np.int64]) -> None:
    """Refuse a background that is the brightest value: brightness was turned round without a word in the header."""
    darkest, brightest = image[present[0]], image[present[-1]]
    if brightest > max(darkest, _INVERTED_SHARE * image.sum()):
        raise NotAnalysed("The background is bright: the image looks inverted, against its Photometric Interpretation")


def _air_level(levels: npt.NDArray[np.int64], image: npt.NDArray[np.int64], present: npt.NDArray[np.int64]) -> int:
    """The brightest level that is still background.

    A background of one value, as in CMMD and most For Presentation images, is that value and nothing more. One that
    shows the detector's noise, or what lossy compression made of it, is a hill at the dark end of the histogram; it
    ends where it is nearly flat, or else at the lowest place behind it. Where neither is found, the breast fills the
    image and only the darkest value counts as air.
    """
    darkest, second = present[0], present[1]
    if image[darkest] >= max(_BACKGROUND_SHARE * image.sum(), _CONSTANT_BACKGROUND_FACTOR * image[second]):
        return int(levels[darkest])
    shares = np.cumsum(image) / image.sum()
    reach = int(np.searchsorted(shares, _DENSE)) - int(darkest) + 1
    width = -(-reach // _HISTOGRAM_BINS)  # whole levels in each bin, or the bins would beat against the levels
    hills = np.add.reduceat(image[darkest : darkest + reach], np.arange(0, reach, width))
    top = int(np.argmax(hills[: _HISTOGRAM_BINS // 4]))
    behind = hills[top : top + _HISTOGRAM_BINS // 4]
    flat = np.flatnonzero(behind < _FLAT_SHARE * hills[top])
    valley = top + int(flat[0] if flat.size else np.argmin(behind))
    end = min(int(darkest) + (valley + 1) * width, levels.size) - 1
    if hills[valley] < hills[top] / 2 and shares[end] >= _BACKGROUND_SHARE and end < present[-1]:
        return int(levels[end])
    return int(levels[darkest])
