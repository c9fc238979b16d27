"""WADO-RS: objects as they are kept or in Explicit VR Little Endian, metadata, frames, bulk data, pictures."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from cmmd_node.dicomweb import decoder
from cmmd_node.dicomweb.picture import Window
from cmmd_node.multipart import MultipartReader, PartBegins, PartEnds, media_type
from tests.dicomweb.conftest import WebRole
from tests.mammograms import breast, compressed, encoded, exam, make_mammogram
from tests.nodes import wait_until
from tests.receive.conftest import part10_bytes
from tests.test_retention import answered, purge

Serve = Callable[..., WebRole]
ANY_SYNTAX = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def path_of(ds: FileDataset, *more: str) -> str:
    parts = ["studies", ds.StudyInstanceUID, "series", ds.SeriesInstanceUID, "instances", ds.SOPInstanceUID, *more]
    return "/" + "/".join(parts)


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Content types and contents of a multipart answer."""
    assert answer.status_code == 200, answer.text
    kind, parameters = media_type(answer.headers["content-type"])
    assert kind == "multipart/related"
    reader = MultipartReader(parameters["boundary"])
    found: list[tuple[str, bytes]] = []
    for event in reader.feed(answer.content):
        if isinstance(event, PartBegins):
            found.append((event.headers["content-type"], b""))
        elif not isinstance(event, PartEnds):
            found[-1] = (found[-1][0], found[-1][1] + event)
    reader.end()
    return found


def tomosynthesis(syntax: Any = ExplicitVRLittleEndian, frames: int = 3) -> tuple[FileDataset, npt.NDArray[np.uint16]]:
    """An object of several frames of 16 bits."""
    cells = np.random.default_rng(1).integers(0, 4096, (frames, 40, 30), np.uint16)
    ds = make_mammogram(cells[0], SOPClassUID=BreastTomosynthesisImageStorage, NumberOfFrames=str(frames), study="dbt")
    ds.BitsStored, ds.HighBit, ds.WindowCenter, ds.WindowWidth = 12, 11, 2048, 4096
    ds.PixelData = cells.tobytes()
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = RLELossless
        ds.PixelData = encapsulate([compressed(frame, RLELossless, 12) for frame in cells])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds, cells


def test_a_study_comes_as_its_files(web: WebRole) -> None:
    images = exam()
    web.store(*images)
    for path in (f"/studies/{images[0].StudyInstanceUID}", path_of(images[0]).rpartition("/instances")[0]):
        found = parts(web.client.get(path, headers=ANY_SYNTAX))
        assert {kind for kind, _ in found} == {"application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}
        kept = {row[0] for row in web.rows("SELECT path FROM instance")}
        assert sorted(content for _, content in found) == sorted((web.root / one).read_bytes() for one in kept)
    (alone,) = parts(web.client.get(path_of(images[2])))
    assert dcmread(BytesIO(alone[1])) == images[2]
    for missing in ("/studies/1.2.3", path_of(images[0])[:-1], f"/studies/1.2/series/{images[0].SeriesInstanceUID}"):
        assert web.client.get(missing).status_code == 404


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless], ids=lambda one: one.name
)
def test_other_encodings_come_as_kept_or_in_explicit_little_endian(web: WebRole, syntax: Any) -> None:
    pixels = breast().astype(np.uint16) * 16
    plain = make_mammogram(pixels, BitsStored=12, HighBit=11)
    web.store(encoded(plain, syntax))
    (kept,) = parts(web.client.get(path_of(plain), headers=ANY_SYNTAX))
    assert kept[0].endswith(str(syntax))
    assert dcmread(BytesIO(kept[1])).file_meta.TransferSyntaxUID == syntax
    (told,) = parts(web.client.get(path_of(plain)))
    assert told[0] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    ds = dcmread(BytesIO(told[1]))
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert ds.PixelData == plain.PixelData
    assert [element for element in ds if element.tag != 0x7FE00010] == [
        element for element in plain if element.tag != 0x7FE00010
    ]
    (named,) = parts(web.client.get(path_of(plain), headers={"Accept": ANY_SYNTAX["Accept"].replace("*", str(syntax))}))
    assert named == kept


@pytest.mark.fault("H122")
@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("", 200),
        ("multipart/related", 200),
        ("multipart/related;type=application/dicom;transfer-syntax=1.2.840.10008.1.2.1", 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90', 406),
        ('image/png, multipart/related; type="application/dicom";q=0.2', 200),
        ('multipart/related; type="application/dicom+xml"', 406),
        ("application/zip", 406),
        ("application/dicom", 200),
    ],
)
def test_what_is_accepted_decides(web: WebRole, accept: str, status: int) -> None:
    ds = make_mammogram()
    web.store(ds)
    assert web.client.get(path_of(ds), headers={"Accept": accept}).status_code == status


def test_a_file_alone_can_be_asked_for_in_ranges_and_on_condition(web: WebRole) -> None:
    ds = make_mammogram()
    web.store(ds)
    ((path,),) = web.rows("SELECT path FROM instance")
    whole = (web.root / path).read_bytes()
    wanted = {"Accept": "application/dicom"}
    answer = web.client.get(path_of(ds), headers=wanted)
    assert (answer.content, answer.headers["accept-ranges"]) == (whole, "bytes")
    etag = answer.headers["etag"]
    for range_, expected in {
        "bytes=100-199": whole[100:200],
        "bytes=-50": whole[-50:],
        "bytes=300-": whole[300:],
        f"bytes=0-{10 * len(whole)}": whole,
    }.items():
        part = web.client.get(path_of(ds), headers={**wanted, "Range": range_, "If-Range": etag})
        assert (part.status_code, part.content) == (206, expected), range_
    assert web.client.get(path_of(ds), headers={**wanted, "Range": "bytes=9999999-"}).status_code == 416
    assert web.client.get(path_of(ds), headers={**wanted, "Range": "bytes=0-1", "If-Range": '"x"'}).content == whole
    same = web.client.get(path_of(ds), headers={**wanted, "If-None-Match": f'"other", {etag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert web.client.get(path_of(ds), headers={**wanted, "If-None-Match": '"other"'}).status_code == 200
    for resource in ("/metadata", "/rendered", "/frames/1", "/bulkdata/7FE00010", ""):
        tag = web.client.get(path_of(ds) + resource).headers["etag"]
        assert web.client.get(path_of(ds) + resource, headers={"If-None-Match": tag}).status_code == 304, resource


def test_metadata_are_all_attributes_with_links_to_bulk_data(web: WebRole) -> None:
    images = exam(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎")
    images[0].add_new(0x00091001, "OB", b"\1\2" * 600)
    images[0].add_new(0x00091002, "OB", b"\1\2")
    web.store(*images)
    answer = web.client.get(f"/studies/{images[0].StudyInstanceUID}/metadata")
    assert answer.headers["content-type"] == "application/dicom+json"
    assert len(answer.json()) == 4
    (one,) = web.client.get(path_of(images[0], "metadata")).json()
    assert one["7FE00010"] == {"vr": "OB", "BulkDataURI": f"{web.url}{path_of(images[0])}/bulkdata/7FE00010"}
    assert one["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    link = one["00091001"]["BulkDataURI"]
    assert one["00091002"] == {"vr": "OB", "InlineBinary": "AQI="}
    ds = Dataset.from_json(json.dumps({tag: value for tag, value in one.items() if "BulkDataURI" not in value}))
    assert ds.PatientName == "山田^太郎"
    assert ds.ViewCodeSequence[0].CodeValue == images[0].ViewCodeSequence[0].CodeValue
    assert ds.ImagerPixelSpacing == images[0].ImagerPixelSpacing
    missing = {element.tag for element in images[0]} - {element.tag for element in ds}
    assert missing == {0x00091001, 0x7FE00010}
    octets = {"Accept": "application/octet-stream"}
    assert web.client.get(link, headers=octets).content == b"\1\2" * 600
    pixels = web.client.get(one["7FE00010"]["BulkDataURI"], headers={**octets, "Range": "bytes=10-19"})
    assert pixels.content == images[0].PixelData[10:20]
    assert parts(web.client.get(link)) == [("application/octet-stream", b"\1\2" * 600)]
    for nothing in ("00091003", "00100010", "x", "7FE00010/1"):
        assert web.client.get(path_of(images[0], "bulkdata", nothing)).status_code == 404


def test_an_element_that_nobody_understands_costs_that_element(web: WebRole) -> None:
    ds = make_mammogram(EstimatedRadiographicMagnificationFactor="1.25")
    web.store(part10_bytes(ds).replace(b"1.25", b"1.x5"))
    (one,) = web.client.get(path_of(ds, "metadata")).json()
    assert "00181114" not in one
    assert one["00100020"]["Value"] == ["patient"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda one: one.name)
def test_frames_come_in_the_order_that_is_asked_for(web: WebRole, syntax: Any) -> None:
    ds, cells = tomosynthesis(syntax)
    web.store(ds)
    found = parts(web.client.get(path_of(ds, "frames", "3,1,1")))
    assert [kind for kind, _ in found] == ["application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"] * 3
    assert [content for _, content in found] == [cells[at].tobytes() for at in (2, 0, 0)]
    assert parts(web.client.get(path_of(ds, "frames", "2")))[0][1] == cells[1].tobytes()
    wanted = {"Accept": 'multipart/related; type="image/dicom-rle"'}
    coded = web.client.get(path_of(ds, "frames", "2"), headers=wanted)
    assert coded.status_code == (200 if syntax == RLELossless else 406)
    if syntax == RLELossless:
        assert parts(coded)[0][1].rstrip(b"\0") == compressed(cells[1], RLELossless, 12).rstrip(b"\0")
        link = web.client.get(path_of(ds, "metadata")).json()[0]["7FE00010"]["BulkDataURI"]
        assert [one for _, one in parts(web.client.get(link))] == [frame.tobytes() for frame in cells]


def test_bytes_of_big_endian_pixels_come_little_endian(web: WebRole) -> None:
    plain = make_mammogram(breast().astype(np.uint16) * 16)
    web.store(encoded(plain, ExplicitVRBigEndian))
    assert parts(web.client.get(path_of(plain, "frames", "1")))[0][1] == plain.PixelData
    wanted = {"Accept": "application/octet-stream", "Range": "bytes=101-1000"}
    assert web.client.get(path_of(plain, "bulkdata", "7FE00010"), headers=wanted).content == plain.PixelData[101:1001]


@pytest.mark.fault("H124")
def test_frames_and_pictures_that_cannot_be_are_refused(web: WebRole) -> None:
    ds = make_mammogram()
    web.store(ds)
    for resource, status in {
        "frames/0": 400,
        "frames/-1": 400,
        "frames/x": 400,
        "frames/99999": 404,
        "frames/2": 404,
        "frames/" + ",".join(["1"] * 20_000): 400,
        "frames/1,": 400,
        "frames/5/rendered": 404,
        "rendered?viewport=100000,100000": 400,
        "rendered?viewport=0,10": 400,
        "rendered?viewport=10,10,0,0,500,500": 400,
        "rendered?viewport=10,10,0": 400,
        "rendered?window=nan,1": 400,
        "rendered?window=1,inf": 400,
        "rendered?window=1,0": 400,
        "rendered?window=1": 400,
        "rendered?window=1,2,CUBIC": 400,
        "rendered?quality=0": 400,
        "rendered?annotation=patient": 400,
        "rendered?findings=yes": 400,
    }.items():
        assert web.client.get(f"{path_of(ds)}/{resource}").status_code == status, resource[:60]
    assert web.client.get(path_of(ds, "rendered"), headers={"Accept": "image/gif"}).status_code == 406


def picture(answer: httpx.Response) -> npt.NDArray[Any]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)))


def test_pictures_pass_the_window(web: WebRole) -> None:
    cells = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ds = make_mammogram(cells, VOILUTFunction=None)
    dark = make_mammogram(cells, study="dark", PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    web.store(ds, dark)
    png = {"Accept": "image/png"}
    full = web.client.get(path_of(ds, "rendered?window=127.5,255,linear-exact"), headers=png)
    assert (picture(full) == cells).all()
    inverted = web.client.get(path_of(dark, "rendered?window=127.5,255,linear-exact"), headers=png)
    assert (picture(inverted) == 255 - cells).all()
    narrow = picture(web.client.get(path_of(ds, "rendered?window=100,1"), headers=png))
    assert (narrow == np.where(cells > 99.5, 255, 0)).all()
    assert picture(web.client.get(path_of(ds, "rendered?viewport=8,40"), headers=png)).shape == (8, 8)
    region = picture(
        web.client.get(path_of(ds, "rendered?viewport=4,4,12,0,-4,4&window=127.5,255,linear-exact"), headers=png)
    )
    assert (region == cells[:4, 15:11:-1]).all()
    jpeg = web.client.get(path_of(ds, "rendered"))
    assert jpeg.headers["content-type"] == "image/jpeg"
    for thumbnail in (
        path_of(ds, "thumbnail"),
        f"/studies/{ds.StudyInstanceUID}/thumbnail",
        path_of(ds, "frames/1/thumbnail"),
    ):
        assert max(picture(web.client.get(thumbnail)).shape) == 256


def test_windows_are_those_of_the_standard() -> None:
    values = np.array([0.0, 2047.0, 2048.0, 4095.0])  # PS3.3 C.11.2.1.2.1, c 2048, w 4096: the whole range of 12 bits
    assert np.allclose(Window(2048, 4096).apply(values), [0, 2047 / 4095, 2048 / 4095, 1])
    assert np.allclose(Window(2048, 4096, "LINEAR_EXACT").apply(values), [0, 2047 / 4096, 0.5, 4095 / 4096])
    assert np.isclose(Window(2048, 4096, "SIGMOID").apply(values)[2], 0.5)


@pytest.mark.fault("H125")
def test_readers_that_stop_or_leave_give_everything_back(serve: Serve) -> None:
    web = serve(web={"idle_seconds": 0.5})
    ds = make_mammogram(np.zeros((4000, 4000), np.uint8))
    web.store(ds)
    request = f"GET /dicom-web{path_of(ds)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    readers = []
    for number in range(40):  # 20 leave, 20 stop
        reader = socket.create_connection(("127.0.0.1", web.settings.web.port))
        reader.sendall(request)
        reader.recv(1000)
        readers.append(reader)
        if number % 2:
            reader.close()
    wait_until(lambda: open_files(web) == 0, 20, "the end of all downloads")
    assert web.index.engine.pool.checkedout() == 0
    assert web.client.get(path_of(ds)).status_code == 200
    for reader in readers:
        reader.close()


def open_files(web: WebRole) -> int:
    """How many of the node's objects this process, and so the web role, has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue
    return sum(str(web.root / "objects") in link for link in links)


def crash(_job: Any) -> None:
    """What a damaged frame may do to a codec."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_job: Any) -> None:
    """What another may do."""
    threading.Event().wait()


@pytest.mark.parametrize(("misbehave", "resource"), [(crash, "rendered"), (hang, "frames/1")])
def test_a_codec_that_crashes_or_hangs_costs_the_answer_only(
    web: WebRole, monkeypatch: pytest.MonkeyPatch, misbehave: Callable[[Any], None], resource: str
) -> None:
    ds = encoded(make_mammogram(), JPEGLSLossless)
    web.store(ds)
    with monkeypatch.context() as patched:
        patched.setattr(decoder, "_decode", misbehave)
        patched.setattr(decoder, "_SECONDS", 1.0)
        answer = web.client.get(path_of(ds, resource))
        assert (answer.status_code, "cannot be decoded" in answer.json()["detail"]) == (406, True)
    assert picture(web.client.get(path_of(ds, "rendered"))).shape == (128, 96)
    assert len(parts(web.client.get(path_of(ds)))) == 1


@pytest.mark.fault("H128")
def test_other_methods_and_foreign_origins_get_nothing(web: WebRole) -> None:
    ds = make_mammogram()
    web.store(ds)
    for method in ("TRACE", "PUT", "DELETE", "PATCH"):
        assert web.client.request(method, path_of(ds)).status_code == 405, method
    preflight = web.client.options(
        path_of(ds), headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert preflight.status_code == 405
    answer = web.client.get(path_of(ds), headers={"Origin": "http://evil.example"})
    assert not [name for name in (*preflight.headers, *answer.headers) if name.startswith("access-control")]


def test_a_file_that_is_gone_is_said_to_be_damaged(web: WebRole) -> None:
    ds = make_mammogram()
    web.store(ds)
    web.client.get(path_of(ds))
    ((path,),) = web.rows("SELECT path FROM instance")
    (web.root / path).unlink()
    answer = web.client.get(path_of(ds))
    assert (answer.status_code, "operator" in answer.json()["detail"]) == (404, True)


@pytest.mark.fault("E82")
def test_an_object_that_is_purged_while_it_is_read_comes_whole(web: WebRole) -> None:
    ds = make_mammogram(np.random.default_rng(0).integers(0, 255, (6000, 5000), np.uint8))
    web.store(ds)
    answered(web.settings, web.index, str(ds.StudyInstanceUID))
    alone = f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    with web.client.stream("GET", path_of(ds), headers={"Accept": alone}) as answer:
        pieces = answer.iter_raw(1 << 16)
        got = next(pieces)
        assert purge(web.settings, web.index) == 1
        assert not list((web.root / "objects").glob("*/*"))
        got += b"".join(pieces)
    assert dcmread(BytesIO(got)).PixelData == ds.PixelData
    assert web.client.get(path_of(ds)).status_code == 404
    assert web.client.get("/studies").status_code == 204
    web.store(ds)
    assert len(parts(web.client.get(path_of(ds)))) == 1
