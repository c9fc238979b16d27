"""Square cut-outs around places of a breast, the same for training and service.

A sheet, which is a breast or a part of one, is kept on a fine grid and coarser ones, one byte a pixel; a patch is read
from all of them, so that the network sees the texture of a place, its margin and its surroundings at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, pad

from cmmd_node.cad.breast import GRID_MM, Breast


@dataclass(frozen=True, slots=True)
class Grids:
    """How patches are sampled."""

    pixel_mm: tuple[float, ...]
    """Of each grid; each is twice as coarse as the one before."""
    size: int
    """Rows and columns of a patch on every grid."""


MASS_GRIDS: Final = Grids((GRID_MM, 2.0 * GRID_MM, 4.0 * GRID_MM), 32)
CLUSTER_GRIDS: Final = Grids((0.1, 0.2), 64)
_CLIP: Final = 4.0
"""Levels end at so many standard deviations of the tissue."""

Levels = NDArray[np.uint8]


def tissue_scale(breast: Breast) -> tuple[float, float]:
    """Mean and standard deviation of the tissue, without skin and muscle where there is enough else."""
    mask = breast.mask
    deep = mask & (breast.to_skin_mm > 6.0) & (breast.to_muscle_mm > 3.0)
    tissue = breast.image[deep] if deep.sum() > 100 else breast.image[mask]
    return float(tissue.mean(dtype=np.float64)), max(float(tissue.std(dtype=np.float64)), 0.01)


def tissue_levels(breast: Breast) -> Levels:
    """The breast in steps of the standard deviation of its tissue.

    Returns
    -------
    numpy.ndarray, uint8, shape (rows, columns) of the coarse grid
        0 is `_CLIP` standard deviations below the mean of the tissue, and air; 255 as much above.
    """
    middle, spread = tissue_scale(breast)
    level = np.where(breast.mask, np.clip((breast.image - middle) / spread, -_CLIP, _CLIP), -_CLIP)
    quantised: Levels = np.round((level + _CLIP) * (255.0 / (2.0 * _CLIP))).astype(np.uint8)
    return quantised


class Atlas:
    """Sheets from which patches are read; of one breast in service, of a whole collection in training."""

    def __init__(self, sheets: Iterable[Levels], grids: Grids, device: torch.device | str = "cpu") -> None:
        flat, offsets, shapes, position = [], [], [], 0
        for sheet in sheets:
            level = torch.from_numpy(sheet.astype(np.float32))[None, None]
            for number in range(len(grids.pixel_mm)):
                if number:
                    level = avg_pool2d(level, 2, ceil_mode=True)
                framed = pad(level.round(), (1, 1, 1, 1)).to(torch.uint8)  # by air, where all that is outside is read
                offsets.append(position)
                shapes.append(tuple(framed.shape[:1:-1]))
                flat.append(framed.flatten())
                position += framed.numel()
        count = len(grids.pixel_mm)
        self._bytes = torch.cat(flat).to(device)
        self._offsets = torch.tensor(offsets, device=device).reshape(-1, count)
        self._shapes = torch.tensor(shapes, device=device).reshape(-1, count, 2)  # columns, rows
        steps = torch.arange(grids.size, device=device) - (grids.size - 1) / 2.0
        self._grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)  # (size, size, 2): column, row
        self._pixel_mm = torch.tensor(grids.pixel_mm, device=device)

    def patches(self, sheet: torch.Tensor, places_mm: torch.Tensor, turns: torch.Tensor | None = None) -> torch.Tensor:
        """Patches around places.

        Parameters
        ----------
        sheet : torch.Tensor, int64, shape (n,)
            Which of the sheets.
        places_mm : torch.Tensor, float32, shape (n, 2)
            (column, row) from the corner of the sheet.
        turns : torch.Tensor, float32, shape (n, 2, 2), optional
            By what the grid of each patch is turned, stretched or mirrored.

        Returns
        -------
        torch.Tensor, float32, shape (n, scales, size, size)
            Levels from -1 to 1; what lies beyond the sheet is -1, as air is.
        """
        grid = self._grid[None] if turns is None else torch.einsum("nij,yxj->nyxi", turns, self._grid)
        shapes = self._shapes[sheet][:, :, None, None]  # (n, scales, 1, 1, 2)
        places = grid[:, None] + (places_mm[:, None] / self._pixel_mm[None, :, None] + 0.5)[:, :, None, None]
        places = torch.minimum(places.clamp(min=0.0), shapes - 1.001)
        whole = places.long()
        across, along = (places - whole).unbind(-1)
        width = shapes[..., 0]
        first = self._offsets[sheet][:, :, None, None] + whole[..., 1] * width + whole[..., 0]
        above = torch.lerp(self._bytes[first].float(), self._bytes[first + 1].float(), across)
        first = first + width
        below = torch.lerp(self._bytes[first].float(), self._bytes[first + 1].float(), across)
        return torch.lerp(above, below, along) / 127.5 - 1.0
