"""Collections as archives publish them: lists of series, the real one among them, and a bucket with their files."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import escape

from tests.conftest import SHARED
from tests.http_server import Reply, Request
from tests.mammograms import make_mammogram
from tests.receive.conftest import part10_bytes

REAL_LIST = SHARED / "data" / "cmmd" / "idc_v25_series.csv"
BUCKET = "idc-open-data"


@dataclass(frozen=True)
class Series:
    """One series of an archive, with its files."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    uuid: str
    files: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.files))

    @property
    def keys(self) -> list[str]:
        return [f"{self.uuid}/{number:08x}-0000-4000-8000-000000000000.dcm" for number in range(len(self.files))]

    @property
    def row(self) -> dict[str, str]:
        """As in IDC's index."""
        return {
            "collection_id": "phantoms",
            "PatientID": self.patient_id,
            "SeriesInstanceUID": self.series_instance_uid,
            "StudyInstanceUID": self.study_instance_uid,
            "StudyDate": "2010-07-18",
            "Modality": "MG",
            "instanceCount": str(len(self.files)),
            "series_size_MB": str(self.size_bytes / 1e6),
            "license_short_name": "CC BY 4.0",
            "source_DOI": "10.7937/phantoms",
            "aws_bucket": BUCKET,
            "crdc_series_uuid": self.uuid,
        }


def _series(patient: str, study_uid: str, series_uid: str, uuid: str, sop_uids: Iterable[str]) -> Series:
    uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    images = [
        make_mammogram(view=view, study=study_uid, patient=patient, **uids, SOPInstanceUID=uid)
        for view, uid in zip(("R CC", "R MLO", "L CC", "L MLO"), sop_uids, strict=False)
    ]
    return Series(patient, study_uid, series_uid, uuid, tuple(map(part10_bytes, images)))


@cache
def generated(count: int) -> tuple[Series, ...]:
    """A small collection of as many patients with two images each."""
    return tuple(
        _series(
            f"P-{number:04d}",
            f"1.2.3.{number}",
            f"1.2.3.{number}.1",
            str(UUID(int=number, version=4)),
            [f"1.2.3.{number}.1.{image}" for image in (1, 2)],
        )
        for number in range(1, count + 1)
    )


def real(*patient_ids: str) -> list[Series]:
    """Patients of CMMD under their real UIDs, with other pixels."""
    headers = defaultdict(list)
    with (SHARED / "data" / "cmmd" / "image_headers.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            headers[row["SeriesInstanceUID"]].append(row)
    with REAL_LIST.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["PatientID"] in patient_ids]
    return [
        _series(
            row["PatientID"],
            headers[row["SeriesInstanceUID"]][0]["StudyInstanceUID"],
            row["SeriesInstanceUID"],
            row["crdc_series_uuid"],
            [image["SOPInstanceUID"] for image in headers[row["SeriesInstanceUID"]]],
        )
        for row in rows
    ]


def write_list(path: Path, series: Iterable[Series], **differences: str) -> Path:
    """A CSV file with IDC's columns."""
    rows = [one.row | differences for one in series]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@dataclass
class Bucket:
    """Answers ListObjectsV2 and GET as Amazon S3 does; what is in `replies` comes before that, once for each path."""

    series: list[Series]
    most: int = 1000
    replies: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    etags: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> Reply:
        if self.replies.get(request.path):
            return self.replies[request.path].pop(0)
        objects = {key: file for one in self.series for key, file in zip(one.keys, one.files, strict=True)}
        if request.path == f"/{BUCKET}":
            assert request.query["list-type"] == ["2"]
            (prefix,) = request.query["prefix"]
            return self._listing(
                [(key, file) for key, file in objects.items() if key.startswith(prefix)],
                start=int(request.query.get("continuation-token", ["0"])[0]),
            )
        file = objects.get(request.path.removeprefix(f"/{BUCKET}/"))
        return Reply(404) if file is None else Reply(200, file)

    def _listing(self, objects: list[tuple[str, bytes]], start: int) -> Reply:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(file)}</Size>"
            f'<ETag>"{self.etags.get(key) or hashlib.md5(file).hexdigest()}"</ETag></Contents>'
            for key, file in objects[start : start + self.most]
        )
        end = start + self.most
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(objects) else ""
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{entries}</ListBucketResult>"
        )
        return Reply(200, body.encode(), {"Content-Type": "application/xml"})
