"""The walk over a received data set's bytes: what it finds, what it refuses, and that nothing else comes out of it."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cmmd_node.errors import MissingUID, RefusedInstance, TooComplex, Truncated, UnreadableInstance
from cmmd_node.receive.structure import Identity, Limits, is_uid, read_identity
from tests.mammograms import encoded, make_mammogram
from tests.receive.conftest import data_set_bytes

GOOD = data_set_bytes(make_mammogram())


def read(data: bytes, syntax: str = ExplicitVRLittleEndian) -> Identity:
    return read_identity(data, 0, syntax, Limits())


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        JPEG2000Lossless,
        JPEGLSLossless,
        RLELossless,
    ],
)
def test_identity_is_read_in_every_encoding(syntax: Any) -> None:
    ds = make_mammogram(PatientName="Doe^Jane", PatientBirthDate="19700102")
    found = read(data_set_bytes(encoded(ds, syntax)), syntax)
    assert found.sop_instance_uid == ds.SOPInstanceUID
    assert found.sop_class_uid == ds.SOPClassUID
    assert found.study_instance_uid == ds.StudyInstanceUID
    assert found.series_instance_uid == ds.SeriesInstanceUID
    assert (found.patient_id, found.patient_name, found.patient_birth_date) == ("patient", "Doe^Jane", "19700102")
    assert found.trailing_bytes == 0


@pytest.mark.fault("C49")
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Änne"),
        ("ISO_IR 192", "王^小東"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_names_are_read_in_their_character_set(character_set: Any, name: str) -> None:
    ds = make_mammogram(SpecificCharacterSet=character_set, PatientName=name)
    assert read(data_set_bytes(ds)).patient_name == name


@pytest.mark.fault("C49")
def test_names_in_an_unknown_character_set_are_read_somehow() -> None:
    data = GOOD.replace(b"ISO_IR 100", b"NO_SUCH_ON")
    assert read(data).patient_name == "Phantom^patient"


def test_sequences_of_defined_and_undefined_length_are_walked() -> None:
    ds = make_mammogram()
    item = Dataset()
    item.CodeValue = "1"
    for undefined in (True, False):
        ds.AcquisitionContextSequence = Sequence([item, item])
        ds["AcquisitionContextSequence"].is_undefined_length = undefined
        for one in ds.AcquisitionContextSequence:
            one.is_undefined_length_sequence_item = undefined
        assert read(data_set_bytes(ds)).study_instance_uid == ds.StudyInstanceUID


def test_values_inside_sequences_are_not_taken_for_the_study_s() -> None:
    item = Dataset()
    item.StudyInstanceUID = "1.2.3"
    ds = make_mammogram(ReferencedStudySequence=Sequence([item]))
    assert read(data_set_bytes(ds)).study_instance_uid == ds.StudyInstanceUID


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian with a long length field."""
    return struct.pack("<HH2s2xI", group, number, vr, len(value) if length is None else length) + value


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)


@pytest.mark.fault("C43")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", UnreadableInstance, id="empty"),
        pytest.param(GOOD[:7], Truncated, id="cut in a tag"),
        pytest.param(GOOD[: len(GOOD) // 2], Truncated, id="cut in the pixels"),
        pytest.param(GOOD[:300], Truncated, id="cut in the header"),
        pytest.param(element(0x0009, 0x1001, b"OB", b"", 0xFFFFFFFE), Truncated, id="length beyond the end"),
        pytest.param(element(0x0009, 0x1001, b"OB", b"", 0xFFFFFFFF), UnreadableInstance, id="OB of undefined length"),
        pytest.param(element(0x0008, 0x1111, b"SQ", b"", 0xFFFFFFFF), Truncated, id="sequence without an end"),
        pytest.param(element(0x0008, 0x1111, b"SQ", ITEM, 0xFFFFFFFF), Truncated, id="item without an end"),
        pytest.param(element(0x0008, 0x1111, b"SQ", b"\0" * 8), UnreadableInstance, id="no item in a sequence"),
        pytest.param(ITEM, UnreadableInstance, id="item outside of a sequence"),
        pytest.param(element(0x0002, 0x0010, b"UN", b"xx"), UnreadableInstance, id="meta group in the data set"),
        pytest.param(b"\x08\0\x16\0??\2\0ab", UnreadableInstance, id="a VR that is none"),
        pytest.param(element(0x0008, 0x0016, b"UN", b"1.2 "), MissingUID, id="nothing but a class"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, error: type[RefusedInstance]) -> None:
    with pytest.raises(error):
        read(data)


def test_pixels_shorter_than_the_image_are_a_truncation() -> None:
    with pytest.raises(Truncated, match="are wanted"):
        read(data_set_bytes(make_mammogram(Rows=10_000)))


@pytest.mark.fault("C44")
def test_another_encoding_than_agreed_is_refused() -> None:
    with pytest.raises(RefusedInstance):
        read(GOOD, ImplicitVRLittleEndian)
    with pytest.raises(RefusedInstance):
        read(data_set_bytes(encoded(make_mammogram(), ImplicitVRLittleEndian)), ExplicitVRLittleEndian)


@pytest.mark.fault("C55")
def test_too_many_elements_are_refused_in_time() -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    data = element(0x0008, 0x1111, b"SQ", item * (Limits().elements + 1))
    started = time.process_time()
    with pytest.raises(TooComplex):
        read(data)
    assert time.process_time() - started < 10


@pytest.mark.fault("C41")
def test_nesting_by_the_thousands_is_refused_without_recursion() -> None:
    data = (element(0x0008, 0x1111, b"SQ", b"", 0xFFFFFFFF) + ITEM) * 20_000
    with pytest.raises(TooComplex):
        read(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), min_size=1, max_size=8))
@example([(0, 255)])
def test_damaged_headers_end_in_a_refusal_or_an_identity(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    try:
        found = read(bytes(data))
    except RefusedInstance:
        return
    assert is_uid(found.sop_instance_uid)
    assert is_uid(found.study_instance_uid)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless]))
def test_noise_is_refused(data: bytes, syntax: Any) -> None:
    with pytest.raises(RefusedInstance):
        read(data, syntax)


@pytest.mark.parametrize("text", ["1.2.840.10008.1.1", "2.25." + "1" * 39, "0.0"])
def test_uids(text: str) -> None:
    assert is_uid(text)


@pytest.mark.parametrize("text", ["", "1.", ".1", "1..2", "01.2", "1.02", "../x", "1.2\n", "1.٢", "1." + "2" * 63, "a"])
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)
