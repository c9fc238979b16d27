"""TIFF and PNG pictures with a table: what they become, that they become it once, and what a bad row costs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.views import mammogram_of
from cmmd_node.errors import NodeError
from cmmd_node.facts import Spacing
from cmmd_node.pull import import_files
from cmmd_node.retrieve.pictures import COLUMNS, picture_files
from cmmd_node.settings import Settings
from tests.judges import dciodvfy
from tests.mammograms import VIEWS, breast

GREY = breast()
DEEP = breast().astype(np.uint16) * 16  # 12 bits
ROW = {"path": "a.tif", "patient": "P1", "side": "L", "view": "CC", "row_mm": "0.1", "column_mm": "0.05"}


def write(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def big_endian(path: Path, cells: npt.NDArray[np.uint16]) -> None:
    """A TIFF as Motorola's machines wrote them (TIFF 6.0): 16 bits of grey, not compressed, in one strip."""
    rows, columns = cells.shape
    data = cells.astype(">u2").tobytes()
    entries = {256: columns, 257: rows, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(data)}
    fields = [tag.to_bytes(2) + (4).to_bytes(2) + (1).to_bytes(4) + value.to_bytes(4) for tag, value in entries.items()]
    head = b"MM\0*" + (8 + len(data)).to_bytes(4)
    path.write_bytes(head + data + len(fields).to_bytes(2) + b"".join(fields) + bytes(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one picture of each kind, and others that are none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(GREY).save(folder / "a.tif")
    Image.fromarray(DEEP).save(folder / "deep.tif", compression="tiff_lzw")
    Image.fromarray(DEEP).save(folder / "deep.png")
    big_endian(folder / "motorola.tif", DEEP)
    Image.fromarray(GREY).convert("RGB").save(folder / "colour.png")
    Image.fromarray(GREY).save(folder / "jpeg.jpg")
    Image.fromarray(GREY).save(folder / "lossy.tif", compression="jpeg")
    Image.fromarray(GREY.astype(np.float32)).save(folder / "real.tif")
    Image.fromarray(GREY).save(folder / "pages.tif", save_all=True, append_images=[Image.fromarray(GREY)])
    (folder / "cut.png").write_bytes((folder / "deep.png").read_bytes()[:-2000])
    (folder / "empty.tif").touch()
    (tmp_path / "outside.tif").write_bytes((folder / "a.tif").read_bytes())
    return folder


def brought(settings: Settings, folder: Path, *rows: dict[str, str]) -> dict[str, Any]:
    table = write(folder / "table.csv", list(rows))
    return import_files(settings, picture_files(table, folder), tell=lambda _done, _total: None)


def kept(settings: Settings) -> dict[str, tuple[Path, FileDataset]]:
    """What lies in the inbox, by side and view."""
    found = {}
    for path in (settings.node.data_dir / "objects").rglob("*.dcm"):
        ds = dcmread(path)
        found[str(mammogram_of(ds).view)] = (path, ds)
    return found


def exam_rows() -> list[dict[str, str]]:
    """A row for each view, each of another kind of file."""
    names = ("a.tif", "deep.tif", "deep.png", "motorola.tif")
    told = {"study_date": "20240229", "age": "47", "sex": "F", "accession_number": "A1"}
    return [
        ROW | told | {"path": name, "side": view[0], "view": view[2:]} for name, view in zip(names, VIEWS, strict=True)
    ]


@pytest.mark.judges
def test_pictures_become_mammograms_that_the_node_analyses(settings: Settings, folder: Path) -> None:
    assert brought(settings, folder, *exam_rows())["new"] == 4
    found = kept(settings)
    assert set(found) == set(VIEWS)
    for view, (path, ds) in found.items():
        assert mammogram_of(ds).spacing == Spacing(row_mm=0.1, column_mm=0.05)
        assert (ds.pixel_array == (GREY if view == "L CC" else DEEP)).all()
        assert ds.BitsStored == (8 if view == "L CC" else 12)
        assert read_pixels(path).max() > 0.5
    _, ds = found["R MLO"]
    assert (ds.PatientID, ds.PatientAge, ds.PatientSex, ds.StudyDate) == ("P1", "047Y", "F", "20240229")
    assert len({one.StudyInstanceUID for _, one in found.values()}) == 1
    assert dciodvfy(*(path for path, _ in found.values())) == []


def test_the_same_table_again_makes_no_second_object(settings: Settings, folder: Path) -> None:
    rows = exam_rows()
    brought(settings, folder, *rows)
    again = brought(settings, folder, *reversed(rows))
    assert (again["new"], again["here_before"], again["failed"]) == (0, 4, [])
    other = brought(settings, folder, rows[0] | {"row_mm": "0.2"}, rows[1] | {"accession_number": "A2"})
    assert other["new"] == 2


def test_words_of_a_table_cannot_be_mixed_up(settings: Settings, folder: Path) -> None:
    """Joined by a separator, these would be one study."""
    first = ROW | {"patient": "P", "study_date": "20240101", "accession_number": "/x"}
    second = ROW | {"path": "deep.tif", "patient": "P/20240101", "accession_number": "x", "view": "MLO"}
    brought(settings, folder, first, second)
    assert len({ds.StudyInstanceUID for _, ds in kept(settings).values()}) == 2


@pytest.mark.judges
def test_what_is_dark_where_tissue_is_dense_is_monochrome1(settings: Settings, folder: Path) -> None:
    negative, positive = folder / "negative.png", folder / "positive.png"
    Image.fromarray(255 - GREY).save(negative)
    Image.fromarray(GREY).save(positive)
    brought(
        settings,
        folder,
        ROW | {"path": negative.name, "photometric_interpretation": "MONOCHROME1", "patient": "Müller"},
        ROW | {"path": positive.name, "view": "MLO"},
    )
    found = kept(settings)
    path, ds = found["L CC"]
    assert (ds.PhotometricInterpretation, ds.PatientID) == ("MONOCHROME1", "Müller")
    assert np.allclose(read_pixels(path), read_pixels(found["L MLO"][0]))
    assert dciodvfy(path) == []


def test_a_tiff_whose_white_is_zero_never_comes_out_inverted(settings: Settings, folder: Path) -> None:
    for name, cells in {"grey.tif": GREY, "grey16.tif": DEEP}.items():
        Image.fromarray(cells).save(folder / name)
        data = (folder / name).read_bytes()
        black, white = (b"\x06\x01\x03\0\x01\0\0\0" + value for value in (b"\x01\0", b"\0\0"))
        assert black in data
        (folder / name).write_bytes(data.replace(black, white))
    answer = brought(settings, folder, ROW | {"path": "grey.tif"}, ROW | {"path": "grey16.tif", "view": "MLO"})
    assert (kept(settings)["L CC"][1].pixel_array == 255 - GREY).all()
    assert [one["reason"] for one in answer["failed"]] == ["its white is 0 in 16 bits; store it with black as 0"]


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"path": "gone.tif"}, "no file 'gone.tif'"),
        ({"path": ""}, "path is empty"),
        ({"path": "../outside.tif"}, "no file"),
        ({"path": "link.tif"}, "no file"),
        ({"path": "a.tif"}, "came in row 2"),
        ({"path": "colour.png"}, "no grey picture of 8 or 16 bits, but RGB"),
        ({"path": "real.tif"}, "no grey picture of 8 or 16 bits, but F"),
        ({"path": "pages.tif"}, "2 pages"),
        ({"path": "lossy.tif"}, "lossy compression"),
        ({"path": "jpeg.jpg"}, "cannot be decoded as TIFF or PNG"),
        ({"path": "cut.png"}, "cannot be decoded"),
        ({"path": "empty.tif"}, "cannot be decoded"),
        ({"patient": ""}, "patient is empty"),
        ({"patient": "a\\b"}, "patient is"),
        ({"patient": "P" * 65}, "64 characters"),
        ({"side": "B"}, "side is 'B', not L or R"),
        ({"view": "LM"}, "view is 'LM', not CC or MLO"),
        ({"row_mm": ""}, "row_mm is empty"),
        ({"column_mm": "0"}, "column_mm is '0'"),
        ({"column_mm": "nan"}, "column_mm is 'nan'"),
        ({"study_date": "20230229"}, "study_date is '20230229', not YYYYMMDD"),
        ({"study_date": "2023-02-28"}, "study_date"),
        ({"accession_number": "A" * 17}, "16 characters"),
        ({"age": "-1"}, "age is '-1'"),
        ({"sex": "female"}, "sex is 'female', not F, M or O"),
        ({"photometric_interpretation": "RGB"}, "not MONOCHROME2 or MONOCHROME1"),
    ],
)
def test_a_bad_row_costs_that_row_only(
    settings: Settings, folder: Path, difference: dict[str, str], reason: str
) -> None:
    (folder / "link.tif").symlink_to(folder.parent / "outside.tif")
    answer = brought(
        settings, folder, ROW, ROW | {"path": "deep.png"} | difference, ROW | {"path": "deep.tif", "view": "MLO"}
    )
    assert (answer["files"], answer["new"]) == (3, 2)
    (failed,) = answer["failed"]
    assert failed["path"].endswith("table.csv row 3")
    assert reason in failed["reason"]


def test_a_row_with_cells_missing_costs_that_row_only(settings: Settings, folder: Path) -> None:
    table = write(folder / "table.csv", [ROW])
    with table.open("a", encoding="utf-8") as file:
        file.write("deep.tif,P1,L\n")
    answer = import_files(settings, picture_files(table, folder), tell=lambda _done, _total: None)
    assert (answer["new"], [one["reason"] for one in answer["failed"]]) == (
        1,
        ["has more or fewer cells than the header"],
    )


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (COLUMNS[:5], "has no column column_mm; needed are path, patient"),
        ((*COLUMNS, "acession"), "unknown column 'acession'; is accession_number meant"),
    ],
)
def test_a_table_of_other_columns_is_refused(tmp_path: Path, columns: tuple[str, ...], words: str) -> None:
    table = write(tmp_path / "table.csv", [dict.fromkeys(columns, "x")], columns)
    with pytest.raises(NodeError, match=words):
        list(picture_files(table, tmp_path))


def test_the_command_takes_a_table_and_one_folder(tmp_path: Path, folder: Path) -> None:
    table = write(tmp_path / "table.csv", [ROW, ROW | {"path": "colour.png"}])
    environment = {
        **os.environ,
        "CMMD_NODE_NODE__DATA_DIR": str(tmp_path / "node"),
        "CMMD_NODE_RECEIVE__RESERVE_MB": "16",
    }
    command = [sys.executable, "-m", "cmmd_node.cli", "import", "--tiff", str(table), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{table} row 3: it is no grey picture" in done.stdout.replace("\n", " ")
    assert "1 images imported" in done.stdout
    wrong = subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (wrong.returncode, "one folder" in wrong.stderr) == (2, True)
