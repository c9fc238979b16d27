"""Data sets that lie, grow or smuggle: what is refused, and that what is kept is kept as it came."""

from __future__ import annotations

import stat
import struct
import time
from collections.abc import Callable

import pytest
from pydicom import dcmread

from tests.mammograms import make_mammogram
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import RawPeer

Connect = Callable[[Reception], RawPeer]

_DS = make_mammogram()
_UID = str(_DS.SOPInstanceUID)
_GOOD = data_set_bytes(_DS)
#: Where something can be put that stands in order before the pixel data.
_PIXELS = _GOOD.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))

_OPEN = struct.pack("<HH2sHI", 0x0041, 0x1001, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
_CLOSE = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def private(vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", 0x0041, 0x1001, vr, 0, length) + value


def with_inserted(piece: bytes) -> bytes:
    return _GOOD[:_PIXELS] + piece + _GOOD[_PIXELS:]


@pytest.mark.fault("C41", "C43", "C55")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(with_inserted(_OPEN * 300 + _CLOSE * 300), 0xC104, id="300 levels"),
        pytest.param(with_inserted(_OPEN * 5000 + _CLOSE * 5000), 0xC104, id="5000 levels"),
        pytest.param(with_inserted(private(b"OB", 0xFFFFFFFE)), 0xC103, id="length beyond the end"),
        pytest.param(with_inserted(private(b"SQ", 0xFFFFFFFF)), 0xC100, id="sequence without an end"),
        pytest.param(with_inserted(private(b"UN", 0x7FFFFFFF)), 0xC103, id="half of all there is"),
        pytest.param(
            with_inserted(private(b"SQ", 8, struct.pack("<HHI", 0xFFFE, 0xE000, 999))), 0xC103, id="long item"
        ),
        pytest.param(with_inserted(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)), 0xC100, id="delimiter without a sequence"),
        pytest.param(
            with_inserted(private(b"SQ", 0xFFFFFFFF, struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 100_000)),
            0xC104,
            id="100 000 items",
        ),
        pytest.param(
            with_inserted(b"".join(struct.pack("<HH2sH", 0x0041, n, b"US", 0) for n in range(0x1000, 0xFFFF)) * 2),
            0xC104,
            id="100 000 elements",
        ),
    ],
)
def test_a_hostile_structure_is_refused_in_time(
    reception: Reception, connect: Connect, data: bytes, status: int
) -> None:
    peer = connect(reception).associate()
    started = time.process_time()
    assert peer.store(data, sop_instance=_UID) == status
    assert time.process_time() - started < 5
    assert reception.objects() == []
    assert peer.store(_GOOD, sop_instance=_UID) == 0x0000


@pytest.mark.fault("C55")
def test_a_large_private_value_is_kept(reception: Reception, connect: Connect) -> None:
    peer = connect(reception).associate()
    size = 20_000_000
    assert peer.store(with_inserted(private(b"OB", size, bytes(size))), sop_instance=_UID, chunk=100_000) == 0x0000


@pytest.mark.fault("C44")
@pytest.mark.parametrize("context_id", [5, 7], ids=["implicit", "big endian"])
def test_an_encoding_that_was_not_agreed_on_is_refused(reception: Reception, connect: Connect, context_id: int) -> None:
    peer = connect(reception).associate()
    assert peer.store(_GOOD, context_id=context_id, sop_instance=_UID) in {0xC100, 0xC103}
    assert reception.objects() == []


@pytest.mark.fault("C49", "C50")
@pytest.mark.parametrize(
    "text",
    [
        "Müller^Änne".encode("latin-1"),
        "王^小東".encode(),
        b"\x1b$B\x1b(B^\x1b$)C",
        b"\xff\xfe\xfd",
        b"<script>alert(1)</script>",
        b"'; DROP TABLE instance; --",
        b"=cmd|' /C calc'!A0",
        b"A\r\nB\x1b[31m%n{0}${jndi:x}",
    ],
)
def test_any_text_is_kept_as_it_came_and_shown_in_no_log(
    reception: Reception, connect: Connect, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    caplog.set_level("DEBUG")
    old = b"Phantom^patient"
    at = _GOOD.index(old) - 2
    value = text + b" " * (len(text) % 2)
    data = _GOOD[:at] + struct.pack("<H", len(value)) + value + _GOOD[at + 2 + len(old) + len(old) % 2 :]
    peer = connect(reception).associate()
    assert peer.store(data, sop_instance=_UID) == 0x0000
    (path,) = reception.objects()
    assert path.read_bytes().endswith(data)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("cmmd_node")]
    assert all(line.isprintable() for line in said)
    assert not any(text.decode("latin-1") in line for line in said)
    assert reception.rows("SELECT count(*) FROM instance") == [(1,)]


@pytest.mark.fault("C56")
def test_a_kept_file_has_an_empty_preamble_and_nobody_may_execute_it(reception: Reception) -> None:
    ds = make_mammogram()
    ds.preamble = b"MZ" + bytes(126)
    assert reception.store(ds) == [0x0000]
    (path,) = reception.objects()
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert dcmread(path).SOPInstanceUID == ds.SOPInstanceUID
