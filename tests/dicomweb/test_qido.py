"""QIDO-RS: which studies, series and instances a search finds, what it says of them, what it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRBigEndian, ImplicitVRLittleEndian

from cmmd_node.dicomweb.attributes import ATTRIBUTES
from cmmd_node.dicomweb.headers import Cataloguer
from cmmd_node.dicomweb.query import read_query
from cmmd_node.errors import MalformedRequest
from cmmd_node.index.search import Between, Level, Like, OneOf
from tests.dicomweb.conftest import STOW, WebRole, body
from tests.e2e.exams import small_exam
from tests.mammograms import encoded, exam, make_mammogram
from tests.nodes import RunningNode, wait_until

Serve = Callable[..., WebRole]

#: Studies by the word that tests know them by.
STUDIES: dict[str, dict[str, Any]] = {
    "anna": {
        "PatientID": "A-1",
        "PatientName": "Müller^Anna",
        "StudyDate": "20200105",
        "StudyTime": "081500",
        "AccessionNumber": "ACC[1]",
        "StudyDescription": "Screening 100%",
        "ReferringPhysicianName": "Dr^House",
    },
    "berta": {
        "PatientID": "A-2",
        "PatientName": "MÜLLER^BERTA^^^",
        "StudyDate": "20200106",
        "StudyTime": "1730",
        "AccessionNumber": "ACC_2",
        "StudyID": "7",
    },
    "clara": {
        "PatientID": "B_3",
        "PatientName": "Yamada^Tarou=山田^太郎",
        "SpecificCharacterSet": "ISO_IR 192",
        "StudyDate": "20201231",
        "StudyTime": "235959.5",
        "AccessionNumber": "ACCX2",
    },
    "dora": {"PatientID": "a-1", "PatientName": "", "StudyDate": "", "StudyTime": "", "PatientBirthDate": "19500101"},
}
SERIES: dict[str, dict[str, Any]] = {
    "anna": {"SeriesNumber": 3, "SeriesDescription": "first", "PerformedProcedureStepStartDate": "20200104"},
    "berta": {"SeriesNumber": 4},
    "clara": {"SeriesNumber": 5},
    "dora": {"SeriesNumber": None},
}


def uid_of(study: str) -> str:
    return str(make_mammogram(study=study).StudyInstanceUID)


def fill(web: WebRole) -> None:
    for study, values in STUDIES.items():
        images = exam(study=study, **{"SpecificCharacterSet": "ISO_IR 192", **values, **SERIES[study]})
        kept = images if study == "anna" else images[:1]
        assert web.store(*kept).status_code == 200


def found(web: WebRole, path: str) -> list[str]:
    """Studies, by their words, of the matches in their order."""
    answer = web.client.get(path)
    if answer.status_code == 204:
        assert answer.content == b""
        return []
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    words = {uid_of(study): study for study in STUDIES}
    return [words[one["0020000D"]["Value"][0]] for one in answer.json()]


ALL = ["clara", "berta", "anna", "dora"]
SEARCHES = {
    "": ALL,
    "?PatientID=A-1": ["anna"],
    "?00100020=A-1": ["anna"],
    "?PatientID=A-*": ["berta", "anna"],
    "?PatientID=?-1": ["anna", "dora"],
    "?PatientID=B_*": ["clara"],
    "?PatientID=": ALL,
    "?PatientID=*": ALL,
    "?PatientID=x": [],
    "?AccessionNumber=ACC[1]": ["anna"],
    "?AccessionNumber=ACC[1*": ["anna"],
    "?AccessionNumber=ACC_*": ["berta"],
    "?AccessionNumber=acc_2": [],
    "?StudyDescription=*%25": ["anna"],
    "?PatientName=m%C3%BCller*": ["berta", "anna"],
    "?PatientName=M%C3%9CLLER%5EBERTA": ["berta"],
    "?PatientName=M%C3%BCller": [],
    "?PatientName=*%E5%B1%B1%E7%94%B0*": ["clara"],
    "?ReferringPhysicianName=DR%5Ehou*": ["anna"],
    "?StudyDate=20200106": ["berta"],
    "?StudyDate=20200105-20200106": ["berta", "anna"],
    "?StudyDate=20200106-": ["clara", "berta"],
    "?StudyDate=-20200105": ["anna"],
    "?PatientBirthDate=1950.01.01": ["dora"],
    "?StudyTime=08": ["anna"],
    "?StudyTime=0800-1730": ["berta", "anna"],
    "?StudyTime=235959-": ["clara"],
    "?StudyDate=20200105-20200106&StudyTime=1000-1800": ["berta"],
    "?StudyDate=20200105-20201231&StudyTime=0800-0900": ["berta", "anna"],
    "?ModalitiesInStudy=MG": ALL,
    "?ModalitiesInStudy=SR": [],
    "?ModalitiesInStudy=SR,MG&PatientID=A-1": ["anna"],
    "?StudyID=7": ["berta"],
    "?PatientSex=F&limit=2": ["clara", "berta"],
    "?limit=2&offset=2": ["anna", "dora"],
    "?offset=4": [],
    "?limit=0": [],
    "?fuzzymatching=false&PatientID=A-2": ["berta"],
}


def test_searches_find_what_matches_newest_first(web: WebRole) -> None:
    fill(web)
    assert {query: found(web, f"/studies{query}") for query in SEARCHES} == SEARCHES
    anna, clara = uid_of("anna"), uid_of("clara")
    assert found(web, f"/studies?StudyInstanceUID={anna},{clara}") == ["clara", "anna"]
    assert found(web, f"/studies?StudyInstanceUID={anna}%5C{clara}&PatientID=A-1") == ["anna"]


def test_series_and_instances_are_found_on_every_path(web: WebRole) -> None:
    fill(web)
    anna = exam(study="anna")
    study, series, instance = anna[0].StudyInstanceUID, anna[0].SeriesInstanceUID, anna[1].SOPInstanceUID
    for path, words in {
        "/series": ALL,
        "/series?SeriesNumber=4": ["berta"],
        "/series?Modality=MG&PatientID=A-1": ["anna"],
        "/series?SeriesDescription=f*": ["anna"],
        "/series?PerformedProcedureStepStartDate=20200101-20200104": ["anna"],
        f"/studies/{study}/series": ["anna"],
        f"/studies/{study}/series?Modality=CT": [],
        "/instances?limit=100": ["clara", "berta", "anna", "anna", "anna", "anna", "dora"],
        "/instances?StudyDate=20200106": ["berta"],
        f"/instances?SOPInstanceUID={instance}": ["anna"],
        f"/instances?SOPClassUID={DigitalMammographyXRayImageStorageForPresentation}&InstanceNumber=2": ["anna"],
        f"/studies/{study}/instances": ["anna"] * 4,
        f"/studies/{study}/instances?SeriesInstanceUID={series}&InstanceNumber=3": ["anna"],
        f"/studies/{study}/series/{series}/instances?Rows=128&Columns=96": ["anna"] * 4,
        f"/studies/{study}/series/{study}/instances": [],
        "/studies/1.2.3/series": [],
    }.items():
        assert found(web, path) == words, path


def test_an_answer_holds_what_the_standard_wants_and_what_is_asked_for(web: WebRole) -> None:
    fill(web)
    (study,) = web.client.get("/studies?PatientID=B_3").json()
    values = {tag: element.get("Value") for tag, element in study.items()}
    assert values == {
        "00080005": ["ISO_IR 192"],
        "00080020": ["20201231"],
        "00080030": ["235959.5"],
        "00080050": ["ACCX2"],
        "00080056": ["ONLINE"],
        "00080061": ["MG"],
        "00080090": None,
        "00081190": [f"{web.url}/studies/{uid_of('clara')}"],
        "00100010": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}],
        "00100020": ["B_3"],
        "00100030": None,
        "00100040": ["F"],
        "0020000D": [uid_of("clara")],
        "00200010": None,
        "00201206": [1],
        "00201208": [1],
    }
    Dataset.from_json(json.dumps(study))
    assert "00081030" in web.client.get("/studies?includefield=StudyDescription").json()[0]
    assert "00081030" in web.client.get("/studies?includefield=all").json()[0]
    assert "00081030" in web.client.get("/studies?includefield=00100010,00081030").json()[0]
    assert "00080060" not in web.client.get("/studies?includefield=Modality,BodyPartExamined").json()[0]
    anna = make_mammogram(study="anna")
    instances = f"/studies/{anna.StudyInstanceUID}/series/{anna.SeriesInstanceUID}/instances"
    first = web.client.get(f"{instances}?InstanceNumber=1").json()[0]
    assert {tag: first[tag].get("Value") for tag in first} == {
        "00080005": ["ISO_IR 192"],
        "00080016": [DigitalMammographyXRayImageStorageForPresentation],
        "00080018": [exam(study="anna")[0].SOPInstanceUID],
        "00080056": ["ONLINE"],
        "00081190": [f"{web.url}{instances}/{exam(study='anna')[0].SOPInstanceUID}"],
        "00083002": ["1.2.840.10008.1.2.1"],
        "0020000D": [anna.StudyInstanceUID],
        "0020000E": [anna.SeriesInstanceUID],
        "00200013": [1],
        "00280008": None,
        "00280010": [128],
        "00280011": [96],
        "00280100": [8],
    }
    everything = web.client.get("/instances?PatientID=A-1").json()[0]
    assert {"00100010", "00080060", "00080018", "00201209", "00201208"} <= everything.keys()


def test_pages_hold_every_match_once_and_tell_how_many_follow(serve: Serve) -> None:
    web = serve(web={"results": 3})
    fill(web)
    first = web.client.get("/instances")
    assert len(first.json()) == 3
    assert first.headers["warning"] == f"299 {web.url}: There are 4 additional results that can be requested"
    second = web.client.get("/instances?offset=3&limit=1000")
    third = web.client.get("/instances?offset=6")
    pages = [one["00080018"]["Value"][0] for page in (first, second, third) for one in page.json()]
    assert len(pages) == len(set(pages)) == 7
    assert "warning" not in third.headers
    assert (
        web.client.get("/instances?limit=2").headers["warning"].endswith("5 additional results that can be requested")
    )


def test_addresses_are_those_that_user_agents_know(web: WebRole) -> None:
    def told(role: WebRole, **headers: str) -> str:
        return str(role.client.get("/studies", headers=headers).json()[0]["00081190"]["Value"][0])

    web.store(make_mammogram())
    study, port = make_mammogram().StudyInstanceUID, web.settings.web.port
    assert told(web, Host="node.example:81") == f"http://node.example:81/dicom-web/studies/{study}"
    assert told(web, Host="node.example") == f"http://node.example:{port}/dicom-web/studies/{study}"
    forwarded = {"Host": "node.example", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    assert told(web, **forwarded) == f"https://node.example/dicom-web/studies/{study}"


def test_a_configured_address_is_that_of_every_answer(serve: Serve) -> None:
    web = serve(web={"url": "https://node.example/imaging/"})
    answer = web.store(make_mammogram())
    assert answer.json()["00081190"]["Value"][0].startswith("https://node.example/imaging/studies/")


def test_fuzzy_matching_is_answered_with_a_warning(web: WebRole) -> None:
    fill(web)
    answer = web.client.get("/studies?PatientName=Muller*&fuzzymatching=true")
    assert answer.status_code == 204
    assert "Only literal matching has been performed." in answer.headers["warning"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?PatientIdentifier=1", "PatientIdentifier"),
        ("?00990099=1", "00990099"),
        ("?BodyPartExamined=BREAST", "BodyPartExamined cannot be searched for here; these can: StudyDate"),
        ("?SOPInstanceUID=1.2", "SOPInstanceUID cannot"),
        ("?NumberOfStudyRelatedSeries=1", "NumberOfStudyRelatedSeries cannot"),
        ("?RequestAttributesSequence.RequestedProcedureID=1", "cannot be searched for"),
        ("?PatientID=1&00100020=2", "PatientID is given twice"),
        ("?limit=1&limit=2", "limit is given twice"),
        ("?limit=-1", "limit"),
        ("?limit=many", "limit"),
        ("?offset=1.5", "offset"),
        ("?fuzzymatching=yes", "fuzzymatching"),
        ("?StudyInstanceUID=1.2.*", "StudyInstanceUID"),
        ("?StudyDate=2020", "YYYYMMDD"),
        ("?StudyDate=20201301", "YYYYMMDD"),
        ("?StudyDate=-", "StudyDate"),
        ("?StudyDate=20200101-20200102-20200103", "StudyDate"),
        ("?StudyTime=25", "HHMMSS"),
        ("?PatientID=%00", "NUL"),
        ("?includefield=Everything", "Everything"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_reason(query: str, words: str) -> None:
    pairs = [tuple(pair.split("=", 1)) for pair in query[1:].replace("%00", "\0").split("&")]
    with pytest.raises(MalformedRequest, match=words):
        read_query([(name, value) for name, value in pairs], Level.STUDY)


def test_a_refusal_is_answered_400(web: WebRole) -> None:
    for path in ("/studies?nonsense=1", "/studies/1.2/series?StudyInstanceUID=1.3", "/studies/x/series"):
        answer = web.client.get(path)
        assert (answer.status_code, bool(answer.json()["detail"])) == (400, True), path


def test_every_key_of_the_standard_is_understood() -> None:
    query = read_query(
        [("StudyTime", "10-1130"), ("SeriesNumber", "5"), ("00080060", "M?"), ("SOPClassUID", "1.2,1.3")],
        Level.INSTANCE,
    )
    assert query.conditions == {
        "study_time": Between("100000", "113059.999999"),
        "series_number": OneOf((5,)),
        "modality": Like("M?"),
        "sop_class_uid": OneOf(("1.2", "1.3")),
    }


def test_columns_are_keywords_in_snake_case() -> None:
    names = {one.keyword: one.column for one in ATTRIBUTES}
    assert names["SOPClassUID"] == "sop_class_uid"
    assert names["PatientID"] == "patient_id"
    assert names["PerformedProcedureStepStartDate"] == "performed_procedure_step_start_date"


@pytest.mark.fault("H122")
@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("", 200, "application/dicom+json"),
        ("*/*", 200, "application/dicom+json"),
        ("application/*;q=0.5", 200, "application/dicom+json"),
        ("application/json", 200, "application/dicom+json"),
        (
            'multipart/related; type="application/dicom+xml", application/dicom+json;q=0.1',
            200,
            "application/dicom+json",
        ),
        ('multipart/related; type="application/dicom+xml"', 406, "application/json"),
        ("application/dicom+json;q=0", 406, "application/json"),
        ("nonsense", 406, "application/json"),
    ],
)
def test_json_is_what_there_is(web: WebRole, accept: str, status: int, kind: str) -> None:
    web.store(make_mammogram())
    answer = web.client.get("/studies", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert web.client.get("/studies", params={"accept": accept}).status_code == status


def test_what_cannot_be_read_is_found_by_what_the_index_knows(web: WebRole) -> None:
    ds = make_mammogram()
    web.store(ds)
    web.store(make_mammogram(study="sound"))
    ((path,),) = web.rows(f"SELECT path FROM instance WHERE sop_instance_uid = '{ds.SOPInstanceUID}'")
    (web.root / path).unlink()
    with web.index.write() as connection:
        for table in ("instance", "study", "series"):
            connection.exec_driver_sql(f"DELETE FROM catalogue_{table}")
        connection.exec_driver_sql("UPDATE instance SET is_catalogued = false")
    assert len(web.client.get("/studies").json()) == 2
    assert web.client.get("/studies?Modality=MG").status_code == 400
    assert len(web.client.get("/studies?ModalitiesInStudy=MG").json()) == 1


def test_the_catalogue_is_kept_up_without_a_search(web: WebRole) -> None:
    web.store(make_mammogram())
    wait_until(lambda: web.rows("SELECT count(*) FROM catalogue_instance") == [(1,)], 20, "the entry")


@pytest.mark.e2e
def test_results_are_found_beside_the_images_of_their_study(tmp_path: Path, database_url: str) -> None:
    images = small_exam("results")
    study = str(images[0].StudyInstanceUID)
    with RunningNode(
        tmp_path,
        database_url=database_url,
        peer=[{"name": "p", "ae_title": "P", "host": "127.0.0.1", "port": 9, "results": ["cad-sr", "seg"]}],
    ) as node:
        url = f"http://127.0.0.1:{node.settings.web.port}/dicom-web"
        answer = httpx.post(f"{url}/studies", content=body(*images), headers={"Content-Type": STOW}, timeout=30)
        assert answer.status_code == 200
        assert node.wait_for_round(study, 1)["outcome"] == "findings"
        (found_study,) = httpx.get(f"{url}/studies?StudyInstanceUID={study}", timeout=30).json()
        assert found_study["00080061"]["Value"] == ["MG", "SEG", "SR"]
        series = httpx.get(f"{url}/studies/{study}/series?Modality=SR", timeout=30).json()
        assert [one["00201209"]["Value"] for one in series] == [[1]]


def test_other_encodings_are_described_alike(web: WebRole) -> None:
    for study, syntax in {"big": ExplicitVRBigEndian, "implicit": ImplicitVRLittleEndian}.items():
        assert web.store(encoded(make_mammogram(study=study, NumberOfFrames="1"), syntax)).status_code == 200
    matches = web.client.get("/instances?Rows=128&NumberOfFrames=1&PatientID=patient").json()
    assert len(matches) == 2


def test_a_catalogue_is_written_once_by_many(web: WebRole) -> None:
    web.store(*exam())
    cataloguers = [Cataloguer(web.index, web.root) for _ in range(4)]
    threads = [threading.Thread(target=one.catch_up) for one in cataloguers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert web.rows("SELECT count(*) FROM catalogue_instance") == [(4,)]
