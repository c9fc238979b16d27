"""The baseline that looks at no pixel: malignancy from age and cohort alone.

On collections such as CMMD, whose parts have different shares of cancers, this alone scores high; a model that cannot
beat it has shown nothing. A logistic regression, fitted out of fold: no breast is scored by coefficients that saw its
patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cmmd_node.train.bootstrap import FloatArray
from cmmd_node.train.breasts import Breast

_FOLDS: Final = 5
_RIDGE: Final = 1e-2
_MOST_STEPS: Final = 100


def metadata_scores(breasts: Sequence[Breast]) -> FloatArray:
    """Probability of malignancy of each breast, from age and cohort.

    Parameters
    ----------
    breasts
        With known classifications. Folds are the manifest's where every breast has one, else they follow from the
        group's name.

    Returns
    -------
    numpy.ndarray, shape (breasts,)
    """
    truth = np.array([breast.malignant for breast in breasts], dtype=np.float64)
    features = _features(breasts)
    folds = np.array(_folds(breasts))
    scores = np.full(len(breasts), truth.mean() if len(truth) else 0.5)
    for fold in np.unique(folds):
        fitted_on = folds != fold
        if 0 < truth[fitted_on].sum() < fitted_on.sum():
            coefficients = fit_logistic(features[fitted_on], truth[fitted_on])
            scores[~fitted_on] = _sigmoid(features[~fitted_on] @ coefficients)
    return scores


def fit_logistic(features: FloatArray, truth: FloatArray) -> FloatArray:
    """Coefficients of a logistic regression with a slight ridge, by Newton's method.

    Parameters
    ----------
    features : numpy.ndarray, shape (units, features)
        With a column of ones for the intercept.
    truth : numpy.ndarray, shape (units,)
        0 or 1.
    """
    coefficients = np.zeros(features.shape[1])
    for _ in range(_MOST_STEPS):
        told = _sigmoid(features @ coefficients)
        slope = features.T @ (truth - told) - _RIDGE * coefficients
        bend = (features * (told * (1.0 - told))[:, None]).T @ features + _RIDGE * np.eye(len(coefficients))
        step = np.linalg.solve(bend, slope)
        coefficients += step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def _features(breasts: Sequence[Breast]) -> FloatArray:
    """Intercept, age in decades from 50, whether it is missing, and one column for each cohort but the first."""
    ages = [breast.first.age for breast in breasts]
    known = [age for age in ages if age is not None]
    usual = float(np.mean(known)) if known else 50.0
    cohorts = sorted({str(breast.first.cohort) for breast in breasts})
    columns = [
        np.ones(len(breasts)),
        np.array([((usual if age is None else age) - 50.0) / 10.0 for age in ages]),
        np.array([age is None for age in ages], dtype=np.float64),
        *(np.array([str(b.first.cohort) == cohort for b in breasts], dtype=np.float64) for cohort in cohorts[1:]),
    ]
    return np.stack(columns, axis=1)


def _folds(breasts: Sequence[Breast]) -> list[int]:
    folds = [breast.first.fold for breast in breasts]
    if None not in folds and len(set(folds)) > 1:
        return [fold for fold in folds if fold is not None]
    return [hashlib.sha256(breast.first.group.encode()).digest()[0] % _FOLDS for breast in breasts]


def _sigmoid(log_odds: FloatArray) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -30.0, 30.0)))
