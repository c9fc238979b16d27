"""The Cancer Imaging Archive: the series of a manifest, as ZIP files from its NBIA API, version 4.

POST getSeriesMetadata tells of many series at once how large they are and under which licence; GET getImageWithMD5Hash
sends a series as a ZIP file with a table of hashes. Neither needs an account. Annotations are not asked for: they are
no images, whatever a manifest says of them.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pydicom.uid import UID

from cmmd_node.errors import NodeError, PeerFailed, PeerRefused, RefusedInstance, SettingsError
from cmmd_node.http_client import HttpClient
from cmmd_node.retrieve.media import zip_members
from cmmd_node.retrieve.source import FoundSeries, Problem, Take, as_announced

NBIA_URL = "https://nbia.cancerimagingarchive.net/nbia-api/services/v4"
_OWN_DOMAIN = ".cancerimagingarchive.net"
_LIST = "ListOfSeriesToDownload="
_HASHES = "md5hashes.csv"
_SERIES_AT_ONCE = 200
_MOST_METADATA_BYTES = 4_000_000
#: A ZIP file is larger than what is in it by headers, hashes and a licence.
_ZIP_BYTES = 1_000_000


def read_manifest(path: Path, *, any_server: bool) -> list[str]:
    """The Series Instance UIDs of a manifest, as TCIA's data retriever takes them.

    Parameters
    ----------
    any_server
        Also of a manifest for another server than TCIA's.

    Raises
    ------
    SettingsError
        It is no manifest, or one for another server.
    """
    try:
        head, is_manifest, listed = path.read_text(encoding="utf-8-sig").partition(_LIST)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no manifest of TCIA") from error
    if not is_manifest:
        raise SettingsError(f"{path} is no manifest of TCIA: it has no line {_LIST}")
    uids = list(dict.fromkeys(listed.split()))
    for uid in uids:
        if not UID(uid).is_valid:
            raise SettingsError(f"{path} lists something that is no Series Instance UID: {uid[:70]!r}")
    server = re.search(r"^downloadServerUrl=(\S+)", head, re.M)
    host = (urlsplit(server[1]).hostname or "") if server else ""
    if host and not host.endswith(_OWN_DOMAIN) and not any_server:
        raise SettingsError(f"{path} is for the server {host}; --url says where its NBIA API is")
    return uids


class Nbia:
    """An archive's NBIA API, as something to fetch from."""

    name = "tcia"

    def __init__(self, url: str, folder: Path, *, proxy: str = "") -> None:
        """ZIP files lie in `folder`, without a name, for as long as they are read."""
        self._url = url.rstrip("/")
        self._folder = folder
        self._http = HttpClient(self.name, proxy=proxy)

    def search(self, series_instance_uids: Sequence[str]) -> Iterator[FoundSeries]:
        """The series, without those of other modalities; one that the archive does not know is found without a size.

        Raises
        ------
        PeerFailed, PeerRefused
            The archive gives no answer.
        """
        for start in range(0, len(series_instance_uids), _SERIES_AT_ONCE):
            asked = series_instance_uids[start : start + _SERIES_AT_ONCE]
            told = self._metadata(asked)
            for uid in asked:
                if uid not in told:
                    # It counts as an image, so that it is missed in the end.
                    yield FoundSeries(study_instance_uid="", series_instance_uid=uid, images=1)
                elif told[uid]["Modality"] == "MG":
                    yield self._series(told[uid])

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """As `Source.fetch`; always the whole series, as the archive sends no less with hashes."""
        uid = series.series_instance_uid
        if not series.size_bytes:
            yield Problem("", f"{self.name} does not know series {uid}")
            return
        with tempfile.TemporaryFile(dir=self._folder) as file:
            try:
                self._download(series, file)
            except PeerRefused as error:
                yield Problem("", f"series {uid}: {error}")
                return
            hashes, size_bytes = self._hashes(file), 0
            for info, member in zip_members(file, f"series {uid}"):
                if not info.filename.endswith(".dcm"):
                    continue
                size_bytes += info.file_size
                try:
                    take(as_announced(member.pieces(), size_bytes=info.file_size, md5=hashes.get(info.filename)))
                    yield 1
                except RefusedInstance as error:
                    yield Problem("", f"{member.name}: {error}")
            if size_bytes != series.size_bytes:
                yield Problem("", f"series {uid} has {size_bytes} bytes, not {series.size_bytes} as announced")

    def _metadata(self, uids: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """What the archive tells of series; servers differ in blanks and units in the names of columns."""
        answer = self._http.post_form(f"{self._url}/getSeriesMetadata", {"list": ",".join(uids)})
        with answer:
            text = self._http.whole(answer, _MOST_METADATA_BYTES).decode(errors="replace")
        rows = list(csv.reader(io.StringIO(text)))
        if not rows:
            return {}  # none of them is known
        columns = [re.sub(r"\(.*|\W", "", name) for name in rows[0]]
        if not {"SeriesInstanceUID", "StudyInstanceUID", "Modality", "ImageCount", "FileSize"} <= set(columns):
            raise PeerFailed(f"{self.name} told of series in a way that is not known here")
        told = (dict(zip(columns, row, strict=False)) for row in rows[1:] if len(row) == len(columns))
        return {row["SeriesInstanceUID"]: row for row in told}

    def _series(self, row: Mapping[str, str]) -> FoundSeries:
        study_uid = UID(row["StudyInstanceUID"])
        try:
            images, size_bytes = int(row["ImageCount"]), int(row["FileSize"])
        except ValueError:
            images = size_bytes = 0
        if not (study_uid.is_valid and images > 0 and size_bytes > 0):
            raise PeerFailed(f"{self.name} told of a series without its study, number of images or size")
        return FoundSeries(
            study_instance_uid=study_uid,
            series_instance_uid=row["SeriesInstanceUID"],
            images=images,
            size_bytes=size_bytes,
            licence=", ".join(filter(None, (row.get("LicenseName"), row.get("LicenseURI")))),
            citation=row.get("DataDescriptionURI") or row.get("CollectionURI") or "",
        )

    def _download(self, series: FoundSeries, file: IO[bytes]) -> None:
        query = {"SeriesInstanceUID": series.series_instance_uid}
        with self._http.get(f"{self._url}/getImageWithMD5Hash", params=query) as answer:
            for piece in self._http.pieces(answer):
                file.write(piece)
                if file.tell() > series.size_bytes + _ZIP_BYTES:
                    raise PeerFailed(f"{self.name} sent more than the {series.size_bytes} bytes that it announced")

    def _hashes(self, file: IO[bytes]) -> dict[str, str]:
        """MD5 by the name of the file in the ZIP file; empty where none are offered."""
        text = ""
        try:
            for info, member in zip_members(file, self.name):
                if info.filename == _HASHES:
                    text = b"".join(member.pieces()).decode(errors="replace")
        except NodeError as error:
            raise PeerFailed(f"{self.name} sent a series that is no whole ZIP file") from error
        rows = csv.reader(io.StringIO(text))
        return {row[0].strip(): row[1].strip().lower() for row in rows if len(row) == 2}
