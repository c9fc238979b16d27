"""Which representation of a resource a request accepts (PS3.18 8.7): its Accept header or ``accept`` parameter."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import HTTPException, Request

from cmmd_node.multipart import media_type

DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Accepted:
    """One media range of an Accept header."""

    media_type: str
    parameters: dict[str, str]
    quality: float

    def covers(self, other: str) -> bool:
        """Whether a media type is in the range."""
        return self.media_type in ("*/*", other, f"{other.partition('/')[0]}/*")


def accepted(request: Request) -> list[Accepted]:
    """What the request accepts, the dearest first; anything where it does not say."""
    header = request.query_params.get("accept") or request.headers.get("accept", "")
    found = []
    for text in _split(header):
        kind, parameters = media_type(text) if "/" in text else ("", {})
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if kind and quality > 0:
            found.append(Accepted(kind, parameters, quality))
    found.sort(key=lambda one: -one.quality)
    return found if header else [Accepted("*/*", {}, 1.0)]


def want_json(request: Request) -> str:
    """The media type of JSON that is accepted.

    Raises
    ------
    HTTPException
        406: none is.
    """
    for one in accepted(request):
        for offered in (DICOM_JSON, "application/json"):
            if one.covers(offered):
                return offered
    raise HTTPException(406, f"only {DICOM_JSON} is offered")


def is_multipart(one: Accepted, kind: str) -> bool:
    """Whether a multipart body with parts of a type is in the range; of any type where the range does not say."""
    if one.media_type not in ("multipart/related", "multipart/*", "*/*"):
        return False
    told = one.parameters.get("type", "*/*").lower()
    return one.media_type == "*/*" or told in ("*/*", kind, f"{kind.partition('/')[0]}/*")


def _split(header: str) -> list[str]:
    """The ranges of the header; a comma between quotation marks divides nothing."""
    ranges, quoted = [""], False
    for letter in header:
        quoted ^= letter == '"'
        if letter == "," and not quoted:
            ranges.append("")
        else:
            ranges[-1] += letter
    return [one.strip() for one in ranges if one.strip()]
