"""Multipart bodies, whatever pieces they come in."""

from __future__ import annotations

import pytest

from cmmd_node.errors import MalformedRequest
from cmmd_node.multipart import MultipartReader, MultipartWriter, PartBegins, PartEnds, media_type

CONTENT = b"content\r\n--bound is not the delimiter, nor is\r\n--boundary_of_another, nor --boundary\r\n-"


def parts(body: bytes, piece: int, boundary: str = "boundary") -> list[tuple[dict[str, str], bytes]]:
    """Headers and content of complete parts."""
    reader = MultipartReader(boundary)
    found: list[tuple[dict[str, str], bytes]] = []
    headers: dict[str, str] = {}
    content = b""
    for start in range(0, len(body), piece):
        for event in reader.feed(body[start : start + piece]):
            if isinstance(event, PartBegins):
                headers, content = dict(event.headers), b""
            elif isinstance(event, PartEnds):
                found.append((headers, content))
            else:
                content += event
    reader.end()
    return found


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, 10_000])
def test_parts_are_what_was_sent_however_it_is_cut(piece: int) -> None:
    body = (
        b"preamble\r\n--boundary\r\nContent-Type: a/b\r\nX-Y:  z \r\n\r\n" + CONTENT
        + b"\r\n--boundary \t\r\n\r\n\r\n--boundary\r\n\r\nlast\r\n--boundary--\r\nepilogue\r\n--boundary\r\n"
    )  # fmt: skip
    assert parts(body, piece) == [({"content-type": "a/b", "x-y": "z"}, CONTENT), ({}, b""), ({}, b"last")]


@pytest.mark.parametrize("piece", [1, 10_000])
def test_what_the_writer_writes_the_reader_reads(piece: int) -> None:
    writer = MultipartWriter("application/dicom")
    kind, parameters = media_type(writer.content_type)
    body = writer.begin_part("a/b", content_location="x") + CONTENT + writer.end_part()
    body += writer.begin_part("c/d") + writer.end_part() + writer.end()
    assert (kind, parameters["type"]) == ("multipart/related", "application/dicom")
    assert parts(body, piece, parameters["boundary"]) == [
        ({"content-type": "a/b", "content-location": "x"}, CONTENT),
        ({"content-type": "c/d"}, b""),
    ]


def test_no_two_bodies_have_one_boundary() -> None:
    assert MultipartWriter("a/b").content_type != MultipartWriter("a/b").content_type


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"--boundary\r\n\r\ncontent", "ends before its last boundary"),
        (b"--boundary\r\n\r\ncontent\r\n--boundary", "ends before its last boundary"),
        (b"nothing", "ends before its last boundary"),
        (b"x" * 70_000, "no boundary within"),
        (b"--boundary\r\nname: " + b"x" * 20_000, "headers of a part"),
        (b"--boundary " + b" " * 1000, "follows a boundary"),
    ],
)
def test_what_is_no_multipart_body_is_said_to_be_none(body: bytes, what: str) -> None:
    with pytest.raises(MalformedRequest, match=what):
        parts(body, 100)


@pytest.mark.parametrize("boundary", ["", "x" * 201, "ü"])
def test_a_boundary_is_short_and_ascii(boundary: str) -> None:
    with pytest.raises(MalformedRequest, match="boundary"):
        MultipartReader(boundary)


@pytest.mark.parametrize(
    ("header", "kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a;b=c"', "multipart/related", "a;b=c"),
        ("Multipart/Related;boundary=x;type=application/dicom", "multipart/related", "x"),
        ("", "", None),
    ],
)
def test_content_type_is_read_with_its_parameters(header: str, kind: str, boundary: str | None) -> None:
    found, parameters = media_type(header)
    assert (found, parameters.get("boundary")) == (kind, boundary)
