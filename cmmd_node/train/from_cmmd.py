"""CMMD as labelled images: what a manifest of it would say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from cmmd_node.cmmd.images import CmmdImage, read_download
from cmmd_node.cmmd.join import join
from cmmd_node.cmmd.known import CITATION, LICENCE, USUALLY_LEFT_OUT, Doubt, cohort_of, doubts_about, group_of
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import read_split
from cmmd_node.train.manifest import LabelledImage


@dataclass(frozen=True, slots=True, kw_only=True)
class CmmdManifest:
    """The collection in the terms of training."""

    images: tuple[LabelledImage, ...]
    """All of them; what is left out says why."""
    problems: tuple[str, ...]


def cmmd_manifest(
    folder: Path,
    sheet: Path,
    *,
    keep: Collection[Doubt] = (),
    tell: Callable[[int, int], None] = lambda done, all_: None,
) -> CmmdManifest:
    """Read a download of CMMD.

    Parameters
    ----------
    folder : Path
        Searched with all that is below it.
    sheet : Path
        The label sheet.
    keep
        What is usually left out and is wanted nevertheless.
    tell
        Called with how many files are done and how many there are.

    Raises
    ------
    NodeError
        Nothing is there, or the label sheet cannot be read.
    """
    download = read_download(folder, tell=tell)
    joined = join(read_label_sheet(sheet), download.images)
    rows = read_split().rows
    images = tuple(
        LabelledImage(
            path=image.path,
            patient=image.patient_id,
            view=image.view,
            group=group_of(image.patient_id),
            age=breast.age,
            cohort=cohort_of(image.patient_id),
            label=breast.label,
            fold=rows[image.patient_id].fold if image.patient_id in rows else None,
            excluded=_excluded(image, keep),
            source=f"{CITATION} {LICENCE}",
        )
        for breast in joined.breasts
        for image in breast.images
    )
    problems = (*joined.problems, *map(str, (*download.copies, *download.problems)))
    return CmmdManifest(images=images, problems=problems)


def _excluded(image: CmmdImage, keep: Collection[Doubt]) -> str | None:
    reasons = [
        f"{one.doubt}: {one.reason}"
        for one in doubts_about(image.patient_id, image.view)
        if one.doubt in USUALLY_LEFT_OUT and one.doubt not in keep
    ]
    return "; ".join(reasons) or None
