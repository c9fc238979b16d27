"""Files of answers: read back as written, and refused with the model's name when a number in them is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind, Laterality, Mark, Model, Subtype
from cmmd_node.train.answers import Answers, BreastAnswer, ImageAnswer, read_answers, write_answers

MODEL = {"name": "somebody's", "version": "2", "digest": "ab"}
MARK = {"kind": "mass", "center_cr": [1, 2], "outline_cr": [[0, 0], [2, 0], [1, 4]], "suspicion": 0.5}


def test_answers_are_read_back_as_written(tmp_path: Path) -> None:
    corners = ((0.0, 0.0), (4.0, 0.0), (2.0, 4.0))
    marks = (
        Mark(kind=Kind.MASS, center_cr=(2, 1), outline_cr=corners, suspicion=0.7, probability_malignant=0.2),
        Mark(
            kind=Kind.CALCIFICATION_CLUSTER,
            center_cr=(2, 1),
            outline_cr=corners,
            suspicion=0.1,
            calcifications_cr=corners,
        ),
    )
    told = Answers(
        model=Model(name="m", version="1", digest="d"),
        images={
            tmp_path / "a.png": ImageAnswer(marks, seconds=1.25),
            tmp_path / "b.png": ImageAnswer(problem="the process crashed"),
            Path("/elsewhere/c.png"): ImageAnswer(),
        },
        breasts={
            ("P1", Laterality.LEFT): BreastAnswer(0.4, {Subtype.LUMINAL_A: 0.9}),
            ("P2", Laterality.RIGHT): BreastAnswer(),
        },
        thresholds={"usual": 0.5},
    )
    write_answers(tmp_path / "answers.json", told, tmp_path)
    assert json.loads((tmp_path / "answers.json").read_text())["images"][0]["path"] == "a.png"
    assert read_answers(tmp_path / "answers.json", tmp_path) == told


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"images": [{"path": "a", "marks": [MARK | {"suspicion": 1.5}]}]}, "images.0.marks.0.suspicion: "),
        ({"images": [{"path": "a", "marks": [MARK | {"suspicion": float("nan")}]}]}, "images.0.marks.0.suspicion: "),
        ({"images": [{"path": "a", "marks": [MARK | {"kind": "lump"}]}]}, "images.0.marks.0.kind: "),
        ({"images": [{"path": "a", "marks": [MARK | {"center_cr": [1, 2, 3]}]}]}, "images.0.marks.0.center_cr: "),
        ({"images": [{"path": "a", "marks": [MARK | {"outline_cr": [[0, 0]]}]}]}, "an outline of 1 corners"),
        ({"images": [{"path": "a", "suspicion": 1}]}, "images.0.suspicion: Extra inputs"),
        ({"breasts": [{"patient": "P", "side": "L", "malignant": -0.1}]}, "breasts.0.malignant: "),
        ({"breasts": [{"patient": "P", "side": "X"}]}, "breasts.0.side: "),
        ({"breasts": [{"patient": "P", "side": "L", "subtypes": {"luminal": 1}}]}, "breasts.0.subtypes."),
        ({"thresholds": {"usual": float("inf")}}, "thresholds.usual: "),
    ],
)
def test_faulty_answer_names_model_and_place(tmp_path: Path, content: dict[str, Any], place: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"model": MODEL} | content))
    with pytest.raises(NodeError) as raised:
        read_answers(path, tmp_path)
    assert "answers of model somebody's 2: " in str(raised.value)
    assert place in str(raised.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": {"name": "m"}}', "{"])
def test_file_that_holds_no_answers_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(NodeError, match="answers"):
        read_answers(path, tmp_path)
