"""The older codes: the same objects for readers that know no SNOMED CT."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cmmd_node.facts import Codes, Form
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.check import check_object
from cmmd_node.report.srt import SCT_OF, SRT_OF
from tests import judges
from tests.report.exams import OUTCOMES, make_exam, make_pixels, make_round


def written(codes: Codes, name: str = "findings") -> list[ResultObject]:
    return write_results(OUTCOMES[name], make_exam(), make_round(), forms=tuple(Form), codes=codes, pixels=make_pixels)


def coded(ds: Dataset) -> list[tuple[str, str, str]]:
    """Value, scheme and meaning of every code, in document order."""
    return [
        (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for element in ds.iterall()
        if element.VR == "SQ"
        for item in element.value
        if "CodeValue" in item
    ]


def test_the_table_is_that_of_pydicom() -> None:
    assert len(SCT_OF) == len(SRT_OF) > 150
    assert [older for older, code in SCT_OF.items() if Code(older, "SRT", "") != Code(code, "SCT", "")] == []


@pytest.mark.parametrize("name", OUTCOMES)
def test_only_codes_and_identity_differ(name: str) -> None:
    for today, older in zip(written(Codes.SCT, name), written(Codes.SRT, name), strict=True):
        ds, in_srt = dcmread(BytesIO(today.data)), dcmread(BytesIO(older.data))
        assert today.codes in {Codes.SCT, None}
        if today.codes is None:
            assert older == today
            continue
        assert older.codes is Codes.SRT
        assert today.sop_instance_uid != older.sop_instance_uid
        assert today.series_instance_uid != older.series_instance_uid
        assert ds.SeriesNumber != in_srt.SeriesNumber
        assert [(SRT_OF.get(v, v), "SRT" if v in SRT_OF else s, m) for v, s, m in coded(ds)] == coded(in_srt)
        for item in (one for element in in_srt.iterall() if element.VR == "SQ" for one in element.value):
            if item.get("CodingSchemeDesignator") == "SRT":
                item.CodeValue, item.CodingSchemeDesignator = SCT_OF[item.CodeValue], "SCT"
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
            in_srt[keyword] = ds[keyword]
        assert in_srt == ds


def test_every_concept_that_has_an_older_code_gets_it() -> None:
    objects = [dcmread(BytesIO(one.data)) for one in written(Codes.SRT)]
    assert {scheme for ds in objects for _, scheme, _ in coded(ds)} == {"DCM", "SRT", "UCUM", "RFC5646"}
    assert {"F-01796", "F-01775"} <= {value for value, _, _ in coded(objects[0])}


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_check_takes_either(name: str) -> None:
    for one in written(Codes.SRT, name):
        assert check_object(dcmread(BytesIO(one.data)), make_exam()) == []


@pytest.mark.judges
def test_judges_take_the_older_codes(tmp_path: Path) -> None:
    paths = []
    for number, one in enumerate(written(Codes.SRT)):
        paths.append(tmp_path / f"{number}-{one.form}.dcm")
        paths[-1].write_bytes(one.data)
    assert judges.dciodvfy(*paths) == []
    assert judges.dcentvfy(*paths) == []
    assert judges.dsrdump(*(path for path in paths if path.stem.endswith(("cad-sr", "tid1500")))) == []
