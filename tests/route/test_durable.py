"""Durable steps: what is waited for, and what is not."""

from __future__ import annotations

import errno

import pytest
from sqlalchemy.exc import OperationalError

from cmmd_node.route.durable import may_pass


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (OperationalError("SELECT 1", None, Exception("the connection is gone")), True),
        (ValueError("a bug"), False),
    ],
)
def test_a_step_waits_for_what_an_operator_mends(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes
