"""How fast mammograms are received, beside others on the same machine at the same time.

``python -m tests.bench.receive [--rounds 5] [--scenario NAME ...] [--folder DIR]`` sends images with DCMTK's dcmsend,
TCP_NODELAY set, to each receiver in turn; the scenarios are in `SCENARIOS`. A round visits all receivers of a scenario
before it goes on to the next, in an order that turns by one each time, so that what else the machine does hits all
alike. Every visit starts a receiver with an empty store. What counts are the ratios in the last column.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from cmmd_node.deliver import echo
from cmmd_node.phantom import make_exam, to_datasets
from tests.bench.peers import MAX_PDU
from tests.conftest import free_ports
from tests.mammograms import save
from tests.nodes import DcmtkStorescp, Orthanc, Process, RunningNode, wait_until

_NODE, _BARE_LOOP = "this node", "bare loop"


@dataclass(frozen=True)
class Scenario:
    """What is sent how, and to which receivers."""

    title: str
    receivers: tuple[str, ...] = (_NODE, _BARE_LOOP)
    images: int = 100
    """Over all associations."""
    associations: int = 1
    """At the same time; each sends its share of the images."""
    pdu_bytes: int = MAX_PDU
    large: bool = False
    """30 MB objects instead of images of CMMD's size."""


SCENARIOS = {
    "usual": Scenario(
        "100 images of 2294 x 1914, 8 bit; one association, PDUs of 128 KiB",
        (_NODE, _BARE_LOOP, "DCMTK storescp", "pynetdicom storescp", "Orthanc"),
    ),
    "parallel": Scenario("the same over each of 4 parallel associations", images=400, associations=4),
    "small-pdu": Scenario("the same over one association, PDUs of 16 KiB", pdu_bytes=16384),
    "large": Scenario("16 objects of 30 MB; one association, PDUs of 128 KiB", images=16, large=True),
}


class BareLoop(Process):
    """The same durable work and nothing else."""

    ae_title = "BARE"

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        super().__init__([sys.executable, "-m", "tests.bench.peers", str(self.port), folder], folder / "log")

    def is_ready(self) -> bool:
        return echo(host="127.0.0.1", port=self.port, called_ae_title=self.ae_title, calling_ae_title="BENCH")


class PynetdicomStorescp(Process):
    """pynetdicom's own storage application; it syncs nothing."""

    ae_title = "STORESCP"

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        words = [sys.executable, "-m", "pynetdicom", "storescp", str(self.port), "-q", "-ba", "127.0.0.1"]
        super().__init__([*words, "-pdu", str(MAX_PDU), "-od", folder / "store"], folder / "log")

    def is_ready(self) -> bool:
        return echo(host="127.0.0.1", port=self.port, called_ae_title=self.ae_title, calling_ae_title="BENCH")


@contextmanager
def this_node(folder: Path) -> Iterator[tuple[int, str]]:
    """The receive role alone: nothing is analysed meanwhile."""
    node = RunningNode(folder, supervised=False)
    node.start("receive")
    try:
        wait_until(node.answers_echo, 60, "the receiver")
        yield node.port, node.settings.node.ae_title
    finally:
        node.stop()


def peer(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Port and AE title of a process that is running."""

    @contextmanager
    def running(folder: Path) -> Iterator[tuple[int, str]]:
        with make(folder) as process:
            yield process.port, process.ae_title

    return running


def orthanc(folder: Path) -> Orthanc:
    """Tuned as far as its configuration goes."""
    return Orthanc(folder, MaximumPduLength=MAX_PDU, DicomThreadsCount=4, StorageCompression=False, SaveJobs=False)


RECEIVERS: dict[str, Callable[[Path], Any]] = {
    _NODE: this_node,
    _BARE_LOOP: peer(BareLoop),
    "DCMTK storescp": peer(lambda folder: DcmtkStorescp(folder / "store", max_pdu=MAX_PDU)),
    "pynetdicom storescp": peer(PynetdicomStorescp),
    "Orthanc": peer(orthanc),
}


def measure(receiver: Callable[[Path], Any], folder: Path, images: list[Path], scenario: Scenario) -> float:
    """Images per second of one visit; every image must have been answered with success."""
    folder = Path(mkdtemp(dir=folder))
    try:
        with receiver(folder) as (port, ae_title), ThreadPoolExecutor(len(images)) as senders:
            share = scenario.images // len(images)
            spans = senders.map(lambda one: _send(one, share, scenario.pdu_bytes, port=port, called=ae_title), images)
            starts, ends = zip(*spans, strict=True)
            return scenario.images / (max(ends) - min(starts))
    finally:
        # Not removed before the end: ext4 looks at every inode that was freed in the last minutes when it needs one.
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                os.truncate(file, 0)


def _send(images: Path, count: int, pdu_bytes: int, *, port: int, called: str) -> tuple[float, float]:
    """When the association was requested, and when released; that dcmsend first looks at all files does not count."""
    words = ["dcmsend", "-v", "-dn", "+sd", "-ma", "-pdu", str(pdu_bytes), "--max-send-pdu", str(pdu_bytes)]
    times: dict[str, float] = {}
    said = []
    with subprocess.Popen(
        [*words, "-aet", "BENCH", "-aec", called, "127.0.0.1", str(port), images],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TCP_NODELAY": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            times.setdefault(line.strip(), time.monotonic())
            said.append(line)
    if process.returncode != 0 or f"status SUCCESS  : {count}\n" not in said[-1]:
        raise RuntimeError("".join(said[-40:]))
    return times["I: Requesting Association"], times["I: Releasing Association"]


def write_images(folder: Path, scenario: Scenario) -> list[Path]:
    """Images with the pixels of one phantom and UIDs of their own, in studies of four; a folder for each sender."""
    (ds, *_) = to_datasets(make_exam(7))
    if scenario.large:
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 4800, 3125, 16, 12, 11
        ds.PixelData = bytes(2 * ds.Rows * ds.Columns)
    shares = [folder / str(number) for number in range(scenario.associations)]
    for share in shares:
        share.mkdir(parents=True)
        study: dict[str, str] = {}
        for number in range(scenario.images // scenario.associations):
            if number % 4 == 0:
                study = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
            _write(ds, share / f"{number:05d}.dcm", **study, SOPInstanceUID=generate_uid())
    return shares


def _write(ds: FileDataset, path: Path, **differences: str) -> None:
    for keyword, value in differences.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    save(ds, path)


def print_table(scenario: Scenario, rates: dict[str, list[float]]) -> None:
    """Medians, and ratios of this node to each; within a round the machine was the same for both."""
    print(f"\n{scenario.title}")
    print(f"{'receiver':<20} {'images/s':>8}  {'of all rounds':<40} {_NODE} to it")
    for name, measured in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[_NODE], measured, strict=True))
        every = " ".join(f"{rate:.1f}" for rate in measured)
        print(f"{name:<20} {statistics.median(measured):>8.1f}  {every:<40} {ratio:.2f}")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="one or several (default: all)")
    parser.add_argument("--folder", type=Path, help="where stores are made, on the disk to measure (default: /tmp)")
    asked = parser.parse_args()
    scenarios = [SCENARIOS[name] for name in asked.scenario or SCENARIOS]
    rates: dict[Scenario, dict[str, list[float]]] = {one: {name: [] for name in one.receivers} for one in scenarios}
    with TemporaryDirectory(prefix="cmmd-node-bench-", dir=asked.folder) as temporary:
        folder = Path(temporary)
        images = {one: write_images(folder / str(number), one) for number, one in enumerate(scenarios)}
        for number, scenario in itertools.product(range(asked.rounds), scenarios):
            names = scenario.receivers
            first = number % len(names)
            for name in names[first:] + names[:first]:
                subprocess.run(["sync"], check=True)
                rate = measure(RECEIVERS[name], folder, images[scenario], scenario)
                rates[scenario][name].append(rate)
                print(f"round {number + 1}: {scenario.title}: {name} {rate:.1f} images/s", file=sys.stderr)
    for scenario in scenarios:
        print_table(scenario, rates[scenario])


if __name__ == "__main__":
    main()
