"""The network that reads a whole breast at once and maps where masses are centred.

The second look knows of a candidate what its patches show, and of the others what they have in common. This network
has seen every place of every breast that it learnt from, not only those where the classical detector found something,
and knows the whole breast around each. What it says of a candidate's place is added to what the second look says.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

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
        self.share = nn.Buffer(torch.ones(ANSWERS))
        """By what each answer is multiplied before it is added to that of the second look; not used in training."""

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


def _looking(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def planes_of(sheet: Levels) -> torch.Tensor:
    """What the network reads of a breast.

    Parameters
    ----------
    sheet : numpy.ndarray, uint8, shape (rows, columns)
        `tissue_levels`.

    Returns
    -------
    torch.Tensor, float32, shape (PLANES, rows, columns)
    """
    levels = torch.from_numpy(sheet)
    return torch.stack([levels.float() / 127.5 - 1.0, (levels > 0).float()])


@torch.inference_mode()
def added(sheet: Levels, places_mm: torch.Tensor, network: MassMap) -> torch.Tensor:
    """What the map adds to the log odds of candidates.

    It is the mean of the map of the breast and of that of the breast upside down. A candidate is given the greatest
    log odds in its cell and the eight around it, and how malignant a mass there is.

    Parameters
    ----------
    sheet : numpy.ndarray, uint8, shape (rows, columns)
        `tissue_levels`.
    places_mm : torch.Tensor, shape (n, 2)
        (column, row) from the corner of the sheet.

    Returns
    -------
    torch.Tensor, float32, shape (n, ANSWERS)
        That it is a mass; that, being so, it is malignant; multiplied by `MassMap.share`.
    """
    planes = planes_of(sheet)
    below, right = (-size % MULTIPLE for size in planes.shape[1:])
    air = pad(planes[:1], (0, right, 0, below), value=-1.0), pad(planes[1:], (0, right, 0, below))
    upright = torch.cat(air).to(network.share.device)
    both = torch.stack([upright, upright.flip(1)]).contiguous(memory_format=torch.channels_last)
    first, second = network(both)
    at_places: torch.Tensor = read_at((first + second.flip(1)) / 2.0, places_mm) * network.share
    return at_places


def read_at(maps: torch.Tensor, places_mm: torch.Tensor) -> torch.Tensor:
    """Where the first map is greatest within a cell of each place: what all maps say there.

    Parameters
    ----------
    maps : torch.Tensor, shape (maps, rows, columns)
        In cells of `CELL_MM`.
    places_mm : torch.Tensor, shape (n, 2)
        (column, row).

    Returns
    -------
    torch.Tensor, shape (n, maps)
    """
    rows, columns = maps.shape[1:]
    steps = torch.arange(-1, 2, device=maps.device)
    cells = (places_mm.to(maps.device) / CELL_MM).long()
    across, down = (cells[:, :1] + steps).clamp(0, columns - 1), (cells[:, 1:] + steps).clamp(0, rows - 1)
    near = (down[:, :, None] * columns + across[:, None, :]).flatten(1)  # (n, 9)
    around = maps.flatten(1)[:, near]  # (maps, n, 9)
    best = around[0].argmax(dim=1)[None, :, None].expand(len(maps), -1, 1)
    return around.gather(2, best)[:, :, 0].T
