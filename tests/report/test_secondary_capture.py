"""The secondary capture as a picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from cmmd_node.facts import Form, Mark
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.check import check_object
from cmmd_node.report.secondary_capture import picture
from tests import judges
from tests.report.exams import COLUMNS, MASS, OUTCOMES, ROWS, VIEWS, make_exam, make_result, make_round

#: Brightness that tells top from bottom and left from right.
RAMP = np.add.outer(np.linspace(0, 0.3, ROWS), np.linspace(0, 0.6, COLUMNS)).astype(np.float32)


def pixels(_sop_instance_uid: str) -> npt.NDArray[np.float32]:
    return RAMP


def captures(marks: dict[str, tuple[Mark, ...]]) -> list[ResultObject]:
    written = write_results(make_result(marks=marks), make_exam(), make_round(), forms={Form.SC}, pixels=pixels)
    return [found for found in written if found.form is Form.SC]


def capture(name: str) -> Dataset:
    [written] = captures({name: (MASS,)})
    return dcmread(BytesIO(written.data))


@pytest.mark.parametrize("name", VIEWS)
def test_the_left_half_is_the_image_as_it_is_stored(name: str) -> None:
    ds = capture(name)
    assert (ds.SOPClassUID, ds.Modality, ds.ImageLaterality) == (SecondaryCaptureImageStorage, "OT", name[0])
    drawn = ds.pixel_array
    grey = (RAMP * 255).astype(np.uint8)
    assert np.array_equal(drawn[:ROWS, :COLUMNS], np.repeat(grey[..., None], 3, axis=2))


def test_the_right_half_is_the_same_but_for_the_outline() -> None:
    drawn = capture("L CC").pixel_array
    left, right = drawn[:ROWS, :COLUMNS], drawn[:ROWS, COLUMNS : 2 * COLUMNS]
    changed = (left != right).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    for column, row in MASS.outline_cr:
        assert tuple(right[int(row), int(column)]) == (255, 255, 0)


def test_a_large_image_is_brought_to_size_and_has_a_legend() -> None:
    drawn = picture((), np.ones((2400, 1800), np.float32), title="R MLO   builtin 1.0")
    assert drawn.shape[1] == 1800
    assert (drawn[:1200] == 255).all()
    legend = drawn[1200:]
    for line in np.array_split(legend, 3):  # what it is not; view, model and version; which half is which
        assert (line == 255).any()
    other = picture((), np.ones((2400, 1800), np.float32), title="L CC   builtin 1.0")
    assert not np.array_equal(other[1200:], legend)


def test_there_is_one_for_each_marked_image_and_its_bytes_repeat() -> None:
    marks = {"L CC": (MASS,), "R MLO": (MASS, MASS)}
    assert captures(marks) == captures(marks)
    assert len({found.referenced_sop_instance_uid for found in captures(marks)}) == 2
    assert captures({}) == []


def test_pixels_must_be_given() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        write_results(OUTCOMES["findings"], make_exam(), make_round(), forms={Form.SC})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelData", b"\0\0"),
        ("ImageType", ["ORIGINAL", "PRIMARY"]),
        ("SamplesPerPixel", 1),
        ("PhotometricInterpretation", "MONOCHROME2"),
        ("Modality", "MG"),
        ("SourceImageSequence", []),
    ],
)
def test_each_mistake_is_found(keyword: str, value: object) -> None:
    ds = capture("L CC")
    assert check_object(ds, images=make_exam()) == []
    setattr(ds, keyword, value)
    assert keyword in {fault.path for fault in check_object(ds, images=make_exam())}


@pytest.mark.judges
def test_captures_are_valid(tmp_path: Path) -> None:
    paths = []
    for number, found in enumerate(captures({"L CC": (MASS,), "R MLO": (MASS,)})):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(found.data)
    assert judges.dciodvfy(*paths) == []
    assert judges.dcentvfy(*paths) == []
