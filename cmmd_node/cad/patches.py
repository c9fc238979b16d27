"""Square cut-outs around places of a breast, the same for training and service.

The breast is kept on a fine grid and two coarser ones, one byte a pixel; a patch is read from all of them, so that the
network sees the texture of a place, its margin and its surroundings at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, pad

from cmmd_node.cad.breast import GRID_MM, Breast

PIXEL_MM: Final = (GRID_MM, 2.0 * GRID_MM, 4.0 * GRID_MM)
"""Of the three grids."""
SIZE: Final = 32
"""Rows and columns of a patch on every grid."""
_CLIP: Final = 4.0
"""Levels end at so many standard deviations of the tissue."""

Levels = NDArray[np.uint8]


def tissue_levels(breast: Breast) -> Levels:
    """The breast in steps of the standard deviation of its tissue.

    Returns
    -------
    numpy.ndarray, uint8, shape (rows, columns) of the coarse grid
        0 is `_CLIP` standard deviations below the mean of the tissue, and air; 255 as much above.
    """
    mask = breast.mask
    deep = mask & (breast.to_skin_mm > 6.0) & (breast.to_muscle_mm > 3.0)
    tissue = breast.image[deep] if deep.sum() > 100 else breast.image[mask]
    middle, spread = float(tissue.mean(dtype=np.float64)), max(float(tissue.std(dtype=np.float64)), 0.01)
    level = np.where(mask, np.clip((breast.image - middle) / spread, -_CLIP, _CLIP), -_CLIP)
    quantised: Levels = np.round((level + _CLIP) * (255.0 / (2.0 * _CLIP))).astype(np.uint8)
    return quantised


class Atlas:
    """Breasts from which patches are read; one in service, all of a collection in training."""

    def __init__(self, images: Sequence[Levels], device: torch.device | str = "cpu") -> None:
        flat, offsets, shapes, position = [], [], [], 0
        for image in images:
            level = torch.from_numpy(image.astype(np.float32))[None, None]
            for number in range(len(PIXEL_MM)):
                if number:
                    level = avg_pool2d(level, 2, ceil_mode=True)
                framed = pad(level.round(), (1, 1, 1, 1)).to(torch.uint8)  # by air, where all that is outside is read
                offsets.append(position)
                shapes.append(tuple(framed.shape[:1:-1]))
                flat.append(framed.flatten())
                position += framed.numel()
        count = len(PIXEL_MM)
        self._bytes = torch.cat(flat).to(device)
        self._offsets = torch.tensor(offsets, device=device).reshape(-1, count)
        self._shapes = torch.tensor(shapes, device=device).reshape(-1, count, 2)  # columns, rows
        steps = torch.arange(SIZE, device=device) - (SIZE - 1) / 2.0
        self._grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)  # (SIZE, SIZE, 2): column, row
        self._pixel_mm = torch.tensor(PIXEL_MM, device=device)

    def patches(self, image: torch.Tensor, centers_mm: torch.Tensor, turns: torch.Tensor | None = None) -> torch.Tensor:
        """Patches around places.

        Parameters
        ----------
        image : torch.Tensor, int64, shape (n,)
            Which of the images.
        centers_mm : torch.Tensor, float32, shape (n, 2)
            (column, row) on the grid of `breast`.
        turns : torch.Tensor, float32, shape (n, 2, 2), optional
            By what the grid of each patch is turned, stretched or mirrored.

        Returns
        -------
        torch.Tensor, float32, shape (n, scales, SIZE, SIZE)
            Levels from -1 to 1; what lies beyond the image is air, -1.
        """
        grid = self._grid[None] if turns is None else torch.einsum("nij,yxj->nyxi", turns, self._grid)
        shapes = self._shapes[image][:, :, None, None]  # (n, scales, 1, 1, 2)
        places = grid[:, None] + (centers_mm[:, None] / self._pixel_mm[None, :, None] + 0.5)[:, :, None, None]
        places = torch.minimum(places.clamp(min=0.0), shapes - 1.001)
        whole = places.long()
        across, along = (places - whole).unbind(-1)
        width = shapes[..., 0]
        first = self._offsets[image][:, :, None, None] + whole[..., 1] * width + whole[..., 0]
        above = torch.lerp(self._bytes[first].float(), self._bytes[first + 1].float(), across)
        first = first + width
        below = torch.lerp(self._bytes[first].float(), self._bytes[first + 1].float(), across)
        return torch.lerp(above, below, along) / 127.5 - 1.0
