"""The conformance statement is true: what it lists is what is negotiated, answered and written."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from cmmd_node.conformance import statement
from cmmd_node.deliver import verdict_of
from cmmd_node.facts import Codes, Form, Reference
from cmmd_node.index import open_index
from cmmd_node.receive.commitment import REASONS, STATUSES, CommitmentRequests
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import PROCESSING_FAILURE, STORE_STATUS, Receiver
from cmmd_node.report import write_results
from tests.conftest import MakeSettings
from tests.report.exams import OUTCOMES, STUDY, make_exam, make_pixels, make_result, make_round
from tests.test_project import ROOT

STATEMENT = statement()
ROUND = make_round(
    number=2,
    predecessors=tuple(
        Reference(study_instance_uid=STUDY, series_instance_uid="1.2.3", sop_class_uid=uid, sop_instance_uid="1.2.3.4")
        for uid in (MammographyCADSRStorage, Comprehensive3DSRStorage)
    ),
)
OBJECTS = [
    (found.form, dcmread(BytesIO(found.data)))
    for result in (*OUTCOMES.values(), make_result(failed={"R CC": "the detector broke down"}))
    for codes in Codes
    for found in write_results(result, make_exam(), ROUND, forms=tuple(Form), codes=codes, pixels=make_pixels)
]


def section(heading: str) -> str:
    """What stands below a heading, up to the next that is as high or higher."""
    depth = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}.*?\n(.*?)(?=^#{{1,{depth}}} |\Z)", STATEMENT, re.M | re.S)
    assert found, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings left out."""
    tables = re.findall(r"^\|.*\n\|[ -|]*\n((?:\|.*\n?)*)", text, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def test_the_statement_in_deploy_is_the_one_that_is_generated() -> None:
    kept = (ROOT / "deploy" / "conformance.md").read_text(encoding="utf-8")
    assert kept == STATEMENT, "out of date; run: cmmd-node conformance > deploy/conformance.md"


def test_chapters_are_in_the_order_of_the_standard() -> None:
    chapters = re.findall(r"^## (.*)$", STATEMENT, re.M)
    assert chapters == [
        "1 Introduction",
        "2 Implementation model",
        "3 AE specifications",
        "4 Network configuration",
        "5 Media and character sets",
        "6 Security",
        "Annex A: IODs",
        "Annex B: templates",
        "Annex C: codes",
        "Annex D: what results mean",
    ]


def test_what_is_said_to_be_accepted_is_accepted(make_settings: MakeSettings) -> None:
    settings = make_settings(receive={"accept": "any"})
    said = [row[1] for row in rows(section("### 3.2"))]
    classes = [uid for uid in said if "Storage" in UID(uid).name]
    syntaxes = [uid for uid in said if uid not in classes]
    offered = [(one, syntax) for one in classes for syntax in syntaxes]
    refused = [(SecondaryCaptureImageStorage, syntaxes[0]), (classes[0], DeflatedExplicitVRLittleEndian)]
    index = open_index(settings)
    client = index.client()
    receiver = Receiver(settings, Inbox(settings, index, client), CommitmentRequests(settings, index, client))
    receiver.start()
    ae = AE("ANYBODY")
    contexts = [build_context(*pair) for pair in (*offered, *refused, (Verification, syntaxes[0]))]
    assoc = ae.associate("127.0.0.1", settings.receive.port, contexts=contexts, ae_title="CMMD_NODE")
    try:
        accepted = {(one.abstract_syntax, one.transfer_syntax[0]) for one in assoc.accepted_contexts}
    finally:
        assoc.release()
        receiver.stop(2)
        index.close()
    assert len(syntaxes) == len(set(syntaxes))
    assert accepted == {*offered, (Verification, syntaxes[0])}


def test_every_status_is_listed_with_its_meaning() -> None:
    said = {row[0] for row in rows(section("### 3.3"))}
    assert said == {f"{status:04X}" for status in (0, PROCESSING_FAILURE, *STORE_STATUS.values())}
    for status, verdict in rows(section("### 3.5")):
        codes = range(0xA700, 0xA800) if status == "A7xx" else [0xC000 if " " in status else int(status, 16)]
        assert {verdict_of(code).value.replace("-", " ") for code in codes} == {verdict}


def test_every_answer_to_a_storage_commitment_request_is_listed() -> None:
    assert {row[0] for row in rows(section("### 3.6"))} == {f"{code:04X}" for code in (*STATUSES, *REASONS)}


@pytest.mark.parametrize("form", Form)
def test_the_attributes_are_those_of_real_objects(form: Form) -> None:
    (said,) = [
        {row[0]: row[4] for row in rows(text)}
        for text in re.split(r"^### ", section("## Annex A"), flags=re.M)
        if f"(`{form}`)" in text
    ]
    written = [ds for kind, ds in OBJECTS if kind is form]
    assert set(said) == {element.keyword for ds in written for element in ds}
    for keyword, value in said.items():
        if value:
            assert {"\\".join(ds[keyword]) if ds[keyword].VM > 1 else ds[keyword].value for ds in written} == {value}


def test_the_codes_and_content_items_are_those_of_real_objects() -> None:
    listed = {(row[1], row[2]) for row in rows(section("## Annex C"))}
    listed |= {(row[3], "SRT") for row in rows(section("## Annex C")) if row[3]}
    listed.add(("111047", "DCM"))  # probability of cancer, which the built-in model does not give
    written = {
        (item.CodeValue, item.CodingSchemeDesignator)
        for _, ds in OBJECTS
        for element in ds.iterall()
        if element.VR == "SQ"
        for item in element.value
        if "CodeValue" in item
    }
    assert written == listed
    names = {match for row in rows(section("## Annex B")) for match in re.findall(r"\((\w+), \w+, ", row[-1])}
    in_trees = {
        name.CodeValue
        for form, ds in OBJECTS
        if form in {Form.CAD_SR, Form.TID1500}
        for element in ds.iterall()
        if element.keyword == "ConceptNameCodeSequence"
        for name in element.value
        if name.CodingSchemeDesignator != "SRT"
    }
    assert in_trees - {"111047"} == names
