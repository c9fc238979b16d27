"""From the facts of a study to the objects that are sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from io import BytesIO
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from cmmd_node.facts import USUAL_FORMS, Codes, Form, Model, Round, StudyResult, ViewStatus
from cmmd_node.report.cad_sr import mammography_cad_sr
from cmmd_node.report.check import require_valid
from cmmd_node.report.envelope import ResultObject, in_older_codes
from cmmd_node.report.header import identity
from cmmd_node.report.measurement_report import measurement_report
from cmmd_node.report.presentation import presentation_state
from cmmd_node.report.secondary_capture import secondary_capture
from cmmd_node.report.segmentation import segmentation


class _Common(TypedDict):
    """What every writer of an object about one image is told."""

    identity: Dataset
    round_: Round
    model: Model
    instance_number: int


def write_results(
    result: StudyResult,
    images: Sequence[Dataset],
    round_: Round,
    *,
    forms: Collection[Form] = USUAL_FORMS,
    codes: Codes = Codes.SCT,
    pixels: Callable[[str], npt.NDArray[np.float32]] | None = None,
) -> list[ResultObject]:
    """Write the results of one round: one CAD SR whatever the outcome, and what else is wanted of it.

    SEG, GSPS and SC are written for each image with findings, a TID 1500 report when an image was analysed.

    The same arguments give the same UIDs and bytes, in whatever order images and views come.

    Parameters
    ----------
    images
        Headers of all images of the study, also of those that were not analysed; pixels are not needed.
    forms
        What to write besides the CAD SR, which is the answer and always there.
    codes
        What the concepts are written with, as far as they have both codes.
    pixels
        Gives the brightness of the image with a SOP Instance UID, 0 to 1 as it is stored; asked for secondary captures
        of images with findings only, which need it.

    Returns
    -------
    list of ResultObject
        The CAD SR first. Each was read back from its bytes and has passed the template check.

    Raises
    ------
    InvalidResult
        The images belong to several patients or another study, or an object fails the template check.
    ValueError
        There is no image, no pixels are given for secondary captures, the result speaks of an image that is not among
        them, or the round is of another study.
    """
    headers = {str(ds.SOPInstanceUID): ds for ds in sorted(images, key=lambda ds: str(ds.SOPInstanceUID))}
    if Form.SC in forms and pixels is None:
        raise ValueError(f"study {result.study_instance_uid}: secondary captures are wanted but no pixels are given")
    if result.study_instance_uid != round_.study_instance_uid:
        raise ValueError(f"result of study {result.study_instance_uid} in a round of {round_.study_instance_uid}")
    unknown = {view.sop_instance_uid for view in result.views} - headers.keys()
    if unknown or not headers:
        raise ValueError(f"study {result.study_instance_uid}: {len(headers)} headers, {len(unknown)} images without")
    result = replace(result, views=tuple(sorted(result.views, key=lambda view: view.sop_instance_uid)))
    patient_and_study = identity(result.study_instance_uid, list(headers.values()))

    objects = [mammography_cad_sr(result, list(headers.values()), patient_and_study, round_)]
    marked = [view for view in result.views if view.findings]
    sides = {view.view.laterality for view in marked if view.view is not None}
    for number, view in enumerate(marked, start=1):
        common: _Common = {
            "identity": patient_and_study,
            "round_": round_,
            "model": result.model,
            "instance_number": number,
        }
        image = headers[view.sop_instance_uid]
        if Form.SEG in forms:
            geometry = (view.breast, result.geometry) if view.breast and result.geometry else None
            objects.append(segmentation(view.findings, image, view=view.view, geometry=geometry, **common))
        if Form.GSPS in forms:
            objects.append(presentation_state(view.findings, image, sides=sides, **common))
        if Form.SC in forms and pixels is not None:
            shown = pixels(view.sop_instance_uid)
            objects.append(secondary_capture(view.findings, image, shown, view=view.view, **common))
    analysed = [headers[view.sop_instance_uid] for view in result.views if view.status is ViewStatus.ANALYSED]
    if Form.TID1500 in forms and analysed:
        objects.append(measurement_report(result, analysed, patient_and_study, round_))
    if codes is Codes.SRT:
        objects = [in_older_codes(written, round_, result.model) for written in objects]
    for written in objects:
        require_valid(dcmread(BytesIO(written.data)), images=list(headers.values()))
    return objects
