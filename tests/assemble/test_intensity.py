"""One intensity path: what the header says of brightness is told by the pixels that come out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from cmmd_node.assemble.intensity import brightness
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.errors import NotAnalysed
from tests.mammograms import breast, make_mammogram, save


@pytest.fixture
def read(tmp_path):
    def read(pixels=None, **differences):
        return read_pixels(save(make_mammogram(pixels, **differences), tmp_path / "image"))

    return read


def voi_lut():
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], bytes(range(255, -1, -1))
    item["LUTData"].VR = "OW"
    return item


def test_an_image_of_cmmd_with_16_bits_is_as_one_with_8(read):
    plain = breast()
    assert np.allclose(read(plain.astype(np.uint16) * 257), read(plain), atol=1e-6)


@pytest.mark.parametrize(
    "differences",
    [
        {"VOILUTFunction": None},
        {"VOILUTFunction": "LINEAR", "WindowCenter": "40", "WindowWidth": "20"},
        {"WindowCenter": ["1", "2", "3"], "WindowWidth": ["1", "2", "3"]},
        {"WindowCenter": None, "WindowWidth": None, "VOILUTSequence": [voi_lut()]},
        {"RescaleSlope": "2", "RescaleIntercept": "-1000"},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"PixelPaddingValue": 0},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 0},
        {"PresentationLUTShape": None},
    ],
)
def test_windows_luts_and_scaling_change_nothing(differences, read):
    assert np.array_equal(read(**differences), read())


@pytest.mark.parametrize("shape", ["INVERSE", None])
def test_monochrome1_is_inverted_once(shape, read):
    inverted = read(255 - breast(), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
    assert np.array_equal(inverted, read(breast()))


def test_a_negative_rescale_slope_turns_brightness_round(read):
    assert np.array_equal(read(255 - breast(), RescaleSlope="-1", RescaleIntercept="255"), read(breast()))


@pytest.mark.parametrize(
    ("pixels", "differences"),
    [
        (255 - breast(), {}),
        (breast(), {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}),
    ],
)
def test_a_wrong_photometric_interpretation_is_not_inverted_in_silence(pixels, differences, read):
    with pytest.raises(NotAnalysed, match="inverted"):
        read(pixels, **differences)


@pytest.mark.parametrize(
    ("cells", "differences"),
    [
        (breast().astype(np.uint16) | 0xF000, {"BitsStored": 12, "HighBit": 11}),  # overlays in high bits
        (breast().astype(np.uint16) << 4 | 0x5, {"BitsStored": 12, "HighBit": 15}),  # and low ones
        (breast().astype(np.int16) - 128, {}),
        ((breast().astype(np.int16) - 128).view(np.uint16) & 0x0FFF, {"BitsStored": 12, "HighBit": 11}),
        ((breast().astype(np.int16) - 128).astype(np.int8), {}),
    ],
    ids=["high bits", "high bit 15", "signed 16", "signed 12", "signed 8"],
)
def test_only_stored_bits_count_and_signs_are_understood(cells, differences, read):
    signed = {"PixelRepresentation": 1} if cells.dtype == np.uint16 and cells.max() == 0x0FFF else {}
    assert np.allclose(read(cells, **differences, **signed), read(breast()), atol=1e-6)


@pytest.mark.parametrize(("value", "limit"), [(0, None), (0, 9), (9, 0)])
def test_pixel_padding_is_air(value, limit, read):
    noisy = np.where(breast() > 0, np.maximum(breast(), 10), np.arange(96, dtype=np.uint8) % (1 + (limit or value)))
    pixels = read(noisy.astype(np.uint8), PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    assert np.array_equal(pixels > 0, breast() > 0)


def test_pixel_padding_of_signed_pixels(read):
    cells = np.where(breast() > 0, breast().astype(np.int16), np.int16(-2000))
    pixels = read(cells, PixelPaddingValue=-2000)
    assert np.array_equal(pixels > 0, breast() > 0)


def test_an_image_that_is_all_padding_is_not_analysed(read):
    with pytest.raises(NotAnalysed, match="Pixel Padding"):
        read(PixelPaddingValue=0, PixelPaddingRangeLimit=255)


@pytest.mark.parametrize("offset", [0, 100])
def test_a_noisy_background_becomes_air(offset, read):
    noise = np.random.default_rng(0).normal(offset, 10, (128, 96))
    picture = np.clip(np.where(breast() > 0, offset + 300 + 10.0 * breast(), noise), 0, 4095).astype(np.uint16)
    pixels = read(picture, BitsStored=12, HighBit=11)
    assert ((pixels > 0) == (breast() > 0)).mean() > 0.995


def test_a_bright_marker_hardly_changes_the_tissue(read):
    marked = breast()
    marked[3:6, 80:84] = 255  # 0.1 % of the image
    there = breast() > 0
    assert np.abs(read(marked)[there] - read(breast())[there]).max() < 0.02


def test_percentiles_of_the_breast_are_where_the_rule_puts_them(read):
    smooth = breast(512, 384).astype(np.uint16) * 16 + np.random.default_rng(0).integers(0, 16, (512, 384))
    pixels = read(np.where(smooth < 16, 0, smooth).astype(np.uint16), BitsStored=12, HighBit=11)
    inside = pixels[pixels > 0]
    assert np.percentile(inside, 5) == pytest.approx(0.1, abs=0.01)
    assert np.percentile(inside, 98) == pytest.approx(0.7, abs=0.01)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_pixels_give_numbers_from_0_to_1_or_a_reason(data):
    bits = data.draw(st.sampled_from([1, 8, 10, 12, 16]))
    few = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=12))
    stored = np.resize(np.array(few, np.uint8 if bits <= 8 else np.uint16), (8, 8))
    padding = data.draw(st.one_of(st.none(), st.tuples(st.integers(-40, 40), st.integers(40, 70000))))
    pixel_format = PixelFormat(
        rows=8,
        columns=8,
        bits_allocated=8 if bits <= 8 else 16,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=data.draw(st.booleans()),
        low_is_bright=data.draw(st.booleans()),
        padding=padding,
    )
    try:
        pixels = brightness(stored, pixel_format)
    except NotAnalysed:
        return
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert 0 < pixels.max() <= 1
