"""A small PACS stand-in: keeps whatever it is sent as files in a folder. For the demo, the self-check and tests."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.uid import MammographyCADSRStorage, SegmentationStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

if TYPE_CHECKING:
    from pynetdicom.events import Event

_STEMS = {MammographyCADSRStorage: "cad-sr", SegmentationStorage: "seg"}


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
        self.received: list[tuple[str, str, Path]] = []
        """SOP Class UID, SOP Instance UID and file of every object, repeats included."""
        self._folder = folder
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

    def wait_for(self, sop_class_uid: str, *, seconds: float) -> bool:
        """Wait until an object of that class is here; False when the deadline passes first."""
        deadline = time.monotonic() + seconds
        with self._arrival:
            while all(one[0] != sop_class_uid for one in self.received):
                if not self._arrival.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    return False
        return True

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        request = event.request
        with self._arrival:
            stem = _STEMS.get(request.AffectedSOPClassUID, "object")
            path = self._folder / f"{stem}-{len(self.received) + 1:03d}.dcm"
            path.write_bytes(event.encoded_dataset())
            self.received.append((str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), path))
            self._arrival.notify_all()
        return 0x0000
