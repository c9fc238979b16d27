"""Rendered instances and frames, and thumbnails (PS3.18 10.4.1.1.3 and .4), as JPEG or PNG."""

from __future__ import annotations

import threading
from io import BytesIO

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.datastructures import QueryParams

from cmmd_node.dicomweb.negotiation import accepted
from cmmd_node.dicomweb.opened import opened
from cmmd_node.dicomweb.picture import MOST_PIXELS_A_SIDE, Viewport, Window, draw
from cmmd_node.dicomweb.ranges import not_modified
from cmmd_node.dicomweb.store import Store
from cmmd_node.dicomweb.urls import Uid
from cmmd_node.dicomweb.wado import etag_of, frame_numbers
from cmmd_node.errors import MalformedRequest, NotAnalysed
from cmmd_node.facts import Finding
from cmmd_node.index.catalogue import StoredObject
from cmmd_node.index.rounds import earlier_findings

THUMBNAIL_PIXELS = 256
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_PARAMETERS = {"window", "viewport", "quality", "findings", "accept", "charset"}
#: Pictures that are made at once: each needs tens of megabytes and a core.
_AT_ONCE = threading.BoundedSemaphore(2)
_ANY_ROUND = 1 << 30


def rendered_routes(store: Store) -> APIRouter:
    """``rendered`` of instances and frames, ``thumbnail`` of every level."""
    router = APIRouter()
    instance_path = "/studies/{study}/series/{series}/instances/{instance}"

    @router.get(f"{instance_path}/rendered")
    def instance(request: Request, study: Uid, series: Uid, instance: Uid) -> Response:
        return _rendered(request, store, store.find(study, series, instance)[0], 1)

    @router.get(f"{instance_path}/frames/{{frames}}/rendered")
    def frame(request: Request, study: Uid, series: Uid, instance: Uid, frames: str) -> Response:
        return _rendered(request, store, store.find(study, series, instance)[0], _only(frames))

    @router.get("/studies/{study}/thumbnail")
    def study_thumbnail(request: Request, study: Uid) -> Response:
        return _thumbnail(request, store, _first_image(store.find(study), store), 1)

    @router.get("/studies/{study}/series/{series}/thumbnail")
    def series_thumbnail(request: Request, study: Uid, series: Uid) -> Response:
        return _thumbnail(request, store, _first_image(store.find(study, series), store), 1)

    @router.get(f"{instance_path}/thumbnail")
    def instance_thumbnail(request: Request, study: Uid, series: Uid, instance: Uid) -> Response:
        return _thumbnail(request, store, store.find(study, series, instance)[0], 1)

    @router.get(f"{instance_path}/frames/{{frames}}/thumbnail")
    def frame_thumbnail(request: Request, study: Uid, series: Uid, instance: Uid, frames: str) -> Response:
        return _thumbnail(request, store, store.find(study, series, instance)[0], _only(frames))

    return router


def read_window(text: str | None) -> Window | None:
    """``center,width[,function]``."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        center, width = (float(part) for part in parts[:2])
    except ValueError:
        raise MalformedRequest("window is center,width or center,width,function") from None
    return Window(center, width, *(one.strip().upper().replace("-", "_") for one in parts[2:3]))


def read_viewport(text: str | None) -> Viewport | None:
    """``width,height[,left,top,width,height]``; a region's missing values are those of the whole image's corner."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        width, height = (int(part) for part in parts[:2])
        region = tuple(float(part or 0) for part in parts[2:])
    except ValueError:
        raise MalformedRequest("viewport is width,height or width,height,left,top,width,height") from None
    if not (0 < width <= MOST_PIXELS_A_SIDE and 0 < height <= MOST_PIXELS_A_SIDE):
        raise MalformedRequest(f"viewport has sides of 1 to {MOST_PIXELS_A_SIDE} pixels")
    if len(region) not in (0, 4) or not all(abs(one) < 1 << 20 for one in region):
        raise MalformedRequest("viewport is width,height or width,height,left,top,width,height")
    return Viewport(width, height, (region[0], region[1], region[2], region[3]) if region else None)


def _rendered(request: Request, store: Store, one: StoredObject, frame: int) -> Response:
    query = request.query_params
    unknown = set(query) - _PARAMETERS
    if unknown:
        raise MalformedRequest(f"{', '.join(sorted(unknown))[:200]} not offered; {', '.join(sorted(_PARAMETERS))} are")
    if query.get("findings", "false") not in ("true", "false"):
        raise MalformedRequest("findings is neither true nor false")
    return _picture(
        request,
        store,
        one,
        frame,
        window=read_window(query.get("window")),
        viewport=read_viewport(query.get("viewport")),
        findings=_findings(store, one) if query.get("findings") == "true" else (),
        quality=_quality(query),
    )


def _thumbnail(request: Request, store: Store, one: StoredObject, frame: int) -> Response:
    viewport = read_viewport(request.query_params.get("viewport")) or Viewport(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    return _picture(request, store, one, frame, window=None, viewport=viewport, findings=(), quality=85)


def _picture(
    request: Request,
    store: Store,
    one: StoredObject,
    frame: int,
    *,
    window: Window | None,
    viewport: Viewport | None,
    findings: tuple[Finding, ...],
    quality: int,
) -> Response:
    kind = next((kind for range_ in accepted(request) for kind in _FORMATS if range_.covers(kind)), None)
    if kind is None:
        raise HTTPException(406, f"only {' and '.join(_FORMATS)} are offered")
    etag = etag_of([one], f"{kind} {frame} {window} {viewport} {findings} {quality}")
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    with _AT_ONCE, opened(store.path(one)) as found:
        if frame > found.number_of_frames:
            what = f"the object has {found.number_of_frames} frames" if found.has_pixels else "it is no image"
            raise HTTPException(404 if found.has_pixels else 406, what)
        try:
            picture = draw(found, frame, decode=store.decode, window=window, viewport=viewport, findings=findings)
        except NotAnalysed as error:
            raise HTTPException(406, f"it cannot be rendered: {error}") from error
    buffer = BytesIO()
    options = {"quality": quality} if kind == "image/jpeg" else {"compress_level": 1}
    picture.save(buffer, _FORMATS[kind], **options)
    return Response(buffer.getvalue(), 200, {"ETag": etag}, kind)


def _findings(store: Store, one: StoredObject) -> tuple[Finding, ...]:
    """What the last round that was analysed says of the image."""
    with store.index.read() as connection:
        found = earlier_findings(connection, one.study_instance_uid, _ANY_ROUND)
    return tuple(finding for finding in found if finding.sop_instance_uid == one.sop_instance_uid)


def _first_image(objects: list[StoredObject], store: Store) -> StoredObject:
    """The first object with pixels to see; masks are none."""
    for one in objects:
        with opened(store.path(one)) as found:
            if found.has_pixels and found.header.get("BitsAllocated") != 1:
                return one
    raise HTTPException(406, "there is no image in it")


def _only(frames: str) -> int:
    numbers = frame_numbers(frames)
    if len(numbers) > 1:
        raise HTTPException(406, "one frame at a time is rendered")
    return numbers[0]


def _quality(query: QueryParams) -> int:
    text = query.get("quality", "90")
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:4]) <= 100:
        raise MalformedRequest("quality is a number from 1 to 100")
    return int(text)
