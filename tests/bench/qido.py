"""How long searches take on an index of many studies: ``python -m tests.bench.qido [--studies N] [--orthanc N]``.

Rows are generated into the catalogue (four instances in each study), on SQLite and, with ``--postgres URL`` of a server
on which databases may be made, on PostgreSQL. Each search runs over HTTP against a web role of its own, with another
value each time; median and 95 % of the time from request to last byte. Beside them the same searches against Orthanc
with as many studies as it is given (``--orthanc``, over its REST API; 0 leaves it out).
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa

from cmmd_node.index import Index, open_index
from cmmd_node.index.tables import catalogue_instance, catalogue_series, catalogue_study
from cmmd_node.settings import Settings
from cmmd_node.web import serve_http
from tests.conftest import free_ports
from tests.mammograms import make_mammogram
from tests.nodes import Orthanc, wait_until
from tests.receive.conftest import part10_bytes

_DAYS = 3650
_FIRST_DAY = date(2014, 1, 1)
_BATCH = 5000


def day(number: int) -> str:
    """The study date of a study."""
    return (_FIRST_DAY + timedelta(days=number * 7919 % _DAYS)).strftime("%Y%m%d")


def generate(index: Index, studies: int) -> None:
    """The rows of that many studies, patients with two each, one series of four images in each."""
    for start in range(0, studies, _BATCH):
        numbers = range(start, min(start + _BATCH, studies))
        rows: dict[sa.Table, list[dict[str, Any]]] = {catalogue_study: [], catalogue_series: [], catalogue_instance: []}
        for number in numbers:
            study, series = f"1.2.826.0.1.{number}", f"1.2.826.0.2.{number}"
            texts = {
                "patient_id": f"P{number // 2:07d}",
                "patient_name": f"NAME{number // 2:07d}^GIVEN",
                "patient_birth_date": "19600101",
                "patient_sex": "F",
                "study_date": day(number),
                "study_time": f"{number % 24:02d}{number % 60:02d}00",
                "accession_number": f"A{number:08d}",
                "referring_physician_name": "",
                "study_id": "",
                "study_description": "",
                "patient_name_folded": f"name{number // 2:07d}^given",
                "referring_physician_name_folded": "",
            }
            rows[catalogue_study].append({"study_instance_uid": study, **texts})
            one = {"study_instance_uid": study, "series_instance_uid": series}
            described = {"modality": "MG", "series_description": "", "series_number": 1}
            described |= dict.fromkeys(
                ("performed_procedure_step_start_date", "performed_procedure_step_start_time"), ""
            )
            rows[catalogue_series].append(one | described)
            rows[catalogue_instance] += [
                one
                | {
                    "sop_instance_uid": f"1.2.826.0.3.{number}.{image}",
                    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
                    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                    "instance_number": image,
                    "number_of_frames": None,
                    "rows": 2294,
                    "columns": 1914,
                    "bits_allocated": 8,
                    "path": f"objects/00/{number}.{image}.dcm",
                    "size_bytes": 4_400_000,
                    "digest": "0" * 32,
                }
                for image in range(4)
            ]
        with index.write() as connection:
            for table, values in rows.items():
                connection.execute(sa.insert(table), values)
    if not index.is_sqlite:
        with index.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum would have


def searches(studies: int) -> dict[str, Callable[[Random], dict[str, str]]]:
    """Parameters of one search of each kind, another each time."""

    def week(random: Random) -> str:
        first = _FIRST_DAY + timedelta(days=random.randrange(_DAYS - 7))
        return f"{first:%Y%m%d}-{first + timedelta(days=6):%Y%m%d}"

    return {
        "PatientID": lambda random: {"PatientID": f"P{random.randrange(studies // 2):07d}"},
        "AccessionNumber": lambda random: {"AccessionNumber": f"A{random.randrange(studies):08d}"},
        "StudyDate, one week, page of 50": lambda random: {
            "StudyDate": week(random),
            "limit": "50",
            "offset": str(50 * random.randrange(4)),
        },
        "StudyDate, one year, page of 50": lambda random: {
            "StudyDate": f"{2014 + random.randrange(9)}0101-{2014 + random.randrange(9)}1231",
            "limit": "50",
            "offset": str(50 * random.randrange(20)),
        },
        "PatientName with a wild card behind": lambda random: {
            "PatientName": f"Name{random.randrange(studies // 200):05d}*",
            "limit": "50",
        },
    }


@contextmanager
def web_role(settings: Settings, index: Index) -> Iterator[str]:
    """A running web role; its base URL."""
    stop = threading.Event()
    thread = threading.Thread(target=serve_http, args=(settings, index, stop), kwargs={"stop_seconds": 5})
    thread.start()
    url = f"http://127.0.0.1:{settings.web.port}/dicom-web"
    try:
        wait_until(lambda: _is_up(url), 60, "the web role")
        yield url
    finally:
        stop.set()
        thread.join()


def _is_up(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.TransportError:
        return False
    return True


def measure(ask: Callable[[dict[str, str]], Any], studies: int, times: int) -> None:
    """Run each kind of search and print what it took."""
    for name, parameters in searches(studies).items():
        random = Random(4)
        took = []
        found = 0
        for number in range(times + 5):
            wanted = parameters(random)
            started = time.perf_counter()
            found += ask(wanted)
            if number >= 5:  # the first ones warm up
                took.append(1000 * (time.perf_counter() - started))
        print(
            f"  {name}: median {statistics.median(took):.1f} ms, 95 % {np.percentile(took, 95):.1f} ms "
            f"({times} searches, {found / (times + 5):.1f} matches each)"
        )


def node(folder: Path, database_url: str, studies: int, times: int) -> None:
    """Measure ours."""
    receive_port, web_port, check_port = free_ports(3)
    settings = Settings(
        node={"data_dir": folder, "database_url": database_url, "check_port": check_port},
        receive={"port": receive_port},
        web={"port": web_port},
    )
    index = open_index(settings)
    started = time.monotonic()
    generate(index, studies)
    name = "SQLite" if index.is_sqlite else "PostgreSQL"
    print(f"{name}: {studies} studies, {4 * studies} instances, generated in {time.monotonic() - started:.0f} s")
    with web_role(settings, index) as url, httpx.Client(timeout=60) as client:

        def ask(parameters: dict[str, str]) -> int:
            answer = client.get(f"{url}/studies", params=parameters)
            answer.raise_for_status()
            return len(answer.json()) if answer.content else 0

        measure(ask, studies, times)
    index.close()


def orthanc(folder: Path, studies: int, times: int) -> None:
    """Measure Orthanc's DICOMweb plugin with small images of the same headers, one for each study."""
    plugins = sorted(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"))
    with (
        Orthanc(folder, Plugins=[str(plugins[0])], DicomWeb={"Enable": True}) as pacs,
        httpx.Client(timeout=60) as client,
    ):
        started = time.monotonic()
        for number in range(studies):
            ds = make_mammogram(
                np.zeros((8, 8), np.uint8),
                study=f"orthanc {number}",
                PatientID=f"P{number // 2:07d}",
                PatientName=f"NAME{number // 2:07d}^GIVEN",
                StudyDate=day(number),
                AccessionNumber=f"A{number:08d}",
            )
            client.post(f"{pacs.http}/instances", content=part10_bytes(ds)).raise_for_status()
        print(f"Orthanc: {studies} studies of one instance, stored in {time.monotonic() - started:.0f} s")

        def ask(parameters: dict[str, str]) -> int:
            answer = client.get(f"{pacs.http}/dicom-web/studies", params=parameters)
            answer.raise_for_status()
            return len(json.loads(answer.content or b"[]"))

        measure(ask, studies, times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=250_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--orthanc", type=int, default=1000, help="studies for Orthanc; 0: leave it out")
    parser.add_argument("--postgres", help="URL of a PostgreSQL server on which a database may be made")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="cmmd-node-bench-") as folder, ExitStack() as stack:
        node(Path(folder) / "sqlite", "", asked.studies, asked.times)
        if asked.postgres:
            admin = sa.create_engine(asked.postgres, isolation_level="AUTOCOMMIT")
            name = f"bench_{secrets.token_hex(6)}"
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            stack.callback(_drop, admin, name)
            url = admin.url.set(database=name).render_as_string(hide_password=False)
            node(Path(folder) / "postgresql", url, asked.studies, asked.times)
        if asked.orthanc:
            orthanc(Path(folder) / "orthanc", asked.orthanc, asked.times)


def _drop(admin: sa.Engine, name: str) -> None:
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


if __name__ == "__main__":
    main()
