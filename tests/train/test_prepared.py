"""Images as training sees them: made once, by several processes, in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cmmd_node.train.prepared
from cmmd_node.facts import Kind, Laterality, View, ViewPosition
from cmmd_node.train.manifest import LabelledImage, Lesion
from cmmd_node.train.prepared import PreparedImage, Unprepared, prepared_images
from tests.cad.bundles import SPACING, small_breast


def test_processes_prepare_what_one_prepares_in_the_order_of_the_images(tmp_path: Path) -> None:
    images = [an_image(tmp_path, number) for number in range(5)]
    images[2].path.unlink()
    images[3].path.write_bytes(b"no picture")
    alone, together = (list(prepared_images(images, tmp_path / str(count), processes=count)) for count in (1, 2))
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, Unprepared):
            assert one == other
        else:
            assert not isinstance(other, Unprepared)
            assert all(same(one[kind], other[kind]) for kind in Kind)
    assert [isinstance(one, Unprepared) for one in together] == [False, False, True, True, False]
    sizes = [one[Kind.MASS].boxes_mm.tolist() for one in together if not isinstance(one, Unprepared)]
    assert sizes[0] != sizes[1] != sizes[2]

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "2").iterdir()}
    again = list(prepared_images(images, tmp_path / "2", processes=2))
    assert len(again) == 5
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "2").iterdir()} == kept


def test_an_image_that_takes_for_ever_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmmd_node.train.prepared, "_SECONDS", 0.0)
    (told,) = prepared_images([an_image(tmp_path, 0)], tmp_path / "cache", processes=1)
    assert isinstance(told, Unprepared)
    assert told.path == tmp_path / "0.png"
    assert "did not finish within" in told.reason


def an_image(folder: Path, number: int) -> LabelledImage:
    """A breast with a mass that is the larger, the greater the number."""
    path = folder / f"{number}.png"
    Image.fromarray(np.round(small_breast() * 255).astype(np.uint8)).save(path)
    first, last = 40.0, 60.0 + number
    outline = ((first, first), (last, first), (last, last), (first, last))
    return LabelledImage(
        path=path,
        patient=f"P{number}",
        group=f"P{number}",
        view=View(Laterality.LEFT, ViewPosition.CC),
        spacing=SPACING,
        lesions=(Lesion(kind=Kind.MASS, outline_cr=outline),),
    )


def same(one: PreparedImage, other: PreparedImage) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in PreparedImage.__slots__)
