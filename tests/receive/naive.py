"""A receiver as it is usually written: pynetdicom's server with a handler that keeps the data set and answers success.

It takes every transfer syntax that pynetdicom knows, has pynetdicom write data sets to files while they arrive, which
is said to save memory, and makes the rows that a route needs without a look at what is there. `tests.bench.naive` puts
it in the place of ours, to show that the tests of faults can fail.
"""

from __future__ import annotations

import tempfile
import threading
from typing import Any

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.sop_class import Verification
from sqlalchemy import Connection, insert, select

from cmmd_node.index.engine import now_ms
from cmmd_node.index.tables import RoundState, instance, round_, study
from cmmd_node.index.work import enqueue_round
from cmmd_node.receive.commitment import CommitmentRequests
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import STORAGE_CLASSES
from cmmd_node.settings import Settings


class NaiveReceiver:
    """What tests use of `cmmd_node.receive.scp.Receiver`; files and rows are where that one has them."""

    def __init__(self, settings: Settings, inbox: Inbox, _commitments: CommitmentRequests) -> None:
        self._settings = settings
        self._index, self._client = inbox._index, inbox._client
        self._ae = AE(settings.node.ae_title)
        self._ae.add_supported_context(Verification)
        for storage_class in STORAGE_CLASSES:
            self._ae.add_supported_context(storage_class, ALL_TRANSFER_SYNTAXES)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        # For the whole process, as pynetdicom and tempfile have it: nothing but this receiver's tests runs in it.
        _config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(self._settings.node.data_dir / "spool")
        address = (self._settings.receive.host, self._settings.receive.port)
        self._server: Any = self._ae.make_server(address, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Shut down, as far as that ends: with a stalled peer it does not."""
        ending = threading.Thread(target=self._server.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)
        self._server.socket.close()

    def _serve(self) -> None:
        self._server.serve_forever()

    def _store(self, event: Any) -> int:
        ds = dcmread(event.dataset_path)
        path = self._settings.node.data_dir / "objects" / "00" / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        event.dataset_path.unlink()
        now = now_ms()
        of_study = {"study_instance_uid": ds.StudyInstanceUID}
        patient = {
            "patient_id": str(ds.get("PatientID", "")),
            "patient_name": str(ds.get("PatientName", "")),
            "patient_birth_date": str(ds.get("PatientBirthDate", "")),
        }
        source = event.assoc.requestor.ae_title
        with self._index.write() as connection:
            if not _has(connection, ds.StudyInstanceUID):
                connection.execute(insert(study).values(**of_study, **patient, created_ms=now))
                times = {"first_received_ms": now, "last_received_ms": now}
                connection.execute(
                    insert(round_).values(**of_study, number=1, state=RoundState.SETTLING, source=source, **times)
                )
                enqueue_round(self._client, connection, ds.StudyInstanceUID, 1)
            connection.execute(
                insert(instance).values(
                    **of_study,
                    sop_instance_uid=ds.SOPInstanceUID,
                    sop_class_uid=ds.SOPClassUID,
                    transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                    series_instance_uid=ds.SeriesInstanceUID,
                    patient_id=patient["patient_id"],
                    path=str(path.relative_to(self._settings.node.data_dir)),
                    size_bytes=path.stat().st_size,
                    digest="",
                    source=source,
                    received_ms=now,
                    round_number=1,
                )
            )
        return 0x0000


def _has(connection: Connection, study_instance_uid: str) -> bool:
    uid = study.c.study_instance_uid
    return connection.execute(select(uid).where(uid == study_instance_uid)).first() is not None
