"""NCI Imaging Data Commons: which series it has, by a list, and their objects from its public buckets.

The list is IDC's own index, which the package idc-index-data brings, or a CSV file with the same columns. Objects come
over HTTPS by the part of Amazon S3's protocol that needs no account: ListObjectsV2, and GET. IDC's DICOMweb serves the
same series under a daily quota; `DicomwebArchive` fetches from it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from pydicom.uid import UID

from cmmd_node.errors import PeerFailed, PeerRefused, RefusedInstance, SettingsError
from cmmd_node.http_client import HttpClient
from cmmd_node.retrieve.source import FoundSeries, Problem, Take, as_announced

#: Buckets are the first component of the path.
BUCKETS_URL = "https://s3.amazonaws.com"
#: IDC's public DICOMweb; the words in its path are history, and it is meant for retrieval as well.
DICOMWEB_URL = (
    "https://proxy.imaging.datacommons.cancer.gov/current/"
    "viewer-only-no-downloads-see-tinyurl-dot-com-slash-3j3d9jyp/dicomWeb"
)
_COLUMNS = ("PatientID", "SeriesInstanceUID", "instanceCount", "aws_bucket", "crdc_series_uuid")
_MORE_COLUMNS = (
    *("collection_id", "StudyInstanceUID", "StudyDate", "Modality"),
    *("series_size_MB", "license_short_name", "source_DOI"),
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.dcm")
#: An ETag is the object's MD5 unless it was uploaded in parts or encrypted; then it looks otherwise.
_MD5 = re.compile(r"[0-9a-f]{32}")
_MOST_LISTING_BYTES = 4_000_000


def listed_series(
    path: Path | None, *, collection: str, patient_ids: Collection[str] = (), limit: int = 0
) -> list[FoundSeries]:
    """The mammography series of a collection, in the order of the list.

    Parameters
    ----------
    path
        A CSV file with the columns of IDC's index; without the column collection_id, all of it is the collection.
        None: the index that is installed.
    patient_ids
        Only of these; empty: of all.
    limit
        At most so many; 0: all.

    Raises
    ------
    SettingsError
        There is no list, it cannot be used, or it lacks what is wanted.
    """
    name, rows = ("the index of IDC", _index_rows(collection)) if path is None else (str(path), _csv_rows(path))
    found, patients = [], set()
    for number, row in enumerate(rows, start=1):
        if (row.get("collection_id") or collection) != collection or (row.get("Modality") or "MG") != "MG":
            continue
        if patient_ids and row["PatientID"] not in patient_ids:
            continue
        patients.add(row["PatientID"])
        try:
            found.append(_series(row))
        except ValueError as error:
            raise SettingsError(f"{name}, series {number}: {error}") from error
    if not found:
        raise SettingsError(f"{name} has no mammography series of {collection} that is asked for")
    if unknown := len(set(patient_ids) - patients):
        raise SettingsError(f"{name} does not have {unknown} of the {len(set(patient_ids))} patients in {collection}")
    return found[: limit or None]


class IdcBuckets:
    """IDC's buckets, as something to fetch from."""

    name = "idc"

    def __init__(self, url: str, *, proxy: str = "") -> None:
        self._url = url.rstrip("/")
        self._http = HttpClient(self.name, proxy=proxy)

    def fetch(self, series: FoundSeries, missing: frozenset[str] | None, take: Take) -> Iterator[Problem | int]:
        """As `Source.fetch`; always the whole series, since only the objects tell their SOP Instance UIDs."""
        bucket, uuid = series.place.split("/")
        for one in self._objects(bucket, f"{uuid}/"):
            try:
                with self._http.get(f"{self._url}/{bucket}/{quote(one.key)}") as answer:
                    take(as_announced(self._http.pieces(answer), size_bytes=one.size_bytes, md5=one.md5))
                yield 1
            except (RefusedInstance, PeerRefused) as error:
                yield Problem("", f"{one.key}: {error}")

    def _objects(self, bucket: str, prefix: str) -> Iterator[_Object]:
        """The DICOM files under a prefix; all pages of the listing."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            with self._http.get(f"{self._url}/{bucket}", params=query) as answer:
                body = self._http.whole(answer, _MOST_LISTING_BYTES)
            try:
                page = ElementTree.fromstring(body)
                for entry in page.iterfind("{*}Contents"):
                    key, etag = entry.findtext("{*}Key", ""), entry.findtext("{*}ETag", "").strip('"')
                    if key.startswith(prefix) and _FILE.fullmatch(key.removeprefix(prefix)):
                        size_bytes = int(entry.findtext("{*}Size", ""))
                        yield _Object(key, size_bytes, etag if _MD5.fullmatch(etag) else None)
            except (ElementTree.ParseError, ValueError) as error:
                raise PeerFailed(f"{self.name} listed a series with something that is no listing") from error
            if page.findtext("{*}IsTruncated") != "true":
                return
            token = page.findtext("{*}NextContinuationToken", "")
            if token in {"", query.get("continuation-token")}:
                raise PeerFailed(f"{self.name} listed a series without an end")
            query["continuation-token"] = token


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of a bucket, as its listing announces it."""

    key: str
    size_bytes: int
    md5: str | None


def _index_rows(collection: str) -> Iterable[Mapping[str, Any]]:
    try:
        from idc_index_data import IDC_INDEX_PARQUET_FILEPATH  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "the index of IDC is not installed: `deploy/install idc` does it, or --index names a list of series"
        ) from error
    columns, filters = [*_COLUMNS, *_MORE_COLUMNS], [("collection_id", "==", collection)]
    rows: list[dict[str, Any]] = parquet.read_table(
        IDC_INDEX_PARQUET_FILEPATH, columns=columns, filters=filters
    ).to_pylist()
    return rows


def _csv_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lacking = set(_COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise SettingsError(f"{path} is no list of series of IDC: it has no column {min(lacking)}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} is no CSV file in UTF-8") from error


def _series(row: Mapping[str, Any]) -> FoundSeries:
    """One row; what becomes part of a URL or a query is seen to be nothing else."""
    values = {column: str(row.get(column) or "") for column in (*_COLUMNS, *_MORE_COLUMNS)}
    study_uid, size, doi = values["StudyInstanceUID"], values["series_size_MB"], values["source_DOI"]
    usable = {
        "SeriesInstanceUID": UID(values["SeriesInstanceUID"]).is_valid,
        "StudyInstanceUID": not study_uid or UID(study_uid).is_valid,
        "instanceCount": re.fullmatch(r"[1-9][0-9]{0,5}", values["instanceCount"]),
        "series_size_MB": not size or re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-[0-9]+)?", size),
        "aws_bucket": _BUCKET.fullmatch(values["aws_bucket"]),
        "crdc_series_uuid": _UUID.fullmatch(values["crdc_series_uuid"]),
    }
    for column, is_usable in usable.items():
        if not is_usable:
            raise ValueError(f"its {column} is none")
    return FoundSeries(
        study_instance_uid=study_uid,
        series_instance_uid=values["SeriesInstanceUID"],
        study_date=values["StudyDate"].replace("-", ""),
        images=int(values["instanceCount"]),
        size_bytes=round(float(size or 0) * 1_000_000),
        place=f"{values['aws_bucket']}/{values['crdc_series_uuid']}",
        licence=values["license_short_name"],
        citation=f"https://doi.org/{doi}" if doi else "",
    )
