"""Log odds that are those of the truth: a logistic regression over a few parts (Platt)."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


@torch.enable_grad()
def platt(
    parts: torch.Tensor,
    truth: torch.Tensor,
    *,
    known: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> list[float]:
    """Offset and slopes with which parts of the log odds add up to those of the truth.

    Parameters
    ----------
    parts : torch.Tensor, shape (n, parts)
    truth : torch.Tensor, shape (n,)
        0 or 1.
    known : torch.Tensor, shape (n,), optional
        Log odds that are right already, and added as they are.
    weight : torch.Tensor, shape (n,), optional
        How much each counts; default: all alike.

    Returns
    -------
    list of float
        The offset first.
    """
    inputs = torch.cat([torch.ones(len(parts), 1), parts], dim=1).double()
    line = torch.ones(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")
    there = torch.zeros(len(parts)) if known is None else known
    counts = None if weight is None else weight.double()

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(inputs @ line + there, truth.double(), weight=counts)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    told: list[float] = line.tolist()
    return told
