"""Headers as peers send them: what is missing or wrong is left out, and the result is valid all the same."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cmmd_node.report import write_results
from cmmd_node.report.header import fits, identity
from tests.report.exams import OUTCOMES, STUDY, VIEWS, code_item, make_header, make_round

# pydicom warns of values that do not fit, when they are set here and when they are read
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def through_a_file(ds: Dataset, *, implicit: bool = False) -> Dataset:
    """The header as it comes from a file, with values that are only decoded when they are looked at."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return dcmread(BytesIO(file.getvalue()))


def report_of(**changes: object) -> Dataset:
    exam = [through_a_file(make_header(name, **changes)) for name in VIEWS]
    return dcmread(BytesIO(write_results(OUTCOMES["findings"], exam, make_round())[0].data))


def first_entry(ds: Dataset) -> dict[str, Dataset]:
    [image, *_] = ds.ContentSequence[1].ContentSequence
    return {item.ConceptNameCodeSequence[0].CodeValue: item for item in image.get("ContentSequence", [])}


@pytest.mark.parametrize(
    ("keyword", "value", "taken"),
    [
        ("PatientSex", "F", "F"),
        ("PatientSex", "female", ""),
        ("PatientSex", "W", ""),
        ("PatientSex", None, ""),
        ("PatientBirthDate", "19600229", "19600229"),
        ("PatientBirthDate", "19610229", ""),
        ("PatientBirthDate", "1960.02.28", ""),
        ("StudyDate", "20100230", ""),
        ("StudyTime", "9:15", ""),
        ("StudyTime", "091500.25", "091500.25"),
        ("PatientID", "x" * 64, "x" * 64),
        ("PatientID", "x" * 65, ""),
        ("PatientID", "A\\B", ""),
        ("AccessionNumber", "12345678901234567", ""),
        ("StudyID", None, ""),
        ("PatientName", "Müller^Änne", "Müller^Änne"),
        ("PatientName", "x" * 65, ""),
        ("PatientName", "Doe^Jane", "Doe^Jane"),
        ("PatientName", "a^b^c^d^e^f", ""),
        ("PatientName", "Doe^\x1bJane", ""),
        ("PatientAge", "40", None),
        ("PatientAge", "040Y", "040Y"),
        ("StudyDescription", "Mammographie beidseits", "Mammographie beidseits"),
        ("StudyDescription", "x" * 65, None),
        ("DeidentificationMethod", None, None),
        ("PatientIdentityRemoved", "MAYBE", None),
    ],
)
def test_what_does_not_fit_is_left_empty_and_never_shortened(keyword: str, value: object, taken: str | None) -> None:
    ds = report_of(**{keyword: value})
    assert ds.get(keyword) == taken


def test_identity_removed_is_said_with_its_method_or_not_at_all() -> None:
    assert report_of().PatientIdentityRemoved == "YES"
    assert "PatientIdentityRemoved" not in report_of(DeidentificationMethod=None)


def with_name_bytes(name: bytes, character_set: str | None) -> list[Dataset]:
    exam = []
    for view in VIEWS:
        ds = make_header(view, SpecificCharacterSet=character_set)
        ds["PatientName"] = DataElement("PatientName", "PN", name)
        ds["PatientID"] = DataElement("PatientID", "LO", "M1")
        exam.append(through_a_file(ds))
    return exam


@pytest.mark.parametrize(
    ("encoded", "character_set", "taken"),
    [
        ("Müller".encode("latin-1"), "ISO_IR 100", "Müller"),
        ("Müller".encode(), "ISO_IR 192", "Müller"),
        ("Müller".encode("latin-1"), None, ""),
        ("Müller".encode(), "ISO_IR 6", ""),
        (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "GB18030", "Wang^XiaoDong=王^小东"),
        (b"Muller", None, "Muller"),
    ],
)
def test_characters_are_taken_over_only_when_they_are_declared(
    encoded: bytes, character_set: str | None, taken: str
) -> None:
    written = write_results(OUTCOMES["findings"], with_name_bytes(encoded, character_set), make_round())
    for found in written:
        assert str(dcmread(BytesIO(found.data)).PatientName) == taken


def test_attributes_come_from_whichever_image_has_them() -> None:
    exam = [make_header(name, PatientBirthDate=None, AccessionNumber="") for name in VIEWS]
    exam[2].PatientBirthDate, exam[3].AccessionNumber = "19600101", "A1"
    found = identity(STUDY, exam)
    assert (found.PatientBirthDate, found.AccessionNumber) == ("19600101", "A1")


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"ImageLaterality": "X"}, {"111027"}),
        ({"PatientOrientation": ["A", "X"]}, {"111044", "111043"}),
        ({"PatientOrientation": "A"}, {"111044", "111043"}),
        ({"StudyDate": "", "StudyTime": "noon"}, {"111060", "111061"}),
        ({"ContentDate": None, "ContentTime": None}, {"111018", "111019"}),
        ({"ImagerPixelSpacing": None}, {"111026", "111066"}),
        ({"ImagerPixelSpacing": [0, 0.1]}, {"111026", "111066"}),
        ({"ImagerPixelSpacing": [0.1, 0.1, 0.1]}, {"111026", "111066"}),
    ],
)
def test_the_library_has_only_rows_that_the_header_supports(changes: dict[str, object], absent: set[str]) -> None:
    everything = first_entry(report_of()).keys()
    assert everything - first_entry(report_of(**changes)).keys() == absent


def test_spacing_between_columns_is_the_horizontal_one() -> None:
    entry = first_entry(report_of(ImagerPixelSpacing=None, PixelSpacing=[0.07, 0.085]))
    assert entry["111066"].MeasuredValueSequence[0].NumericValue == 0.07
    assert entry["111026"].MeasuredValueSequence[0].NumericValue == 0.085


def test_view_and_side_fall_back_to_what_was_read_elsewhere() -> None:
    entry = first_entry(report_of(ViewCodeSequence=None, ImageLaterality=None))
    assert entry["111031"].ConceptCodeSequence[0].CodeValue == "399162004"
    assert entry["111027"].ConceptCodeSequence[0].CodeValue == "80248007"


@pytest.mark.parametrize("scheme", ["SRT", "SNM3"])
def test_older_codes_are_translated(scheme: str) -> None:
    view = code_item("R-10242", scheme, "cranio-caudal")
    view.ViewModifierCodeSequence = [
        code_item("R-102D6", scheme, "Magnification"),
        code_item("X", "99LOCAL", "Something"),
    ]
    [item] = [first_entry(report_of(ViewCodeSequence=[view]))["111031"]]
    assert item.ConceptCodeSequence[0].CodingSchemeDesignator == "SCT"
    assert item.ConceptCodeSequence[0].CodeValue == "399162004"
    assert [child.ConceptCodeSequence[0].CodeValue for child in item.ContentSequence] == ["399163009"]


@pytest.mark.parametrize("words", ["abc", "1e400", "", "0.1\\abc"])
def test_undecodable_numbers_are_absent(words: str) -> None:
    exam = []
    for name in VIEWS:
        ds = make_header(name, ImagerPixelSpacing=None)
        ds.add_new("PatientComments", "LT", "")
        file = BytesIO()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds[0x00181164] = DataElement(0x00181164, "LO", words)  # implicit VR: read back as DS
        dcmwrite(file, ds, enforce_file_format=True)
        exam.append(dcmread(BytesIO(file.getvalue())))
    ds = dcmread(BytesIO(write_results(OUTCOMES["findings"], exam, make_round())[0].data))
    assert not {"111026", "111066"} & first_entry(ds).keys()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime",
                "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "ContentDate",
                "ContentTime", "IssuerOfPatientID", "ImageLaterality", "Laterality", "PatientOrientation",
            ]
        ),
        st.one_of(st.none(), st.text(max_size=80)),
        max_size=8,
    )
)  # fmt: skip
def test_no_header_text_stops_a_result(changes: dict[str, str | None]) -> None:
    exam = []
    for name in VIEWS:
        ds = make_header(name)
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        exam.append(ds)
    assert len(write_results(OUTCOMES["mixed"], exam, make_round())) == 2


@pytest.mark.parametrize(
    ("words", "vr", "fit"),
    [
        ("20240229", "DA", True),
        ("20230229", "DA", False),
        ("2359", "TM", True),
        ("2460", "TM", False),
        ("٢٠٢٤٠١٠١", "DA", False),
        ("A=B=C", "PN", True),
        ("A=B=C=D", "PN", False),
        ("x\ufffd", "LO", False),
        ("x\nb", "LO", False),
        ("می\u200cخواهم", "LO", True),
    ],
)
def test_what_fits_a_value_representation(words: str, vr: str, *, fit: bool) -> None:
    assert fits(words, vr) is fit
