"""STOW-RS user agent (PS3.18 10.5): results to an archive, one request for each, judged by its own entry.

What the HTTP status says of a request is not what became of an instance: 200 with an empty body, a login page, or an
instance among the failed ones are all no success. Where the answer does not name the instance, the archive is asked for
it by QIDO-RS. Each attempt sends the whole body; trying again is the delivery's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cmmd_node.deliver.scu import Answer, Outgoing
from cmmd_node.errors import PeerFailed
from cmmd_node.http_client import HttpClient
from cmmd_node.multipart import MultipartWriter, media_type
from cmmd_node.settings import DicomwebSettings

_JSON = "application/dicom+json"
_SUCCESS = 0x0000
#: Failures that some archives answer with when they have the instance already.
_MAYBE_THERE = frozenset({0x0110, 0x0111})
_JUDGED = frozenset({200, 202, 409})


def store(files: Sequence[Outgoing], archive: DicomwebSettings) -> Iterator[Answer]:
    """Send `files` in order; answers come as they arrive, with the status that a C-STORE would have.

    Raises
    ------
    PeerFailed
        There is no answer, or none that says what became of the instance; what came before was answered.
    PeerRefused
        The archive does not let us in, or there is none at its url.
    """
    http = HttpClient(archive.name, archive)
    url = archive.url.rstrip("/")
    for file in files:
        writer = MultipartWriter("application/dicom")
        answer = http.post(
            f"{url}/studies",
            lambda writer=writer, path=file.path: _Body(writer, path),
            headers={"Content-Type": writer.content_type, "Accept": _JSON},
            size_bytes=file.path.stat().st_size,
        )
        if answer.status_code not in _JUDGED:
            raise http.refusal(answer)
        status = _status_of(answer, file.sop_instance_uid)
        if (status is None or status in _MAYBE_THERE) and _is_there(http, url, file.sop_instance_uid):
            status = _SUCCESS
        if status is None:
            raise PeerFailed(f"{archive.name} answered {answer.status_code} without a word about the instance")
        yield Answer(file, status, f"failure reason {status:04X} (HTTP {answer.status_code})")


class _Body:
    """A request of one part, read from the file as it is sent; requests takes it with the length that it has."""

    def __init__(self, writer: MultipartWriter, path: Path) -> None:
        self._before = writer.begin_part("application/dicom")
        self._after = writer.end_part() + writer.end()
        self._path = path
        self._size = path.stat().st_size
        self._pieces = iter(self)

    def __len__(self) -> int:
        return len(self._before) + self._size + len(self._after)

    def __iter__(self) -> Iterator[bytes]:
        yield self._before
        with self._path.open("rb") as file:
            while piece := file.read(1 << 18):
                yield piece
        yield self._after

    def read(self, _size: int = -1) -> bytes:
        """The next piece, whatever its size; empty at the end."""
        return next(self._pieces, b"")


def _status_of(answer: Any, sop_instance_uid: str) -> int | None:
    """What the Store Instances Response Module (PS3.18 annex I) says of an instance; None when it says nothing."""
    if media_type(answer.headers.get("Content-Type", ""))[0] not in {_JSON, "application/json"}:
        return None
    try:
        told = answer.json()
        told = told[0] if isinstance(told, list) else told
        if sop_instance_uid in {_first(item, "00081155") for item in _items(told, "00081199")}:
            return _SUCCESS
        for item in _items(told, "00081198"):
            if _first(item, "00081155") == sop_instance_uid:
                return int(_first(item, "00081197"))
        others = [*_items(told, "0008119A"), *_items(told, "00081198")]
        nameless = [item for item in others if not _first(item, "00081155")]
        return int(_first(nameless[0], "00081197")) if nameless else None
    except (ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None


def _is_there(http: HttpClient, url: str, sop_instance_uid: str) -> bool:
    """Whether a search finds the instance; an archive that ignores what is searched for must name it."""
    params = {"SOPInstanceUID": sop_instance_uid}
    with http.get(f"{url}/instances", headers={"Accept": _JSON}, params=params) as answer:
        try:
            matches = answer.json() if answer.content else []
            return any(_first(match, "00080018") == sop_instance_uid for match in matches)
        except (ValueError, AttributeError, TypeError) as error:
            raise PeerFailed(f"{http.name} answered a search with something that is no DICOM JSON") from error


def _items(told: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(told.get(tag, {}).get("Value") or [])


def _first(item: dict[str, Any], tag: str) -> Any:
    return (item.get(tag, {}).get("Value") or [""])[0]
