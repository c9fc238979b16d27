"""What a model says of a collection: marks on images, and maybe probabilities of breasts.

The file is JSON, so that any model of anybody's can be evaluated::

    {"model": {"name": "...", "version": "...", "digest": "..."},
     "thresholds": {"high sensitivity": 0.31},
     "images": [{"path": "a.dcm", "seconds": 0.7, "problem": null,
                 "marks": [{"kind": "mass", "center_cr": [812.0, 1010.5], "outline_cr": [[800, 1000], ...],
                            "suspicion": 0.8, "probability_malignant": 0.6, "calcifications_cr": [],
                            "subtypes": null}]}],
     "breasts": [{"patient": "D1-0001", "side": "L", "malignant": 0.7, "subtypes": {"luminal-a": 0.2, ...}}]}

Paths are those of the manifest, and marks are as in ``analyze --json``. ``thresholds`` of the malignancy score are
operating points that were fixed before these images were seen. Everything but the model may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind, Laterality, Mark, Model, Subtype

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What a model says of one image."""

    marks: tuple[Mark, ...] = ()
    """Every candidate, whatever its suspicion; FROC needs them all."""
    seconds: float | None = None
    problem: str | None = None
    """Why there is no answer; None when there is one."""


@dataclass(frozen=True, slots=True)
class BreastAnswer:
    """What a model says of one breast."""

    malignant: float | None = None
    """Probability of malignancy, 0 to 1."""
    subtypes: Mapping[Subtype, float] | None = None
    """Probability of each molecular subtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that a model says of a collection."""

    model: Model
    images: Mapping[Path, ImageAnswer] = field(default_factory=dict)
    breasts: Mapping[tuple[str, Laterality], BreastAnswer] = field(default_factory=dict)
    """By patient and side."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of the malignancy score, by name; fixed before these images were seen."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Mark(_Strict):
    kind: Kind
    center_cr: Point
    outline_cr: tuple[Point, ...]
    suspicion: Share
    probability_malignant: Share | None = None
    calcifications_cr: tuple[Point, ...] = ()
    subtypes: dict[Subtype, Share] | None = None


class _Image(_Strict):
    path: str
    marks: tuple[_Mark, ...] = ()
    seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    problem: str | None = None


class _Breast(_Strict):
    patient: str
    side: Laterality
    malignant: Share | None = None
    subtypes: dict[Subtype, Share] | None = None


class _Model(_Strict):
    name: str
    version: str
    digest: str


class _File(_Strict):
    model: _Model
    images: tuple[_Image, ...] = ()
    breasts: tuple[_Breast, ...] = ()
    thresholds: dict[str, Share] = {}


def read_answers(path: Path, folder: Path) -> Answers:
    """Read a file of answers.

    Parameters
    ----------
    folder : Path
        Where the manifest lies, from which paths are told.

    Raises
    ------
    NodeError
        It is no such file, or a number in it is none or out of range; the sentence names the model and the place.
    """
    try:
        told = _File.model_validate_json(path.read_bytes())
        model = Model(**told.model.model_dump())
        images = {
            folder / image.path: ImageAnswer(
                tuple(Mark(**mark.model_dump()) for mark in image.marks), image.seconds, image.problem
            )
            for image in told.images
        }
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise NodeError(f"{path}: answers{_of_model(path)}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise NodeError(f"{path}: answers of model {told.model.name} {told.model.version}: {error}") from error
    return Answers(
        model=model,
        images=images,
        breasts={
            (breast.patient, breast.side): BreastAnswer(breast.malignant, breast.subtypes) for breast in told.breasts
        },
        thresholds=told.thresholds,
    )


def write_answers(path: Path, answers: Answers, folder: Path) -> None:
    """Write answers as `read_answers` reads them; `folder` is where the manifest lies."""
    told = _File(
        model=_Model(name=answers.model.name, version=answers.model.version, digest=answers.model.digest),
        images=tuple(
            _Image(
                path=(image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix(),
                marks=tuple(_mark(mark) for mark in answer.marks),
                seconds=answer.seconds,
                problem=answer.problem,
            )
            for image, answer in answers.images.items()
        ),
        breasts=tuple(
            _Breast(
                patient=patient,
                side=side,
                malignant=answer.malignant,
                subtypes=None if answer.subtypes is None else dict(answer.subtypes),
            )
            for (patient, side), answer in answers.breasts.items()
        ),
        thresholds=dict(answers.thresholds),
    )
    path.write_text(told.model_dump_json() + "\n", encoding="utf-8")


def _mark(mark: Mark) -> _Mark:
    return _Mark(
        kind=mark.kind,
        center_cr=mark.center_cr,
        outline_cr=mark.outline_cr,
        suspicion=mark.suspicion,
        probability_malignant=mark.probability_malignant,
        calcifications_cr=mark.calcifications_cr,
        subtypes=None if mark.subtypes is None else dict(mark.subtypes),
    )


def _of_model(path: Path) -> str:
    """Whose answers a faulty file holds, as far as it tells."""
    try:
        told: Any = json.loads(path.read_bytes())
        return f" of model {told['model']['name']} {told['model']['version']}"
    except (ValueError, KeyError, TypeError):
        return ""
