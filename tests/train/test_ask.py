"""A detector is asked about a collection as it would speak in the node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmmd_node.cad.sealing import seal
from cmmd_node.facts import Laterality, View, ViewPosition
from cmmd_node.train.ask import ask_detector
from cmmd_node.train.manifest import LabelledImage
from tests.cad.bundles import CHARACTERISING, SPACING, command, golden_view, small_breast


def images(folder: Path) -> list[LabelledImage]:
    """Both views of one breast, one of another, and a file that is no picture."""
    seen = [("A", ViewPosition.CC), ("A", ViewPosition.MLO), ("B", ViewPosition.CC), ("B", ViewPosition.MLO)]
    made = []
    for number, (patient, position) in enumerate(seen):
        path = folder / f"{number}.png"
        Image.fromarray(np.round(small_breast() * 255).astype(np.uint8)).save(path)
        view = View(Laterality.LEFT, position)
        made.append(LabelledImage(path=path, patient=patient, group=patient, view=view, spacing=SPACING))
    made[-1].path.write_bytes(b"none")
    return made


@pytest.mark.parametrize("weights", [None, {"own": 0.5, "other": 0.5}])
def test_both_views_are_weighed_as_in_the_node(tmp_path: Path, weights: dict[str, float] | None) -> None:
    folder = command(tmp_path / "b", CHARACTERISING, probability_malignant=True, both_views=weights)
    seal(folder, golden_view())
    asked = images(tmp_path)
    answers = ask_detector(str(folder), asked, processes=1)
    said = [answers.images[image.path] for image in asked]
    assert [one.problem is None for one in said] == [True, True, True, False]
    told = [mark.probability_malignant for one in said[:3] for mark in one.marks if mark.suspicion == 0.75]
    both = (9.0 * 3.0 / 7.0) ** 0.5
    even = both / (1.0 + both)
    assert told == pytest.approx([0.9, 0.3, 0.9] if weights is None else [even, even, 0.9])
