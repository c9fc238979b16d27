"""Intervals of a measured figure, by drawing patients again and again.

Images and breasts of one patient resemble each other, so patients are drawn, with all that belongs to them. A draw is
told as weights: how often each unit is in it. Figures that are computed from the same draws are paired: their
difference has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DRAWS: Final = 2000
SEED: Final = 20_210_501
_TAIL: Final = 2.5
"""Per cent on either side: 95 % are within."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; NaN where there is nothing to compute it from."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """As JSON has no NaN: null where there is no figure."""
        told = {"value": self.value, "low": self.low, "high": self.high}
        return {name: number if np.isfinite(number) else None for name, number in told.items()}


def bootstrap(
    groups: Sequence[str],
    statistic: Callable[[FloatArray], FloatArray],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[FloatArray, FloatArray]:
    """Compute figures once on all units, and on every draw.

    Parameters
    ----------
    groups
        Of each unit, the patient or whatever else is drawn as a whole.
    statistic
        From the weight of each unit, shape (units,), to figures, shape (figures,).

    Returns
    -------
    tuple of numpy.ndarray
        Figures of all units, shape (figures,); of the draws, shape (draws, figures).
    """
    names, of_unit = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    whole = statistic(np.ones(len(groups)))
    if len(names) == 0:
        return whole, np.full((draws, len(whole)), np.nan)
    rng = np.random.default_rng(seed)
    shares = np.full(len(names), 1.0 / len(names))
    drawn = [statistic(rng.multinomial(len(names), shares)[of_unit].astype(np.float64)) for _ in range(draws)]
    return whole, np.array(drawn).reshape(draws, len(whole))


def interval(value: float, drawn: FloatArray) -> Estimate:
    """The figure with the middle 95 % of its draws; draws without a figure, as those of one class, are left out."""
    finite = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or finite.size == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(finite, (_TAIL, 100.0 - _TAIL))
    return Estimate(float(value), float(low), float(high))
