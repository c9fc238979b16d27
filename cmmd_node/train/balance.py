"""How much results count when malignancy is learnt, so that they say nothing of the cohort of an image.

Each result counts so much in each cohort that results and cohorts are independent, and as much as before over all
(reweighing: Kamiran and Calders, Knowledge and Information Systems 33, 2012). Nearly all that CMMD tells of its second
cohort is malignant, so its look alone could be taken for a sign of cancer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cmmd_node.train.prepared import PreparedImage


def balance_of(images: Sequence[PreparedImage], cohorts: Sequence[str | None]) -> npt.NDArray[np.float32]:
    """How much benign and malignant lesions of each image count.

    Parameters
    ----------
    images
        Of one kind of lesion.
    cohorts
        Of the images; those of none are one cohort.

    Returns
    -------
    numpy.ndarray, float32, shape (images, 2)
        Of a benign lesion, of a malignant one. All are 1 where one cohort knows results; in one that knows one result
        only they are 0.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(cohorts))}
    cohort = np.array([numbers[name] for name in cohorts], np.int64)
    counts = np.zeros((len(numbers), 2))
    for number, image in zip(cohort, images, strict=True):
        labels = image.breast_malignant[None] if image.weak else image.malignant
        counts[number] += [(labels == result).sum() for result in (0, 1)]
    untold = ~counts.any(axis=1)
    counts[~counts.all(axis=1)] = 0.0
    independent = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / max(counts.sum(), 1.0)
    weights = independent / np.maximum(counts, 1.0)
    weights[untold] = 1.0  # no result of theirs will count; that of a mass that is pasted into them does
    balance: npt.NDArray[np.float32] = weights[cohort].astype(np.float32)
    return balance
