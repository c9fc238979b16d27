"""A small PACS stand-in: keeps whatever it is sent as files in a folder. For the demo, the self-check and tests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

if TYPE_CHECKING:
    from pynetdicom.events import Event

_STEMS = {
    MammographyCADSRStorage: "cad-sr",
    SegmentationStorage: "seg",
    GrayscaleSoftcopyPresentationStateStorage: "gsps",
    Comprehensive3DSRStorage: "tid1500",
    SecondaryCaptureImageStorage: "sc",
}


@dataclass(frozen=True, slots=True)
class Received:
    """One object, as often as it came."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    path: Path


class PacsStandIn:
    """A storage SCP on loopback; `received` tells what came, in order.

    Parameters
    ----------
    folder
        Where files go; made when it is missing. Their names tell the kind of object and the order of arrival.
    port
        0 takes a free one; `port` tells which.
    """

    def __init__(self, folder: Path, *, ae_title: str, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.received: list[Received] = []
        """Every object in the order of arrival, repeats included."""
        self._folder = folder
        self._number = sum(1 for _ in folder.iterdir())  # files of an earlier run stay
        self._arrival = threading.Condition()
        ae = AE(ae_title)
        ae.supported_contexts = AllStoragePresentationContexts
        ae.add_supported_context(Verification)
        self._server: Any = ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def wait_for(self, sop_class_uid: str, study_instance_uid: str, *, seconds: float) -> bool:
        """Wait until an object of that class and study is here; False when the deadline passes first."""
        wanted = (sop_class_uid, study_instance_uid)
        with self._arrival:
            return self._arrival.wait_for(
                lambda: any((one.sop_class_uid, one.study_instance_uid) == wanted for one in self.received), seconds
            )

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        request = event.request
        ds = event.dataset
        with self._arrival:
            self._number += 1
            path = self._folder / f"{_STEMS.get(request.AffectedSOPClassUID, 'object')}-{self._number:03d}.dcm"
            path.write_bytes(event.encoded_dataset())
            self.received.append(
                Received(
                    sop_class_uid=str(request.AffectedSOPClassUID),
                    sop_instance_uid=str(request.AffectedSOPInstanceUID),
                    study_instance_uid=str(ds.get("StudyInstanceUID", "")),
                    path=path,
                )
            )
            self._arrival.notify_all()
        return 0x0000
