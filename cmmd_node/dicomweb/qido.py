"""QIDO-RS (PS3.18 10.6): searches for studies, series and instances at every level, answered in DICOM JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from cmmd_node.dicomweb.attributes import ATTRIBUTES, Attribute
from cmmd_node.dicomweb.headers import Cataloguer
from cmmd_node.dicomweb.negotiation import DICOM_JSON, want_json
from cmmd_node.dicomweb.query import Query, read_query
from cmmd_node.dicomweb.urls import Uid, base_url
from cmmd_node.errors import MalformedRequest
from cmmd_node.index import Index
from cmmd_node.index.search import COUNTED, Level, OneOf, Page, Search, search

_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_MORE = "The number of results exceeded the maximum supported by the server. Additional results can be requested."


def qido_routes(index: Index, cataloguer: Cataloguer, *, most: int) -> APIRouter:
    """The six resources of table 10.6.1-1.

    Parameters
    ----------
    most
        Matches in one answer, whatever ``limit`` says.
    """
    router = APIRouter()

    def answer(request: Request, level: Level, within: dict[str, str]) -> Response:
        want_json(request)
        query = read_query(request.query_params.multi_items(), level)
        conditions = dict(query.conditions)
        for column, uid in within.items():
            if conditions.get(column, OneOf((uid,))) != OneOf((uid,)):
                raise MalformedRequest(f"{column} in the query is another one than in the path")
            conditions[column] = OneOf((uid,))
        limit = most if query.limit is None else min(query.limit, most)
        cataloguer.catch_up()
        with index.read() as connection:
            wanted = Search(level=level, conditions=conditions, limit=limit, offset=query.offset)
            page = search(connection, wanted) if limit else Page([], 0)
        return _response(request, page, query, level, set(within))

    @router.get("/studies")
    def studies(request: Request) -> Response:
        return answer(request, Level.STUDY, {})

    @router.get("/series")
    def all_series(request: Request) -> Response:
        return answer(request, Level.SERIES, {})

    @router.get("/instances")
    def all_instances(request: Request) -> Response:
        return answer(request, Level.INSTANCE, {})

    @router.get("/studies/{study}/series")
    def series_of_study(request: Request, study: Uid) -> Response:
        return answer(request, Level.SERIES, {"study_instance_uid": study})

    @router.get("/studies/{study}/instances")
    def instances_of_study(request: Request, study: Uid) -> Response:
        return answer(request, Level.INSTANCE, {"study_instance_uid": study})

    @router.get("/studies/{study}/series/{series}/instances")
    def instances_of_series(request: Request, study: Uid, series: Uid) -> Response:
        return answer(request, Level.INSTANCE, {"study_instance_uid": study, "series_instance_uid": series})

    return router


def _response(request: Request, page: Page, query: Query, level: Level, within: set[str]) -> Response:
    base = base_url(request)
    warnings = [_FUZZY] if query.fuzzy else []
    if page.remaining > COUNTED:
        warnings.append(_MORE)
    elif page.remaining:
        warnings.append(f"There are {page.remaining} additional results that can be requested")
    headers = {"Warning": ", ".join(f"299 {base}: {text}" for text in warnings)} if warnings else {}
    if not page.rows:
        return Response(status_code=204, headers=headers)
    returned = [one for one in ATTRIBUTES if _is_returned(one, query, level, within)]
    return JSONResponse([_match(row, returned, level, base) for row in page.rows], 200, headers, DICOM_JSON)


def _is_returned(one: Attribute, query: Query, level: Level, within: set[str]) -> bool:
    """Whether the answer holds an attribute (PS3.18 10.6.3.3); of a study or series in the path it needs no more."""
    if one.level > level:
        return False
    if one.keyword in query.included:
        return True
    if one.level == level:
        return query.all_included or not one.on_request
    is_key = one.keyword in ("StudyInstanceUID", "SeriesInstanceUID")
    above_path = "study_instance_uid" in within if one.level is Level.STUDY else "series_instance_uid" in within
    return is_key or not (above_path or one.on_request)


def _match(row: dict[str, Any], returned: list[Attribute], level: Level, base: str) -> dict[str, Any]:
    url = f"{base}/studies/{row['study_instance_uid']}"
    url += f"/series/{row['series_instance_uid']}" if level >= Level.SERIES else ""
    url += f"/instances/{row['sop_instance_uid']}" if level >= Level.INSTANCE else ""
    match: dict[str, Any] = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00081190": {"vr": "UR", "Value": [url]},
        **{one.tag: one.to_json(row[one.column]) for one in returned},
    }
    if level is Level.INSTANCE and row["transfer_syntax_uid"]:
        match["00083002"] = {"vr": "UI", "Value": [row["transfer_syntax_uid"]]}
    return dict(sorted(match.items()))
