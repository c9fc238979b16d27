"""How far the two views of one mass differ: ``python -m tests.bench.collocation``.

Takes the patients of the train split of CBIS-DDSM whose CC and MLO of a breast have one mass each, and compares its
distance from the nipple, as `cad.breast` finds it, and its size. Pairs of two patients tell what chance would do.
"""

from __future__ import annotations

import argparse

import numpy as np

from cmmd_node.cad.breast import find_breast
from cmmd_node.cad.geometry import DISTANCE_MM, SIZE_RATIO
from tests.bench.training_cases import Case, cbis
from tests.conftest import SHARED


def nipple_distance_and_size(case: Case) -> tuple[float, float] | None:
    """Of the one box of a case, mm; None where no breast is found."""
    breast = find_breast(case.pixels, position=case.position, spacing=case.spacing)
    if breast is None:
        return None
    left, top, right, bottom = case.boxes_cr[0]
    column = (left + right) / 2
    column = breast.placement.columns - column if breast.placement.mirrored else column
    across_mm = column * case.spacing.column_mm - breast.placement.first_column_mm
    center_mm = across_mm, (top + bottom) / 2 * case.spacing.row_mm
    size_mm = max((right - left) * case.spacing.column_mm, (bottom - top) * case.spacing.row_mm)
    return float(np.hypot(*np.subtract(center_mm, breast.nipple_mm))), size_mm


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=170)
    asked = parser.parse_args()
    cases = cbis(SHARED / "data" / "cbis-ddsm-masses", "train")
    single = {case.file: case for case in cases if len(case.boxes_cr) == 1}
    pairs = [(case, single.get(file.replace("_CC", "_MLO"))) for file, case in single.items() if "_CC" in file]
    measured = []
    for cc, mlo in [(cc, mlo) for cc, mlo in pairs if mlo is not None][: asked.pairs]:
        both = nipple_distance_and_size(cc), nipple_distance_and_size(mlo)
        if both[0] is not None and both[1] is not None:
            measured.append((*both[0], *both[1]))
    cc_mm, cc_size, mlo_mm, mlo_size = np.array(measured).T
    apart = np.abs(cc_mm - mlo_mm)
    of_others = np.abs(cc_mm[:, None] - mlo_mm[None, :])[~np.eye(len(measured), dtype=bool)]
    ratio = np.abs(np.log(cc_size / mlo_size)) / np.log(SIZE_RATIO)
    print(f"{len(measured)} pairs; distances from the nipple differ by {np.median(apart):.1f} mm in the median")
    within, chance = (apart <= DISTANCE_MM).mean(), (of_others <= DISTANCE_MM).mean()
    print(f"within {DISTANCE_MM:g} mm: {within:.2f}, of masses of two patients {chance:.2f}")
    print(f"size within a factor of {SIZE_RATIO:g}: {(ratio <= 1).mean():.2f}")


if __name__ == "__main__":
    main()
