"""Decoding, and what is refused before and after it."""

import base64
import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cmmd_node.assemble import codecs
from cmmd_node.assemble.pixels import decodable_transfer_syntaxes, read_pixels
from cmmd_node.assemble.sides import Side, chest_wall_side, side_warning
from cmmd_node.assemble.views import mammogram_of, read_header, spacing_of
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Spacing
from tests.mammograms import breast, compressed, encoded, make_mammogram, save

MG_DICOM = Path(__file__).parents[3] / "shared/data/mg-dicom"
LOSSLESS = [
    *(ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLossless, JPEGLosslessSV1),
    *(JPEGLSLossless, JPEG2000Lossless),
]
LOSSY = [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000]
ENCAPSULATED = [uid for uid in LOSSLESS if uid.is_compressed] + LOSSY

HTJ2K_STREAM = (
    "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUEBEAB/1wAEyBIUFBQUFBQUFBQ"
    "UFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIIAAf+TwCXBAQd0AADAEsASwBKA6AAHdADyAAd0APUAx3QAwBLAEsASAA4A"
    "y3QADOhkswD+H3MAwBWwBPAEoPCcBvLf/EFmUIvSdwBM/MAkjLUA+sCRxADAK6AVEAkAZ5v5XyzR3L9X1+ALeAAE+PwUdey2AP0AZAD/2Q=="
)

needs_shared = [
    pytest.mark.shared,
    pytest.mark.skipif(not MG_DICOM.is_dir(), reason="no shared data beside the checkout"),
]


def twelve_bits(**differences):
    return make_mammogram(breast().astype(np.uint16) * 16, BitsStored=12, HighBit=11, **differences)


def depths(transfer_syntaxes):
    """Each transfer syntax with the depths that it has."""
    return [
        pytest.param(uid, make, id=f"{uid.name}, {bits} bits")
        for uid in transfer_syntaxes
        for make, bits in ((make_mammogram, 8), (twelve_bits, 12))
        if not (uid == JPEGBaseline8Bit and bits == 12)
    ]


@pytest.fixture
def read(tmp_path):
    def read(ds):
        return read_pixels(save(ds, tmp_path / "image"))

    return read


def test_one_frame_is_one_frame_in_every_encoding(read):
    """ "1 " in two bytes, of which Implicit VR does not say that they are text."""
    plain = make_mammogram(NumberOfFrames=1)
    assert (read(plain) == read(encoded(plain, ImplicitVRLittleEndian))).all()


def test_pixels_are_in_stored_orientation_with_air_at_zero_and_nothing_else(read):
    stored = breast(laterality="R")
    pixels = read(make_mammogram(stored, view="R CC"))
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    assert pixels.shape == stored.shape
    assert np.array_equal(pixels > 0, stored > 0)
    assert np.all(np.diff(pixels[np.unravel_index(np.argsort(stored, axis=None), stored.shape)]) >= 0)
    assert pixels.max() <= 1


@pytest.mark.parametrize(("transfer_syntax", "make"), depths(LOSSLESS))
def test_lossless_transfer_syntaxes_give_equal_pixels(transfer_syntax, make, read):
    ds = make()
    assert np.array_equal(read(encoded(ds, transfer_syntax)), read(ds))


@pytest.mark.parametrize(("transfer_syntax", "make"), depths(LOSSY))
def test_lossy_transfer_syntaxes_give_like_pixels(transfer_syntax, make, read):
    ds = make()
    assert np.abs(read(encoded(ds, transfer_syntax)) - read(ds)).mean() < 0.02


def test_8_bit_jpeg_in_16_bit_cells_is_read(read):
    ds = twelve_bits()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([compressed(breast(seed=1), JPEGBaseline8Bit, 8)])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    assert np.abs(read(ds) - read(make_mammogram())).mean() < 0.02


@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_fragments_and_offset_table_make_no_difference(transfer_syntax, read):
    ds = encoded(make_mammogram(), transfer_syntax)
    whole = read(ds)
    frame = compressed(breast(seed=1), transfer_syntax, 8)
    halves = frame[: len(frame) // 4 * 2], frame[len(frame) // 4 * 2 :]
    for offset_table in (b"", struct.pack("<I", 0), struct.pack("<II", 99, 7)):
        parts = [offset_table, *(half + b"\0" * (len(half) % 2) for half in halves), b""]
        ds.PixelData = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in parts)
        assert np.array_equal(read(ds), whole)


def test_high_throughput_jpeg_2000_is_read(read):
    """A stream that OpenJPH made of the picture below; nothing in the project encodes it."""
    picture = np.add.outer(np.arange(16) * 3, np.arange(12) * 5).astype(np.uint8)
    picture[:, 9:] = 0
    ds = encoded(make_mammogram(picture), RLELossless)
    ds.PixelData = encapsulate([base64.b64decode(HTJ2K_STREAM)])
    ds.file_meta.TransferSyntaxUID = HTJ2KLossless
    assert np.array_equal(read(ds), read(make_mammogram(picture)))


def test_application_data_in_jpeg_is_left_out(read):
    """GDCM ends the process on a JFIF density unit that it does not know."""
    ds = encoded(make_mammogram(), JPEGLosslessSV1)
    frame = compressed(breast(seed=1), JPEGLosslessSV1, 8)
    jfif = b"\xff\xe0\0\x10JFIF\0\xd4\1\x63\0\1\0\1\0\0"
    ds.PixelData = encapsulate([frame[:2] + jfif + frame[2:]])
    assert np.array_equal(read(ds), read(make_mammogram()))


def test_words_of_big_endian_8_bit_pixels_are_swapped(read):
    ds = encoded(make_mammogram(), ExplicitVRBigEndian)
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"
    assert np.array_equal(read(ds), read(make_mammogram()))


def test_an_odd_number_of_bytes_is_padded(read):
    assert read(make_mammogram(breast(127, 95))).shape == (127, 95)


def test_transfer_syntaxes_of_installed_decoders():
    uids = decodable_transfer_syntaxes()
    assert {ExplicitVRLittleEndian, *LOSSLESS, *LOSSY, HTJ2K} <= set(uids)
    assert DeflatedExplicitVRLittleEndian not in uids


def test_a_missing_decoder_is_named_and_the_others_work(monkeypatch, read):
    find_spec = codecs.importlib.util.find_spec
    monkeypatch.setattr(codecs.importlib.util, "find_spec", lambda name: None if name == "jpeg_ls" else find_spec(name))
    assert JPEGLSLossless not in decodable_transfer_syntaxes()
    with pytest.raises(NotAnalysed, match="No installed decoder reads transfer syntax JPEG-LS Lossless"):
        read(encoded(make_mammogram(), JPEGLSLossless))
    assert read(encoded(make_mammogram(), JPEG2000Lossless)).any()


def test_a_transfer_syntax_that_nobody_reads_is_named(read):
    ds = encoded(make_mammogram(), JPEG2000Lossless)
    ds.file_meta.TransferSyntaxUID = JPEG2000MCLossless
    with pytest.raises(NotAnalysed, match="JPEG 2000 Part 2"):
        read(ds)


@pytest.mark.parametrize(
    "differences",
    [
        {"Rows": 127},
        {"Columns": 97},
        {"Rows": 65535, "Columns": 3000},
        {"PixelData": b"\0\1" * 100},
        {"PixelData": b""},
        {"PixelData": None},
        {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
    ],
)
def test_native_pixels_of_another_length_than_the_header_says(differences, read):
    with pytest.raises(NotAnalysed, match="Pixel Data"):
        read(make_mammogram(**differences))


def test_a_file_that_ends_within_its_pixels(tmp_path):
    path = save(make_mammogram(), tmp_path / "image")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(NotAnalysed):
        read_pixels(path)


@pytest.mark.parametrize("size", [(65535, 65535), (14000, 14000), (127, 96), (128, 97)])
@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_lying_dimensions_are_refused_before_decoding(transfer_syntax, size, read, monkeypatch):
    ds = encoded(make_mammogram(), transfer_syntax)
    ds.Rows, ds.Columns = size
    if ds.Rows > 128 and transfer_syntax == RLELossless:  # smaller lies show while it is unpacked
        monkeypatch.setattr(codecs, "_unpacked", None)
    monkeypatch.setattr(codecs.importlib, "import_module", None)
    with pytest.raises(NotAnalysed, match=r"Rows|mammogram"):
        read(ds)


@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_a_codestream_cut_short_is_refused(transfer_syntax, read):
    frame = compressed(breast(), transfer_syntax, 8)
    ds = encoded(make_mammogram(), transfer_syntax)
    for length in (1, 2, 3, 10, 40, 70, len(frame) // 2, len(frame) - 100):
        ds.PixelData = encapsulate([frame[:length]])
        with pytest.raises(NotAnalysed):
            read(ds)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0" * 16,
        b"\xfe\xff\x00\xe0\x00\x00\x00\x00",
        b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\xff\xff\xff\x7f" + b"\xff\xd8" * 10,
        encapsulate([b"\xff\xd8\xff\xd9"]),
        encapsulate([b"garbage " * 100 + b"\xff\xd9"]),
    ],
)
@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_garbage_for_a_frame(transfer_syntax, value, tmp_path):
    path = save(encoded(make_mammogram(), transfer_syntax), tmp_path / "image")
    header = path.read_bytes().partition(b"\xe0\x7f\x10\x00")[0]
    for end in (b"\xfe\xff\xdd\xe0\0\0\0\0", b""):
        path.write_bytes(header + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + value + end)
        with pytest.raises(NotAnalysed):
            read_pixels(path)


@pytest.mark.parametrize(("transfer_syntax", "make"), depths(ENCAPSULATED))
def test_flipped_bytes_end_as_pixels_or_a_reason(transfer_syntax, make, read):
    ds = make()
    cells = np.frombuffer(ds.PixelData, f"<u{ds.BitsAllocated // 8}").reshape(ds.Rows, ds.Columns)
    frame = compressed(cells, transfer_syntax, ds.BitsStored)
    ds = encoded(ds, transfer_syntax)
    random = np.random.default_rng(0)
    for trial in range(40):
        damaged = bytearray(frame)
        reach = len(frame) if trial % 2 else min(len(frame), 200)  # half of the damage in the frame's header
        for position in random.integers(0, reach, 1 + trial % 5):
            damaged[position] = random.integers(256)
        ds.PixelData = encapsulate([bytes(damaged)])
        try:
            pixels = read(ds)
        except NotAnalysed:
            continue
        assert pixels.shape == (128, 96)


@pytest.mark.parametrize("pixels", [np.zeros((64, 64), np.uint8), np.full((64, 64), 4095, np.uint16)])
def test_an_empty_image_is_not_analysed(pixels, read):
    with pytest.raises(NotAnalysed, match="same value"):
        read(make_mammogram(pixels))


@pytest.mark.parametrize("view", ["L CC", "L MLO", "R CC", "R MLO"])
def test_the_chest_wall_is_where_patient_orientation_says(view, read):
    ds = make_mammogram(view=view)
    pixels = read(ds)
    assert chest_wall_side(pixels) is (Side.LEFT if view[0] == "L" else Side.RIGHT)
    assert side_warning(ds, pixels) is None
    assert side_warning(make_mammogram(view=view, PatientOrientation=None), pixels) is None
    warning = side_warning(ds, pixels[:, ::-1])
    assert warning is not None
    assert "puts the chest wall on the" in warning
    assert side_warning(make_mammogram(view=view, PatientOrientation=None), pixels[:, ::-1]) is not None


def test_a_mirrored_image_whose_orientation_says_so_is_no_mismatch(read):
    ds = make_mammogram(breast()[:, ::-1], view="L CC", PatientOrientation=["P", "R"])
    assert side_warning(ds, read(ds)) is None


def test_no_side_where_the_pixels_do_not_tell():
    assert chest_wall_side(np.ones((10, 11), np.float32)) is None
    assert side_warning(make_mammogram(), np.zeros((10, 10), np.float32)) is None


class TestRealObjects:
    pytestmark = needs_shared

    def test_ge_senographe(self):
        path = MG_DICOM / "GH133.dcm"
        header, pixels = read_header(path), read_pixels(path)
        assert str(mammogram_of(header).view) == "R MLO"
        assert side_warning(header, pixels) is None
        assert 0.30 < (pixels > 0).mean() < 0.34
        assert not pixels[:, :1000].any()
        assert 0.2 < np.median(pixels[pixels > 0]) < 0.5

    def test_ge_senographe_without_pixel_padding_is_alike(self, tmp_path):
        ds = dcmread(MG_DICOM / "GH133.dcm")
        del ds.PixelPaddingValue, ds.PixelPaddingRangeLimit
        pixels = read_pixels(save(ds, tmp_path / "image"))
        assert np.abs(pixels - read_pixels(MG_DICOM / "GH133.dcm")).mean() < 0.003

    def test_an_overlay_outside_the_image_does_no_harm_and_a_stereo_view_is_refused(self):
        path = MG_DICOM / "OutOfBoundsOverlay.dcm"
        assert 0.6 < (read_pixels(path) > 0).mean() < 0.8  # a noisy background, neither padded nor 0
        with pytest.raises(NotAnalysed, match="STEREO"):
            mammogram_of(read_header(path))

    def test_pixel_spacing_pattern(self):
        path = MG_DICOM / "MG_Explicit_Little.dcm"
        assert spacing_of(read_header(path)) == Spacing(row_mm=0.5 / 1.5, column_mm=0.5 / 1.5)
        assert set(np.unique(read_pixels(path))) == {np.float32(0), np.float32(0.7)}
        with pytest.raises(NotAnalysed, match=r"magnification factor 1\.5"):
            mammogram_of(read_header(path))

    @pytest.mark.parametrize("name", ["MG1_J2KI.dcm", "MG1_JPLY.dcm"])
    def test_secondary_captures_are_refused(self, name):
        with pytest.raises(NotAnalysed, match="Secondary Capture"):
            mammogram_of(read_header(MG_DICOM / name))

    def test_12_bit_jpeg_and_jpeg_2000_of_one_film_are_alike(self):
        jpeg_2000, jpeg = (read_pixels(MG_DICOM / name) for name in ("MG1_J2KI.dcm", "MG1_JPLY.dcm"))
        assert np.abs(jpeg_2000 - jpeg).mean() < 0.02
