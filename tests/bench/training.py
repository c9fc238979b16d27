"""How fast maps of masses are trained, and how much of the time the network learns instead of waiting for images.

``python -m tests.bench.training [--images N] [--drawers N ...] [--device cpu|cuda]``

Breasts of noise with a mass each are shown to a map twice, once plain and once with masses pasted in (one epoch of each
turn), with more and more processes that draw them ahead. Told are images per second, their ratio to drawing and
learning by turns in the same run, and the share of the time in which the network learns: what learning alone takes is
what drawing and learning by turns takes without the drawing. On the CPU drawers take cores from the network, so that
`train` has none there.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cmmd_node.train.canvas import shown
from cmmd_node.train.fit_map import MapRecipe, fit_map
from cmmd_node.train.prepared import PreparedImage
from tests.train.test_canvas import SPOT, prepared


def breasts(count: int) -> list[PreparedImage]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        sheet = np.zeros((520, 300), np.uint8)
        sheet[20:500, :280] = rng.normal(120, 20, (480, 280)).clip(1, 255)
        sheet[SPOT] = 230
        images.append(prepared(sheets=sheet[None], malignant=np.array([rng.integers(2)], np.int8)))
    return images


def seconds_of_drawing(images: list[PreparedImage]) -> float:
    """By one process, of what the two turns show."""
    rng, begun = np.random.default_rng(0), time.perf_counter()
    for donors in ([], images):
        for image in images:
            shown(image, donors, rng)
    return time.perf_counter() - begun


def seconds_of_training(images: list[PreparedImage], drawers: int, device: str) -> float:
    recipe, balance = MapRecipe(epochs=1, least_masses=1), np.ones((len(images), 2), np.float32)
    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        fit_map(
            images, balance, recipe, Path(folder) / "map.pt", drawers=drawers, device=device, tell=lambda _line: None
        )
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--drawers", type=int, nargs="+", default=[1, max((os.cpu_count() or 1) - 1, 1)])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    images, shows = breasts(args.images), 2 * args.images
    seconds_of_training(images[:16], 0, args.device)  # warm
    drawing, by_turns = seconds_of_drawing(images), seconds_of_training(images, 0, args.device)
    print(f"{args.device}, {torch.get_num_threads()} threads, {shows} images shown; x: as fast as by turns")
    print(f"drawing alone, one process: {shows / drawing:.0f} images/s")
    for drawers in [0, *sorted(set(args.drawers))]:
        seconds = seconds_of_training(images, drawers, args.device) if drawers else by_turns
        print(
            f"{drawers} drawers: {shows / seconds:.1f} images/s, {by_turns / seconds:.2f} x, "
            f"learning {min((by_turns - drawing) / seconds, 1.0):.0%} of the time"
        )


if __name__ == "__main__":
    main()
