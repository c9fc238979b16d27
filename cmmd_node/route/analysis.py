"""The steps of one study without network and index: views, pixels, marks and results, in child processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom.config
from pydicom.dataset import Dataset

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.sides import side_warning
from cmmd_node.assemble.views import mammogram_of, read_header, view_of
from cmmd_node.cad import Detector, open_detector
from cmmd_node.cad.both_views import BothViews, MarkedView, with_both_views
from cmmd_node.cad.geometry import breast_geometry, collocations, from_nipple_mm, geometry_model
from cmmd_node.errors import BundleRefused, InvalidResult, ModelFault, NotAnalysed
from cmmd_node.facts import (
    USUAL_FORMS,
    Analysis,
    Codes,
    Finding,
    Form,
    Mammogram,
    Mark,
    Model,
    Round,
    StudyResult,
    View,
    ViewResult,
    ViewStatus,
)
from cmmd_node.isolation import IsolatedPool, Lost
from cmmd_node.report import Place, ResultObject, with_findings, write_results

logger = logging.getLogger(__name__)

# Process-wide: headers are judged by us; pydicom's warnings would print the values that it doubts, names included.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJob:
    """One image to analyse."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    threshold: float | None
    bundle: str
    """As the setting names it."""
    digest: str | None = None
    """Of the model for which the result will speak; None: whichever the bundle holds."""
    analyses: tuple[Analysis, ...] = (Analysis.DETECTION,)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What one image has shown by itself; the marks get their identity from the whole study."""

    view: ViewResult
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One image of a study, and what is known of it should its file be unreadable."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteJob:
    """One study whose results are to be written; headers come from the files."""

    result: StudyResult
    files: tuple[ImageFile, ...]
    round_: Round
    forms: Mapping[Codes, frozenset[Form]] = field(default_factory=lambda: {Codes.SCT: frozenset(USUAL_FORMS)})
    """What to write with which codes, besides the CAD SR, which is always written."""


@cache
def detector(bundle: str) -> Detector:
    """The detector of this process."""
    return open_detector(bundle)


def load_detector(bundle: str) -> None:
    """Make a child process ready before its first image."""
    detector(bundle)


def prove_detector(pool: IsolatedPool, bundle: str, *, seconds: float) -> None:
    """Open a bundle in a child process and let it repeat its golden marks.

    Raises
    ------
    BundleRefused
        It cannot be used.
    """
    (lost,) = pool.map(load_detector, [bundle], seconds=seconds)
    if isinstance(lost, Lost):
        raise BundleRefused(f"model bundle {bundle}: it cannot be opened: {lost.reason}")


def analyse_image(job: ImageJob) -> ImageAnswer:
    """Header, view, pixels, marks and breast of one image; runs in a child process."""
    view: View | None = None
    try:
        header = read_header(job.path)
        view = view_of(header)
        mammogram = mammogram_of(header)
        pixels = read_pixels(job.path)
        marks = _marks(job, pixels, mammogram)
        breast = breast_geometry(pixels, view=mammogram.view, spacing=mammogram.spacing)
    except NotAnalysed as reason:
        return _without_marks(job, view, ViewStatus.NOT_ANALYSED, str(reason))
    except (ModelFault, BundleRefused) as fault:
        logger.error("%s: %s", job.sop_instance_uid, fault)  # noqa: TRY400 - the sentence says it all
        return _without_marks(job, view, ViewStatus.FAILED, str(fault))
    except Exception as error:  # the catch-all around one image: it costs this image only
        logger.exception("%s: analysis failed", job.sop_instance_uid)
        return _without_marks(job, view, ViewStatus.FAILED, f"the analysis failed ({type(error).__name__})")
    analysed = ViewResult(
        sop_instance_uid=job.sop_instance_uid,
        sop_class_uid=job.sop_class_uid,
        view=mammogram.view,
        status=ViewStatus.ANALYSED,
        reason=None,
        remark=side_warning(header, pixels),
        spacing=mammogram.spacing,
        breast=breast,
    )
    return ImageAnswer(analysed, marks)


def write_study(job: WriteJob) -> list[ResultObject]:
    """The checked result objects of one study, none of them twice; runs in a child process."""
    headers = [_header(file, job.result.study_instance_uid) for file in job.files]
    paths = {file.sop_instance_uid: file.path for file in job.files}
    objects: dict[str, ResultObject] = {}
    for codes, forms in job.forms.items():
        written = write_results(
            job.result, headers, job.round_, forms=forms, codes=codes, pixels=lambda uid: _pixels_again(paths[uid])
        )
        objects |= {one.sop_instance_uid: one for one in written}
    return list(objects.values())


def analyse_study(
    pool: IsolatedPool,
    model: Model,
    round_: Round,
    jobs: Sequence[ImageJob],
    *,
    both_views: BothViews | None = None,
    earlier: Sequence[Finding] = (),
    seconds: float,
) -> StudyResult:
    """All images of one study, in child processes; a crash or a missed deadline costs that image only.

    Then both views of a breast are weighed with each other if the model wants that, the marks that are one lesion are
    put together, and those of the round before are recognised.
    """
    answers = [
        _without_marks(job, None, ViewStatus.FAILED, f"the analysis failed: {found.reason}")
        if isinstance(found, Lost)
        else found
        for job, found in zip(jobs, pool.map(analyse_image, jobs, seconds=seconds), strict=True)
    ]
    views = tuple(one.view for one in answers)
    marks = [one.marks for one in answers] if both_views is None else _weighed(answers, both_views)
    alone = StudyResult(
        study_instance_uid=round_.study_instance_uid, model=model, views=views, geometry=geometry_model()
    )
    pairs = []
    for cc, mlo in alone.collocated:
        first, second = views.index(cc), views.index(mlo)
        pairs += [
            (Place(first, one), Place(second, other))
            for one, other in collocations(cc, marks[first], mlo, marks[second])
        ]
    return replace(alone, views=with_findings(round_, views, marks, pairs=pairs, earlier=earlier))


def _weighed(answers: Sequence[ImageAnswer], both_views: BothViews) -> list[tuple[Mark, ...]]:
    """The marks of each image, those on images with a view and a nipple weighed with those on the other view."""
    marks = [one.marks for one in answers]
    seen = {
        number: MarkedView(view, marks[number], from_nipple_mm(breast, spacing, marks[number]))
        for number, one in enumerate(answers)
        if (view := one.view.view) and (breast := one.view.breast) and (spacing := one.view.spacing)
    }
    for number, weighed in zip(seen, with_both_views(tuple(seen.values()), both_views), strict=True):
        marks[number] = weighed
    return marks


def write_analysed_study(pool: IsolatedPool, job: WriteJob, *, seconds: float) -> list[ResultObject]:
    """The result objects of one study.

    Raises
    ------
    InvalidResult
        An object does not pass the check, or none could be written.
    """
    (written,) = pool.map(write_study, [job], seconds=seconds)
    if isinstance(written, Lost):
        raise InvalidResult(f"the results cannot be written: {written.reason}")
    return written


def _marks(job: ImageJob, pixels: npt.NDArray[np.float32], mammogram: Mammogram) -> tuple[Mark, ...]:
    """What the model says, and of that what was asked for."""
    speaker = detector(job.bundle)
    if job.digest not in (None, speaker.model.digest):
        raise ModelFault(f"model {speaker.model.name}: its bundle has changed since the node started; start it anew")
    marks = speaker.marks(pixels, view=mammogram.view, spacing=mammogram.spacing, threshold=job.threshold)
    if Analysis.CHARACTERISATION in job.analyses:
        return marks
    return tuple(replace(mark, probability_malignant=None) for mark in marks)


def _without_marks(job: ImageJob, view: View | None, status: ViewStatus, reason: str) -> ImageAnswer:
    return ImageAnswer(
        ViewResult(
            sop_instance_uid=job.sop_instance_uid,
            sop_class_uid=job.sop_class_uid,
            view=view,
            status=status,
            reason=reason,
        )
    )


def _pixels_again(path: Path) -> npt.NDArray[np.float32]:
    """The pixels of an image that was analysed before."""
    try:
        return read_pixels(path)
    except NotAnalysed as error:
        raise InvalidResult(f"an image with findings can no longer be read: {error}") from error


def _header(file: ImageFile, study_instance_uid: str) -> Dataset:
    """The header for the results; of an unreadable file only what is known without it."""
    try:
        return read_header(file.path)
    except NotAnalysed:
        ds = Dataset()
        ds.SOPClassUID = file.sop_class_uid
        ds.SOPInstanceUID = file.sop_instance_uid
        ds.SeriesInstanceUID = file.series_instance_uid
        ds.StudyInstanceUID = study_instance_uid
        return ds
