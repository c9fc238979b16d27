"""How fast mammograms are received, beside others on the same machine at the same time.

``python -m tests.bench.receive [--rounds 5] [--images 100] [--folder DIR]`` sends images of CMMD's size (2294 x 1914,
8 bit) with DCMTK's dcmsend over one association, TCP_NODELAY and PDUs of 128 KiB, to each receiver in turn. A round
visits all of them, in an order that turns by one each time, so that what else the machine does hits all alike. Every
visit starts a receiver with an empty store. What counts are the ratios in the last column.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from cmmd_node.deliver import echo
from cmmd_node.phantom import make_exam, to_datasets
from tests.bench.peers import MAX_PDU
from tests.conftest import free_ports
from tests.mammograms import save
from tests.nodes import DcmtkStorescp, Orthanc, Process, RunningNode, wait_until

_NODE = "this node"


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
    "bare loop": peer(BareLoop),
    "DCMTK storescp": peer(lambda folder: DcmtkStorescp(folder / "store", max_pdu=MAX_PDU)),
    "pynetdicom storescp": peer(PynetdicomStorescp),
    "Orthanc": peer(orthanc),
}


def measure(receiver: Callable[[Path], Any], folder: Path, images: Path, count: int) -> float:
    """Images per second of one visit; every image must have been answered with success."""
    folder.mkdir(parents=True)
    try:
        with receiver(folder) as (port, ae_title):
            return count / _seconds_to_send(images, count, port=port, called=ae_title)
    finally:
        shutil.rmtree(folder)


def _seconds_to_send(images: Path, count: int, *, port: int, called: str) -> float:
    """From the request of the association to its release; that dcmsend first looks at all files does not count."""
    words = ["dcmsend", "-v", "-dn", "+sd", "-ma", "-pdu", str(MAX_PDU), "--max-send-pdu", str(MAX_PDU)]
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
    return times["I: Releasing Association"] - times["I: Requesting Association"]


def write_images(folder: Path, count: int) -> None:
    """Images with the pixels of one phantom and UIDs of their own, in studies of four."""
    (ds, *_) = to_datasets(make_exam(7))
    folder.mkdir(parents=True)
    study: dict[str, str] = {}
    for number in range(count):
        if number % 4 == 0:
            study = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
        _write(ds, folder / f"{number:05d}.dcm", **study, SOPInstanceUID=generate_uid())


def _write(ds: FileDataset, path: Path, **differences: str) -> None:
    for keyword, value in differences.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    save(ds, path)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where stores are made, on the disk to measure (default: /tmp)")
    asked = parser.parse_args()
    names = list(RECEIVERS)
    rates: dict[str, list[float]] = {name: [] for name in names}
    with TemporaryDirectory(prefix="cmmd-node-bench-", dir=asked.folder) as temporary:
        images = Path(temporary) / "images"
        write_images(images, asked.images)
        for number in range(asked.rounds):
            turned = names[number % len(names) :] + names[: number % len(names)]
            for name in turned:
                subprocess.run(["sync"], check=True)
                rate = measure(RECEIVERS[name], Path(temporary) / "store", images, asked.images)
                rates[name].append(rate)
                print(f"round {number + 1}: {name} {rate:.0f} images/s", file=sys.stderr)
    print(f"{'receiver':<20} {'images/s':>8}  {'of all rounds':<40} {_NODE} to it")
    for name in names:
        # Within a round the machine was the same for both, so the ratio is taken there.
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[_NODE], rates[name], strict=True))
        every = " ".join(f"{rate:.0f}" for rate in rates[name])
        print(f"{name:<20} {statistics.median(rates[name]):>8.0f}  {every:<40} {ratio:.2f}")


if __name__ == "__main__":
    main()
