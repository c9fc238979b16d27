"""A PACS by DIMSE: C-FIND for what there is, then C-MOVE to the running node or C-GET into the inbox.

PS3.4 annex C, Study Root, hierarchical: studies, their series, the images of each. A failure is one sentence that names
the peer and, where somebody can act, what is to be done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from cmmd_node.association import PROGRESS_SECONDS, association
from cmmd_node.errors import OutOfResources, PeerFailed, PeerRefused, RefusedInstance
from cmmd_node.retrieve.source import FoundSeries, Patient, Problem, Take, Wanted
from cmmd_node.tls import Client

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

#: What a peer is asked with, and how it hands over.
FIND, MOVE, GET = MODELS = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
#: More matches than that are no answer to work with.
MOST_MATCHES = 20_000
#: A peer may be silent until the last image of a request is there.
IMAGE_SECONDS = 60
#: Images that one request names.
_IMAGES_AT_ONCE = 100
_PENDING = frozenset({0xFF00, 0xFF01})
_WARNING = 0xB000
_DESTINATION_UNKNOWN = 0xA801
#: What the failures of PS3.4 C.4.1.1.4, C.4.2.1.5 and C.4.3.1.4 mean.
_FAILURES = {
    0x0122: "it does not offer that service",
    0x0124: "it does not allow us to",
    0xA700: "it is out of resources",
    0xA701: "it is out of resources and cannot count the matches",
    0xA702: "it is out of resources and cannot send the images",
    0xA900: "it does not understand the request",
    0xFE00: "it has cancelled the request",
}
#: What the handler of a C-GET answers (PS3.4 table B.2-1).
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA700, 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacs:
    """One peer that can be asked; what its two ways of handing over share."""

    name: str
    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    tls: Client | None = None

    def search(self, wanted: Wanted) -> Iterator[FoundSeries]:
        """The series of all matching studies, each with its images.

        Raises
        ------
        PeerFailed, PeerRefused
            The peer cannot be asked, or gives no answer.
        """
        with self.association([build_context(FIND)]) as assoc:
            assoc.dimse_timeout = IMAGE_SECONDS
            for study in self._matches(assoc, _study_keys(wanted)):
                study_uid = _uid(study, "StudyInstanceUID")
                for series in self._matches(assoc, _series_keys(study_uid, wanted.modality)):
                    # Matching the modality is a wish in some archives; what they say of the series counts.
                    if wanted.modality and series.get("Modality", wanted.modality) != wanted.modality:
                        continue
                    series_uid = _uid(series, "SeriesInstanceUID")
                    images = self._matches(assoc, _image_keys(study_uid, series_uid))
                    uids = frozenset(_uid(image, "SOPInstanceUID") for image in images)
                    yield FoundSeries(
                        study_instance_uid=study_uid,
                        series_instance_uid=series_uid,
                        patient=Patient.from_dataset(study),
                        study_date=re.sub(r"\D", "", str(study.get("StudyDate", "") or ""))[:8],
                        sop_instance_uids=uids,
                        images=len(uids),
                    )

    def association(
        self,
        contexts: Sequence[object],
        *,
        roles: Sequence[object] = (),
        handlers: Sequence[tuple[object, object]] = (),
    ) -> AbstractContextManager[Association]:
        """An association to the peer, as `cmmd_node.association` opens it."""
        return association(
            contexts,
            host=self.host,
            port=self.port,
            called_ae_title=self.called_ae_title,
            calling_ae_title=self.calling_ae_title,
            tls=self.tls,
            roles=roles,
            handlers=handlers,
        )

    def failure(self, status: int, service: str) -> PeerFailed:
        """What a status that is neither pending nor success means, as one sentence."""
        if status == _DESTINATION_UNKNOWN:
            return PeerRefused(
                f"{self.called_ae_title} does not know the move destination {self.calling_ae_title} (status A801): its "
                "administrator must enter this node there, with its AE title, host and port"
            )
        reason = _FAILURES.get(status) or ("it is unable to process it" if status & 0xF000 == 0xC000 else "unknown")
        return PeerFailed(f"{self.called_ae_title} refused a {service} with status {status:04X}: {reason}")

    def _matches(self, assoc: Association, keys: Dataset) -> list[Dataset]:
        found: list[Dataset] = []
        for status, identifier in assoc.send_c_find(keys, FIND):
            if "Status" not in status:
                raise PeerFailed(f"{self.called_ae_title} gave no answer to a C-FIND")
            if status.Status in _PENDING and identifier is not None:
                found.append(identifier)
                if len(found) > MOST_MATCHES:
                    raise PeerFailed(f"{self.called_ae_title} has more than {MOST_MATCHES} matches; ask for less")
            elif status.Status not in {0x0000, *_PENDING}:
                raise self.failure(status.Status, "C-FIND")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingPacs(Pacs):
    """The peer sends to the running node, as to any destination; its images come in by the front door."""

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """As `Source.fetch`; nothing comes by way of `take`."""
        with self.association([build_context(MOVE)]) as assoc:
            for keys, count in _requests(series, missing):
                assoc.dimse_timeout = PROGRESS_SECONDS + count * IMAGE_SECONDS
                yield from _told(self, "C-MOVE", assoc.send_c_move(keys, self.calling_ae_title, MOVE))


@dataclass(frozen=True, slots=True, kw_only=True)
class GettingPacs(Pacs):
    """The peer sends over our own association, into the inbox; it need not know where we are."""

    storage_classes: tuple[UID, ...]
    transfer_syntaxes: tuple[UID, ...]

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """As `Source.fetch`; one instance at a time is in memory."""
        # One context for each syntax, so that the peer may send each image as it has it (PS3.4 C.4.3).
        contexts = [build_context(one, syntax) for one in self.storage_classes for syntax in self.transfer_syntaxes]
        refused: list[Problem] = []
        with self.association(
            [build_context(GET), *contexts],
            roles=[build_role(one, scp_role=True) for one in self.storage_classes],
            handlers=[(evt.EVT_C_STORE, lambda event: _keep(event, take, refused))],
        ) as assoc:
            if not any(context.abstract_syntax == GET for context in assoc.accepted_contexts):
                raise PeerRefused(
                    f"{self.called_ae_title} accepted no presentation context for {GET.name}; its administrator can "
                    'enable it, or set retrieve = "move"'
                )
            for keys, count in _requests(series, missing):
                assoc.dimse_timeout = PROGRESS_SECONDS + count * IMAGE_SECONDS
                for told in _told(self, "C-GET", assoc.send_c_get(keys, GET)):
                    yield from refused  # before the peer tells of the same failures, without our reasons
                    refused.clear()
                    yield told


def _keep(event: Event, take: Take, refused: list[Problem]) -> int:
    """Answer one C-STORE sub-operation; 0x0000 is the same promise as at the front door."""
    try:
        take([event.encoded_dataset()])
    except RefusedInstance as error:
        refused.append(Problem(str(event.request.AffectedSOPInstanceUID), str(error)))
        return _OUT_OF_RESOURCES if isinstance(error, OutOfResources) else _CANNOT_UNDERSTAND
    return 0x0000


def _told(pacs: Pacs, service: str, responses: Iterator[tuple[Dataset, Dataset | None]]) -> Iterator[Problem | int]:
    """What the responses to one C-MOVE or C-GET tell (PS3.4 C.4.2.1.4 to C.4.2.1.9)."""
    completed = 0
    for status, identifier in responses:
        if "Status" not in status:
            raise PeerFailed(f"{pacs.called_ae_title} broke off a {service}, or was silent for too long")
        now = (status.get("NumberOfCompletedSuboperations") or 0) + (status.get("NumberOfWarningSuboperations") or 0)
        yield max(0, now - completed)
        completed = max(now, completed)
        if status.Status in {0x0000, *_PENDING}:
            continue
        failed = [str(uid) for uid in _listed(identifier) if UID(uid).is_valid]
        if status.Status & 0xF000 != _WARNING and not failed:
            raise pacs.failure(status.Status, service)
        # Some name what failed, some only count it; what is not here in the end is missed in either case.
        for uid in failed:
            yield Problem(uid, f"{pacs.called_ae_title} did not send it (status {status.Status:04X})")


def _listed(identifier: Dataset | None) -> Sequence[str]:
    """The Failed SOP Instance UID List (0008,0058)."""
    if identifier is None:
        return []
    value = identifier.get("FailedSOPInstanceUIDList") or []
    return [value] if isinstance(value, str) else list(value)


def _requests(series: FoundSeries, missing: frozenset[str] | None) -> Iterator[tuple[Dataset, int]]:
    """The whole series at once, or the images that are missing of it; and how many images each request is for."""
    keys = Dataset()
    keys.StudyInstanceUID = series.study_instance_uid
    keys.SeriesInstanceUID = series.series_instance_uid
    if missing is None or missing == series.sop_instance_uids:
        keys.QueryRetrieveLevel = "SERIES"
        yield keys, max(1, series.images)
        return
    keys.QueryRetrieveLevel = "IMAGE"
    uids = sorted(missing)
    for start in range(0, len(uids), _IMAGES_AT_ONCE):
        keys.SOPInstanceUID = uids[start : start + _IMAGES_AT_ONCE]
        yield keys, len(keys.SOPInstanceUID)


def _study_keys(wanted: Wanted) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    if not (wanted.patient_id + wanted.accession_number).isascii():
        keys.SpecificCharacterSet = "ISO_IR 192"
    keys.PatientID = wanted.patient_id
    keys.PatientBirthDate = ""
    if wanted.with_issuer:
        keys.IssuerOfPatientID = ""
    keys.AccessionNumber = wanted.accession_number
    keys.StudyDate = wanted.study_date
    keys.StudyInstanceUID = wanted.study_instance_uid
    keys.ModalitiesInStudy = wanted.modality
    return keys


def _series_keys(study_instance_uid: str, modality: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "SERIES"
    keys.StudyInstanceUID = study_instance_uid
    keys.SeriesInstanceUID = ""
    keys.Modality = modality
    return keys


def _image_keys(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID = study_instance_uid
    keys.SeriesInstanceUID = series_instance_uid
    keys.SOPInstanceUID = ""
    return keys


def _uid(match: Dataset, keyword: str) -> str:
    """A UID of a match; it is asked for again, and may be nothing else than one."""
    uid = UID(str(match.get(keyword, "") or ""))
    if not uid.is_valid:
        raise PeerFailed(f"a match has no usable {keyword}")
    return str(uid)
