"""Strangers at the DICOMweb origin server: Orthanc's plugin as client, dicomweb-client as library and command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import JPEGLSLossless, MammographyCADSRStorage, SegmentationStorage

from tests.e2e.exams import small_exam
from tests.mammograms import encoded, make_mammogram, save
from tests.nodes import Orthanc, RunningNode
from tests.receive.conftest import part10_bytes

pytestmark = pytest.mark.e2e

USER, PASSWORD = "viewer", "a: password"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


@dataclass(frozen=True)
class Site:
    """A node that asks for a password, and an Orthanc that knows it as a DICOMweb server."""

    node: RunningNode
    orthanc: Orthanc

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.node.settings.web.port}/dicom-web"

    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.url, session=create_session_from_user_pass(USER, PASSWORD))

    def cli(self, *words: str) -> str:
        """What dicomweb-client's command prints."""
        program = "import sys; from dicomweb_client.cli import _main; sys.exit(_main())"
        command = [sys.executable, "-c", program, "-u", USER, "-p", PASSWORD, "--url", self.url, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask_orthanc(self, path: str, **values: Any) -> Any:
        """Orthanc's REST API of the plugin as client."""
        answer = httpx.post(f"{self.orthanc.http}/dicom-web/servers/node/{path}", json=values, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, images: list[FileDataset]) -> str:
        """STOW-RS of images one has; their study."""
        self.client().store_instances(images)
        return str(images[0].StudyInstanceUID)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("dicomweb")
    peer = {"name": "nobody", "ae_title": "NOBODY", "host": "127.0.0.1", "port": 9, "results": ["cad-sr", "seg"]}
    with RunningNode(folder / "node", peer=[peer], web={"user": USER, "password": PASSWORD}) as node:
        url = f"http://127.0.0.1:{node.settings.web.port}/dicom-web/"
        servers = {"node": {"Url": url, "Username": USER, "Password": PASSWORD, "HasDelete": False}}
        plugin: dict[str, Any] = {"Plugins": [PLUGIN], "DicomWeb": {"Enable": True, "Servers": servers}}
        with Orthanc(folder / "orthanc", **plugin) as orthanc:
            yield Site(node, orthanc)


def test_orthanc_stores_into_the_node_and_pulls_images_and_results_from_it(site: Site) -> None:
    images = small_exam("orthanc")
    study = str(images[0].StudyInstanceUID)
    for image in images:
        httpx.post(f"{site.orthanc.http}/instances", content=part10_bytes(image), timeout=30).raise_for_status()
    (resource,) = {site.orthanc.study_of(one) for one in site.orthanc.find(study)}
    site.ask_orthanc("stow", Resources=[resource], Synchronous=True)
    assert site.node.wait_for_round(study, 1)["outcome"] == "findings"

    site.orthanc.clear()
    (found,) = site.ask_orthanc("qido", Uri="/studies", Arguments={"StudyInstanceUID": study})
    assert study in json.dumps(found)
    site.ask_orthanc("retrieve", Resources=[{"Study": study}], Synchronous=True)
    assert {image.SOPInstanceUID for image in images} <= {
        httpx.get(f"{site.orthanc.http}/instances/{one}/tags?simplify", timeout=30).json()["SOPInstanceUID"]
        for one in site.orthanc.find(study)
    }
    assert len(site.orthanc.find(study, SOPClassUID=MammographyCADSRStorage)) == 1
    segmentations = site.orthanc.find(study, SOPClassUID=SegmentationStorage)
    assert len(segmentations) == 2


def test_dicomweb_client_finds_retrieves_and_stores(site: Site) -> None:
    images = small_exam("library")
    study = site.send(images)
    client = site.client()
    (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": study, "PatientID": "patient of *"})
    assert found["00201208"]["Value"] == [4]
    assert len(client.search_for_instances(study, get_remaining=True, limit=3)) == 4
    by_uid = {image.SOPInstanceUID: image for image in images}
    for one in client.retrieve_study(study):
        assert one == by_uid[one.SOPInstanceUID]
    names = (study, str(images[0].SeriesInstanceUID), str(images[0].SOPInstanceUID))
    assert client.retrieve_instance(*names) == images[0]
    metadata = client.retrieve_instance_metadata(*names)
    assert metadata["00100020"]["Value"] == [images[0].PatientID]
    (pixels,) = client.retrieve_instance_frames(*names, frame_numbers=[1])
    assert pixels == images[0].PixelData
    (bulk,) = client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
    assert bulk == images[0].PixelData
    assert len(client.retrieve_series_metadata(*names[:2])) == 4
    rendered = client.retrieve_instance_rendered(*names, media_types=("image/png",))
    assert Image.open(BytesIO(rendered)).size == (images[0].Columns, images[0].Rows)


def test_dicomweb_client_gets_compressed_objects_and_frames(site: Site) -> None:
    plain = make_mammogram(study="compressed")
    coded = encoded(plain, JPEGLSLossless)
    study = site.send([coded])
    names = (study, str(plain.SeriesInstanceUID), str(plain.SOPInstanceUID))
    client = site.client()
    kept = client.retrieve_instance(*names, media_types=(("application/dicom", "1.2.840.10008.1.2.4.80"),))
    assert kept.PixelData == coded.PixelData
    assert client.retrieve_instance(*names, media_types=(("application/dicom", "*"),)).PixelData == coded.PixelData
    (frame,) = client.retrieve_instance_frames(*names, [1], media_types=("application/octet-stream",))
    assert np.array_equal(np.frombuffer(frame, np.uint8), np.frombuffer(plain.PixelData, np.uint8)[: len(frame)])
    (stream,) = client.retrieve_instance_frames(*names, [1], media_types=(("image/jls", "1.2.840.10008.1.2.4.80"),))
    assert stream.startswith(b"\xff\xd8")


def test_dicomweb_clients_command_line_works_as_a_stranger_would_type_it(site: Site, tmp_path: Path) -> None:
    image = make_mammogram(study="command")
    names = {"study": image.StudyInstanceUID, "series": image.SeriesInstanceUID, "instance": image.SOPInstanceUID}
    options = [word for name, uid in names.items() for word in (f"--{name}", str(uid))]
    site.cli("store", "instances", str(save(image, tmp_path / "image.dcm")))
    (found,) = json.loads(site.cli("search", "studies", "--filter", f"StudyInstanceUID={image.StudyInstanceUID}"))
    assert found["00100020"]["Value"] == [image.PatientID]
    (tmp_path / "back").mkdir()
    site.cli("retrieve", "instances", *options, "full", "--save", "--output-dir", str(tmp_path / "back"))
    (back,) = (tmp_path / "back").iterdir()
    assert dcmread(back) == image
    assert image.SOPInstanceUID in site.cli("retrieve", "instances", *options, "metadata")


def test_marks_are_drawn_over_the_picture_on_request(site: Site) -> None:
    images = small_exam("marked")
    study = site.send(images)
    rounds = site.node.wait_for_round(study, 1)
    marked = next(one["SOPInstanceUID"] for one in rounds["images"] if one["findings"])
    url = f"{site.url}/studies/{study}/series/{images[0].SeriesInstanceUID}/instances/{marked}/rendered"
    wanted: dict[str, Any] = {"headers": {"Accept": "image/png"}, "auth": (USER, PASSWORD), "timeout": 30}
    plain = np.asarray(Image.open(BytesIO(httpx.get(url, **wanted).content)).convert("RGB")).astype(int)
    drawn = np.asarray(Image.open(BytesIO(httpx.get(f"{url}?findings=true", **wanted).content))).astype(int)
    assert drawn.shape == plain.shape
    assert (np.abs(drawn - plain).max(axis=2) > 60).sum() > 50
    assert httpx.get(url, timeout=30).status_code == 401
