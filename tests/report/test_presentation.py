"""GSPS as a viewer sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, GrayscaleSoftcopyPresentationStateStorage

from cmmd_node.facts import Form, StudyResult
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.check import check_object
from tests import judges
from tests.report.exams import COLUMNS, MASS, OUTCOMES, ROWS, make_exam, make_header, make_result, make_round


def states(result: StudyResult, *, exam: list[Dataset] | None = None) -> list[ResultObject]:
    written = write_results(result, exam or make_exam(), make_round(), forms={Form.GSPS})
    return [found for found in written if found.form is Form.GSPS]


def state_of(header: Dataset) -> Dataset:
    exam = [header, *make_exam()[1:]]
    [written] = states(make_result(marks={"L CC": (MASS,)}), exam=exam)
    return dcmread(BytesIO(written.data))


def test_there_is_one_for_each_image_with_findings() -> None:
    written = states(OUTCOMES["findings"])
    marked = [view.sop_instance_uid for view in OUTCOMES["findings"].views if view.findings]
    assert [found.referenced_sop_instance_uid for found in written] == marked
    assert {found.sop_class_uid for found in written} == {GrayscaleSoftcopyPresentationStateStorage}
    assert len({found.series_instance_uid for found in written}) == 1
    assert states(OUTCOMES["no-findings"]) == []


def test_outlines_and_tracking_are_those_of_the_findings() -> None:
    for written, view in zip(
        states(OUTCOMES["findings"]), (view for view in OUTCOMES["findings"].views if view.findings), strict=True
    ):
        [annotation] = dcmread(BytesIO(written.data)).GraphicAnnotationSequence
        for drawn, finding in zip(annotation.GraphicObjectSequence, view.findings, strict=True):
            corners_cr = np.reshape(drawn.GraphicData, (-1, 2))
            assert np.allclose(corners_cr[:-1], finding.mark.outline_cr)
            assert np.array_equal(corners_cr[0], corners_cr[-1])
            assert (drawn.TrackingID, drawn.TrackingUID) == (finding.tracking_id, finding.tracking_uid)
    texts = [one.UnformattedTextValue for one in annotation.TextObjectSequence]
    assert texts == ["mass, suspicion 88 %", "calcification cluster, suspicion 33 %"]


@pytest.mark.parametrize(("interpretation", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_image_is_not_shown_inverted(interpretation: str, shape: str) -> None:
    ds = state_of(make_header("L CC", PhotometricInterpretation=interpretation, PresentationLUTShape=None))
    assert ds.PresentationLUTShape == shape


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({}, (128.0, 256.0, "SIGMOID")),
        ({"WindowCenter": [40, 50], "WindowWidth": [80, 90], "VOILUTFunction": None}, (40.0, 80.0, None)),
        ({"WindowWidth": "0"}, None),
        ({"WindowWidth": "0.5", "VOILUTFunction": "LINEAR"}, None),
        ({"WindowCenter": None}, None),
    ],
)
def test_the_window_is_that_of_the_image(changes: dict[str, object], window: tuple[object, ...] | None) -> None:
    found = state_of(make_header("L CC", **changes)).get("SoftcopyVOILUTSequence")
    shown = found and (found[0].WindowCenter, found[0].WindowWidth, found[0].get("VOILUTFunction"))
    assert shown == window


def test_a_look_up_table_is_taken_where_there_is_no_window() -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 8])
    table.add_new("LUTData", "US", [0, 10, 100, 255])
    ds = state_of(make_header("L CC", WindowCenter=None, VOILUTSequence=[table]))
    [voi] = ds.SoftcopyVOILUTSequence
    assert list(voi.VOILUTSequence[0].LUTDescriptor) == [4, 0, 8]
    assert list(voi.VOILUTSequence[0].LUTData) == [0, 10, 100, 255]


def test_laterality_is_said_when_the_series_has_one_breast() -> None:
    assert dcmread(BytesIO(states(OUTCOMES["mixed"])[0].data)).Laterality == "L"
    assert {dcmread(BytesIO(found.data)).Laterality for found in states(OUTCOMES["findings"])} == {""}


def test_the_same_call_gives_the_same_bytes() -> None:
    assert states(OUTCOMES["findings"]) == states(OUTCOMES["findings"])


def _item(ds: Dataset, keyword: str) -> Dataset:
    found: Dataset = ds.GraphicAnnotationSequence[0][keyword].value[0]
    return found


MISTAKES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "outside": (
        lambda ds: setattr(_item(ds, "GraphicObjectSequence"), "GraphicData", [0, 0, COLUMNS + 1, 0, 0, ROWS, 0, 0]),
        "outside the image",
    ),
    "open": (
        lambda ds: setattr(_item(ds, "GraphicObjectSequence"), "GraphicData", [0, 0, 5, 0, 0, 5, 1, 1]),
        "not closed",
    ),
    "text outside": (lambda ds: setattr(_item(ds, "TextObjectSequence"), "AnchorPoint", [-1, 0]), "AnchorPoint"),
    "no tracking": (lambda ds: delattr(_item(ds, "GraphicObjectSequence"), "TrackingUID"), "TrackingUID"),
    "inverted": (lambda ds: setattr(ds, "PresentationLUTShape", "INVERSE"), "inverted"),
    "no window": (lambda ds: delattr(ds, "SoftcopyVOILUTSequence"), "the image has a window"),
    "another function": (
        lambda ds: setattr(ds.SoftcopyVOILUTSequence[0], "VOILUTFunction", "LINEAR"),
        "not that of the image",
    ),
    "no rescale": (lambda ds: delattr(ds, "RescaleSlope"), "RescaleSlope"),
    "unknown layer": (lambda ds: setattr(ds.GraphicAnnotationSequence[0], "GraphicLayer", "X"), "not defined"),
    "smaller area": (
        lambda ds: setattr(
            ds.DisplayedAreaSelectionSequence[0], "DisplayedAreaBottomRightHandCorner", [COLUMNS, ROWS - 1]
        ),
        "not the last pixel",
    ),
    "another image": (
        lambda ds: setattr(
            ds.DisplayedAreaSelectionSequence[0].ReferencedImageSequence[0], "ReferencedSOPInstanceUID", "1.2.3"
        ),
        "not about the image",
    ),
    "another modality": (lambda ds: setattr(ds, "Modality", "SR"), "not PR"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found(name: str) -> None:
    change, words = MISTAKES[name]
    ds = state_of(make_header("L CC"))
    assert check_object(ds, images=make_exam()) == []
    change(ds)
    faults = check_object(ds, images=make_exam())
    assert any(words in str(fault) for fault in faults), list(map(str, faults))


@pytest.mark.judges
@pytest.mark.parametrize("changes", [{}, {"WindowCenter": None, "RescaleSlope": None, "ImagerPixelSpacing": None}])
def test_states_are_valid(changes: dict[str, object], tmp_path: Path) -> None:
    exam = [make_header(str(view.view), **changes) for view in OUTCOMES["findings"].views]
    paths = []
    for number, result in enumerate(
        write_results(OUTCOMES["findings"], exam, make_round(), forms={Form.SEG, Form.GSPS, Form.TID1500})
    ):
        paths.append(tmp_path / f"{number}-{result.form}.dcm")
        paths[-1].write_bytes(result.data)
    gsps = [path for path in paths if path.stem.endswith("gsps")]
    assert len(gsps) == 2
    assert judges.dciodvfy(*gsps) == []
    assert judges.dcmpschk(*gsps) == []
    assert judges.dcentvfy(*paths) == []


@pytest.mark.judges
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_applies_the_state_and_the_image_is_not_inverted(interpretation: str, tmp_path: Path) -> None:
    header = make_header("L CC", PhotometricInterpretation=interpretation, PresentationLUTShape=None)
    dark = 255 if interpretation == "MONOCHROME1" else 0
    image = header.copy()
    image.PixelData = bytes([dark]) * (ROWS * COLUMNS)
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    state_of(header).save_as(tmp_path / "state.dcm")
    tool = judges.installed("dcmp2pgm", "dcmtk")
    command = [tool, "--pstate", "state.dcm", "image.dcm", "drawn.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    drawn = np.asarray(Image.open(tmp_path / "drawn.pgm"))
    assert drawn.shape == (ROWS, COLUMNS)
    assert drawn.max() < 64  # the lowest value is air
