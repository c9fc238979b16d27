"""The node between a modality and a PACS: real peers, real sockets, real disks that fill up."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEGExtended12Bit,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from cmmd_node.facts import Form
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.phantom.pacs import PacsStandIn
from cmmd_node.settings import BUILTIN
from tests import judges
from tests.conftest import SHARED, free_ports, need
from tests.e2e.exams import small_exam
from tests.mammograms import make_mammogram, save
from tests.nodes import STOP_SECONDS, DcmtkStorescp, Orthanc, RunningNode, dcmsend

pytestmark = pytest.mark.e2e

FORMS = ["cad-sr", "seg"]
CLASSES = {
    Form.CAD_SR: MammographyCADSRStorage,
    Form.SEG: SegmentationStorage,
    Form.GSPS: GrayscaleSoftcopyPresentationStateStorage,
    Form.TID1500: Comprehensive3DSRStorage,
    Form.SC: SecondaryCaptureImageStorage,
}
REAL_MAMMOGRAMS = SHARED / "data" / "mg-dicom"


def peer(
    name: str, ae_title: str, port: int | None = None, results: list[str] | None = None, **others: Any
) -> dict[str, Any]:
    """A table of ``[[peer]]``."""
    return {"name": name, "ae_title": ae_title, **others} | (
        {"host": "127.0.0.1", "port": port, "results": results or []} if port else {}
    )


def save_all(images: list[FileDataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [save(ds, folder / f"{number}.dcm") for number, ds in enumerate(images)]


def send_to(node: RunningNode, files: list[Path], *, calling: str = "MODALITY") -> None:
    """Send by dcmsend, every image with success."""
    done = dcmsend(files, port=node.port, called="CMMD_NODE", calling=calling)
    assert done.returncode == 0, done.stdout
    assert f"status SUCCESS  : {len(files)}" in done.stdout


@dataclass(frozen=True)
class Clinic:
    """A node, the PACS that forwards to it and gets every form, and an older workstation that gets CAD SRs."""

    node: RunningNode
    orthanc: Orthanc
    workstation: PacsStandIn

    def results(self, study_instance_uid: str, folder: Path) -> dict[Form, list[Path]]:
        """The node's objects in the PACS, once the CAD SR, which comes last, is there; in the study of the images."""
        cad_sr = {"SOPClassUID": CLASSES[Form.CAD_SR]}
        self.node.wait_until(
            lambda: self.orthanc.find(study_instance_uid, **cad_sr), 90, f"a CAD SR of {study_instance_uid}"
        )
        assert len({self.orthanc.study_of(one) for one in self.orthanc.find(study_instance_uid)}) == 1
        return {
            form: [
                self.orthanc.save(one, folder) for one in self.orthanc.find(study_instance_uid, SOPClassUID=sop_class)
            ]
            for form, sop_class in CLASSES.items()
        }


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """An Orthanc that gets mammograms from a modality and forwards them by C-STORE, and a workstation beside it."""
    folder = tmp_path_factory.mktemp("clinic")
    (pacs_port,) = free_ports(1)
    workstation = PacsStandIn(folder / "workstation", ae_title="OLDER")
    try:
        with (
            RunningNode(
                folder / "node",
                peer=[
                    peer("pacs", "ORTHANC", pacs_port, list(Form)),
                    peer("workstation", "OLDER", workstation.port, ["cad-sr"], codes="srt"),
                ],
                receive={"accept": "known"},
                settle={"quiet_seconds": 4, "complete_seconds": 0.5},
                cad={"bundle": BUILTIN},
            ) as node,
            Orthanc(folder / "orthanc", port=pacs_port, forward_to=("CMMD_NODE", node.port)) as orthanc,
        ):
            yield Clinic(node, orthanc, workstation)
    finally:
        workstation.stop()


@dataclass(frozen=True)
class Site:
    """A node and a stand-in for its PACS, in this process."""

    node: RunningNode
    pacs: PacsStandIn

    def arrived(self, study_instance_uid: str) -> list[tuple[str, str, bytes]]:
        """SOP Class UID, SOP Instance UID and bytes of what came for a study, repeats included."""
        return [
            (one.sop_class_uid, one.sop_instance_uid, one.path.read_bytes())
            for one in list(self.pacs.received)
            if one.study_instance_uid == study_instance_uid
        ]

    def wait_for_delivery(self, study_instance_uid: str, number: int) -> dict[str, Any]:
        """A round whose results are delivered."""
        self.node.wait_for_round(study_instance_uid, number)

        def delivered() -> bool:
            rounds = self.node.study(study_instance_uid)["rounds"]
            return [one["state"] for one in rounds[number - 1]["deliveries"]] == ["delivered"]

        self.node.wait_until(delivered, 60, f"the delivery of round {number}")
        return dict(self.node.study(study_instance_uid)["rounds"][number - 1])


@contextmanager
def running_site(folder: Path, **sections: Any) -> Iterator[Site]:
    pacs = PacsStandIn(folder / "pacs", ae_title="PACS")
    try:
        peers = [peer("pacs", "PACS", pacs.port, FORMS), peer("modality", "MODALITY")]
        with RunningNode(folder / "node", peer=peers, **{"receive": {"accept": "known"}, **sections}) as node:
            yield Site(node, pacs)
    finally:
        pacs.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


def judged(results: dict[Form, list[Path]], images: list[Path]) -> list[str]:
    """What independent validators complain of."""
    objects = [path for paths in results.values() for path in paths]
    return [
        *judges.dciodvfy(*objects),
        *judges.dcentvfy(*images, *objects),
        *judges.dsrdump(*results[Form.CAD_SR], *results[Form.TID1500]),
        *judges.dcmpschk(*results[Form.GSPS]),
        *judges.pixelmed(*results[Form.CAD_SR]),
    ]


@pytest.mark.judges
def test_phantom_exam_comes_back_to_orthanc_with_its_results(clinic: Clinic, tmp_path: Path) -> None:
    exam = list(to_datasets(make_exam(7), study="e2e"))
    study = str(exam[0].StudyInstanceUID)
    images = save_all(exam, tmp_path / "images")
    done = dcmsend(images, port=clinic.orthanc.port, called="ORTHANC", calling="MODALITY")
    assert done.returncode == 0, done.stdout

    results = clinic.results(study, tmp_path / "results")

    (cad_sr,) = (dcmread(path) for path in results[Form.CAD_SR])
    assert (cad_sr.SOPClassUID, cad_sr.StudyInstanceUID) == (MammographyCADSRStorage, study)
    answered = clinic.node.wait_for_round(study, 1)
    assert answered["outcome"] == "findings"
    marked = {image["SOPInstanceUID"] for image in answered["images"] if image["findings"]}
    segmented = [dcmread(path).ReferencedSeriesSequence[0].ReferencedInstanceSequence for path in results[Form.SEG]]
    assert sorted(one[0].ReferencedSOPInstanceUID for one in segmented) == sorted(marked)
    assert {form: len(paths) for form, paths in results.items()} == {
        Form.CAD_SR: 1,
        Form.SEG: len(marked),
        Form.GSPS: len(marked),
        Form.TID1500: 1,
        Form.SC: len(marked),
    }
    assert len(clinic.node.study(study)["rounds"]) == 1
    assert judged(results, images) == []
    assert clinic.workstation.wait_for(MammographyCADSRStorage, study, seconds=60)
    (older,) = (dcmread(one.path) for one in clinic.workstation.received if one.study_instance_uid == study)
    assert older.SOPInstanceUID != cad_sr.SOPInstanceUID
    assert "SCT" in schemes(cad_sr)
    assert schemes(older) == schemes(cad_sr) - {"SCT"} | {"SRT"}
    assert tracking_uids(older) == tracking_uids(cad_sr) != set()


def schemes(ds: Dataset) -> set[str]:
    return {str(element.value) for element in ds.iterall() if element.keyword == "CodingSchemeDesignator"}


def tracking_uids(cad_sr: Dataset) -> set[str]:
    return {str(element.value) for element in cad_sr.iterall() if element.keyword == "UID"}


def test_presentation_state_from_orthanc_is_applied_by_another_viewer(clinic: Clinic, tmp_path: Path) -> None:
    exam = small_exam("presentation")
    study = str(exam[0].StudyInstanceUID)
    images = {str(ds.SOPInstanceUID): path for ds, path in zip(exam, save_all(exam, tmp_path / "images"), strict=True)}
    done = dcmsend(images.values(), port=clinic.orthanc.port, called="ORTHANC", calling="MODALITY")
    assert done.returncode == 0, done.stdout
    for path in clinic.results(study, tmp_path / "results")[Form.GSPS]:
        state = dcmread(path)
        image = images[state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID]
        tool = judges.installed("dcmp2pgm", "dcmtk")
        subprocess.run([tool, "--pstate", path, image, tmp_path / "shown.pgm"], check=True, timeout=60)
        shown = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float)
        assert shown.shape == (dcmread(image).Rows, dcmread(image).Columns)
        assert np.corrcoef(shown.ravel(), dcmread(image).pixel_array.ravel())[0, 1] > 0.9  # upright and not inverted
        assert state.GraphicAnnotationSequence[0].GraphicObjectSequence  # DCMTK draws the image without them


@pytest.mark.shared
@pytest.mark.judges
def test_real_mammogram_comes_back_to_orthanc_with_a_result(clinic: Clinic, tmp_path: Path) -> None:
    image = REAL_MAMMOGRAMS / "GH133.dcm"
    study = str(dcmread(image, stop_before_pixels=True).StudyInstanceUID)
    done = dcmsend([image], port=clinic.orthanc.port, called="ORTHANC", calling="MODALITY")
    assert done.returncode == 0, done.stdout

    results = clinic.results(study, tmp_path / "results")

    answered = clinic.node.wait_for_round(study, 1)
    assert answered["outcome"] in {"findings", "no-findings"}
    assert [one["status"] for one in answered["images"]] == ["analysed"]
    assert judged(results, []) == []


def as_mammogram(image: Path, **differences: Any) -> FileDataset:
    """A secondary capture with the class and modality of a mammogram, its pixels as they were encoded."""
    ds = dcmread(image)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    ds.Modality = "MG"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    for keyword, value in differences.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.shared
@pytest.mark.judges
def test_mammogram_that_cannot_be_analysed_is_answered_with_its_reason(clinic: Clinic, tmp_path: Path) -> None:
    ds = as_mammogram(REAL_MAMMOGRAMS / "MG1_JPLY.dcm")
    assert ds.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    ds.save_as(tmp_path / "jpeg-12-bit.dcm")
    done = dcmsend([tmp_path / "jpeg-12-bit.dcm"], port=clinic.orthanc.port, called="ORTHANC", calling="MODALITY")
    assert done.returncode == 0, done.stdout

    results = clinic.results(ds.StudyInstanceUID, tmp_path / "results")

    assert {form for form, paths in results.items() if paths} == {Form.CAD_SR}
    told = clinic.node.cli("studies")
    (answered,) = next(one for one in told if one["StudyInstanceUID"] == ds.StudyInstanceUID)["rounds"]
    assert (answered["state"], answered["outcome"]) == ("answered", "not-analysed")
    assert [one["status"] for one in answered["images"]] == ["not-analysed"]
    assert "spacing" in answered["images"][0]["reason"]
    assert judged(results, []) == []


@pytest.mark.shared
def test_mammogram_whose_pixels_are_cut_off_is_answered_with_its_reason(site: Site, tmp_path: Path) -> None:
    ds = as_mammogram(REAL_MAMMOGRAMS / "MG1_JPLY.dcm", ImagerPixelSpacing=["0.05", "0.05"])
    codestream = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([codestream[: len(codestream) // 2]])
    ds.save_as(tmp_path / "cut.dcm")
    send_to(site.node, [tmp_path / "cut.dcm"])

    answered = site.wait_for_delivery(str(ds.StudyInstanceUID), 1)

    assert answered["outcome"] == "not-analysed"
    assert answered["images"][0]["reason"]
    assert [sop_class for sop_class, _, _ in site.arrived(ds.StudyInstanceUID)] == [MammographyCADSRStorage]


@pytest.mark.shared
def test_secondary_capture_has_no_presentation_context(site: Site) -> None:
    done = dcmsend([REAL_MAMMOGRAMS / "MG1_JPLY.dcm"], port=site.node.port, called="CMMD_NODE", calling="MODALITY")

    assert "no acceptable pres.  : 1" in done.stdout, done.stdout
    study = str(dcmread(REAL_MAMMOGRAMS / "MG1_JPLY.dcm", stop_before_pixels=True).StudyInstanceUID)
    assert site.node.study(study) == {}


def test_exam_sent_twice_has_one_result(site: Site, tmp_path: Path) -> None:
    exam = small_exam("twice")
    study = str(exam[0].StudyInstanceUID)
    files = save_all(exam, tmp_path)
    send_to(site.node, files)
    first = site.wait_for_delivery(study, 1)
    send_to(site.node, files)
    other = small_exam("twice, the exam after")
    send_to(site.node, save_all(other, tmp_path))
    site.wait_for_delivery(str(other[0].StudyInstanceUID), 1)  # had there been new work, it would have come before

    assert site.node.study(study)["rounds"] == [first]
    sent = sorted(one["SOPInstanceUID"] for one in first["results"])
    assert sorted(uid for _, uid, _ in site.arrived(study)) == sent
    assert [one["form"] for one in first["results"]] == ["cad-sr", "seg", "seg"]


def test_late_image_makes_a_round_that_names_its_predecessor(site: Site, tmp_path: Path) -> None:
    exam = small_exam("late")
    study = str(exam[0].StudyInstanceUID)
    send_to(site.node, save_all(exam, tmp_path))
    site.wait_for_delivery(study, 1)
    fifth = make_mammogram(
        view="R MLO", study="late", patient="patient of late", SOPInstanceUID=generate_uid(), InstanceNumber=5
    )
    send_to(site.node, [save(fifth, tmp_path / "fifth.dcm")])
    second = site.wait_for_delivery(study, 2)

    first_sr, second_sr = (
        dcmread(site.node.data_dir / one["path"])
        for number in (0, 1)
        for one in site.node.study(study)["rounds"][number]["results"]
        if one["form"] == "cad-sr"
    )
    named = second_sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [one.ReferencedSOPInstanceUID for one in named] == [first_sr.SOPInstanceUID]
    assert len(second["images"]) == 5
    uids = [uid for _, uid, _ in site.arrived(study)]
    assert len(uids) == len(set(uids)) == 6


@pytest.mark.fault("C47")
def test_two_patients_in_one_study_stop_it(site: Site, tmp_path: Path) -> None:
    exam = small_exam("two patients")
    study = str(exam[0].StudyInstanceUID)
    exam[3].PatientID = "somebody else"
    send_to(site.node, save_all(exam, tmp_path))
    stopped = site.node.wait_for_round(study, 1)
    other = small_exam("two patients, the exam after")
    send_to(site.node, save_all(other, tmp_path))
    site.wait_for_delivery(str(other[0].StudyInstanceUID), 1)

    assert stopped["state"] == "stopped"
    told = next(one for one in site.node.cli("studies") if one["StudyInstanceUID"] == study)
    assert told["identity_conflict"] == "images of one study have different Patient IDs"
    assert told["rounds"][0]["results"] == told["rounds"][0]["deliveries"] == []
    assert site.arrived(study) == []


def test_unknown_ae_title_is_rejected(site: Site, tmp_path: Path) -> None:
    need("echoscu")
    done = subprocess.run(
        ["echoscu", "-aet", "STRANGER", "-aec", "CMMD_NODE", "127.0.0.1", str(site.node.port)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    exam = small_exam("from a stranger")
    done = dcmsend(save_all(exam, tmp_path), port=site.node.port, called="CMMD_NODE", calling="STRANGER")
    assert done.returncode != 0
    assert site.node.study(str(exam[0].StudyInstanceUID)) == {}


def test_check_succeeds_and_its_results_reach_no_configured_peer(site: Site) -> None:
    came_back = site.node.cli("check")

    study = came_back["StudyInstanceUID"]
    assert [one["SOPClassUID"] for one in came_back["objects"]][-1] == MammographyCADSRStorage
    site.node.wait_for_deliveries()
    (answered,) = site.node.study(study)["rounds"]
    assert [one["peer"] for one in answered["deliveries"]] == ["self-check"]
    assert site.arrived(study) == []


@pytest.mark.parametrize(
    "seconds", [pytest.param(2, id="seconds"), pytest.param(60, id="a minute", marks=pytest.mark.nightly)]
)
def test_results_wait_for_a_pacs_that_is_down(tmp_path: Path, seconds: int) -> None:
    (pacs_port,) = free_ports(1)
    exam = small_exam("outage")
    study = str(exam[0].StudyInstanceUID)
    with RunningNode(
        tmp_path / "node",
        peer=[peer("pacs", "STORESCP", pacs_port, FORMS)],
        deliver={"retry_seconds": 0.2, "retry_limit_seconds": 2},
    ) as node:
        send_to(node, save_all(exam, tmp_path / "images"))
        node.wait_for_round(study, 1)
        node.wait_until(lambda: attempts(node) >= 2 * seconds / 2, 3 * seconds + 20, "attempts to deliver")
        assert [one["state"] for one in node.deliveries()] == ["waiting"]
        with DcmtkStorescp(tmp_path / "pacs", port=pacs_port) as pacs:
            (delivery,) = node.wait_for_deliveries()
            arrived = [dcmread(path) for path in pacs.folder.iterdir()]

    assert delivery["state"] == "delivered"
    assert sorted(ds.SOPClassUID for ds in arrived) == sorted(
        [MammographyCADSRStorage, SegmentationStorage, SegmentationStorage]
    )
    assert len({ds.SOPInstanceUID for ds in arrived}) == 3
    log = (tmp_path / "pacs-storescp.log").read_text()
    assert "Received Store Request" not in log or log.count("Received Store Request") == 3


def attempts(node: RunningNode) -> int:
    return sum(one["attempts"] for one in node.deliveries())


def test_node_stops_by_its_deadline_with_a_stalled_peer(tmp_path: Path) -> None:
    with RunningNode(tmp_path) as node:
        before, inside = (socket.create_connection(("127.0.0.1", node.port)) for _ in range(2))
        with before, inside:
            before.sendall(b"\x01\x00\x00")  # the header of an A-ASSOCIATE-RQ and no more
            ae = AE("STALLED")
            ae.add_requested_context(Verification)
            assoc = ae.associate("127.0.0.1", node.port, ae_title="CMMD_NODE")
            assert assoc.is_established
            assoc.dul.socket.socket.sendall(b"\x04\x00\x00")  # that of a P-DATA-TF inside an association
            took = node.stop(seconds=STOP_SECONDS)
            assoc.abort()
    assert took < STOP_SECONDS


def test_killed_supervisor_can_be_started_again(tmp_path: Path) -> None:
    with RunningNode(tmp_path) as node:
        node.kill_supervisor()
        node.wait_until(lambda: not any(node.pids(role) for role in ("receive", "work", "web")), STOP_SECONDS)
        node.start()
        node.wait_until(node.is_healthy, 60)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own that a test may fill; skipped where nothing can be mounted."""
    need("mount", "umount")
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = folder / "ballast"
    space = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)
    return ballast


def rejection_of(node: RunningNode, image: FileDataset) -> tuple[int, int, int] | None:
    """Result, source and diagnostic of an association for storage, None when it is accepted."""
    ae = AE("MODALITY")
    ae.add_requested_context(image.SOPClassUID)
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CMMD_NODE")
    if assoc.is_established:
        assoc.release()
        return None
    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


@pytest.mark.fault("E71")
def test_full_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    exam = small_exam("full disk")
    with (
        small_disk(tmp_path / "disk", 48) as disk,
        RunningNode(
            tmp_path / "node", node={"data_dir": str(disk / "data")}, receive={"accept": "any", "reserve_mb": 16}
        ) as node,
    ):
        ballast = fill(disk, leave=15_000_000)
        assert rejection_of(node, exam[0]) == (2, 3, 1)
        assert node.answers_echo()
        assert not node.is_healthy()

        ballast.unlink()
        assert rejection_of(node, exam[0]) is None
        assert node.is_healthy()
        send_to(node, save_all(exam, tmp_path / "images"))
        assert node.wait_for_round(str(exam[0].StudyInstanceUID), 1)["outcome"] == "findings"


@pytest.mark.fault("E69")
def test_disk_that_fills_inside_an_object_costs_that_object_only(tmp_path: Path) -> None:
    exam = small_exam("disk fills")
    large = make_mammogram(np.zeros((4000, 3000), np.uint8), study="disk fills", patient="patient of disk fills")
    with (
        small_disk(tmp_path / "disk", 9) as disk,
        RunningNode(
            tmp_path / "node", node={"data_dir": str(disk / "data")}, receive={"accept": "any", "reserve_mb": 1}
        ) as node,
    ):
        ae = AE("MODALITY")
        ae.add_requested_context(large.SOPClassUID)
        assoc = ae.associate("127.0.0.1", node.port, ae_title="CMMD_NODE")
        assert assoc.is_established
        large.SOPInstanceUID = generate_uid()
        assert assoc.send_c_store(large).Status == 0xA700
        assert list((node.data_dir / "spool" / "0").iterdir()) == []
        assert [assoc.send_c_store(ds).Status for ds in exam] == [0x0000] * 4
        assoc.release()
        assert node.wait_for_round(str(exam[0].StudyInstanceUID), 1)["outcome"] == "findings"
        assert node.study(str(exam[0].StudyInstanceUID))["images"] == 4


def test_disk_that_is_full_while_a_study_is_followed_delays_it_only(tmp_path: Path) -> None:
    exam = small_exam("no space to work")
    study = str(exam[0].StudyInstanceUID)
    with (
        small_disk(tmp_path / "disk", 32) as disk,
        running_site(
            tmp_path / "site",
            node={"data_dir": str(disk / "data")},
            receive={"accept": "known", "reserve_mb": 1},
            settle={"quiet_seconds": 2, "complete_seconds": 2},
        ) as site,
    ):
        send_to(site.node, save_all(exam, tmp_path / "images"))
        ballast = fill(disk, leave=0)
        complaint = re.compile("disk is full|No space left")  # by whichever needs a new block first
        site.node.wait_until(lambda: complaint.search(site.node.log.read_text()), 60, "a worker without space")
        ballast.unlink()
        answered = site.wait_for_delivery(study, 1)
        assert answered["outcome"] == "findings"
        assert len(site.arrived(study)) == 3
