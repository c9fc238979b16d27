"""What a person reads of an object: everything that the result says, in the place where it belongs."""

from __future__ import annotations

import copy
import re
from io import BytesIO
from itertools import takewhile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from cmmd_node.errors import NodeError
from cmmd_node.facts import Form
from cmmd_node.report import write_results
from cmmd_node.report.mask import outline_mask
from cmmd_node.report.reading import read_object, reading
from tests.report.exams import (
    COLUMNS,
    MASS,
    OUTCOMES,
    ROWS,
    make_exam,
    make_header,
    make_pixels,
    make_round,
    sop_instance_uid,
)

WRITTEN = {
    name: [dcmread(BytesIO(found.data)) for found in write_results(result, make_exam(), make_round())]
    for name, result in OUTCOMES.items()
}


#: One object of each form, all about the mass on L CC.
EVERY_FORM = [
    dcmread(BytesIO(found.data))
    for found in write_results(OUTCOMES["findings"], make_exam(), make_round(), forms=tuple(Form), pixels=make_pixels)
    if found.referenced_sop_instance_uid in {None, sop_instance_uid("L CC")}
]


def below_raw(lines: list[str], heading: str) -> list[str]:
    """The lines behind a heading that are indented deeper."""
    first = next(index for index, line in enumerate(lines) if line.strip().startswith(heading))
    depth = len(lines[first]) - len(lines[first].lstrip())
    return list(takewhile(lambda line: len(line) - len(line.lstrip()) > depth, lines[first + 1 :]))


def below(lines: list[str], heading: str) -> list[str]:
    """The lines behind a heading that are indented deeper, without their indentation."""
    return [line.strip() for line in below_raw(lines, heading)]


def test_marks_stand_with_their_breast_and_view() -> None:
    lines = reading(WRITTEN["findings"][0])
    assert lines[0] == "Mammography CAD SR of 2026-11-22 17:00:03"
    assert "  model: builtin 1.0, geometry 1.0" in lines
    assert "  summary: All algorithms succeeded; with findings" in lines
    left, right = below(lines, "left breast"), below(lines, "right breast")
    assert left[0] == f"L CC (image {sop_instance_uid('L CC')})"
    (mass,) = below(lines, "L CC (image")
    assert mass.startswith(
        "Mammography breast density, at column 20.5, row 30.5, suspicion 87.5 %, Probability of cancer 61 %, "
        "Long axis 1.6 mm, Area 1.2 mm2 [L mass 1 2.25."
    )
    assert below(lines, "L MLO (image") == ["no marks"]
    assert below(lines, "R CC (image") == ["no marks"]
    _, cluster, *calcifications = below(lines, "R MLO (image")
    assert cluster.startswith(
        "Calcification Cluster, at column 30.5, row 40.5, suspicion 33.33 %, Number of calcifications 3, "
        "Long axis 0.7 mm, Area 0.1 mm2 [R calcification cluster 1 2.25."
    )
    assert calcifications == [
        f"Individual Calcification, at column {column}, row {row}"
        for column, row in ((29.5, 39.5), (31.5, 40.5), (32.5, 42.5))
    ]
    assert len(left) == 4
    assert len(right) == 8


def test_what_was_not_analysed_is_not_called_clear() -> None:
    lines = reading(WRITTEN["mixed"][0])
    assert below(lines, "R CC (image") == ["failed"]
    assert below(lines, "L MLO (image") == ["not analysed"]
    assert below(lines, "R MLO (image") == ["no marks"]
    assert any("the pixel data end before the last row" in line for line in lines)
    assert "    Failed Detections: Mammography breast density on R CC" in lines
    assert "no marks" not in " ".join(reading(WRITTEN["not-analysed"][0]))


def test_segments_have_the_area_and_the_identity_of_their_mark() -> None:
    lines = reading(WRITTEN["findings"][1])
    (segment,) = [line for line in lines if "segment 1" in line]
    area = int(outline_mask(MASS.outline_cr, ROWS, COLUMNS).sum())
    assert segment.startswith(f"  segment 1 L mass 1: Mass, left breast, area {area} pixels, by builtin 1.0 [")
    (mark,) = below(reading(WRITTEN["findings"][0]), "L CC (image")
    assert segment.partition("[")[2] == mark.partition("[")[2]
    assert [line.split()[2:4] for line in reading(WRITTEN["findings"][2]) if "segment" in line] == [
        ["R", "mass"],
        ["R", "calcification"],
        ["R", "breast:"],
    ]


def test_the_patient_is_not_named() -> None:
    for objects in WRITTEN.values():
        for ds in objects:
            assert str(ds.PatientID) not in " ".join(reading(ds))


def test_a_presentation_state_says_what_it_draws_where() -> None:
    lines = reading(next(ds for ds in EVERY_FORM if ds.Modality == "PR"))
    assert lines[0] == "Grayscale Softcopy Presentation State of 2026-11-22 17:00:03"
    assert "  CAD_FINDINGS: Research use only, not a medical device" in lines
    (mass,) = below(lines, f"image {sop_instance_uid('L CC')}")
    assert mass.startswith("mass, suspicion 88 %, columns 15.0 to 27.5, rows 24.2 to 37.0 [L mass 1 2.25.")


def test_a_measurement_report_stands_by_breast_and_image() -> None:
    lines = reading(next(ds for ds in EVERY_FORM if ds.SOPClassUID == Comprehensive3DSRStorage))
    assert "  procedure: Mammography" in lines
    assert "  model: builtin 1.0" in lines
    assert below(lines, "left breast")[0] == f"image {sop_instance_uid('L CC')}"
    assert below(below_raw(lines, "left breast"), "image")[0].startswith(
        "Mass, columns 15.0 to 27.5, rows 24.2 to 37.0, suspicion 87.5 %, Probability of cancer 61 %, "
        "Long axis 1.6 mm, Area 1.2 mm2 [L mass 1 2.25."
    )
    assert len(below(lines, "right breast")) == 3
    assert f"  image {sop_instance_uid('L MLO')}: no measurements" in lines
    assert f"  image {sop_instance_uid('L CC')}: no measurements" not in lines


def test_a_picture_says_of_what() -> None:
    lines = reading(next(ds for ds in EVERY_FORM if ds.SOPClassUID == SecondaryCaptureImageStorage))
    assert lines[-5:-3] == ["  left breast", f"  picture of image {sop_instance_uid('L CC')}"]


def test_the_same_mark_has_the_same_identity_in_every_form() -> None:
    told = [re.findall(r"\[(L mass 1 2\.25\.\d+)\]", " ".join(reading(ds))) for ds in EVERY_FORM]
    assert len({identity for found in told for identity in found}) == 1
    assert sum(map(bool, told)) == 4


@pytest.mark.parametrize("ds", EVERY_FORM, ids=lambda ds: f"{ds.Modality}-{ds.SOPClassUID}")
def test_whatever_is_missing_is_left_out(ds: Dataset) -> None:
    holders = [ds, *(item for element in ds.iterall() if element.VR == "SQ" for item in element.value)]
    for keyword in sorted({element.keyword for element in ds.iterall()} - {"SOPClassUID", "CodeMeaning"}):
        having = [(holder, holder[keyword]) for holder in holders if keyword in holder]
        for holder, _ in having:
            del holder[keyword]
        assert reading(ds), keyword
        for holder, element in having:
            holder[keyword] = DataElement(element.tag, element.VR, None)
        assert reading(ds), keyword
        for holder, element in having:
            holder[keyword] = element


def test_control_characters_do_not_reach_the_terminal() -> None:
    ds = copy.deepcopy(WRITTEN["no-findings"][0])
    ds.SeriesDescription = "CAD \x1b[2J"
    assert "  CAD  [2J" in reading(ds)


def test_other_objects_are_refused_by_name() -> None:
    with pytest.raises(NodeError, match="Digital Mammography X-Ray Image Storage - For Presentation is nothing"):
        reading(make_header())
    with pytest.raises(NodeError, match="nothing that can be shown"):
        reading(Dataset())


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "object.dcm"
    WRITTEN["findings"][1].save_as(path)
    assert read_object(path) == WRITTEN["findings"][1]
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00UL"))  # Rows of two bytes
    with pytest.raises(NodeError, match=r"object\.dcm cannot be read"):
        read_object(path)
    path.write_text("words", encoding="utf-8")
    with pytest.raises(NodeError, match=r"object\.dcm is no DICOM file"):
        read_object(path)
