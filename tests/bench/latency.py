"""Where time and memory of a four-view exam go, stage by stage, with a bundle of networks of this program.

``python -m tests.bench.latency [BUNDLE] [--repeats N] [--threads N]``

A phantom exam of four views of 2294 x 1914 pixels, written as DICOM, goes through what the node does to it: reading
pixels, finding the breast, candidates of masses and of clusters, patches, networks, marks; then the detector as a
whole, and the exam as the node analyses it, from files to answers in so many child processes. Seconds are those of the
fastest of some repeats, for all four views, with the model warm. They are told as ratios to two yardsticks measured in
the same run: the second looks' bare forward pass over the patches that they judge, and that of the convolutional trunk
over all pixels of the four images, which is what a dense detector of its size would cost. Memory is the peak of
resident memory during a stage (VmHWM, proc(5)), libraries included; for the last stage, that of the child processes
together.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing import active_children
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.views import mammogram_of, read_header
from cmmd_node.cad import ClassicalDetector, Detector, open_detector
from cmmd_node.cad.breast import find_breast
from cmmd_node.cad.bundle import bundle_named
from cmmd_node.cad.candidates import sighted
from cmmd_node.cad.mass_map import added
from cmmd_node.cad.native import Networks, judged, open_networks
from cmmd_node.cad.patches import Atlas
from cmmd_node.cad.second_look import GRIDS
from cmmd_node.facts import Kind, ViewStatus
from cmmd_node.isolation import IsolatedPool
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.route.analysis import ImageJob, analyse_image, load_detector
from cmmd_node.settings import BUILTIN
from tests.bench.memory import memory_mb

SEED = 12


class Stopwatch:
    """Seconds and peak memory of stages, the fastest of each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}

    def __call__(self, stage: str, work: Callable[[], Any], *, processes: Sequence[int] = (os.getpid(),)) -> Any:
        for process in processes:
            Path(f"/proc/{process}/clear_refs").write_text("5")  # VmHWM begins anew
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        self.seconds[stage] = min(seconds, self.seconds.get(stage, seconds))
        peak_mb = sum(memory_mb(process, "VmHWM") for process in processes)
        self.peak_mb[stage] = max(peak_mb, self.peak_mb.get(stage, 0.0))
        return result


@torch.inference_mode()
def run_once(folder: Path, watch: Stopwatch, detector: Detector, networks: Networks) -> None:
    paths = sorted(folder.iterdir())
    classical = ClassicalDetector()
    images = watch("read pixels", lambda: [(mammogram_of(read_header(path)), read_pixels(path)) for path in paths])
    breasts = watch(
        "find breasts",
        lambda: [find_breast(pixels, position=m.view.position, spacing=m.spacing) for m, pixels in images],
    )
    pairs = [(pixels, breast) for (_, pixels), breast in zip(images, breasts, strict=True)]
    for kind, network in networks.second_looks.items():
        seen = watch(f"candidates, {kind}", lambda kind=kind: [sighted(kind, *pair, classical) for pair in pairs])
        seen = [one for one in seen if len(one.features)]
        inputs = watch(
            f"patches, {kind}",
            lambda kind=kind, seen=seen: [
                Atlas(one.sheets, GRIDS[kind]).patches(
                    torch.from_numpy(one.sheet), torch.from_numpy(one.places_mm).float()
                )
                for one in seen
            ],
        )
        features = [torch.from_numpy(one.features) for one in seen]
        watch(
            f"network, {kind}",
            lambda network=network, inputs=inputs, features=features: [
                network(patches, known, torch.zeros(len(known), dtype=torch.int64))
                for patches, known in zip(inputs, features, strict=True)
            ],
        )
        if kind is Kind.MASS and (mass_maps := networks.mass_maps) is not None:
            places = [torch.from_numpy(one.places_mm) for one in seen]
            watch(
                "maps of masses",
                lambda mass_maps=mass_maps, seen=seen, places=places: [
                    added(one.sheets[0], at, mass_maps) for one, at in zip(seen, places, strict=True)
                ],
            )
        watch(
            f"all networks as in service, {kind}",
            lambda kind=kind, seen=seen: [judged(one, kind, networks) for one in seen],
        )
    trunk = next(iter(networks.second_looks.values())).members[0].trunk
    whole = [torch.from_numpy(pixels)[None, None].to(memory_format=torch.channels_last) for _, pixels in images]
    watch("trunk over all pixels", lambda: [trunk(pixels) for pixels in whole])
    watch(
        "the whole detector, from pixels to marks",
        lambda: [detector.marks(pixels, view=m.view, spacing=m.spacing) for m, pixels in images],
    )


def run_in_service(folder: Path, watch: Stopwatch, bundle: str, pool: IsolatedPool) -> None:
    jobs = [
        ImageJob(path=path, sop_instance_uid=path.stem, sop_class_uid="", threshold=None, bundle=bundle)
        for path in sorted(folder.iterdir())
    ]
    children = [child.pid for child in active_children() if child.pid is not None]
    answers = watch(
        "the exam as the node analyses it",
        lambda: pool.map(analyse_image, jobs, seconds=120.0),
        processes=children,
    )
    if any(answer.view.status is not ViewStatus.ANALYSED for answer in answers):
        raise SystemExit(f"not analysed: {answers}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", default=BUILTIN)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    watch, bundle = Stopwatch(), bundle_named(arguments.bundle)
    detector = watch("open the bundle, golden marks included", lambda: open_detector(arguments.bundle))
    networks = open_networks(bundle)
    networks.named().eval().to(memory_format=torch.channels_last)
    with TemporaryDirectory() as name:
        for number, ds in enumerate(to_datasets(make_exam(SEED))):
            ds.save_as(Path(name) / f"{number}.dcm", enforce_file_format=True)
        for _ in range(arguments.repeats):
            run_once(Path(name), watch, detector, networks)
        os.environ["OMP_NUM_THREADS"] = "1"  # children import this module, and numpy, before they set it themselves
        pool = IsolatedPool(arguments.threads)
        try:
            pool.map(load_detector, [arguments.bundle] * arguments.threads, seconds=120.0)
            for _ in range(arguments.repeats):
                run_in_service(Path(name), watch, arguments.bundle, pool)
        finally:
            pool.close()
    forward = sum(seconds for stage, seconds in watch.seconds.items() if stage.startswith("network, "))
    dense = watch.seconds["trunk over all pixels"]
    print(f"{bundle.label}, {arguments.threads} threads, four views of 2294 x 1914")
    print(f"{'stage':58} {'seconds':>8} {'/ forward':>10} {'/ trunk over all':>17} {'peak MB':>8}")
    for stage, seconds in watch.seconds.items():
        print(
            f"{stage:58} {seconds:8.3f} {seconds / forward:10.2f} {seconds / dense:17.2f} {watch.peak_mb[stage]:8.0f}"
        )


if __name__ == "__main__":
    main()
