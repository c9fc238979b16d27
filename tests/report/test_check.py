"""The template check: it accepts what we write and refuses each way of being wrong."""

from __future__ import annotations

import ast
import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from cmmd_node.errors import InvalidResult
from cmmd_node.facts import Form
from cmmd_node.report import check, write_results
from cmmd_node.report.check import Fault, check_object, require_valid
from cmmd_node.report.check.measurements import MEASUREMENT_TEMPLATES
from cmmd_node.report.check.rows import INCLUDE, TEMPLATES
from cmmd_node.report.check.value_sets import VALUE_SETS
from tests import judges
from tests.conftest import SHARED
from tests.report.exams import (
    CLUSTER,
    MASS,
    OUTCOMES,
    code_item,
    make_exam,
    make_header,
    make_pixels,
    make_result,
    make_round,
)

WRITTEN = {
    name: [dcmread(BytesIO(found.data)) for found in write_results(result, make_exam(), make_round())]
    for name, result in OUTCOMES.items()
}


def walk(ds: Dataset) -> Iterator[Dataset]:
    yield ds
    for child in ds.get("ContentSequence", []):
        yield from walk(child)


def item(ds: Dataset, code: str) -> Dataset:
    """The first content item with a concept name."""
    return next(
        found
        for found in walk(ds)
        if "ConceptNameCodeSequence" in found and found.ConceptNameCodeSequence[0].CodeValue == code
    )


def drop(ds: Dataset, code: str) -> None:
    """Take all content items with a concept name away."""
    for parent in walk(ds):
        if "ContentSequence" in parent:
            kept = [
                child
                for child in parent.ContentSequence
                if "ConceptNameCodeSequence" not in child or child.ConceptNameCodeSequence[0].CodeValue != code
            ]
            parent.ContentSequence = kept


def text_item(code: str, meaning: str, relation: str) -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType, ds.TextValue = relation, "TEXT", "words"
    ds.ConceptNameCodeSequence = [code_item(code, "DCM", meaning)]
    return ds


def set_code(found: Dataset, value: str, meaning: str, scheme: str = "DCM") -> None:
    found.ConceptCodeSequence = [code_item(value, scheme, meaning)]


def link(ds: Dataset, *position: int) -> None:
    item(ds, "111010").ContentSequence[0].ReferencedContentItemIdentifier = list(position)


def swap(ds: Dataset, first: int, second: int) -> None:
    items = list(ds.ContentSequence)
    items[first], items[second] = items[second], items[first]
    ds.ContentSequence = items


def image_by_value(ds: Dataset) -> None:
    image = copy.deepcopy(ds.ContentSequence[1].ContentSequence[0])
    image.RelationshipType = "SELECTED FROM"
    item(ds, "111010").ContentSequence = [image]


def measured(ds: Dataset, code: str) -> Dataset:
    found: Dataset = item(ds, code).MeasuredValueSequence[0]
    return found


def twice(parent: Dataset, code: str) -> None:
    number = list(parent.ContentSequence).index(item(parent, code))
    parent.ContentSequence.insert(number, copy.deepcopy(item(parent, code)))


def call_clusters_densities(ds: Dataset) -> None:
    for found in walk(ds):
        if found.get("ConceptCodeSequence") and found.ConceptCodeSequence[0].CodeValue == "129769006":
            set_code(found, "129793001", "Mammography breast density", "SCT")


def forget_worked_images(ds: Dataset) -> None:
    for succeeded in ("111063", "111062"):
        for performed in item(ds, succeeded).ContentSequence:
            performed.ContentSequence = performed.ContentSequence[:4]


def non_ascii_in_latin_1(ds: Dataset) -> None:
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "Ä"


def unchecked(ds: Dataset, keyword: str, value: str) -> None:
    """Set a value that pydicom would warn of."""
    ds[keyword] = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE)


#: One mistake each in the report with findings, and words of the fault that tells of it.
REPORT_MISTAKES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    # what the project's worked examples of bad reports do
    "no summary of detections": (lambda ds: drop(ds, "111064"), "TID 4000 row 6"),
    "no algorithm name": (lambda ds: drop(ds, "111001"), "TID 4019 row 1"),
    "no center": (lambda ds: drop(ds, "111010"), "TID 4021 row 1"),
    "no rendering intent": (lambda ds: drop(ds, "111056"), "TID 4006 row 2"),
    "dangling reference": (lambda ds: link(ds, 1, 2, 77), "does not exist"),
    "reference to a code": (lambda ds: link(ds, 1, 1), "not an image of the Image Library"),
    "status from the wrong set": (lambda ds: set_code(item(ds, "111064"), "111241", "x"), "not in CID 6042"),
    "failed with a list of successes": (lambda ds: set_code(item(ds, "111064"), "111224", "Failed"), "TID 4015 row 1"),
    "wrong relationship": (
        lambda ds: setattr(item(ds, "111034"), "RelationshipType", "CONTAINS"),
        "CODE CONTAINS CONTAINER is not allowed",
    ),
    "certainty without percent": (
        lambda ds: setattr(
            measured(ds, "111012"), "MeasurementUnitsCodeSequence", [code_item("1", "UCUM", "no units")]
        ),
        "TID 4006 row 6",
    ),
    "wrong root title": (
        lambda ds: setattr(ds, "ConceptNameCodeSequence", [code_item("112000", "DCM", "Chest CAD Report")]),
        "TID 4000 row 1",
    ),
    "an item that the template has not": (
        lambda ds: ds.ContentSequence.append(text_item("121106", "Comment", "CONTAINS")),
        "TEXT 121106 DCM is not in the template",
    ),
    "no patient id": (lambda ds: delattr(ds, "PatientID"), "PatientID: is missing (type 2)"),
    "unknown completion flag": (lambda ds: setattr(ds, "CompletionFlag", "DONE"), "CompletionFlag"),
    "no evidence": (lambda ds: delattr(ds, "CurrentRequestedProcedureEvidenceSequence"), "in no evidence sequence"),
    "says none but has findings": (
        lambda ds: set_code(item(ds, "111017"), "111241", "All algorithms succeeded; without findings"),
        "summary 111241 with findings",
    ),
    "image by value": (image_by_value, "only a reference into the Image Library"),
    "outside the image": (
        lambda ds: setattr(item(ds, "111010"), "GraphicData", [9999.0, 9999.0]),
        "outside the image of 48 columns and 64 rows",
    ),
    "wrong laterality": (
        lambda ds: set_code(item(ds, "111027"), "73056007", "Right breast", "SCT"),
        "TID 4020 row 2",
    ),
    "wrong order": (lambda ds: swap(ds, 3, 4), "out of order"),
    # and more
    "no template identification": (lambda ds: delattr(ds, "ContentTemplateSequence"), "not DCMR 4000"),
    "library without images": (lambda ds: setattr(ds.ContentSequence[1], "ContentSequence", []), "TID 4000 row 4"),
    "spacings exchanged": (lambda ds: setattr(measured(ds, "111026"), "NumericValue", "0.2"), "TID 4020 row 11"),
    "no date of the image": (lambda ds: drop(ds.ContentSequence[1], "111060"), "TID 4020 row 7"),
    "more than certain": (lambda ds: setattr(measured(ds, "111012"), "NumericValue", "100.5"), "not within 0 to 100"),
    "half a calcification": (lambda ds: setattr(measured(ds, "111038"), "NumericValue", "3.5"), "not a whole number"),
    "calcifications in a density": (call_clusters_densities, "TID 4006 row 13"),
    "algorithm named twice": (
        lambda ds: item(ds, "111059").ContentSequence.insert(
            4, text_item("111001", "Algorithm Name", "HAS PROPERTIES")
        ),
        "TID 4019 is there 2 times, once is allowed",
    ),
    "center given twice": (lambda ds: twice(item(ds, "111059"), "111010"), "TID 4021 is there 2 times"),
    "no tracking unique identifier": (lambda ds: drop(ds, "112040"), "no Tracking Unique Identifier"),
    "certainty given twice": (lambda ds: twice(item(ds, "111059"), "111012"), "out of order or too often"),
    "no list of successes": (lambda ds: drop(ds, "111063"), "TID 4015 is missing"),
    "open outline": (
        lambda ds: setattr(item(ds, "111041"), "GraphicData", item(ds, "111041").GraphicData[:-2]),
        "not closed",
    ),
    "half a point": (lambda ds: setattr(item(ds, "111041"), "GraphicData", [1.0, 2.0, 1.0]), "with 3 numbers"),
    "circle as a center": (lambda ds: setattr(item(ds, "111010"), "GraphicType", "CIRCLE"), "TID 4021 row 1"),
    "reference to the ancestor": (lambda ds: link(ds, 1, 3), "its own ancestor"),
    "reference with a value type": (
        lambda ds: setattr(item(ds, "111010").ContentSequence[0], "ValueType", "IMAGE"),
        "has a value type",
    ),
    "zero-width space": (
        lambda ds: setattr(item(ds, "111034").ConceptNameCodeSequence[0], "CodeMeaning", "Individual\u200b"),
        "'\\u200b'",
    ),
    "another meaning": (
        lambda ds: setattr(item(ds, "111010").ConceptNameCodeSequence[0], "CodeMeaning", "Centre"),
        "means 'Center'",
    ),
    "empty text": (lambda ds: setattr(item(ds, "111033"), "TextValue", " "), "the text is empty"),
    "other character set": (non_ascii_in_latin_1, "the character set is not ISO_IR 192"),
    "no character set": (lambda ds: delattr(ds, "SpecificCharacterSet"), "SpecificCharacterSet: is missing (type 1)"),
    "empty series": (lambda ds: setattr(ds, "SeriesInstanceUID", ""), "SeriesInstanceUID: is empty (type 1)"),
    "invalid study date": (lambda ds: unchecked(ds, "StudyDate", "2010"), "StudyDate"),
    "no research notice": (lambda ds: setattr(ds, "SeriesDescription", "CAD"), "not a medical device"),
    "wrong modality": (lambda ds: setattr(ds, "Modality", "MG"), "not SR"),
    "finding on an unworked image": (forget_worked_images, "in no list of successful"),
}


#: The same in a segmentation of two findings.
SEGMENTATION_MISTAKES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "no orientation": (lambda ds: delattr(ds, "PatientOrientation"), "PatientOrientation: is missing (type 2)"),
    "gap in the numbers": (lambda ds: setattr(ds.SegmentSequence[1], "SegmentNumber", 3), "without gaps"),
    "one tracking for all": (
        lambda ds: setattr(ds.SegmentSequence[1], "TrackingUID", ds.SegmentSequence[0].TrackingUID),
        "TrackingUID",
    ),
    "a frame too few": (lambda ds: ds.PerFrameFunctionalGroupsSequence.pop(), "NumberOfFrames"),
    "pixels cut short": (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]), "PixelData"),
    "bytes for bits": (lambda ds: setattr(ds, "BitsAllocated", 8), "BitsAllocated"),
    "no reference": (lambda ds: setattr(ds, "ReferencedSeriesSequence", []), "ReferencedSeriesSequence"),
    "other size": (lambda ds: setattr(ds, "Rows", 65), "not those of the image"),
    "other grid": (
        lambda ds: setattr(_source(ds), "SpatialLocationsPreserved", "NO"),
        "SpatialLocationsPreserved",
    ),
    "other image": (lambda ds: setattr(_source(ds), "ReferencedSOPInstanceUID", "1.2.3"), "does not list the image"),
    "not in the set": (
        lambda ds: setattr(
            ds.SegmentSequence[0], "SegmentedPropertyTypeCodeSequence", [code_item("76752008", "SCT", "Breast")]
        ),
        "nothing that segment 1 may show",
    ),
    "no dimension": (
        lambda ds: delattr(ds.PerFrameFunctionalGroupsSequence[0], "FrameContentSequence"),
        "DimensionIndexValues",
    ),
    "fractional": (lambda ds: setattr(ds, "SegmentationType", "FRACTIONAL"), "SegmentationType"),
}


def _source(ds: Dataset) -> Dataset:
    derivation = ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    found: Dataset = derivation.SourceImageSequence[0]
    return found


def mistaken(ds: Dataset, change: Callable[[Dataset], object]) -> Dataset:
    ds = copy.deepcopy(ds)
    change(ds)
    return ds


def of_one_image(form: Form) -> Dataset:
    """The smallest object that holds everything."""
    result = make_result(marks={"L CC": (CLUSTER, MASS)})
    written = write_results(
        replace(result, views=result.views[:1]), [make_header("L CC")], make_round(), forms=(form,), pixels=make_pixels
    )
    [ds] = [dcmread(BytesIO(found.data)) for found in written if found.form is form]
    return ds


def two_segments() -> Dataset:
    return WRITTEN["findings"][2]


@pytest.mark.parametrize("name", OUTCOMES)
def test_all_that_we_write_is_accepted(name: str) -> None:
    for ds in WRITTEN[name]:
        assert check_object(ds) == []
        require_valid(ds, images=make_exam())


@pytest.mark.parametrize("name", REPORT_MISTAKES)
def test_each_mistake_in_a_report_is_found(name: str) -> None:
    change, words = REPORT_MISTAKES[name]
    faults = check_object(mistaken(WRITTEN["findings"][0], change), images=make_exam())
    assert any(words in str(fault) for fault in faults), list(map(str, faults))


@pytest.mark.parametrize("name", SEGMENTATION_MISTAKES)
def test_each_mistake_in_a_segmentation_is_found(name: str) -> None:
    change, words = SEGMENTATION_MISTAKES[name]
    faults = check_object(mistaken(two_segments(), change), images=make_exam())
    assert any(words in str(fault) for fault in faults), list(map(str, faults))


#: Elements that an object may lack: optional ones that were copied or that highdicom adds.
OPTIONAL = {
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "SourceImageSequence",
    "DimensionDescriptionLabel",
    "AnatomicRegionModifierSequence",
    "AlgorithmParameters",
    "SegmentsOverlap",
    "PresentationLUTShape",
    "PurposeOfReferenceCodeSequence",
    "GraphicLayerDescription",
    "DerivationDescription",
    "ImageComments",
    "ImageLaterality",
    "GraphicLayerRecommendedDisplayCIELabValue",
}

#: The side of a Finding Site, and the findings of a Measurement Report.
OPTIONAL_BELOW = {("363698007", "ContentSequence"), ("126010", "ContentSequence")}


def elements(ds: Dataset, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Dataset, str]]:
    """Every element: its place below the nearest content item with a name, the data set that holds it, its keyword."""
    names = ds.get("ConceptNameCodeSequence")
    here = (names[0].CodeValue,) if names else above
    for element in list(ds):
        yield (*here, element.keyword), ds, element.keyword
        if element.VR == "SQ":
            for found in element.value:
                yield from elements(found, (*here, element.keyword))


@pytest.mark.parametrize("form", Form)
def test_no_element_can_be_missed(form: Form) -> None:
    exam, ds = [make_header("L CC")], of_one_image(form)
    seen, unnoticed = set(), set()
    for place, holder, keyword in elements(ds):
        if place in seen:
            continue
        seen.add(place)
        taken = holder[keyword]
        del holder[keyword]
        if not check_object(ds, images=exam):
            unnoticed.add(place)
        holder[keyword] = taken
    assert {place for place in unnoticed if place[-1] not in OPTIONAL} <= OPTIONAL_BELOW
    assert check_object(ds, images=exam) == []


def test_coordinates_are_bounded_by_the_library_when_no_image_is_at_hand() -> None:
    ds = mistaken(WRITTEN["findings"][0], REPORT_MISTAKES["outside the image"][0])
    assert any("outside the image" in fault.message for fault in check_object(ds))


def test_nothing_but_our_forms_is_accepted() -> None:
    [fault] = check_object(make_exam()[0])
    assert fault.path == "SOPClassUID"
    assert check_object(Dataset()) != []
    several = Dataset()
    several.SOPClassUID = [make_exam()[0].SOPClassUID] * 2
    assert [fault.path for fault in check_object(several)] == ["SOPClassUID"]


def test_a_refusal_names_the_object_and_its_faults_but_no_patient() -> None:
    ds = mistaken(WRITTEN["findings"][0], lambda ds: drop(ds, "111010"))
    unchecked(ds, "PatientID", "D1-0002" * 20)
    with pytest.raises(InvalidResult, match="TID 4021 row 1") as refused:
        require_valid(ds)
    assert str(ds.SOPInstanceUID) in str(refused.value)
    assert "D1-0002" not in str(refused.value)


def test_a_fault_reads_as_one_line() -> None:
    fault = Fault(rule="TID 4006 row 8", path="1.3.1.2", message="TID 4021 is missing")
    assert str(fault) == "TID 4006 row 8: 1.3.1.2: TID 4021 is missing"


def test_the_table_names_only_what_it_holds() -> None:
    templates = {**TEMPLATES, **MEASUREMENT_TEMPLATES}
    for tid, template in templates.items():
        numbers = [row.number for row in template.rows]
        assert len(set(numbers)) == len(numbers), tid
        assert {*template.one_of, *template.not_both} <= set(numbers), tid
        for row in template.rows:
            if row.value_type == INCLUDE:
                assert row.concept.removeprefix("TID ") in templates, (tid, row)
            for named in (row.concept, row.values, row.unit):
                for part in named.split("|"):
                    assert not part.startswith("CID") or part in VALUE_SETS, (tid, row)


def test_the_check_shares_no_table_with_the_writers() -> None:
    # a code's older name is no rule, and pydicom judges that table
    allowed = {"cmmd_node.errors.InvalidResult", "cmmd_node.report.header", "cmmd_node.report.srt.current_code"}
    for path in Path(str(check.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if not module.startswith("cmmd_node") or module.startswith("cmmd_node.report.check"):
                continue
            assert isinstance(node, ast.ImportFrom)
            names = {f"{module}.{alias.name}" for alias in node.names}
            assert names <= allowed, path.name


@pytest.mark.shared
def test_the_worked_examples_are_judged_by_the_standard_alone(tmp_path: Path) -> None:
    script = SHARED / "tools" / "example_mammo_cad_sr.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=60)
    images = [dcmread(path) for path in sorted(tmp_path.glob("ok-mg-*.dcm"))]
    reports = {path.stem: dcmread(path) for path in sorted(tmp_path.glob("*-sr-*.dcm"))}
    found = {name: [str(fault) for fault in check_object(ds, images) if not fault.ours] for name, ds in reports.items()}
    assert len(found) > 30
    assert {name: faults for name, faults in found.items() if name.startswith("ok") and faults} == {}
    assert {name for name, faults in found.items() if name.startswith("bad") and not faults} == set()


@pytest.mark.shared
def test_other_forms_of_others_are_judged_by_the_standard_alone(tmp_path: Path) -> None:
    for script in ("example_mammo_cad_sr.py", "example_results_objects.py"):
        subprocess.run([sys.executable, SHARED / "tools" / script, tmp_path], check=True, timeout=120)
    wanted = (*tmp_path.glob("ok-seg-*.dcm"), *tmp_path.glob("ok-sr1500-*3d.dcm"), tmp_path / "ok-gsps.dcm")
    found = {path.name: [fault for fault in check_object(dcmread(path)) if not fault.ours] for path in wanted}
    assert len(found) >= 4
    assert {name: faults for name, faults in found.items() if faults} == {}
    assert [
        fault.path for fault in check_object(dcmread(tmp_path / "bad-gsps-no-laterality.dcm")) if not fault.ours
    ] == ["Laterality"]


@pytest.mark.judges
def test_the_judges_see_what_we_see(tmp_path: Path) -> None:
    path = tmp_path / "mistaken.dcm"
    ds = of_one_image(Form.CAD_SR)
    for name in ("no rendering intent", "dangling reference", "no patient id"):
        REPORT_MISTAKES[name][0](ds)
    ds.save_as(path, enforce_file_format=True)
    assert judges.dciodvfy(path)
    assert judges.dsrdump(path)
    assert judges.pixelmed(path)


def test_forms_are_all_checked() -> None:
    written = write_results(OUTCOMES["findings"], make_exam(), make_round(), forms=tuple(Form), pixels=make_pixels)
    assert {found.form for found in written} == set(Form)
