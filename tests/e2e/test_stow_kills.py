"""A web role that is killed in the middle of STOW-RS: nothing acknowledged is missing, and nothing is left over.

tests/run nightly -k stow_kills
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.bench.dicomweb import is_up
from tests.dicomweb.conftest import REFERENCED, STOW, body, uids
from tests.e2e.test_kills import bytes_on_the_wire, check_instances, files_below
from tests.mammograms import VIEWS, make_mammogram
from tests.nodes import RunningNode, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(900)]

_SENDERS = 3
_KILLS = 12
_PIXELS = np.zeros((2000, 1500), np.uint8)
_CALM_SECONDS = 120.0


@dataclass
class Sender:
    """Stores one exam after the other, each again until every instance has its entry in an answer."""

    name: str
    url: str
    acknowledged: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID and digest of the bytes."""
    broken: int = 0
    """Requests without an answer."""
    problem: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            number = 0
            while not stop.is_set():
                self._store(f"{self.name}, exam {number}")
                number += 1
        except BaseException as error:  # told to the test, which runs in another thread
            self.problem = error

    def _store(self, study: str) -> None:
        images = [make_mammogram(_PIXELS, view=view, study=study) for view in VIEWS]
        content = body(*images)
        digests = {str(ds.SOPInstanceUID): hashlib.sha256(bytes_on_the_wire(ds)).hexdigest() for ds in images}
        deadline = time.monotonic() + _CALM_SECONDS
        while digests.keys() - self.acknowledged.keys():
            assert time.monotonic() < deadline, f"{self.name}: nobody takes {study}"
            try:
                answer = httpx.post(self.url, content=content, headers={"Content-Type": STOW}, timeout=60)
            except httpx.TransportError:
                self.broken += 1
                time.sleep(0.05)  # as any sender waits before it tries again; nothing is awaited here
                continue
            assert answer.status_code in (200, 202), answer.text
            self.acknowledged |= {uid: digests[uid] for uid in uids(answer, REFERENCED)}


def test_kills_of_the_web_role_lose_nothing_and_leave_nothing(tmp_path: Path, database_url: str) -> None:
    chance = random.Random(3)
    node = RunningNode(tmp_path, database_url=database_url, supervised=False)
    url = f"http://127.0.0.1:{node.settings.web.port}"
    node.start("web")
    try:
        wait_until(lambda: is_up(f"{url}/metrics"), 60, "the web role")
        senders = [Sender(f"sender {number}", f"{url}/dicom-web/studies") for number in range(_SENDERS)]
        stop = threading.Event()
        threads = [threading.Thread(target=one.run, args=(stop,), daemon=True) for one in senders]
        for thread in threads:
            thread.start()
        leftovers = 0
        for _ in range(_KILLS):
            before = sum(len(one.acknowledged) for one in senders)
            wait_until(lambda before=before: sum(len(one.acknowledged) for one in senders) > before, 60, "an answer")
            time.sleep(chance.uniform(0.0, 0.3))  # not a wait for an event: the moment is what is drawn
            node.kill_role("web")
            leftovers += len(files_below(node.data_dir / "spool"))
            node.start("web")
        stop.set()
        for thread in threads:
            thread.join(_CALM_SECONDS)
            assert not thread.is_alive()
        assert [one.problem for one in senders if one.problem] == []
        assert leftovers > 0, "no kill met an instance on its way"
        assert sum(one.broken for one in senders) > 0
        node.start("receive")  # whatever got its name and no row is taken in at its start, as after any crash
        wait_until(node.answers_echo, 60, "the receiver")
        acknowledged = {uid: digest for one in senders for uid, digest in one.acknowledged.items()}
        print(f"{_KILLS} kills, {len(acknowledged)} acknowledged, {leftovers} cut short")
        check_instances(node, acknowledged)
    finally:
        node.stop()
    assert files_below(node.data_dir / "spool") == set()
    assert files_below(node.data_dir / "quarantine") == set()
