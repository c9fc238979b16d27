"""A receiver as it is usually written: pynetdicom's server with a handler that saves the data set and answers success.

`tests.bench.naive` puts it in the place of ours, to show that the tests of faults can fail.
"""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from cmmd_node.index.intake import NewInstance, record_instance
from cmmd_node.index.work import enqueue_round
from cmmd_node.receive.commitment import CommitmentRequests
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import STORAGE_CLASSES, TRANSFER_SYNTAXES
from cmmd_node.settings import Settings


class NaiveReceiver:
    """What tests use of `cmmd_node.receive.scp.Receiver`; files and rows are where that one has them."""

    def __init__(self, settings: Settings, inbox: Inbox, _commitments: CommitmentRequests) -> None:
        self._settings = settings
        self._index, self._client = inbox._index, inbox._client
        self._ae = AE(settings.node.ae_title)
        self._ae.add_supported_context(Verification)
        for storage_class in STORAGE_CLASSES:
            self._ae.add_supported_context(storage_class, list(TRANSFER_SYNTAXES))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
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
        ds = event.dataset
        ds.file_meta = event.file_meta
        path = self._settings.node.data_dir / "objects" / "00" / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        new = NewInstance(
            sop_instance_uid=ds.SOPInstanceUID,
            sop_class_uid=ds.SOPClassUID,
            transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
            study_instance_uid=ds.StudyInstanceUID,
            series_instance_uid=ds.SeriesInstanceUID,
            patient_id=str(ds.get("PatientID", "")),
            patient_name=str(ds.get("PatientName", "")),
            patient_birth_date=str(ds.get("PatientBirthDate", "")),
            path=str(path.relative_to(self._settings.node.data_dir)),
            size_bytes=path.stat().st_size,
            digest="",
            source=event.assoc.requestor.ae_title,
        )
        with self._index.write() as connection:
            number = record_instance(connection, new)
            if number is not None:
                enqueue_round(self._client, connection, new.study_instance_uid, number)
        return 0x0000
