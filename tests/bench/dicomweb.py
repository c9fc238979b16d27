"""STOW-RS and WADO-RS of large objects beside Orthanc: ``python -m tests.bench.dicomweb [--times N]``.

An object of 1 GB (tomosynthesis, native pixels) and an exam of four views of 4.4 MB each go in by STOW-RS and come back
by WADO-RS, over loopback, from a client that makes the body while it sends it. Printed are MB/s (the median of the
times) and the server's resident memory: at rest, and its peak. Ours answers after the bytes are synced; Orthanc's
answer promises less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from pydicom.uid import UID, BreastTomosynthesisImageStorage, ExplicitVRLittleEndian

from tests.bench.memory import memory_mb
from tests.mammograms import encoded, make_mammogram
from tests.nodes import Orthanc, RunningNode, wait_until
from tests.receive.conftest import part10_bytes

_MB = 1_000_000
_PIECE = 1 << 20
_ROWS, _COLUMNS, _FRAMES = 2500, 2000, 100
#: The header of what `body` makes.
STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bench'}


@dataclass(frozen=True)
class Upload:
    """An object as it is sent: a beginning, and zeros behind it."""

    study: str
    head: bytes
    zeros: int

    @property
    def size(self) -> int:
        return len(self.head) + self.zeros

    def pieces(self) -> Iterator[bytes]:
        yield self.head
        for start in range(0, self.zeros, _PIECE):
            yield bytes(min(_PIECE, self.zeros - start))


def large(number: int, *, frames: int = _FRAMES, transfer_syntax: UID = ExplicitVRLittleEndian) -> list[Upload]:
    """One object of frames of 10 MB: 1 GB unless fewer are wanted."""
    ds = make_mammogram(
        np.zeros((_ROWS, _COLUMNS), np.uint16),
        study=f"large {number}",
        SOPClassUID=BreastTomosynthesisImageStorage,
        NumberOfFrames=str(frames),
    )
    frame = _ROWS * _COLUMNS * 2
    content = part10_bytes(encoded(ds, transfer_syntax))
    length = content.rindex(frame.to_bytes(4, "little"))  # of Pixel Data, the last element
    head = content[:length] + (frame * frames).to_bytes(4, "little")
    return [Upload(str(ds.StudyInstanceUID), head, frame * frames)]


def exam(number: int) -> list[Upload]:
    """Four views of CMMD's size."""
    uploads = []
    for view in ("L CC", "L MLO", "R CC", "R MLO"):
        ds = make_mammogram(np.zeros((2294, 1914), np.uint8), view=view, study=f"exam {number}")
        uploads.append(Upload(str(ds.StudyInstanceUID), part10_bytes(ds), 0))
    return uploads


def body(uploads: list[Upload]) -> Iterator[bytes]:
    for upload in uploads:
        yield b"--bench\r\nContent-Type: application/dicom\r\n\r\n"
        yield from upload.pieces()
        yield b"\r\n"
    yield b"--bench--\r\n"


def measure(url: str, pid: int, name: str, times: int) -> None:
    """Send and fetch, and print."""
    at_rest = memory_mb(pid, "VmRSS")
    client = httpx.Client(timeout=600, trust_env=False)
    wado = {
        "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
        "Accept-Encoding": "identity",  # Orthanc would compress the zeros to nothing
    }
    for what, make, repeats in (("4-view exam", exam, times), ("object of 1 GB", large, max(1, times // 5))):
        up, down = [], []
        for number in range(repeats):
            uploads = make(number)
            size = sum(upload.size for upload in uploads)
            started = time.perf_counter()
            client.post(f"{url}/studies", content=body(uploads), headers=STOW).raise_for_status()
            up.append(size / _MB / (time.perf_counter() - started))
            started = time.perf_counter()
            came = 0
            with client.stream("GET", f"{url}/studies/{uploads[0].study}", headers=wado) as answer:
                answer.raise_for_status()
                for piece in answer.iter_raw(_PIECE):
                    came += len(piece)
            assert came > size
            down.append(came / _MB / (time.perf_counter() - started))
        print(
            f"{name}, {what}: STOW {statistics.median(up):.0f} MB/s, WADO {statistics.median(down):.0f} MB/s; "
            f"memory {at_rest:.0f} MB at rest, {memory_mb(pid, 'VmHWM'):.0f} MB at most ({repeats} times)"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="exams; a fifth as many large objects")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="cmmd-node-bench-") as folder:
        node = RunningNode(Path(folder) / "node", supervised=False)
        node.start("web")
        url = f"http://127.0.0.1:{node.settings.web.port}"
        try:
            wait_until(lambda: is_up(f"{url}/metrics"), 60, "the web role")
            measure(f"{url}/dicom-web", node.pids("web")[0], "cmmd-node", asked.times)
        finally:
            node.stop()
    plugin: dict[str, Any] = {"Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"]}
    with (
        TemporaryDirectory(prefix="cmmd-node-bench-") as folder,
        Orthanc(Path(folder) / "orthanc", DicomWeb={"Enable": True}, **plugin) as pacs,
    ):
        assert pacs._process is not None
        measure(f"{pacs.http}/dicom-web", pacs._process.pid, "Orthanc", asked.times)


def is_up(url: str) -> bool:
    """Whether something there answers."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
