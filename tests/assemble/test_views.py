"""Which images the CAD takes, by their header."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

from cmmd_node.assemble.views import mammogram_of, read_header, spacing_of, view_of
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import SCREENING_VIEWS, Laterality, Spacing, View, ViewPosition
from tests.mammograms import VIEWS, code_item, exam, make_mammogram, save

CMMD = Path(__file__).parents[3] / "shared/data/cmmd"
CC, MLO, ML = "399162004", "399368009", "399260004"


def view_sequence(*codes, modifiers=()):
    sequence = [code_item(code) for code in codes]
    if modifiers:
        sequence[0].ViewModifierCodeSequence = [code_item(code) for code in modifiers]
    return sequence


def test_an_exam_has_the_four_screening_views():
    assert {view_of(ds) for ds in exam()} == SCREENING_VIEWS


@pytest.mark.parametrize("view", VIEWS)
def test_the_header_in_a_file_says_the_same_as_the_one_in_memory(view, tmp_path):
    ds = make_mammogram(view=view)
    mammogram = mammogram_of(read_header(save(ds, tmp_path / "image")))
    assert mammogram == mammogram_of(ds)
    assert str(mammogram.view) == view
    assert (mammogram.rows, mammogram.columns) == (128, 96)
    assert mammogram.sop_instance_uid == ds.SOPInstanceUID


def test_a_header_is_read_without_its_pixels(tmp_path):
    assert "PixelData" not in read_header(save(make_mammogram(), tmp_path / "image"))


@pytest.mark.parametrize(
    ("codes", "view_position", "expected"),
    [
        ([CC], None, "CC"),
        (["R-10242"], None, "CC"),
        ([MLO], "", "MLO"),
        (["R-10226"], "MLO", "MLO"),
        ([MLO, MLO], None, "MLO"),
        ([CC], "AP", "CC"),  # no mammography view: says nothing
        ([], "CC", "CC"),
        (None, "MLO", "MLO"),
    ],
)
def test_view_from_its_code_then_from_view_position(codes, view_position, expected):
    sequence = None if codes is None else view_sequence(*codes)
    ds = make_mammogram(view="L CC", ViewCodeSequence=sequence, ViewPosition=view_position)
    assert mammogram_of(ds).view.position == expected


def test_the_meaning_of_a_view_code_is_not_looked_at():
    ds = make_mammogram(view="L CC", ViewCodeSequence=[code_item("R-10242", "SNM3", "medio-lateral oblique")])
    assert view_of(ds) == View(Laterality.LEFT, ViewPosition.CC)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"SOPClassUID": DigitalMammographyXRayImageStorageForProcessing}, "For Processing"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "Secondary Capture Image Storage"),
        ({"SOPClassUID": BreastTomosynthesisImageStorage}, "Breast Tomosynthesis Image Storage"),
        ({"SOPClassUID": DigitalXRayImageStorageForPresentation}, "Digital X-Ray Image Storage"),
        ({"SOPClassUID": "1.2.3"}, "unknown SOP Class"),
        ({"SOPClassUID": None}, "unknown SOP Class"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "contradicts"),
        ({"Modality": "CR"}, "CR"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}, "TOMO"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "LOW_ENERGY"]}, "LOW_ENERGY"),
        ({"ImageType": ["DERIVED", "PRIMARY", "STEREO", "LEFT"]}, "STEREO"),
        ({"QualityControlImage": "YES"}, "quality control"),
        ({"CalibrationImage": "YES"}, "calibration"),
        ({"PositionerType": "NONE"}, "specimen"),
        ({"SpecimenDescriptionSequence": [Dataset()]}, "specimen"),
        ({"ViewCodeSequence": view_sequence("127457009")}, "SPECIMEN"),
        ({"BreastImplantPresent": "YES"}, "implant"),
        ({"PatientSex": "M"}, "women"),
        ({"ImageLaterality": None}, "laterality is unknown"),
        ({"ImageLaterality": ""}, "laterality is unknown"),
        ({"ImageLaterality": "B"}, "B"),
        ({"ImageLaterality": "U"}, "U"),
        ({"ImageLaterality": ["L", "R"]}, "not L or R"),
        ({"Laterality": "R"}, "Image Laterality says L, Laterality of the series R"),
        ({"PatientOrientation": ["P", "FL"]}, "contradicts Patient Orientation"),
        ({"PatientOrientation": ["R", "P"]}, "rotated"),
        ({"ViewCodeSequence": None}, "view is unknown"),
        ({"ViewCodeSequence": Sequence()}, "view is unknown"),
        ({"ViewCodeSequence": view_sequence(CC, MLO)}, "several views"),
        ({"ViewCodeSequence": view_sequence(CC), "ViewPosition": "MLO"}, "says CC, View Position says MLO"),
        ({"ViewCodeSequence": view_sequence(ML)}, "ML, not CC or MLO"),
        ({"ViewCodeSequence": view_sequence("12345"), "ViewPosition": "CC"}, "12345"),
        ({"ViewCodeSequence": None, "ViewPosition": "XCCL"}, "XCCL"),
        ({"ViewCodeSequence": None, "ViewPosition": ["CC", "MLO"]}, "not CC or MLO"),
        ({"ViewModifierCodeSequence": view_sequence("R-102D6")}, "magnification"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnification factor 1.8"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "contradicts Presentation LUT Shape"),
        ({"PresentationLUTShape": "INVERSE"}, "contradicts Presentation LUT Shape"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "Bits Allocated is 32"),
        ({"BitsStored": 12}, "do not fit"),
        ({"PixelRepresentation": None}, "Pixel Representation"),
        ({"RescaleSlope": "0"}, "Rescale Slope"),
        ({"Rows": 0}, "Rows"),
        ({"Rows": None}, "Rows"),
        ({"Rows": 65535, "Columns": 65535}, "more than any mammogram"),
        ({"SOPInstanceUID": None}, "SOP Instance UID"),
    ],
)
def test_what_the_cad_does_not_take_has_a_reason(differences, reason, tmp_path):
    ds = make_mammogram(**differences)
    with pytest.raises(NotAnalysed, match=reason):
        mammogram_of(ds)
    assert view_of(ds) is None
    if ds.get("SOPClassUID") and ds.get("SOPInstanceUID"):  # a file cannot be written without
        with pytest.raises(NotAnalysed, match=reason):
            mammogram_of(read_header(save(ds, tmp_path / "image")))


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        *[(code, True) for code in ("442581004", "R-40AB3", "441752004", "P2-00161", "442593008", "R-40ABE")],
        *[(code, False) for code in ("399163009", "399055006", "399209000", "399110001", "399161006", "399011000")],
        *[(code, False) for code in ("R-102D6", "R-102D7", "R-102D5", "R-102C2", "R-102D2", "R-102D1", "R-40AB2")],
        *[(code, False) for code in ("399197002", "399226006", "415670009", "414493004", "442580003")],
        *[(code, False) for code in ("R-102D3", "R-102D4", "R-102C9", "R-102CA", "99999", "")],
    ],
)
def test_view_modifiers_of_a_part_or_an_enlargement_disqualify(code, taken):
    ds = make_mammogram(view="L CC", ViewCodeSequence=view_sequence(CC, modifiers=[code]))
    assert (view_of(ds) is not None) is taken


@pytest.mark.parametrize("differences", [{"PartialView": "YES"}, {"PatientSex": "O"}, {"PatientSex": None}])
def test_a_partial_view_and_an_unknown_sex_are_analysed(differences):
    assert view_of(make_mammogram(**differences))


def test_laterality_of_the_series_serves_where_the_image_has_none():
    ds = make_mammogram(view="R CC", ImageLaterality=None, Laterality="R")
    assert view_of(ds) == View(Laterality.RIGHT, ViewPosition.CC)


@pytest.mark.parametrize(
    ("imager", "factor", "pixel", "expected"),
    [
        (["0.1", "0.2"], None, None, Spacing(row_mm=0.1, column_mm=0.2)),
        (["0.1", "0.1"], "1.25", ["0.3", "0.3"], Spacing(row_mm=0.08, column_mm=0.08)),
        (None, None, ["0.07", "0.07"], Spacing(row_mm=0.07, column_mm=0.07)),
        (None, "1.25", ["0.07", "0.07"], Spacing(row_mm=0.07, column_mm=0.07)),
        (["0", "0"], None, ["0.07", "0.07"], Spacing(row_mm=0.07, column_mm=0.07)),
        (["0.1"], None, None, None),
        (None, None, None, None),
        (["0.1", "0.1"], "0", None, None),
        (["0.1", "0.1"], "-1", None, None),
    ],
)
def test_spacing_is_that_in_the_breast(imager, factor, pixel, expected):
    ds = make_mammogram(ImagerPixelSpacing=imager, EstimatedRadiographicMagnificationFactor=factor, PixelSpacing=pixel)
    assert spacing_of(ds) == expected


LOOKED_AT = [
    *("SOPClassUID", "SOPInstanceUID", "PresentationIntentType", "Modality", "ImageType", "QualityControlImage"),
    *("CalibrationImage", "PositionerType", "SpecimenDescriptionSequence", "ViewCodeSequence", "ViewPosition"),
    *("BreastImplantPresent", "PatientSex", "ImageLaterality", "Laterality", "PatientOrientation", "Rows", "Columns"),
    *("ViewModifierCodeSequence", "EstimatedRadiographicMagnificationFactor", "ImagerPixelSpacing", "PixelSpacing"),
    *("NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PresentationLUTShape", "RescaleSlope", "PixelPaddingValue"),
    "PixelPaddingRangeLimit",
]
nasty_bytes = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"nan\\inf", b"1e999\\1e999", b"1\\2\\3", b"\\", b" ", b"\xff\xfe\x00\xe0\xff\xff\xff\xff", b"9" * 5000]
    ),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    keyword=st.sampled_from(LOOKED_AT),
    value=nasty_bytes,
    vr=st.sampled_from([None, "UN", "LO", "US", "DS", "IS", "SQ", "CS", "UI", "OB"]),
    implicit=st.booleans(),
    little_endian=st.booleans(),
)
def test_nasty_bytes_end_as_a_reason_and_never_warn(keyword, value, vr, implicit, little_endian):
    ds = make_mammogram()
    tag = Tag(tag_for_keyword(keyword))
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, implicit, little_endian)
    view_of(ds)
    spacing_of(ds)


@pytest.mark.parametrize("value", [None, "", "abc", ["1", "x"], 7, -1, 3.5, b"\xff", Sequence()])
def test_nasty_values_in_memory_end_as_a_reason(value):
    for keyword in LOOKED_AT:
        ds = make_mammogram()
        vr = "SQ" if isinstance(value, Sequence) else "LO"
        ds.add(DataElement(tag_for_keyword(keyword), vr, value, already_converted=True))
        view_of(ds)
        spacing_of(ds)


def test_a_reason_quotes_no_more_than_a_code():
    with pytest.raises(NotAnalysed) as caught:
        mammogram_of(make_mammogram(ViewCodeSequence=[code_item("<script>Doe^Jane")]))
    assert "Doe" not in str(caught.value)
    assert "<" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 10, 140, 300, 800])
def test_a_file_that_is_no_dicom_object_or_cut_in_its_header_is_not_analysed(cut, tmp_path):
    path = save(make_mammogram(), tmp_path / "image")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(NotAnalysed):
        mammogram_of(read_header(path))


def test_a_file_that_is_gone_is_not_analysed(tmp_path):
    with pytest.raises(NotAnalysed, match="cannot be read"):
        read_header(tmp_path / "gone")


def test_a_deflated_file_is_not_inflated(tmp_path):
    ds = make_mammogram()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(NotAnalysed, match="deflated"):
        read_header(save(ds, tmp_path / "image"))


@pytest.mark.shared
@pytest.mark.skipif(not CMMD.is_dir(), reason="no shared data beside the checkout")
def test_every_header_of_cmmd_maps_to_its_view():
    constant = json.loads((CMMD / "constant_header_values.json").read_text())
    constant |= {"ImageType": ["DERIVED", "PRIMARY"], "ImagerPixelSpacing": [0.094090909, 0.094090909]}
    ds = Dataset()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PixelRepresentation", "PixelIntensityRelationshipSign"):
        constant[keyword] = int(constant[keyword])
    for keyword, value in constant.items():
        setattr(ds, keyword, value)
    positions = {CC: ViewPosition.CC, MLO: ViewPosition.MLO}
    seen = 0
    with (CMMD / "image_headers.csv").open() as file:
        for row in csv.DictReader(file):
            bits = int(row["BitsStored"])
            ds.SOPInstanceUID = row["SOPInstanceUID"]
            ds.ImageLaterality, ds.PatientOrientation = row["ImageLaterality"], row["PatientOrientation"].split("\\")
            ds.ViewCodeSequence = [code_item(row["ViewCode"], ViewModifierCodeSequence=Sequence())]
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
            mammogram = mammogram_of(ds)
            assert mammogram.view == View(Laterality(row["ImageLaterality"]), positions[row["ViewCode"]])
            assert mammogram.spacing == Spacing(row_mm=0.094090909, column_mm=0.094090909)
            assert (mammogram.rows, mammogram.columns) == (2294, 1914)
            seen += 1
    assert seen == 5202
