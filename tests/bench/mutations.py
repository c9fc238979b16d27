"""How many single-row mutations of a valid CAD SR our checker finds, and how many PixelMed's validator.

``python -m tests.bench.mutations [--each N] [--no-pixelmed]``

The mutations are those of `tests/report/mutations.py`; `--each` limits how many of each kind are tried, spread over the
report, and without it all are. Both judge the same files, ours with the image at hand and once more by the rules of the
standard alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from cmmd_node.report.check import check_object
from tests import judges
from tests.report.mutations import KINDS, Mutation, exam, mutations, valid_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=0)
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
        for verdict in verdicts(tried, valid, with_pixelmed=not options.no_pixelmed):
            for place, found in enumerate(verdict):
                counts[place] += found
        print_row(kind, len(tried), *counts)
        totals = [total + one for total, one in zip(totals, (len(tried), *counts), strict=True)]
    print_row(f"of {len(all_of_them)} in all", *totals)


def spread(found: list[Mutation], count: int) -> list[Mutation]:
    """At most `count` of them, from the first on at equal distances."""
    count = min(count, len(found))
    return [found[index * len(found) // count] for index in range(count)]


def verdicts(tried: list[Mutation], valid: bytes, *, with_pixelmed: bool) -> Iterator[tuple[bool, bool, bool]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.dcm" for number in range(len(tried))]
        faults = []
        for mutation, path in zip(tried, paths, strict=True):
            ds = mutation.applied(valid)
            faults.append(check_object(ds, exam()))
            ds.save_as(path)
        complaints = judges.pixelmed(*paths) if with_pixelmed and paths else []
    for path, found in zip(paths, faults, strict=True):
        by_pixelmed = any(one.startswith(f"pixelmed: {path.name}: ") for one in complaints)
        yield bool(found), any(not fault.ours for fault in found), by_pixelmed


def print_row(name: str, tried: int, ours: int, standard: int, pixelmed: int) -> None:
    print(f"{name:30} {tried:5} {ours:5} {standard:22} {pixelmed:9}", flush=True)


if __name__ == "__main__":
    main()
