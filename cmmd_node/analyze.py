"""The route without the network: DICOM files in, result files and one answer for machines out."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from cmmd_node.assemble.views import read_header
from cmmd_node.cad import both_views_of, model_of
from cmmd_node.cad.both_views import BothViews
from cmmd_node.errors import InvalidResult, NotAnalysed
from cmmd_node.facts import USUAL_FORMS, Codes, Form, Model, Outcome, Round, StudyResult, ViewResult
from cmmd_node.files import files_below
from cmmd_node.index.rounds import finding_to_json, whole_to_json
from cmmd_node.isolation import IsolatedPool
from cmmd_node.report import ResultObject
from cmmd_node.route.analysis import ImageFile, ImageJob, WriteJob, analyse_study, prove_detector, write_analysed_study
from cmmd_node.settings import CadSettings

#: Who derives the UIDs of results made without a node; they depend on the content alone, so a rerun repeats them.
_NO_NODE = f"2.25.{int.from_bytes(hashlib.sha256(b'cmmd-node analyze').digest()[:16], 'big')}"
#: Creation time of results from images that do not tell when they were made.
_NO_TIME = datetime(1970, 1, 1)  # noqa: DTZ001 - DICOM times are local


def analyze_files(
    paths: Sequence[Path],
    out_dir: Path,
    settings: CadSettings,
    *,
    threshold: float | None,
    forms: Collection[Form] = USUAL_FORMS,
    codes: Codes = Codes.SCT,
) -> dict[str, Any]:
    """Analyse every study among the files and write its results to `out_dir`.

    Returns
    -------
    dict
        ``studies``, each with its outcome, model, images, findings and files, and ``skipped``, files that are no DICOM
        images with the reason; plain values, ready for JSON.

    Raises
    ------
    BundleRefused
        The model bundle of the settings cannot be used.
    """
    studies: dict[str, dict[str, tuple[Path, Dataset]]] = defaultdict(dict)
    skipped = []
    for path in files_below(paths):
        try:
            header = read_header(path)
            study_uid, instance_uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        except NotAnalysed as error:
            skipped.append({"path": str(path), "reason": str(error)})
        except AttributeError:
            skipped.append({"path": str(path), "reason": "Study or SOP Instance UID is missing"})
        else:
            if instance_uid in studies[study_uid]:
                skipped.append({"path": str(path), "reason": f"SOP Instance UID {instance_uid} came before"})
            else:
                studies[study_uid][instance_uid] = (path, header)
    out_dir.mkdir(parents=True, exist_ok=True)
    model, both_views = model_of(settings.bundle), both_views_of(settings.bundle)
    pool = IsolatedPool(settings.threads or os.cpu_count() or 1)
    try:
        prove_detector(pool, settings.bundle, seconds=settings.view_seconds)
        answers = [
            _analyze_study(
                pool,
                uid,
                images,
                model=model,
                both_views=both_views,
                out_dir=out_dir,
                settings=settings,
                threshold=threshold,
                forms={codes: frozenset(forms)},
            )
            for uid, images in studies.items()
            if images
        ]
    finally:
        pool.close()
    return {"studies": answers, "skipped": skipped}


def _analyze_study(
    pool: IsolatedPool,
    study_instance_uid: str,
    images: dict[str, tuple[Path, Dataset]],
    *,
    model: Model,
    both_views: BothViews | None,
    out_dir: Path,
    settings: CadSettings,
    threshold: float | None,
    forms: Mapping[Codes, frozenset[Form]],
) -> dict[str, Any]:
    round_ = Round(
        node_uid=_NO_NODE,
        study_instance_uid=study_instance_uid,
        number=1,
        created=max(_made_at(header) for _, header in images.values()),
    )
    result = analyse_study(
        pool,
        model,
        round_,
        [
            ImageJob(
                path=path,
                sop_instance_uid=uid,
                sop_class_uid=str(header.get("SOPClassUID", "")),
                threshold=settings.threshold if threshold is None else threshold,
                bundle=settings.bundle,
                digest=model.digest,
                analyses=settings.analyses,
            )
            for uid, (path, header) in sorted(images.items())
        ],
        both_views=both_views,
        seconds=settings.view_seconds,
    )
    reason = None
    objects: list[ResultObject] = []
    try:
        files = tuple(
            ImageFile(
                path=path,
                sop_instance_uid=uid,
                sop_class_uid=str(header.get("SOPClassUID", "")),
                series_instance_uid=str(header.get("SeriesInstanceUID", "")),
            )
            for uid, (path, header) in images.items()
        )
        objects = write_analysed_study(
            pool, WriteJob(result=result, files=files, round_=round_, forms=forms), seconds=settings.view_seconds
        )
    except InvalidResult as error:
        reason = str(error)
    return {
        "StudyInstanceUID": study_instance_uid,
        "outcome": (result.outcome if reason is None else Outcome.FAILED).value,
        "reason": reason,
        "model": _model_to_json(result.model),
        "images": [_image_to_json(view, images[view.sop_instance_uid][1]) for view in result.views],
        "files": _write_files(objects, result, out_dir),
    }


def _write_files(objects: Sequence[ResultObject], result: StudyResult, out_dir: Path) -> list[str]:
    """One file for each object, named by its form and the digest of its study, not by what a file says."""
    stem = hashlib.sha256(result.study_instance_uid.encode()).hexdigest()[:12]
    written = []
    for number, one in enumerate(objects):
        path = out_dir / (f"{stem}-{one.form}.dcm" if number == 0 else f"{stem}-{one.form}-{number}.dcm")
        path.write_bytes(one.data)
        written.append(str(path))
    return written


def _made_at(header: Dataset) -> datetime:
    """When the image was made, as far as it tells: the newest image dates the results, so that a rerun repeats them."""
    for date_keyword, time_keyword in (("ContentDate", "ContentTime"), ("StudyDate", "StudyTime")):
        try:
            date, time = str(header.get(date_keyword, "")), str(header.get(time_keyword, "")) or "000000"
            return datetime.strptime(f"{date}{time[:6]}", "%Y%m%d%H%M%S")  # noqa: DTZ007 - DICOM times are local
        except (ValueError, TypeError):
            continue
    return _NO_TIME


def _model_to_json(model: Model) -> dict[str, str]:
    return {"name": model.name, "version": model.version, "digest": model.digest}


def _image_to_json(view: ViewResult, header: Dataset) -> dict[str, Any]:
    laterality = str(header.get("ImageLaterality", "") or "") if view.view is None else view.view.laterality.value
    return {
        "SOPInstanceUID": view.sop_instance_uid,
        "ImageLaterality": laterality or None,
        "view": view.view.position.value if view.view else None,
        "status": view.status.value,
        "reason": view.reason,
        "remark": view.remark,
        **whole_to_json(view),
        "findings": [finding_to_json(finding) for finding in view.findings],
    }
