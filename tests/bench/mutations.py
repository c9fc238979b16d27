"""How many single-row mutations of a valid CAD SR our checker finds, and how many PixelMed's validator.

``python -m tests.bench.mutations [--each N] [--no-pixelmed]``

The mutations are those of `tests/report/mutations.py`. PixelMed takes some five seconds a file, so that `--each` limits
how many of each kind are tried, spread over the report; 0 tries all. Both judge the same files, ours with the image at
hand and once more by the rules of the standard alone.
"""

from __future__ import annotations

import argparse
import tempfile
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from cmmd_node.report.check import check_object
from tests import judges
from tests.report.mutations import KINDS, Mutation, exam, mutations, valid_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--no-pixelmed", action="store_true")
    options = parser.parse_args()
    valid = valid_report()
    all_of_them = list(mutations(dcmread(BytesIO(valid))))
    print(f"{'mutation':30} tried  ours  ours, by the standard  PixelMed", flush=True)
    totals = [0, 0, 0, 0]
    for kind in KINDS:
        of_kind = [mutation for mutation in all_of_them if mutation.kind == kind]
        tried = spread(of_kind, options.each or len(of_kind))
        counts = [0, 0, 0]
        for mutation in tried:
            for place, found in enumerate(verdicts(mutation, valid, with_pixelmed=not options.no_pixelmed)):
                counts[place] += found
        print_row(kind, len(tried), *counts)
        totals = [total + one for total, one in zip(totals, (len(tried), *counts), strict=True)]
    print_row(f"of {len(all_of_them)} in all", *totals)


def spread(found: list[Mutation], count: int) -> list[Mutation]:
    """At most `count` of them, from the first on at equal distances."""
    count = min(count, len(found))
    return [found[index * len(found) // count] for index in range(count)]


def verdicts(mutation: Mutation, valid: bytes, *, with_pixelmed: bool) -> tuple[bool, bool, bool]:
    ds = mutation.applied(valid)
    faults = check_object(ds, exam())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.dcm"
        ds.save_as(path)
        by_pixelmed = with_pixelmed and bool(judges.pixelmed(path))
    return bool(faults), any(not fault.ours for fault in faults), by_pixelmed


def print_row(name: str, tried: int, ours: int, standard: int, pixelmed: int) -> None:
    print(f"{name:30} {tried:5} {ours:5} {standard:22} {pixelmed:9}", flush=True)


if __name__ == "__main__":
    main()
