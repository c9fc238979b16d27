"""What is wanted, what was found, and how any source hands it over."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Protocol, TypeAlias

from pydicom.dataset import Dataset

from cmmd_node.errors import SettingsError, Truncated, UnreadableInstance

#: Keeps one DICOM file that comes in pieces, and says its SOP Instance UID; raises RefusedInstance.
Take: TypeAlias = Callable[[Iterable[bytes]], str]

_DATE = r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Who somebody is, as far as an object or an archive says (PS3.3 C.7.1.1); empty where it does not."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    birth_date: str = ""

    @classmethod
    def from_dataset(cls, ds: Dataset) -> Patient:
        """What an object, or a match of a C-FIND, says."""
        return cls(
            patient_id=str(ds.get("PatientID", "") or "").strip(),
            issuer_of_patient_id=str(ds.get("IssuerOfPatientID", "") or "").strip(),
            birth_date=str(ds.get("PatientBirthDate", "") or "").strip(),
        )

    def contradicts(self, other: Patient) -> bool:
        """Whether this cannot be the same person. Names are not looked at: people change theirs."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return any(one and another and one != another for one, another in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which series are looked for; an empty value matches everything (PS3.4 C.2.2.2.3)."""

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    """YYYYMMDD, or a range YYYYMMDD-YYYYMMDD whose ends may be left out."""
    study_instance_uid: str = ""
    modality: str = "MG"
    with_issuer: bool = False
    """Ask for Issuer of Patient ID as well, which some archives open every file for."""

    def __post_init__(self) -> None:
        values = (self.patient_id, self.accession_number, self.study_date, self.study_instance_uid)
        if not any(values):
            raise SettingsError("a patient id, an accession number, a study date or a study instance uid is wanted")
        for value in (*values, self.modality):
            if re.search(r"[*?\\\x00-\x1f]", value):
                raise SettingsError("wildcards, backslashes and control characters are not taken: name what is wanted")
        if self.study_date and not re.fullmatch(rf"({_DATE})|({_DATE})-({_DATE})?|-({_DATE})", self.study_date):
            raise SettingsError(f"study date {self.study_date} is neither YYYYMMDD nor YYYYMMDD-YYYYMMDD")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSeries:
    """One series at a source."""

    study_instance_uid: str
    """Empty: not known before an instance is here."""
    series_instance_uid: str
    study_date: str = ""
    patient: Patient = Patient()
    sop_instance_uids: frozenset[str] | None = None
    """None: the source tells them no sooner than it hands the instances over."""
    images: int = 0
    size_bytes: int = 0
    """0: not known."""
    place: str = ""
    """Where it lies at the source, if its UIDs do not say it."""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an instance, or a whole series, did not come."""

    sop_instance_uid: str
    """Empty: of the whole series, or not known."""
    reason: str


class Source(Protocol):
    """Where series come from."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """Fetch what is missing of a series.

        Parameters
        ----------
        missing
            SOP Instance UIDs; None: all of the series.

        Yields
        ------
        int
            So many instances have come since the last one.
        Problem
            An instance did not.

        Raises
        ------
        PeerFailed
            The source broke off; trying again may help.
        PeerRefused
            The source will not, for this series nor for any other.
        """


def as_announced(pieces: Iterable[bytes], *, size_bytes: int, md5: str | None) -> Iterator[bytes]:
    """The same pieces.

    Raises
    ------
    UnreadableInstance
        In the end, or as soon as there are too many bytes: they are not what the source announced.
    """
    digest, come = hashlib.md5(usedforsecurity=False), 0
    for piece in pieces:
        come += len(piece)
        digest.update(piece)
        if come > size_bytes:
            raise UnreadableInstance(f"it has more than the {size_bytes} bytes that were announced")
        yield piece
    if come < size_bytes:
        raise Truncated(f"it has {come} bytes, not {size_bytes} as announced")
    if md5 is not None and digest.hexdigest() != md5:
        raise UnreadableInstance(f"its MD5 is {digest.hexdigest()}, not {md5} as announced")
