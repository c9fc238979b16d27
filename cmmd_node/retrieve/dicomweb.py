"""A DICOMweb archive (PS3.18): QIDO-RS by dicomweb-client, WADO-RS as a stream.

dicomweb-client decodes what it retrieves and holds it in memory; here an instance goes to the inbox as the archive sent
it, piece by piece, in the transfer syntax that the archive has it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dicomweb_client.web import DICOMwebClient
from pydicom.uid import UID

from cmmd_node.errors import MalformedRequest, PeerFailed, RefusedInstance
from cmmd_node.http_client import CONNECT_SECONDS, PROGRESS_SECONDS, HttpClient
from cmmd_node.multipart import MultipartReader, PartBegins, PartEnds, media_type
from cmmd_node.retrieve.source import FoundSeries, Patient, Problem, Take, Wanted
from cmmd_node.settings import DicomwebSettings

#: Matches that one search asks for; archives may give fewer.
PAGE = 500
MOST_MATCHES = 20_000
#: As stored: without the parameter, archives transcode to Explicit VR Little Endian (PS3.18 8.7.3.5.2).
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'

_Page = Callable[[int, int], list[dict[str, Any]]]


class DicomwebArchive:
    """One configured archive, as something to fetch from."""

    def __init__(self, settings: DicomwebSettings) -> None:
        self.name = settings.name
        self._url = settings.url.rstrip("/")
        self._http = HttpClient(settings.name, settings)
        self._client = DICOMwebClient(
            self._url, session=self._http.session, timeout=(CONNECT_SECONDS, PROGRESS_SECONDS)
        )
        self._client.set_http_retry_params(retry=False)  # it would retry whatever happens, for half a minute

    def search(self, wanted: Wanted) -> Iterator[FoundSeries]:
        """The series of all matching studies, each with its images.

        Raises
        ------
        PeerFailed, PeerRefused
            The archive gives no answer.
        """
        keys = {
            "PatientID": wanted.patient_id,
            "AccessionNumber": wanted.accession_number,
            "StudyDate": wanted.study_date,
            "StudyInstanceUID": wanted.study_instance_uid,
            "ModalitiesInStudy": wanted.modality,
        }
        filters = {keyword: value for keyword, value in keys.items() if value}
        fields = ["IssuerOfPatientID"] if wanted.with_issuer else None
        studies = self._all(
            lambda limit, offset: self._client.search_for_studies(
                limit=limit, offset=offset, fields=fields, search_filters=filters
            ),
            "0020000D",
        )
        for study_uid, study in studies.items():
            for series_uid, series in self._series(study_uid, wanted.modality).items():
                # Matching the modality is a wish in some archives; what they say of the series counts.
                if wanted.modality and _value(series, "00080060") not in {"", wanted.modality}:
                    continue
                uids = frozenset(self._instances(study_uid, series_uid))
                yield FoundSeries(
                    study_instance_uid=study_uid,
                    series_instance_uid=series_uid,
                    study_date=_value(study, "00080020"),
                    patient=Patient(
                        patient_id=_value(study, "00100020").strip(),
                        issuer_of_patient_id=_value(study, "00100021").strip(),
                        birth_date=_value(study, "00100030"),
                    ),
                    sop_instance_uids=uids,
                    images=len(uids),
                )

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """As `Source.fetch`: the whole series in one request, or instance by instance what is missing of it."""
        path = f"{self._url}/studies/{series.study_instance_uid}/series/{series.series_instance_uid}"
        whole = missing is None or missing == series.sop_instance_uids
        paths = [path] if missing is None or whole else [f"{path}/instances/{uid}" for uid in sorted(missing)]
        for one in paths:
            with self._http.get(one, headers={"Accept": _ACCEPT}) as answer:
                for part in self._parts(answer):
                    try:
                        take(part)
                        yield 1
                    except RefusedInstance as error:
                        yield Problem("" if whole else one.rsplit("/", 1)[1], str(error))

    def _series(self, study_uid: str, modality: str) -> dict[str, dict[str, Any]]:
        return self._all(
            lambda limit, offset: self._client.search_for_series(
                study_uid, limit=limit, offset=offset, search_filters={"Modality": modality} if modality else None
            ),
            "0020000E",
        )

    def _instances(self, study_uid: str, series_uid: str) -> dict[str, dict[str, Any]]:
        return self._all(
            lambda limit, offset: self._client.search_for_instances(study_uid, series_uid, limit=limit, offset=offset),
            "00080018",
        )

    def _all(self, page: _Page, tag: str) -> dict[str, dict[str, Any]]:
        """All matches by the UID at `tag`: pages until one brings nothing new, also where offset is ignored."""
        found: dict[str, dict[str, Any]] = {}
        seen = 0
        while True:
            try:
                matches = page(PAGE, seen)
                new = {_uid(match, tag): match for match in matches}
            except (ValueError, AttributeError, TypeError) as error:
                raise PeerFailed(f"{self.name} answered a search with something that is no DICOM JSON") from error
            if not new.keys() - found.keys():
                return found
            found |= new
            seen += len(matches)
            if len(found) > MOST_MATCHES:
                raise PeerFailed(f"{self.name} has more than {MOST_MATCHES} matches; ask for less")

    def _parts(self, answer: Any) -> Iterator[Iterator[bytes]]:
        """The files in an answer, each in pieces; a taker that stops early costs the rest of its file only."""
        kind, parameters = media_type(answer.headers.get("Content-Type", ""))
        if kind == "application/dicom":
            yield self._http.pieces(answer)
            return
        if kind != "multipart/related":
            raise PeerFailed(f"{self.name} answered with {kind or 'something unnamed'}, not with DICOM files")
        try:
            reader = MultipartReader(parameters.get("boundary", ""))
            events = (event for piece in self._http.pieces(answer) for event in reader.feed(piece))
            for event in events:
                if isinstance(event, PartBegins):
                    content = self._content(events)
                    yield content
                    for _rest in content:
                        pass
            reader.end()
        except MalformedRequest as error:
            raise PeerFailed(f"{self.name} answered with a body that cannot be read: {error}") from error

    def _content(self, events: Iterator[PartBegins | bytes | PartEnds]) -> Iterator[bytes]:
        for event in events:
            if isinstance(event, PartEnds):
                return
            if isinstance(event, bytes):
                yield event
        raise PeerFailed(f"{self.name} broke off in the middle of an instance")


def _value(match: dict[str, Any], tag: str) -> str:
    """The first value of an element in DICOM JSON (PS3.18 annex F), as text."""
    values = match.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _uid(match: dict[str, Any], tag: str) -> str:
    uid = UID(_value(match, tag))
    if not uid.is_valid:
        raise ValueError("a match has no usable UID")
    return str(uid)
