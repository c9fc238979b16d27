"""How long a receiver takes until its intake is open, with many objects stored.

    .venv/bin/python -m tests.bench.start [--objects 100000] [--leftovers 1000]

Rows and small files are made first; then the role ``receive`` is started, and asked by C-ECHO until it answers. The
leftovers are unfinished objects in its spool.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

from cmmd_node.index import open_index
from cmmd_node.index.tables import instance, study
from cmmd_node.settings import Settings
from tests.nodes import RunningNode, wait_until

_DEADLINE_SECONDS = 120.0


def main() -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--leftovers", type=int, default=1_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cmmd-node-start-") as folder:
        node = RunningNode(Path(folder), supervised=False)
        fill(node.settings, objects=wanted.objects, leftovers=wanted.leftovers)
        started = time.monotonic()
        node.start("receive")
        wait_until(node.answers_echo, _DEADLINE_SECONDS, "an answer to a C-ECHO")
        print(
            f"{wanted.objects} objects, {wanted.leftovers} leftovers: intake open after "
            f"{time.monotonic() - started:.1f} s; goal 10 s"
        )
        node.stop()


def fill(settings: Settings, *, objects: int, leftovers: int) -> None:
    """Rows of studies with four images each, and a file for each image."""
    root = settings.node.data_dir.absolute()
    spool = root / "spool" / "0"
    spool.mkdir(parents=True)
    for number in range(256):
        (root / "objects" / f"{number:02x}").mkdir(parents=True)
    for _ in range(leftovers):
        (spool / secrets.token_hex(16)).write_bytes(b"half an object")
    names = [secrets.token_hex(16) for _ in range(objects)]
    for name in names:
        (root / "objects" / name[:2] / f"{name}.dcm").write_bytes(b"an object")
    index = open_index(settings)
    patient = {"patient_id": "", "patient_name": "", "patient_birth_date": "", "created_ms": 0}
    with index.write() as connection:
        connection.execute(
            insert(study), [{"study_instance_uid": f"2.25.{one}", **patient} for one in range(objects // 4 + 1)]
        )
        connection.execute(
            insert(instance),
            [
                {
                    "sop_instance_uid": f"2.25.{number}",
                    "study_instance_uid": f"2.25.{number // 4}",
                    "series_instance_uid": "2.25.1",
                    "sop_class_uid": "2.25.1",
                    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                    "patient_id": "",
                    "path": f"objects/{name[:2]}/{name}.dcm",
                    "size_bytes": 9,
                    "digest": "",
                    "source": "BENCH",
                    "received_ms": 0,
                    "round_number": 1,
                }
                for number, name in enumerate(names)
            ],
        )
    index.close()


if __name__ == "__main__":
    main()
