"""WADO-RS (PS3.18 10.4): studies, series and instances as DICOM files, their metadata, frames and bulk data."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cmmd_node.dicomweb.decoder import Decode
from cmmd_node.dicomweb.encoding import check_explicit, explicit_pieces, file_pieces
from cmmd_node.dicomweb.metadata import bulk_value, metadata
from cmmd_node.dicomweb.negotiation import DICOM_JSON, accepted, is_multipart, want_json
from cmmd_node.dicomweb.opened import PIXEL_DATA, OpenedObject, opened
from cmmd_node.dicomweb.ranges import PIECE_BYTES, content, not_modified
from cmmd_node.dicomweb.store import Store
from cmmd_node.dicomweb.streaming import Streamed
from cmmd_node.dicomweb.urls import Uid, base_url
from cmmd_node.errors import NotAnalysed
from cmmd_node.index.catalogue import StoredObject
from cmmd_node.multipart import MultipartWriter

logger = logging.getLogger(__name__)

DICOM, OCTETS = "application/dicom", "application/octet-stream"
#: Media types of compressed frames (PS3.18 8.7.3.3).
FRAME_TYPES = {
    JPEGBaseline8Bit: "image/jpeg",
    JPEGExtended12Bit: "image/jpeg",
    JPEGLossless: "image/jpeg",
    JPEGLosslessSV1: "image/jpeg",
    JPEGLSLossless: "image/jls",
    JPEGLSNearLossless: "image/jls",
    JPEG2000Lossless: "image/jp2",
    JPEG2000: "image/jp2",
    RLELossless: "image/dicom-rle",
}
_MOST_FRAMES = 10_000


def wado_routes(store: Store) -> APIRouter:
    """Instances, metadata, frames and bulk data; what is rendered is in `rendered`."""
    router = APIRouter()

    @router.get("/studies/{study}")
    def study(request: Request, study: Uid) -> Response:
        return _instances(request, store, store.find(study))

    @router.get("/studies/{study}/series/{series}")
    def series(request: Request, study: Uid, series: Uid) -> Response:
        return _instances(request, store, store.find(study, series))

    @router.get("/studies/{study}/series/{series}/instances/{instance}")
    def instance(request: Request, study: Uid, series: Uid, instance: Uid) -> Response:
        return _instances(request, store, store.find(study, series, instance))

    @router.get("/studies/{study}/metadata")
    def study_metadata(request: Request, study: Uid) -> Response:
        return _metadata(request, store, store.find(study))

    @router.get("/studies/{study}/series/{series}/metadata")
    def series_metadata(request: Request, study: Uid, series: Uid) -> Response:
        return _metadata(request, store, store.find(study, series))

    @router.get("/studies/{study}/series/{series}/instances/{instance}/metadata")
    def instance_metadata(request: Request, study: Uid, series: Uid, instance: Uid) -> Response:
        return _metadata(request, store, store.find(study, series, instance))

    @router.get("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}")
    def frames(request: Request, study: Uid, series: Uid, instance: Uid, frames: str) -> Response:
        (one,) = store.find(study, series, instance)
        return _frames(request, store, one, frame_numbers(frames))

    @router.get("/studies/{study}/series/{series}/instances/{instance}/bulkdata/{tag}")
    def bulkdata(request: Request, study: Uid, series: Uid, instance: Uid, tag: str) -> Response:
        (one,) = store.find(study, series, instance)
        return _bulkdata(request, store, one, tag)

    return router


def frame_numbers(text: str) -> list[int]:
    """The list of frames in a path.

    Raises
    ------
    HTTPException
        400: it is none, or too long.
    """
    numbers = text.split(",")
    if len(numbers) > _MOST_FRAMES or not all(re.fullmatch(r"[1-9]\d{0,8}", one, re.ASCII) for one in numbers):
        raise HTTPException(400, f"a list of at most {_MOST_FRAMES} frame numbers from 1 is wanted")
    return [int(one) for one in numbers]


def etag_of(objects: Iterable[StoredObject], representation: str) -> str:
    """A tag for a representation of objects, from the digests of their bytes."""
    digest = hashlib.sha256(representation.encode())
    for one in objects:
        digest.update(f"{one.sop_instance_uid} {one.digest}\n".encode())
    return f'"{digest.hexdigest()[:32]}"'


def _instances(request: Request, store: Store, objects: list[StoredObject]) -> Response:
    """Objects as DICOM files, one part each, or a file alone where one is asked for so."""
    for range_ in accepted(request):
        alone = len(objects) == 1 and range_.media_type == DICOM
        if not alone and not is_multipart(range_, DICOM):
            continue
        wanted = range_.parameters.get("transfer-syntax", ExplicitVRLittleEndian)
        keeps = [wanted in ("*", one.transfer_syntax_uid) for one in objects]
        if not all(keeps) and wanted != ExplicitVRLittleEndian:
            continue
        try:
            for one, keep in zip(objects, keeps, strict=True):
                if not keep:
                    check_explicit(store.path(one), store.decode)
        except NotAnalysed as error:
            logger.warning("%s cannot be transcoded: %s", one.sop_instance_uid, error)
            continue
        return _files(request, store, objects, keeps, alone=alone)
    offered = f'multipart/related; type="{DICOM}"'
    raise HTTPException(406, f"only {offered} is offered, as kept (transfer-syntax=*) or in Explicit VR Little Endian")


def _files(request: Request, store: Store, objects: list[StoredObject], keeps: list[bool], *, alone: bool) -> Response:
    paths = [store.path(one) for one in objects]  # all of them there before the status is sent
    etag = etag_of(objects, f"{DICOM} {keeps}")
    etag = etag if alone and keeps[0] else f"W/{etag}"
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    if alone and keeps[0]:
        syntax = objects[0].transfer_syntax_uid
        return content(
            request,
            lambda start, length: file_pieces(paths[0], start, length),
            paths[0].stat().st_size,
            media_type=f"{DICOM}; transfer-syntax={syntax}",
            etag=etag,
        )
    if alone:
        media_type = f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}"
        return Streamed(explicit_pieces(paths[0], store.decode), 200, {"ETag": etag}, media_type)
    writer = MultipartWriter(DICOM)

    def body() -> Generator[bytes, None, None]:
        for one, path, keep in zip(objects, paths, keeps, strict=True):
            syntax = one.transfer_syntax_uid if keep else ExplicitVRLittleEndian
            location = store.url(base_url(request), one)
            yield writer.begin_part(f"{DICOM}; transfer-syntax={syntax}", content_location=location)
            yield from file_pieces(path) if keep else explicit_pieces(path, store.decode)
            yield writer.end_part()
        yield writer.end()

    return Streamed(body(), 200, {"ETag": etag}, writer.content_type)


def _metadata(request: Request, store: Store, objects: list[StoredObject]) -> Response:
    """Objects' attributes, one after the other, so that a study of any size needs the memory of one."""
    want_json(request)
    etag = f"W/{etag_of(objects, f'{DICOM_JSON} {base_url(request)}')}"
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged

    paths = [store.path(one) for one in objects]  # all of them there before the status is sent

    def told(one: StoredObject, path: Path) -> bytes:
        with opened(path) as found:
            return json.dumps(metadata(found, store.url(base_url(request), one)), ensure_ascii=False).encode()

    first = told(objects[0], paths[0])

    def body() -> Generator[bytes, None, None]:
        yield b"[" + first
        for one, path in zip(objects[1:], paths[1:], strict=True):
            yield b"," + told(one, path)
        yield b"]"

    return Streamed(body(), 200, {"ETag": etag}, DICOM_JSON)


def _frames(request: Request, store: Store, one: StoredObject, numbers: list[int]) -> Response:
    """Frames in the order asked for, compressed as they are kept where that is accepted, else as octets."""
    path = store.path(one)
    with opened(path) as found:
        if max(numbers) > found.number_of_frames:
            raise HTTPException(404, f"the object has {found.number_of_frames} frames")
        coded = _frame_type(request, found.transfer_syntax)
        try:
            if not coded and not found.is_native:
                found.pixel_format()
                next(found.native_frames(store.decode, set(numbers)))
        except (NotAnalysed, StopIteration) as error:
            raise HTTPException(406, f"the frames cannot be handed out as octets: {error}") from error
    kind = coded or OCTETS
    etag = f"W/{etag_of([one], f'{kind} {numbers}')}"
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    syntax = one.transfer_syntax_uid if coded else ExplicitVRLittleEndian
    frames = _frame_bytes(path, numbers, store.decode, coded=bool(coded))
    return _parts(f"{kind}; transfer-syntax={syntax}", kind, frames, {"ETag": etag})


def _frame_type(request: Request, syntax: UID) -> str:
    """The media type of compressed frames as they are kept, if that is what is accepted; empty for octets.

    Raises
    ------
    HTTPException
        406: neither is accepted.
    """
    kept = FRAME_TYPES.get(syntax, "")
    for range_ in accepted(request):
        wanted = range_.parameters.get("transfer-syntax", "*")
        named = range_.parameters.get("type", "*/*").lower() not in ("*/*", OCTETS) or range_.media_type == kept
        if kept and named and wanted in ("*", syntax) and (is_multipart(range_, kept) or range_.covers(kept)):
            return kept
        if is_multipart(range_, OCTETS) and wanted in ("*", ExplicitVRLittleEndian):
            return ""
    offered = f'{OCTETS}" or "{kept}' if kept else OCTETS
    raise HTTPException(406, f'only multipart/related; type="{offered}" is offered')


def _frame_bytes(path: Path, numbers: list[int], decode: Decode, *, coded: bool) -> Iterator[Iterator[bytes]]:
    """The frames; read in one pass where they are asked for in order, as they usually are."""
    with ExitStack() as stack:
        found = stack.enter_context(opened(path))
        if found.is_native:
            for number in numbers:
                yield (frame for _, frame in found.native_frames(decode, {number}))
            return
        for run in _ascending(numbers):
            pairs = enumerate(found.coded_frames(), 1) if coded else found.native_frames(decode, set(run))
            yield from ([frame] for number, frame in pairs if number in set(run))  # type: ignore[misc]


def _ascending(numbers: list[int]) -> Iterator[list[int]]:
    """The list cut wherever it does not ascend."""
    run: list[int] = []
    for number in numbers:
        if run and number <= run[-1]:
            yield run
            run = []
        run.append(number)
    yield run


def _bulkdata(request: Request, store: Store, one: StoredObject, name: str) -> Response:
    """The value behind a link of the metadata."""
    if not re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        raise HTTPException(404, "there is no such bulk data")
    tag = BaseTag(int(name, 16))
    path = store.path(one)
    with opened(path) as found:
        if tag == PIXEL_DATA and found.has_pixels and not found.is_native:
            return _frames(request, store, one, list(range(1, found.number_of_frames + 1)))
        start, length, swapped = _place(found, tag)
        value = None if tag == PIXEL_DATA else bulk_value(found, tag)
    etag = etag_of([one], f"{OCTETS} {tag:08X}")
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged

    def read(offset: int, size: int) -> Generator[bytes, None, None]:
        if value is not None:
            yield value[offset : offset + size]
        elif swapped:
            yield from _swapped(path, start, length, offset, size)
        else:
            yield from file_pieces(path, start + offset, size)

    size = length if value is None else len(value)
    for range_ in accepted(request):
        if range_.media_type == OCTETS:
            return content(request, read, size, media_type=OCTETS, etag=etag)
        if is_multipart(range_, OCTETS):
            return _parts(OCTETS, OCTETS, iter([read(0, size)]), {"ETag": f"W/{etag}"})
    raise HTTPException(406, f'only {OCTETS} is offered, alone or as multipart/related; type="{OCTETS}"')


def _place(found: OpenedObject, tag: BaseTag) -> tuple[int, int, bool]:
    """Where native Pixel Data are, and whether their bytes are the other way round."""
    if tag == PIXEL_DATA and found.has_pixels:
        start, length = found.native_place
        return start, length, found.little_endian(b"\0\1") != b"\0\1"
    if bulk_value(found, tag) is None:
        raise HTTPException(404, "there is no such bulk data")
    return 0, 0, False


def _swapped(path: Path, start: int, length: int, offset: int, size: int) -> Iterator[bytes]:
    """A range of words whose bytes are handed out the other way round."""
    end = min(offset + size, length)
    for at in range(offset - offset % 2, end, PIECE_BYTES):
        with opened(path) as found:
            piece = found.little_endian(found.piece(start + at, min(PIECE_BYTES, length - at)))
        yield piece[max(0, offset - at) : end - at]


def _parts(part_type: str, kind: str, parts: Iterable[Iterable[bytes]], headers: dict[str, str]) -> Response:
    writer = MultipartWriter(kind)

    def body() -> Generator[bytes, None, None]:
        for part in parts:
            yield writer.begin_part(part_type)
            yield from part
            yield writer.end_part()
        yield writer.end()

    return Streamed(body(), 200, headers, writer.content_type)
