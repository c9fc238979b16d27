"""Networks that read a whole breast at once and map where masses are centred.

The second look knows of a candidate what its patches show, and of the others what they have in common. These networks
have seen every place of every breast that they learnt from, not only those where the classical detector found
something, and know the whole breast around each. What they say at the peak of their map near a candidate is added to
what the second look says of it, and there its mark is centred: a candidate is where something stands out, which may be
the edge of a mass as well.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import interpolate, one_hot, pad

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.cad.patches import Levels

STRIDE: Final = 4
"""Pixels of the coarse grid of a breast in a cell of the map, along rows and columns."""
CELL_MM: Final = STRIDE * GRID_MM
MULTIPLE: Final = 64
"""Rows and columns of what the network reads: twice as many as its coarsest grid has pixels in one of its own."""
PLANES: Final = 2
"""Level of the tissue, -1 to 1, -1 in air; and 1 in the breast, 0 outside."""
ANSWERS: Final = 2
"""That a mass is centred in the cell; and that a mass there is malignant."""
REACH_MM: Final = 5.0
"""So far from a candidate the map is searched for the centre of the mass."""
_STEM: Final = 16
_STAGES: Final = (32, 64, 96, 128)
_JOINED: Final = 48
_RARE: Final = -4.0
"""Log odds at the outset: nearly no cell is the centre of a mass."""


class _Stage(nn.Module):
    """Halve the grid, then look twice; what is seen is added to what was there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.halve = _looking(inputs, outputs, stride=2)
        self.look = _looking(outputs, outputs)
        self.again = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = self.halve(values)
        seen: torch.Tensor = torch.relu(values + self.norm(self.again(self.look(values))))
        return seen


class MassMap(nn.Module):
    """The planes of breasts to log odds in each cell.

    Four stages look at ever coarser grids; the coarsest is told what the mean of the whole breast is; then each finer
    one is joined with what the coarser ones say, down to cells of `CELL_MM`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _looking(PLANES, _STEM, size=5, stride=2)
        self.stages = nn.ModuleList(_Stage(inputs, outputs) for inputs, outputs in pairwise((_STEM, *_STAGES)))
        self.whole = nn.Linear(_STAGES[-1], _STAGES[-1])
        self.sides = nn.ModuleList(nn.Conv2d(width, _JOINED, 1) for width in _STAGES)
        self.joins = nn.ModuleList(_looking(_JOINED, _JOINED) for _ in _STAGES[1:])
        self.head = nn.Sequential(nn.Dropout2d(0.1), _looking(_JOINED, _JOINED))
        self.answer = nn.Conv2d(_JOINED, ANSWERS, 1)
        self.answer.bias = nn.Parameter(torch.tensor([_RARE, 0.0]))

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Log odds of all cells.

        Parameters
        ----------
        planes : torch.Tensor, float32, shape (n, PLANES, rows, columns)
            On the coarse grid of the breast, the chest wall at column 0; rows and columns are multiples of `MULTIPLE`.

        Returns
        -------
        torch.Tensor, float32, shape (n, ANSWERS, rows / STRIDE, columns / STRIDE)
        """
        values, seen = self.stem(planes), []
        for stage in self.stages:
            values = stage(values)
            seen.append(values)
        seen[-1] = values + self.whole(values.mean(dim=(2, 3)))[:, :, None, None]
        *sides, joined = [side(values) for side, values in zip(self.sides, seen, strict=True)]
        for side, join in zip(reversed(sides), self.joins, strict=True):
            joined = join(side + interpolate(joined, size=side.shape[2:], mode="bilinear"))
        answer: torch.Tensor = self.answer(self.head(joined))
        return answer


class MassMaps(nn.Module):
    """Maps that learnt the same from different beginnings; together they say the mean of what each says."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(MassMap() for _ in range(members))
        self.share = nn.Buffer(torch.ones(ANSWERS))
        """By what each answer is multiplied before it is added to that of the second look; not used in training."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """As `MassMap.forward`."""
        return torch.stack([member(planes) for member in self.members]).mean(dim=0)


def _looking(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def planes_of(sheet: Levels | NDArray[np.float32]) -> torch.Tensor:
    """What the network reads of a breast.

    Parameters
    ----------
    sheet : numpy.ndarray, uint8 or float32, shape (rows, columns)
        `tissue_levels`.

    Returns
    -------
    torch.Tensor, float32, shape (PLANES, rows, columns)
    """
    levels = torch.from_numpy(sheet)
    return torch.stack([levels.float() / 127.5 - 1.0, (levels > 0).float()])


@torch.inference_mode()
def added(sheet: Levels, places_mm: torch.Tensor, maps: MassMaps) -> tuple[torch.Tensor, torch.Tensor]:
    """What the maps add to the log odds of candidates, and where they see the centres of these.

    It is the mean of the map of the breast and of that of the breast upside down, at its peak near the candidate: where
    the log odds are greatest within `REACH_MM`.

    Parameters
    ----------
    sheet : numpy.ndarray, uint8, shape (rows, columns)
        `tissue_levels`.
    places_mm : torch.Tensor, shape (n, 2)
        (column, row) from the corner of the sheet.

    Returns
    -------
    added : torch.Tensor, float32, shape (n, ANSWERS)
        That it is a mass; that, being so, it is malignant; multiplied by `MassMaps.share`.
    peaks_mm : torch.Tensor, float32, shape (n, 2)
        (column, row) from the corner of the sheet.
    """
    planes = planes_of(sheet)
    below, right = (-size % MULTIPLE for size in planes.shape[1:])
    air = pad(planes[:1], (0, right, 0, below), value=-1.0), pad(planes[1:], (0, right, 0, below))
    upright = torch.cat(air).to(maps.share.device)
    both = torch.stack([upright, upright.flip(1)]).contiguous(memory_format=torch.channels_last)
    first, second = maps(both)
    rows, columns = sheet.shape
    whole = ((first + second.flip(1)) / 2.0)[:, : math.ceil(rows / STRIDE), : math.ceil(columns / STRIDE)]
    cells = peak_cells(whole[0], places_mm)
    peaks = _within_cells(whole[0], cells)
    within = torch.minimum(peaks, torch.tensor([columns, rows], device=peaks.device) * GRID_MM)
    return whole[:, cells[:, 1], cells[:, 0]].T * maps.share, within


def peak_cells(log_odds: torch.Tensor, places_mm: torch.Tensor) -> torch.Tensor:
    """The cell with the greatest log odds of all whose middle is within `REACH_MM` of a place.

    Parameters
    ----------
    log_odds : torch.Tensor, shape (rows, columns)
        In cells of `CELL_MM`.
    places_mm : torch.Tensor, shape (n, 2)
        (column, row).

    Returns
    -------
    torch.Tensor, int64, shape (n, 2)
        (column, row).
    """
    rows, columns = log_odds.shape
    most = torch.tensor([columns, rows], device=log_odds.device) - 1
    places = places_mm.to(log_odds.device) / CELL_MM
    farthest = math.ceil(REACH_MM / CELL_MM)
    steps = torch.arange(-farthest, farthest + 1, device=log_odds.device)
    around = torch.cartesian_prod(steps, steps)
    own = torch.minimum(places.long().clamp(min=0), most)
    near = torch.minimum((own[:, None] + around).clamp(min=0), most)  # (n, cells, 2)
    apart = (near + 0.5 - places[:, None]).norm(dim=2) * CELL_MM
    reached = (apart <= REACH_MM) | (near == own[:, None]).all(dim=2)
    there = log_odds[near[..., 1], near[..., 0]].masked_fill(~reached, -torch.inf)
    best = there.argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    return near.gather(1, best)[:, 0]


def _within_cells(log_odds: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Where in a cell the peak is, mm: at the top of the parabola through the cell and its neighbours on each axis."""
    top, places = log_odds[cells[:, 1], cells[:, 0]], []
    for axis, size in enumerate(reversed(log_odds.shape)):
        step = one_hot(torch.tensor(axis), 2).to(cells.device)
        before, after = ((cells + step * side).clamp(min=0) for side in (-1, 1))
        after[:, axis] = after[:, axis].clamp(max=size - 1)
        low, high = log_odds[before[:, 1], before[:, 0]], log_odds[after[:, 1], after[:, 0]]
        curve = 2.0 * top - low - high
        off = torch.where(curve > 0.0, (high - low) / (2.0 * curve.clamp(min=1e-6)), 0.0)
        places.append(cells[:, axis] + 0.5 + off.clamp(-0.5, 0.5))
    return torch.stack(places, dim=1) * CELL_MM
