"""The images of a download: what their headers say, and whose breast is on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from cmmd_node.assemble.header import integer, text
from cmmd_node.assemble.views import mammogram_of, read_header
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Laterality, View
from cmmd_node.files import files_below


@dataclass(frozen=True, slots=True, kw_only=True)
class CmmdImage:
    """One image, as its header tells; the collection has neither View Position nor Laterality."""

    path: Path
    sop_instance_uid: str
    patient_id: str
    view: View
    """From Image Laterality and View Code Sequence; neither Instance Number nor the file's name tells the view."""
    bits_stored: int
    age: int | None
    """Years; None when Patient's Age is missing or not in years."""

    @property
    def breast(self) -> tuple[str, Laterality]:
        return self.patient_id, self.view.laterality

    @classmethod
    def from_dataset(cls, ds: Dataset, path: Path) -> CmmdImage:
        """Read a header.

        Raises
        ------
        NotAnalysed
            No Patient ID, or no For Presentation mammogram in CC or MLO.
        """
        patient_id = text(ds, "PatientID")
        if not patient_id:
            raise NotAnalysed("Patient ID is missing")
        mammogram = mammogram_of(ds)
        age = text(ds, "PatientAge")
        return cls(
            path=path,
            sop_instance_uid=mammogram.sop_instance_uid,
            patient_id=patient_id,
            view=mammogram.view,
            bits_stored=integer(ds, "BitsStored") or 0,
            age=int(age[:3]) if len(age) == 4 and age[:3].isdigit() and age[3] == "Y" else None,
        )


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that cannot be used."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What lies in a folder."""

    images: tuple[CmmdImage, ...]
    """Each SOP Instance once."""
    copies: tuple[FileProblem, ...]
    """Further files of the same SOP Instances."""
    problems: tuple[FileProblem, ...]
    others: tuple[Path, ...]
    """Files that do not claim to be DICOM objects: sheets, licences, lists."""


def read_download(folder: Path, *, tell: Callable[[int, int], None] = lambda done, all_: None) -> Download:
    """Read the headers of all files below a folder.

    Parameters
    ----------
    tell
        Called with how many files are done and how many there are.

    Raises
    ------
    NodeError
        There is no such folder or nothing in it.
    """
    images: dict[str, CmmdImage] = {}
    copies, problems, others = [], [], []
    paths = files_below([folder])
    for number, path in enumerate(paths, start=1):
        if path.suffix.lower() != ".dcm" and not _has_preamble(path):
            others.append(path)
        else:
            try:
                image = CmmdImage.from_dataset(read_header(path), path)
            except NotAnalysed as error:
                problems.append(FileProblem(path, str(error)))
            else:
                first = images.setdefault(image.sop_instance_uid, image)
                if first is not image:
                    copies.append(FileProblem(path, f"the same SOP Instance as {first.path}"))
        tell(number, len(paths))
    return Download(images=tuple(images.values()), copies=tuple(copies), problems=tuple(problems), others=tuple(others))


def by_breast(images: Iterable[CmmdImage]) -> dict[tuple[str, Laterality], list[CmmdImage]]:
    """The images of each breast, patients and sides in order."""
    breasts: dict[tuple[str, Laterality], list[CmmdImage]] = {}
    for image in sorted(images, key=lambda image: (*image.breast, image.view.position, str(image.path))):
        breasts.setdefault(image.breast, []).append(image)
    return breasts


def _has_preamble(path: Path) -> bool:
    """Whether it begins as a DICOM file does (PS3.10 7.1)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
