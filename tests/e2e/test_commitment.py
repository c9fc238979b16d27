"""Storage commitment with requestors that are not ours, across the death of the worker that owes the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.conftest import free_ports
from tests.mammograms import exam, make_mammogram, save
from tests.nodes import Orthanc, RunningNode, dcmsend, wait_until

pytestmark = pytest.mark.e2e


class Requestor:
    """Asks for commitment, and takes the results on a port of its own."""

    def __init__(self, port: int) -> None:
        self.reports: list[tuple[int, Dataset]] = []
        self._port = port
        self._ae = AE("PACS")
        self._ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self._ae.add_requested_context(StorageCommitmentPushModel)
        self._server: Any = None

    def listen(self) -> None:
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self._server = self._ae.start_server(("127.0.0.1", self._port), block=False, evt_handlers=handlers)

    def ask(self, port: int, *uids: tuple[str, str]) -> str:
        """Send an N-ACTION; its Transaction UID."""
        ds = Dataset()
        ds.TransactionUID = generate_uid()
        ds.ReferencedSOPSequence = Sequence()
        for sop_class_uid, sop_instance_uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
            ds.ReferencedSOPSequence.append(item)
        assoc = self._ae.associate("127.0.0.1", port, ae_title="CMMD_NODE")
        status, _ = assoc.send_n_action(ds, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        assoc.release()
        assert status.Status == 0x0000
        return str(ds.TransactionUID)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return 0x0000, None


@pytest.fixture
def requestor() -> Iterator[Requestor]:
    (port,) = free_ports(1)
    one = Requestor(port)
    yield one
    one.stop()


def test_a_result_comes_once_the_requestor_listens_and_whoever_died_meanwhile(
    tmp_path: Path, database_url: str, requestor: Requestor
) -> None:
    images = exam()
    missing = make_mammogram(study="never sent")
    files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(images)]
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": requestor._port}
    with RunningNode(tmp_path / "node", database_url=database_url, peer=[peer]) as node:
        assert dcmsend(files, port=node.port, called="CMMD_NODE").returncode == 0
        wanted = [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in (*images, missing)]
        transaction_uid = requestor.ask(node.port, *wanted)
        attempted = "SELECT attempts FROM commitment WHERE attempts > 0"

        def tried() -> bool:
            with node.index.read() as connection:
                return bool(connection.exec_driver_sql(attempted).all())

        node.wait_until(tried, 60, "an attempt to report")
        node.kill_role("work")
        requestor.listen()
        node.wait_until(lambda: requestor.reports, 60, "the result")
        (event_type, result), *more = requestor.reports
        assert more == []
    assert event_type == 2
    assert result.TransactionUID == transaction_uid
    assert {item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence} == {
        ds.SOPInstanceUID for ds in images
    }
    (failed,) = result.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (missing.SOPInstanceUID, 0x0112)


def test_orthanc_hears_that_its_images_are_kept(tmp_path: Path, database_url: str) -> None:
    node_port, pacs_port = free_ports(2)
    peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs_port}
    images = exam()
    files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(images)]
    node = RunningNode(tmp_path / "node", database_url=database_url, receive={"port": node_port}, peer=[peer])
    orthanc = Orthanc(
        tmp_path / "orthanc", port=pacs_port, DicomModalities={"node": ["CMMD_NODE", "127.0.0.1", node_port]}
    )
    with node, orthanc:
        assert dcmsend(files, port=pacs_port, called="ORTHANC").returncode == 0
        names = orthanc.find(images[0].StudyInstanceUID)
        assert len(names) == 4
        modality = f"{orthanc.http}/modalities/node"
        httpx.post(f"{modality}/store", json=names, timeout=60).raise_for_status()
        answer = httpx.post(f"{modality}/storage-commitment", json={"Resources": names}, timeout=60)
        answer.raise_for_status()

        def result() -> Any:
            report = httpx.get(f"{orthanc.http}{answer.json()['Path']}", timeout=10).json()
            return report if report["Status"] != "Pending" else None

        report = wait_until(result, 60, "Orthanc's result")
    assert report["Status"] == "Success"
    assert len(report["Success"]) == 4
