"""The web role's memory does not depend on the size of what it is sent or asked for."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.bench.dicomweb import STOW, Upload, body, is_up, large
from tests.bench.memory import memory_mb
from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.receive.conftest import part10_bytes

AS_KEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
EXPLICIT = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'


def many(instances: int) -> list[Upload]:
    """A study of images of 0.2 MB."""
    ds = make_mammogram(np.zeros((500, 400), np.uint8), study="many")
    old, content = str(ds.SOPInstanceUID), part10_bytes(ds)
    uids = (f"{old[:-8]}{number:08d}" for number in range(instances))
    return [Upload(str(ds.StudyInstanceUID), content.replace(old.encode(), uid.encode()), 0) for uid in uids]


@pytest.mark.fault("H127")
@pytest.mark.parametrize(
    ("frames", "instances"),
    [(20, 400), pytest.param(100, 10_000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])],
    ids=["200 MB, 400 instances", "1 GB, 10,000 instances"],
)
def test_large_objects_and_large_studies_need_no_memory(tmp_path: Path, frames: int, instances: int) -> None:
    """However an object is kept, and whatever is asked for of it."""
    node = RunningNode(tmp_path, supervised=False)
    node.start("web")
    try:
        url = f"http://127.0.0.1:{node.settings.web.port}"
        wait_until(lambda: is_up(f"{url}/metrics"), 60, "the web role")
        (pid,) = node.pids("web")
        at_rest = memory_mb(pid, "VmRSS")
        peaks = {}
        with httpx.Client(base_url=f"{url}/dicom-web", timeout=600, trust_env=False) as client:

            def fetch(path: str, accept: str) -> int:
                with client.stream("GET", path, headers={"Accept": accept}) as answer:
                    assert answer.status_code == 200, answer.read()
                    return sum(len(piece) for piece in answer.iter_raw(1 << 20))

            for number, syntax in enumerate((ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
                uploads = large(number, frames=frames, transfer_syntax=syntax)
                assert client.post("/studies", content=body(uploads), headers=STOW).status_code == 200
                study = f"/studies/{uploads[0].study}"
                size = uploads[0].zeros
                peaks[f"STOW-RS, {syntax.name}"] = memory_mb(pid, "VmHWM")
                assert fetch(study, AS_KEPT) > size
                assert fetch(study, EXPLICIT) > size
                peaks[f"WADO-RS, {syntax.name}"] = memory_mb(pid, "VmHWM")
                (one,) = client.get(f"{study}/metadata").json()
                link = one["7FE00010"]["BulkDataURI"]
                assert fetch(link, OCTETS) > size
                numbers = ",".join(map(str, range(1, frames + 1)))
                assert fetch(link.replace("bulkdata/7FE00010", f"frames/{numbers}"), OCTETS) > size
                peaks[f"frames, {syntax.name}"] = memory_mb(pid, "VmHWM")
            uploads = many(instances)
            answer = client.post("/studies", content=body(uploads), headers=STOW)
            assert (answer.status_code, len(answer.json()["00081199"]["Value"])) == (200, instances)
            peaks["STOW-RS of many"] = memory_mb(pid, "VmHWM")
            study = f"/studies/{uploads[0].study}"
            assert fetch(study, AS_KEPT) > sum(upload.size for upload in uploads)
            assert fetch(f"{study}/metadata", "application/dicom+json") > 1000 * instances
            peaks["WADO-RS of many"] = memory_mb(pid, "VmHWM")
        assert max(peaks.values()) - at_rest < 100, (at_rest, peaks)
    finally:
        node.stop()
