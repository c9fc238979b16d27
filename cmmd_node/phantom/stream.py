"""Random numbers and random textures that are the same on every machine.

numpy promises that the raw words of a bit generator never change, but not that methods such as ``Generator.normal``
keep their streams; so everything here is made from raw words, by additions, multiplications and shifts that IEEE 754
defines to the last bit.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


class Stream:
    """Random numbers that follow from names alone, such as ``Stream(7, "L", "MLO")``."""

    def __init__(self, *names: object) -> None:
        digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "little"))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) / 2.0**53

    def below(self, count: int) -> int:
        """An integer from 0 to count - 1."""
        return (int(self._bits.random_raw()) >> 11) % count

    def chance(self, probability: float) -> bool:
        return self.uniform(0.0, 1.0) < probability

    def noise(self, rows: int, columns: int) -> Field:
        """White noise of mean 0 and standard deviation 1 (the sum of two dice), shape (rows, columns)."""
        words: NDArray[np.uint64] = self._bits.random_raw((rows * columns + 3) // 4)
        dice = words.astype("<u8").view(np.uint8).reshape(-1, 2)[: rows * columns]
        total = dice[:, 0].astype(np.float32) + dice[:, 1].astype(np.float32)
        return ((total - np.float32(255.0)) * np.float32(1.0 / 104.5)).reshape(rows, columns)


def doubled(field: Field) -> Field:
    """The field on a grid twice as fine: quadratic B-spline subdivision, so repeated doubling stays smooth.

    Parameters
    ----------
    field : numpy.ndarray, float32, shape (rows, columns)

    Returns
    -------
    numpy.ndarray, float32, shape (2 * rows, 2 * columns)
    """
    three, quarter = np.float32(0.75), np.float32(0.25)
    for axis in (0, 1):
        near = field * three
        far = field * quarter
        fine = np.empty(
            (2 * field.shape[0], field.shape[1]) if axis == 0 else (field.shape[0], 2 * field.shape[1]), np.float32
        )
        lines, out, by = (near, fine, far) if axis == 0 else (near.T, fine.T, far.T)
        out[2::2] = lines[1:] + by[:-1]
        out[0] = lines[0] + by[0]
        out[1:-1:2] = lines[:-1] + by[1:]
        out[-1] = lines[-1] + by[-1]
        field = fine
    return field


def power_law(stream: Stream, rows: int, columns: int, *, octaves: int, fall: float) -> Field:
    """Noise with a power-law spectrum, by adding octaves from coarse to fine.

    Parameters
    ----------
    rows, columns : int
    octaves : int
        The coarsest cell is ``2 ** (octaves - 1)`` pixels wide.
    fall : float
        Standard deviation of an octave over that of the next coarser one. 0.71 gives the power spectrum f^-3 of
        mammographic parenchyma, less is smoother.

    Returns
    -------
    numpy.ndarray, float32, shape (rows, columns)
        Mean about 0, standard deviation about 1.
    """
    scale = 2 ** (octaves - 1)
    amplitude, power = 1.0, 0.0
    field = np.zeros((-(-rows // scale), -(-columns // scale)), np.float32)
    for octave in range(octaves):
        if octave:
            field = doubled(field)
            amplitude *= fall
        field = field + np.float32(amplitude) * stream.noise(*field.shape)
        power += (amplitude * (0.4 if octave < octaves - 1 else 1.0)) ** 2  # doubling smooths: it keeps about 0.4
    return field[:rows, :columns] * np.float32(1.0 / power**0.5)
