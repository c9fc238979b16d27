"""Molecular subtype: each against the rest, and luminal against the others. Exploratory, and named so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cmmd_node.facts import Subtype
from cmmd_node.train.answers import Answers
from cmmd_node.train.bootstrap import FloatArray, bootstrap, interval
from cmmd_node.train.breasts import Breast, subtype_shares
from cmmd_node.train.roc import auc

#: What is told apart from the rest.
QUESTIONS: Final[dict[str, frozenset[Subtype]]] = {
    "luminal": frozenset({Subtype.LUMINAL_A, Subtype.LUMINAL_B}),
    **{subtype.value: frozenset({subtype}) for subtype in Subtype},
}


def subtypes(breasts: Sequence[Breast], answers: Answers, *, draws: int) -> dict[str, Any] | None:
    """AUC of each question, on the breasts with a known subtype for which the model gives probabilities.

    Returns
    -------
    dict or None
        None when the model says nothing about subtypes.
    """
    known = [breast for breast in breasts if breast.label.subtype is not None]
    shares = [subtype_shares(answers, breast) for breast in known]
    told = [(breast, one) for breast, one in zip(known, shares, strict=True) if one is not None]
    if not told:
        return None
    scores = np.array([[sum(one.get(s, 0.0) for s in asked) for _, one in told] for asked in QUESTIONS.values()])
    truth = np.array([[breast.label.subtype in asked for breast, _ in told] for asked in QUESTIONS.values()], bool)

    def statistic(weights: FloatArray) -> FloatArray:
        return np.array([auc(s, t, weights) for s, t in zip(scores, truth, strict=True)])

    whole, drawn = bootstrap([breast.first.group for breast, _ in told], statistic, draws=draws)
    return {
        "breasts": len(told),
        "unanswered": len(known) - len(told),
        "questions": [
            {
                "name": name,
                "positive": int(truth[number].sum()),
                "auc": interval(whole[number], drawn[:, number]).to_json(),
            }
            for number, name in enumerate(QUESTIONS)
        ],
    }
