"""What a download of CMMD holds, and what in it is missing, duplicate, damaged, mislabelled or unexpected."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.sides import side_warning
from cmmd_node.assemble.views import read_header
from cmmd_node.cmmd.images import CmmdImage, Download, by_breast, read_download
from cmmd_node.cmmd.join import Joined, join
from cmmd_node.cmmd.known import (
    CITATION,
    DOUBTFUL,
    LICENCE,
    NUMBERS,
    PUBLISHED_TWICE,
    SHEET_NAME,
    SHEET_SHA256,
    Doubt,
    cohort_of,
    doubts_about,
)
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import read_split
from cmmd_node.errors import NodeError, NotAnalysed
from cmmd_node.facts import Kind, ViewPosition

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pixels of one image say."""

    sha256: str
    """Of the pixels as models see them, so that it does not depend on how the file is compressed."""
    side_warning: str | None


def find_sheet(folder: Path) -> Path:
    """The label sheet that lies with the images.

    Raises
    ------
    NodeError
        There is none under its published name.
    """
    found = sorted(folder.rglob(SHEET_NAME))
    if not found:
        raise NodeError(f"there is no {SHEET_NAME} below {folder}; name the label sheet with --sheet")
    return found[0]


def check_download(
    folder: Path, sheet: Path | None = None, *, pixels: bool = True, tell: Tell = lambda what, done, all_: None
) -> dict[str, Any]:
    """Compare a folder with what is known of the collection.

    Parameters
    ----------
    folder : Path
        Searched with all that is below it; how files are named and sorted does not matter.
    sheet : Path, optional
        The label sheet; default: the one that lies below the folder.
    pixels : bool
        Also decode every image: finds damage, identical pixels and wrong sides, and reads the whole 23 GB.
    tell
        Called with what is done, how many files are done and how many there are.

    Returns
    -------
    dict
        ``numbers`` found and known, ``faults`` by kind, ``notes`` on what is known to be doubtful, ``right``: whether
        there is no fault and every number is as known; plain values, ready for JSON.

    Raises
    ------
    NodeError
        Nothing is there, or the label sheet cannot be read.
    """
    labels = read_label_sheet(sheet or find_sheet(folder))
    download = read_download(folder, tell=lambda done, all_: tell("headers", done, all_))
    images = download.images
    joined = join(labels, images)
    damaged = [str(problem) for problem in download.problems]
    seen: dict[Path, Seen] = {}
    for number, image in enumerate(images if pixels else (), start=1):
        try:
            seen[image.path] = _look(image.path)
        except NotAnalysed as error:
            damaged.append(f"{image.path}: {error}")
        tell("pixels", number, len(images))
    twins = _identical(images, seen)
    numbers = {name: {"found": found, "known": NUMBERS[name]} for name, found in _count(images, joined).items()}
    faults = {
        "missing": _missing(images),
        "duplicate": [*_repeated(download), *(_name(*pair) for pair in twins if not _published(*pair))],
        "damaged": damaged,
        "mislabelled": [
            f"{_image_name(image)}: {warning}"
            for image in images
            if (warning := _warning(image, seen)) and not _has_doubt(image, Doubt.SIDE)
        ],
        "unexpected": _unexpected(images),
        "labels": list(joined.problems),
    }
    return {
        "folder": str(folder),
        "citation": CITATION,
        "licence": LICENCE,
        "sheet_sha256": labels.sha256,
        "split_sha256": read_split().sha256,
        "pixels_read": pixels,
        "numbers": numbers,
        "faults": faults,
        "notes": _notes(download, images, joined, seen, twins, sheet_is_published=labels.sha256 == SHEET_SHA256),
        "right": not any(faults.values()) and all(one["found"] == one["known"] for one in numbers.values()),
    }


def _look(path: Path) -> Seen:
    pixels = read_pixels(path)
    digest = hashlib.sha256(f"{pixels.shape}".encode())
    digest.update(pixels.data)
    return Seen(digest.hexdigest(), side_warning(read_header(path), pixels))


def _count(images: Sequence[CmmdImage], joined: Joined) -> dict[str, int]:
    """The numbers of `known.NUMBERS`, counted."""
    patients = {image.patient_id for image in images}
    of_cohort = Counter(map(cohort_of, patients))
    labels = [breast.label for breast in joined.labelled]
    classes = Counter(str(label.classification) for label in labels)
    subtypes = Counter(str(label.subtype) for label in labels)
    kinds = Counter(label.kinds for label in labels)
    return {
        "patients": len(patients),
        "patients of D1": of_cohort["D1"],
        "patients of D2": of_cohort["D2"],
        "images": len(images),
        "breasts": len(joined.breasts),
        "labelled breasts": len(labels),
        "unlabelled breasts": len(joined.breasts) - len(labels),
        "benign": classes["benign"],
        "malignant": classes["malignant"],
        "mass": kinds[frozenset({Kind.MASS})],
        "both": kinds[frozenset(Kind)],
        "calcification": kinds[frozenset({Kind.CALCIFICATION_CLUSTER})],
        **{name: subtypes[name] for name in ("luminal-a", "luminal-b", "her2-enriched", "triple-negative")},
    }


def _missing(images: Iterable[CmmdImage]) -> list[str]:
    """Images of the collection that are not there; one line for a patient who is not there at all."""
    there = {(image.patient_id, image.view.laterality, image.view.position) for image in images}
    patients = {patient_id for patient_id, _, _ in there}
    missing = []
    for row in read_split().rows.values():
        if row.patient_id not in patients:
            missing.append(f"{row.patient_id}: no image at all")
            continue
        missing += [
            f"{row.patient_id} {side} {position}"
            for side in row.sides
            for position in ViewPosition
            if (row.patient_id, side, position) not in there
        ]
    return missing


def _repeated(download: Download) -> list[str]:
    """Files that hold the same SOP Instance, and views that there are several images of."""
    repeated = [str(copy) for copy in download.copies]
    for found in by_breast(download.images).values():
        for position, count in Counter(image.view.position for image in found).items():
            if count > 1:
                repeated.append(f"{found[0].patient_id} {found[0].view.laterality} {position}: {count} images")
    return repeated


def _unexpected(images: Iterable[CmmdImage]) -> list[str]:
    """Images that the collection does not have."""
    rows = read_split().rows
    unexpected = []
    for image in images:
        row = rows.get(image.patient_id)
        if row is None:
            unexpected.append(f"{image.path}: there is no patient {image.patient_id} in CMMD")
        elif image.view.laterality not in row.sides:
            unexpected.append(f"{_image_name(image)}: CMMD has no image of this breast")
        elif image.bits_stored != (16 if _has_doubt(image, Doubt.SIXTEEN_BIT) else 8):
            unexpected.append(f"{_image_name(image)}: has {image.bits_stored} bits")
    return unexpected


def _identical(images: Iterable[CmmdImage], seen: dict[Path, Seen]) -> list[tuple[CmmdImage, CmmdImage]]:
    """Pairs of images with the same pixels, each with the first of them."""
    first: dict[str, CmmdImage] = {}
    pairs = []
    for image in images:
        if image.path in seen:
            before = first.setdefault(seen[image.path].sha256, image)
            if before is not image:
                pairs.append((before, image))
    return pairs


def _published(one: CmmdImage, other: CmmdImage) -> bool:
    """Whether it is known that these two have the same pixels."""
    patients = {one.patient_id, other.patient_id}
    return any({pair.first, pair.second} == patients for pair in PUBLISHED_TWICE)


def _notes(
    download: Download,
    images: Sequence[CmmdImage],
    joined: Joined,
    seen: dict[Path, Seen],
    twins: Sequence[tuple[CmmdImage, CmmdImage]],
    *,
    sheet_is_published: bool,
) -> list[str]:
    """What is no fault of the download, and what whoever uses it should know."""
    notes = [] if sheet_is_published else ["the label sheet is not the edition that the known numbers were counted on"]
    if unlabelled := len(joined.breasts) - len(joined.labelled):
        notes.append(f"{unlabelled} breasts have no label: they are unknown, not benign and not normal")
    patients = {image.patient_id for image in images}
    for pair in PUBLISHED_TWICE:
        if {pair.first, pair.second} <= patients and seen:
            found = sum({one.patient_id, other.patient_id} == {pair.first, pair.second} for one, other in twins)
            notes.append(f"{pair.reason}; found identical here: {found}")
    for doubtful in DOUBTFUL:
        if doubtful.patient_id in patients and doubtful.doubt is not Doubt.DUPLICATE:
            which = " ".join(sorted(map(str, doubtful.views or ())))
            shown = [
                f"{image.view}: {warning}"
                for image in images
                if image.patient_id == doubtful.patient_id and (warning := _warning(image, seen))
            ]
            notes.append("; ".join((f"{doubtful.patient_id} {which}".strip() + f": {doubtful.reason}", *shown)))
    if download.others:
        notes.append(f"{len(download.others)} files are no DICOM objects and were not looked at")
    return notes


def _warning(image: CmmdImage, seen: dict[Path, Seen]) -> str | None:
    return seen[image.path].side_warning if image.path in seen else None


def _has_doubt(image: CmmdImage, doubt: Doubt) -> bool:
    return any(one.doubt is doubt for one in doubts_about(image.patient_id, image.view))


def _image_name(image: CmmdImage) -> str:
    return f"{image.patient_id} {image.view}"


def _name(one: CmmdImage, other: CmmdImage) -> str:
    return f"{_image_name(one)} and {_image_name(other)} have the same pixels ({one.path}, {other.path})"
