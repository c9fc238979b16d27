"""From tissue to the image that a reader sees: blur of the detector, quantum noise, presentation.

The tissue is taken for what log exposure leaves after the thickness was evened out: grey values that grow with the
attenuation of a ray. Fewer quanta come through dense tissue, so its noise is stronger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmmd_node.phantom.anatomy import COLUMNS, PIXEL_MM
from cmmd_node.phantom.stream import Field, Stream

_BLUR_MM = 0.065
"""Standard deviation of the scintillator's light."""
_NOISE = 4.0
"""Standard deviation of the quantum noise where `_MIDDLE` is, grey values before the light spreads."""
_MIDDLE, _SLOPE = 118.0, 46.0
"""Of the sigmoid curve of presentation."""
_NOISE_DOUBLES = 110.0
"""Grey values in which the noise doubles."""


def exposed(tissue: Field, skin_mm: NDArray[np.float64], stream: Stream) -> NDArray[np.uint8]:
    """The image of a left breast.

    Parameters
    ----------
    tissue : numpy.ndarray, float32, shape (rows, columns)
        Grey values at full resolution.
    skin_mm : numpy.ndarray, shape (rows,)
        Chest wall to skin in each row.

    Returns
    -------
    numpy.ndarray, uint8, shape (rows, columns)
        1 to 255 in the breast, exactly 0 outside.
    """
    rows, columns = tissue.shape
    strength = np.float32(_NOISE) * np.exp2((tissue - np.float32(_MIDDLE)) * np.float32(1.0 / _NOISE_DOUBLES))
    seen = tissue + strength * stream.noise(rows, columns)
    seen = ndimage.gaussian_filter(seen, _BLUR_MM / PIXEL_MM, mode="nearest", truncate=3.0)
    seen += np.float32(0.8) * stream.noise(rows, columns)  # of the electronics, after the light
    shown = np.float32(255.0) / (np.float32(1.0) + np.exp((np.float32(_MIDDLE) - seen) * np.float32(1.0 / _SLOPE)))
    inside = (np.arange(COLUMNS) + 0.5)[None, :] * PIXEL_MM < skin_mm[:, None]
    shown8: NDArray[np.uint8] = (np.clip(shown, 1.0, 255.0) + np.float32(0.5)).astype(np.uint8) * inside
    return shown8
