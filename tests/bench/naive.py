"""Which tests of faults fail on a receiver as it is usually written.

``python -m tests.bench.naive`` runs the tests of tests/receive that are marked with a row of the list of faults, once
more with `tests.receive.naive` in the place of our receiver, and prints for each row how many of its tests fail there.
All of them pass on ours, or the suite does not.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from tests.receive.conftest import RECEIVER_VARIABLE


class Rows:
    """Counts by row what ran on the naive receiver, and what failed there."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        rows = [str(row) for mark in item.iter_markers("fault") for row in mark.args]
        if "receive" not in getattr(item, "fixturenames", ()):  # it looks at a part of ours, without a receiver
            return report
        if report.when == "call":
            self.ran.update(rows)
        if report.failed and report.when != "teardown":
            self.failed.update(rows)
        return report


def main() -> None:
    os.environ[RECEIVER_VARIABLE] = "naive"
    rows = Rows()
    pytest.main(
        ["-q", "--no-header", "--tb=no", "-rN", "-m", "fault and not nightly", "--timeout=30", "tests/receive"],
        plugins=[rows],
    )
    print("row   tests  fail on the naive receiver")
    for row in sorted(rows.ran, key=lambda name: (name[0], int(name[1:]))):
        print(f"{row:5} {rows.ran[row]:5}  {rows.failed[row]}")
    sys.stdout.flush()
    os._exit(0)  # its threads do not end


if __name__ == "__main__":
    main()
