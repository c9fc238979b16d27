"""Every form of many exams before independent judges, and read back by independent readers."""

from __future__ import annotations

import subprocess
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import highdicom
import pytest
from highdicom.seg import segread
from highdicom.sr import srread
from pydicom import dcmread

from cmmd_node.facts import Finding, Form, StudyResult, ViewStatus
from cmmd_node.report import ResultObject, write_results
from tests import judges
from tests.report.cases import CASES
from tests.report.exams import make_pixels

pytestmark = pytest.mark.judges

Files = dict[Form, list[Path]]


def write(name: str) -> list[ResultObject]:
    case = CASES[name]
    return write_results(
        case.result(case.round_), case.images(), case.round_, forms=frozenset(Form), pixels=make_pixels
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """The files of each case by form."""
    folder = tmp_path_factory.mktemp("cases")
    found: dict[str, Files] = {}
    for number, name in enumerate(CASES):
        found[name] = defaultdict(list)
        for part, one in enumerate(write(name)):
            path = folder / f"{number:02d}-{one.form}-{part}.dcm"
            path.write_bytes(one.data)
            found[name][one.form].append(path)
    return found


@pytest.fixture(scope="module")
def complaints(files: dict[str, Files]) -> list[str]:
    """What the judges say of all files together; each names the file."""
    by_form: Files = defaultdict(list)
    for of_case in files.values():
        for form, paths in of_case.items():
            by_form[form] += paths
    reports = [*by_form[Form.CAD_SR], *by_form[Form.TID1500]]
    return [
        *judges.dciodvfy(*(path for paths in by_form.values() for path in paths)),
        *judges.dsrdump(*reports),
        *judges.pixelmed(*by_form[Form.CAD_SR]),
        *judges.pixelmed(*by_form[Form.TID1500], root_template="TID_1500"),
        *judges.dcmpschk(*by_form[Form.GSPS]),
    ]


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_judges_have_nothing_to_say(name: str, files: dict[str, Files], complaints: list[str]) -> None:
    names = {path.name for paths in files[name].values() for path in paths}
    assert names
    assert [one for one in complaints if one.split(": ")[1] in names] == []


@pytest.mark.parametrize("name", CASES)
def test_readers_find_the_same_findings_in_every_form(name: str, files: dict[str, Files]) -> None:
    result = CASES[name].result(CASES[name].round_)
    of_case = files[name]
    tracked = sorted(one.tracking_uid for one in result.findings)
    [report] = of_case[Form.CAD_SR]
    assert dict(sorted(read_by_dcmtk(report))) == dict(sorted(expected_centers(result)))
    assert sorted(read_masks(of_case[Form.SEG])) == tracked
    assert sorted(read_drawings(of_case[Form.GSPS])) == tracked
    assert sorted(read_comments(of_case[Form.SC])) == tracked
    for measured in of_case[Form.TID1500] if tracked else ():  # highdicom takes no report without findings
        assert sorted(read_by_highdicom(measured)) == tracked
    assert len(of_case[Form.TID1500]) == any(view.status is ViewStatus.ANALYSED for view in result.views)


@pytest.mark.parametrize("name", ["all that can be said", "Japanese", "12 bit", "superseding, the lesion recognised"])
def test_a_second_attempt_writes_the_same(name: str, files: dict[str, Files]) -> None:
    written = {path.read_bytes() for paths in files[name].values() for path in paths}
    assert {one.data for one in write(name)} == written


def expected_centers(result: StudyResult) -> Iterator[tuple[tuple[float, ...], int]]:
    """Each place that the CAD SR names with a Center, and how often."""
    count: dict[tuple[float, ...], int] = defaultdict(int)
    for finding in result.findings:
        for center_cr in (finding.mark.center_cr, *finding.mark.calcifications_cr):
            count[center_cr] += 1
    yield from count.items()


def read_by_dcmtk(path: Path) -> Iterator[tuple[tuple[float, ...], int]]:
    """The same, as dsr2xml reads the file."""
    tool = judges.installed("dsr2xml", "dcmtk")
    done = subprocess.run([tool, path], capture_output=True, check=True, timeout=60)
    count: dict[tuple[float, ...], int] = defaultdict(int)
    for item in ElementTree.fromstring(done.stdout).iter("scoord"):
        if item.findtext("concept/value") == "111010":
            column, row = (item.findtext("data") or "").replace("/", ",").split(",")[:2]
            count[float(column), float(row)] += 1
    yield from count.items()


def read_masks(paths: list[Path]) -> Iterator[str]:
    """Tracking UIDs of the lesions of Segmentations, as highdicom reads them; each has a mask that is not empty."""
    for path in paths:
        segmentation = segread(path)
        for number in segmentation.segment_numbers:
            description = segmentation.get_segment_description(number)
            source = segmentation.get_source_image_uids()[0][2]
            mask = segmentation.get_pixels_by_source_instance([source], segment_numbers=[number])
            assert mask.any()
            if description.tracking_uid:
                yield description.tracking_uid


def read_drawings(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        for annotation in dcmread(path).GraphicAnnotationSequence:
            yield from (drawn.TrackingUID for drawn in annotation.GraphicObjectSequence)


def read_comments(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from (line.split(": ")[1] for line in dcmread(path).ImageComments.split("; "))


def read_by_highdicom(path: Path) -> Iterator[str]:
    with warnings.catch_warnings(action="ignore"):  # it knows fewer templates than there are
        report = srread(path)
    for group in report.content.get_planar_roi_measurement_groups():
        assert isinstance(group.roi, highdicom.sr.ImageRegion)
        yield group.tracking_uid


def test_one_lesion_is_tracked_once_in_all_forms_and_both_views(files: dict[str, Files]) -> None:
    result = CASES["a mass in two views"].result(CASES["a mass in two views"].round_)
    [lesion] = result.lesions
    assert isinstance(lesion[0], Finding)
    assert len(lesion) == 2
    of_case = files["a mass in two views"]
    readers = {
        Form.SEG: read_masks,
        Form.GSPS: read_drawings,
        Form.SC: read_comments,
        Form.TID1500: lambda paths: read_by_highdicom(*paths),
    }
    for form, read in readers.items():
        assert list(read(of_case[form])) == 2 * [lesion[0].tracking_uid]
    report = dcmread(*of_case[Form.CAD_SR])
    uids = [str(element.value) for element in report.iterall() if element.keyword == "UID"]
    assert uids == 3 * [lesion[0].tracking_uid]  # of the feature and of both marks
