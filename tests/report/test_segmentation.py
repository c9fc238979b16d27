"""SEG as another reader sees it."""

from __future__ import annotations

from io import BytesIO

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from cmmd_node.facts import Form, StudyResult
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.mask import outline_mask
from tests.report.exams import BREAST, COLUMNS, MASS, OUTCOMES, ROWS, make_exam, make_header, make_result, make_round


def segmentations(result: StudyResult) -> list[ResultObject]:
    return [found for found in write_results(result, make_exam(), make_round()) if found.form is Form.SEG]


def test_there_is_one_for_each_image_with_findings() -> None:
    written = segmentations(OUTCOMES["findings"])
    marked = [view.sop_instance_uid for view in OUTCOMES["findings"].views if view.findings]
    assert [found.referenced_sop_instance_uid for found in written] == marked
    assert {found.sop_class_uid for found in written} == {SegmentationStorage}
    assert len({found.series_instance_uid for found in written}) == 1
    assert [dcmread(BytesIO(found.data)).InstanceNumber for found in written] == [1, 2]


def test_highdicom_reads_back_the_outlines_with_their_tracking() -> None:
    views = {view.sop_instance_uid: view for view in OUTCOMES["findings"].views}
    for written in segmentations(OUTCOMES["findings"]):
        image = str(written.referenced_sop_instance_uid)
        seg = highdicom.seg.segread(BytesIO(written.data))
        pixels = seg.get_pixels_by_source_instance(source_sop_instance_uids=[image])
        findings = views[image].findings
        assert pixels.shape == (1, ROWS, COLUMNS, len(findings) + 1)
        assert np.array_equal(pixels[0, ..., -1], outline_mask(BREAST.outline_cr, ROWS, COLUMNS))
        assert seg.get_segment_description(len(findings) + 1).tracking_uid is None
        for number, finding in enumerate(findings, start=1):
            assert np.array_equal(pixels[0, ..., number - 1], outline_mask(finding.mark.outline_cr, ROWS, COLUMNS))
            assert seg.get_segment_description(number).tracking_uid == finding.tracking_uid
            assert seg.get_segment_description(number).tracking_id == finding.tracking_id


def test_side_orientation_and_grid_are_those_of_the_image() -> None:
    [written] = segmentations(OUTCOMES["mixed"])
    ds = dcmread(BytesIO(written.data))
    assert ds.PatientOrientation == ["A", "R"]
    for frame in ds.PerFrameFunctionalGroupsSequence:
        assert frame.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    for segment in ds.SegmentSequence:
        assert segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Left"


def test_overlapping_findings_keep_their_own_masks() -> None:
    [written] = segmentations(make_result(marks={"L CC": (MASS, MASS)}))
    ds = dcmread(BytesIO(written.data))
    assert ds.SegmentsOverlap == "YES"
    assert ds.NumberOfFrames == 3


def test_the_algorithm_is_named_as_in_the_contributing_equipment() -> None:
    [written] = segmentations(OUTCOMES["mixed"])
    ds = dcmread(BytesIO(written.data))
    [equipment] = ds.ContributingEquipmentSequence
    [algorithm] = ds.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == (
        algorithm.AlgorithmName,
        algorithm.AlgorithmVersion,
    )
    assert equipment.Manufacturer == algorithm.AlgorithmSource


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"LossyImageCompression": "00"}, ("00", None, None)),
        ({"LossyImageCompression": "01"}, ("01", None, None)),
        (
            {
                "LossyImageCompression": "01",
                "LossyImageCompressionRatio": "12.5",
                "LossyImageCompressionMethod": "ISO_15444_1",
            },
            ("01", 12.5, "ISO_15444_1"),
        ),
        (
            {
                "LossyImageCompression": "01",
                "LossyImageCompressionRatio": [2, 12.5],
                "LossyImageCompressionMethod": ["ISO_10918_1", "ISO_15444_1"],
            },
            ("01", [2, 12.5], ["ISO_10918_1", "ISO_15444_1"]),
        ),
        (
            {
                "LossyImageCompression": "01",
                "LossyImageCompressionRatio": [2, 12.5],
                "LossyImageCompressionMethod": "ISO_15444_1",
            },
            ("01", None, None),
        ),
    ],
)
def test_what_the_image_has_lost_is_said(changes: dict[str, object], taken: tuple[object, ...]) -> None:
    exam = [make_header("L CC", **changes), *make_exam()[1:]]
    written = write_results(make_result(marks={"L CC": (MASS,)}), exam, make_round())[1]
    ds = dcmread(BytesIO(written.data))
    found = ds.get("LossyImageCompressionRatio"), ds.get("LossyImageCompressionMethod")
    assert (ds.LossyImageCompression, *found) == taken


@pytest.mark.parametrize(
    "header",
    [
        make_header("L CC", FrameOfReferenceUID="1.2.3", PositionReferenceIndicator=""),
        make_header("L CC", PixelSpacing=[0.1, 0.1]),
        make_header("L CC", LossyImageCompression="01"),
        make_header("L CC", Modality="XX", PatientName="", PatientSex="Z"),
    ],
)
def test_nothing_in_a_header_stops_it(header: Dataset) -> None:
    exam = [header, *make_exam()[1:]]
    assert len(write_results(make_result(marks={"L CC": (MASS,)}), exam, make_round())) == 2
