"""What several tests of detectors look at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmmd_node.facts import Kind
from cmmd_node.phantom import PhantomView
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.simulate import simulate
from tests.bench.robustness import SEED


@pytest.fixture(scope="session")
def marked_view() -> PhantomView:
    """A view with a mass and a cluster."""
    case = next(
        case for case in (Case.from_seed(SEED, number) for number in range(50)) if case.kinds == frozenset(Kind)
    )
    return next(iter(simulate(replace(case, sides=(case.laterality,)))))
