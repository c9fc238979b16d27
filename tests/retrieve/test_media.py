"""Media: folders, ZIP files, DICOMDIRs, and what somebody may have put on one to harm us."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydicom.fileset import FileSet
from pydicom.uid import CTImageStorage

from cmmd_node.errors import NodeError
from cmmd_node.pull import import_files
from cmmd_node.retrieve.media import media_files
from cmmd_node.settings import Settings
from tests.mammograms import exam, make_mammogram, save
from tests.receive.conftest import part10_bytes


def brought(settings: Settings, *paths: Path) -> dict[str, Any]:
    return import_files(settings, media_files(paths), tell=lambda _done, _total: None)


def numbers(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["new"], answer["here_before"], len(answer["failed"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of an exam, in folders of its own."""
    below = tmp_path / "medium" / "a" / "b"
    below.mkdir(parents=True)
    for number, ds in enumerate(exam(study="medium")):
        save(ds, below / f"{number}.dcm")
    return tmp_path / "medium"


def test_a_folder_is_imported_once(settings: Settings, folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").touch()
    save(make_mammogram(SOPClassUID=CTImageStorage), folder / "ct.dcm")
    first, second = brought(settings, folder), brought(settings, folder)
    assert (numbers(first), numbers(second)) == ((4, 0, 0), (0, 4, 0))
    assert first["skipped"] == {
        "no DICOM file: shorter than its preamble": 1,
        "the file is empty": 1,
        "CT Image Storage is not a class that the node takes": 1,
    }


def test_a_bad_file_costs_that_file_only(settings: Settings, folder: Path) -> None:
    whole = part10_bytes(make_mammogram(study="damaged"))
    (folder / "cut.dcm").write_bytes(whole[:-3000])
    answer = brought(settings, folder)
    assert numbers(answer) == (4, 0, 1)
    (failed,) = answer["failed"]
    assert failed["path"].endswith("cut.dcm")
    assert "bytes" in failed["reason"] or "longer" in failed["reason"]


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_names_in_a_zip_file_are_never_paths(settings: Settings, tmp_path: Path) -> None:
    files = [part10_bytes(ds) for ds in exam(study="zip")[:2]]
    names = ["../../../escaped.dcm", f"{tmp_path}/absolute.dcm"]
    before = {path for path in tmp_path.rglob("*") if settings.node.data_dir not in path.parents}
    path = zipped(tmp_path / "evil.zip", **dict(zip(names, files, strict=True)))
    assert numbers(brought(settings, path)) == (2, 0, 0)
    after = {one for one in tmp_path.rglob("*") if settings.node.data_dir not in one.parents}
    assert after - before - {path, settings.node.data_dir} == set()
    assert not (tmp_path.parent / "escaped.dcm").exists()


def test_a_bomb_in_a_zip_file_is_not_unpacked(settings: Settings, tmp_path: Path) -> None:
    image = part10_bytes(make_mammogram(study="bomb"))
    bomb = image + bytes(60_000_000)
    path = zipped(tmp_path / "bomb.zip", **{"bomb.dcm": bomb, "image.dcm": image, "zeros": bytes(60_000_000)})
    answer = brought(settings, path)
    assert numbers(answer) == (1, 0, 2)
    assert {one["reason"] for one in answer["failed"]} == {"it grows more than 200 times when it is unpacked"}


def test_files_of_a_zip_file_that_overlap_are_not_taken(settings: Settings, tmp_path: Path) -> None:
    image = part10_bytes(make_mammogram(study="overlap"))
    path = zipped(tmp_path / "overlap.zip", **{"0.dcm": image})
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entry = bytes(content[start:end])
    tail = bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 50, 50, 50 * len(entry))
    path.write_bytes(bytes(content[:start]) + 50 * entry + bytes(tail))
    with pytest.raises(NodeError, match="overlap"):
        brought(settings, path)


def test_a_member_that_is_damaged_or_encrypted_costs_itself_only(settings: Settings, tmp_path: Path) -> None:
    good, bad, locked = (part10_bytes(make_mammogram(view=view, study="members")) for view in ("L CC", "R CC", "R MLO"))
    path = zipped(tmp_path / "members.zip", **{"good.dcm": good, "bad.dcm": bad, "locked.dcm": locked})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("bad.dcm").header_offset + 200
    content[start : start + 50] = bytes(50)
    at = content.rindex(b"locked.dcm") - 46 + 8
    content[at] |= 1
    path.write_bytes(content)
    answer = brought(settings, path)
    assert numbers(answer) == (1, 0, 2)
    assert sorted(one["reason"] for one in answer["failed"]) == ["it is damaged in its ZIP file", "it is encrypted"]


def test_what_is_no_zip_file_any_more_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    path = zipped(tmp_path / "cut.zip", **{"0.dcm": part10_bytes(make_mammogram())})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[-22:])
    with pytest.raises(NodeError, match="no ZIP file that can be read"):
        brought(settings, path)


@pytest.fixture
def dicomdir(tmp_path: Path) -> Path:
    """A medium with a directory, as a workstation writes one."""
    files = FileSet()
    for ds in exam(study="dicomdir", StudyID="1"):
        files.add(ds)
    files.write(tmp_path / "cd")
    files._stage["t"].cleanup()  # pydicom leaves it to the garbage collector
    return tmp_path / "cd" / "DICOMDIR"


def test_a_dicomdir_leads_to_its_files_whatever_their_case(settings: Settings, dicomdir: Path) -> None:
    for path in sorted(dicomdir.parent.rglob("*"), key=lambda one: -len(one.parts)):
        if path != dicomdir:
            path.rename(path.with_name(path.name.lower()))
    assert numbers(brought(settings, dicomdir)) == (4, 0, 0)


def test_a_dicomdir_leads_nowhere_else(settings: Settings, dicomdir: Path, tmp_path: Path) -> None:
    outside = save(make_mammogram(study="outside"), tmp_path / "outside.dcm")
    content = dicomdir.read_bytes()
    images = [one.name for one in media_files([dicomdir])]
    first = Path(images[0]).relative_to(dicomdir.parent).as_posix().replace("/", "\\").encode()
    evil = b"..\\outside.dcm".ljust(len(first), b" ")
    assert len(evil) == len(first)
    dicomdir.write_bytes(content.replace(first, evil, 1))
    second = Path(images[1])
    second.unlink()
    second.symlink_to(outside)
    Path(images[2]).unlink()
    answer = brought(settings, dicomdir)
    assert numbers(answer) == (1, 0, 3)
    reasons = sorted(one["reason"] for one in answer["failed"])
    assert reasons == ["it is missing", "it leads out of the folder", "its Referenced File ID is none"]


def test_a_link_out_of_a_folder_is_not_followed(settings: Settings, folder: Path, tmp_path: Path) -> None:
    outside = save(make_mammogram(study="secret"), tmp_path / "secret.dcm")
    (folder / "link.dcm").symlink_to(outside)
    answer = brought(settings, folder)
    assert numbers(answer) == (4, 0, 1)
    assert answer["failed"][0]["reason"] == "it leads out of the folder"


def test_the_command_counts_and_says_why(tmp_path: Path, folder: Path) -> None:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cmmd_node.cli", "import", *map(str, words)]
        variables = {**os.environ, "CMMD_NODE_NODE__DATA_DIR": str(tmp_path / "node")}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)

    done = run(folder, "--json")
    assert (done.returncode, json.loads(done.stdout)["new"]) == (0, 4)
    (folder / "cut.dcm").write_bytes(part10_bytes(make_mammogram(study="damaged"))[:-3000])
    again = run(folder)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (1, "0 images imported, 4 were here")
    assert "1 files could not be imported" in again.stderr
    (tmp_path / "empty.txt").write_text("nothing")
    assert "there was no mammogram" in run(tmp_path / "empty.txt").stderr


def test_pieces_are_read_as_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(1_000_000))
    (file,) = media_files([path])
    assert len(next(iter(file.pieces()))) <= 1 << 18
    assert b"".join(file.pieces()) == bytes(1_000_000)
