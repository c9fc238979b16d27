"""Pixels of labelled images: DICOM, PNG and JPEG by one intensity path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Laterality, Spacing, View, ViewPosition
from cmmd_node.train.images import image_spacing, read_picture
from cmmd_node.train.manifest import LabelledImage
from tests.mammograms import breast, make_mammogram

VIEW = View(Laterality.LEFT, ViewPosition.MLO)
SPACING = Spacing(row_mm=0.1, column_mm=0.1)


def labelled(path: Path, view: View = VIEW, spacing: Spacing | None = SPACING) -> LabelledImage:
    return LabelledImage(path=path, patient="P", group="P", view=view, spacing=spacing)


def test_png_and_dicom_of_one_picture_are_read_alike(tmp_path: Path) -> None:
    pixels = breast()
    make_mammogram(pixels).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    dicom = read_picture(labelled(tmp_path / "a.dcm", spacing=None))
    png = read_picture(labelled(tmp_path / "a.png"))
    deep = read_picture(labelled(tmp_path / "deep.png"))
    assert np.array_equal(dicom.pixels, png.pixels)
    np.testing.assert_allclose(deep.pixels, png.pixels, atol=1e-5)
    assert dicom.spacing is not None
    assert dicom.spacing.row_mm == pytest.approx(0.094090909)
    assert png.spacing == SPACING


def test_window_of_the_header_is_not_applied(tmp_path: Path) -> None:
    window = {"VOILUTFunction": "SIGMOID", "WindowCenter": "40.0", "WindowWidth": "20.0"}
    make_mammogram(**window).save_as(tmp_path / "window.dcm", enforce_file_format=True)
    make_mammogram(VOILUTFunction=None, WindowCenter=None, WindowWidth=None).save_as(
        tmp_path / "none.dcm", enforce_file_format=True
    )
    windowed, plain = (read_picture(labelled(tmp_path / name)).pixels for name in ("window.dcm", "none.dcm"))
    assert np.array_equal(windowed, plain)


def test_sixteen_bit_twin_is_read_alike(tmp_path: Path) -> None:
    make_mammogram(breast()).save_as(tmp_path / "8.dcm", enforce_file_format=True)
    make_mammogram(breast().astype(np.uint16) * 257).save_as(tmp_path / "16.dcm", enforce_file_format=True)
    shallow, deep = (read_picture(labelled(tmp_path / name)).pixels for name in ("8.dcm", "16.dcm"))
    np.testing.assert_allclose(deep, shallow, atol=1e-5)


def test_spacing_is_known_without_reading_pixels(tmp_path: Path) -> None:
    make_mammogram().save_as(tmp_path / "a.dcm", enforce_file_format=True)
    told = image_spacing(labelled(tmp_path / "a.dcm", spacing=None))
    assert told is not None
    assert told.column_mm == pytest.approx(0.094090909)
    assert image_spacing(labelled(tmp_path / "a.dcm")) == SPACING
    assert image_spacing(labelled(tmp_path / "none.png", spacing=None)) is None


def test_jpeg_is_nearly_the_same(tmp_path: Path) -> None:
    Image.fromarray(breast()).save(tmp_path / "a.png")
    Image.fromarray(breast()).save(tmp_path / "a.JPG", format="JPEG", quality=95)
    png, jpeg = (read_picture(labelled(tmp_path / name)).pixels for name in ("a.png", "a.JPG"))
    assert np.abs(png - jpeg).mean() < 0.05


def test_header_of_another_view_than_labelled_is_refused(tmp_path: Path) -> None:
    make_mammogram(view="R MLO").save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(NotAnalysed, match="labelled as L MLO, its header says R MLO"):
        read_picture(labelled(tmp_path / "a.dcm"))


def test_picture_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(NotAnalysed, match="cannot be decoded"):
        read_picture(labelled(tmp_path / "a.png"))
