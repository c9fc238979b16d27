"""A fuzzer of the receiver, at the level of PDUs and at that of data sets.

``python -m tests.receive.fuzzer [--minutes 60] [--seed 1]`` starts a receiver of its own and sends it damaged
conversations and damaged images, while a good sender stores images and expects a success for each. In the end the
process must be the one that was started, its memory flat, its threads and files those of an idle receiver, no traceback
in its log, and every object that was acknowledged in the index and on disk; where the fuzzer chose its bytes, equal.

What is damaged are conversations of real peers (pynetdicom, DCMTK), recorded through a proxy, and images in five
encodings. Case `number` of a seed is the same in every run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, build_context

from cmmd_node.index.tables import instance
from tests.mammograms import encoded, exam, make_mammogram, save
from tests.nodes import RunningNode, dcmsend, wait_until
from tests.proxy import Proxy
from tests.receive.conftest import data_set_bytes, part10_bytes
from tests.receive.raw import CONTEXTS, MAMMOGRAPHY, RawPeer, status_of

#: How much larger than after its first minute, or first third of a short run, the receiver may ever be.
GROWTH_MB = 32.0
_ANSWER_SECONDS = 20.0
_LIMITS = {"associations": 100, "association_seconds": 2, "pdu_seconds": 2, "idle_seconds": 4}
_EDGES = (0, 1, 2, 3, 5, 6, 7, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass
class Figures:
    """What happened."""

    conversations: int = 0
    data_sets: int = 0
    good: int = 0
    slowest_good_seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID and digest of the bytes; an empty digest where the bytes were not the fuzzer's choice."""
    memory_mb: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        size = self.memory_mb or [0.0]
        settled = size[min(60, len(size) // 3) :]
        return (
            f"{self.conversations} damaged conversations, {self.data_sets} damaged data sets, {self.good} good images "
            f"(slowest {self.slowest_good_seconds:.2f} s); {len(self.acknowledged)} objects acknowledged; statuses "
            f"{dict(sorted(self.statuses.items()))}; memory {settled[0]:.0f} MB after the start, at most "
            f"{max(settled):.0f} MB, {settled[-1]:.0f} MB in the end"
        )

    def check_memory(self) -> None:
        """The receiver is as large as it was when it had seen a bit of everything."""
        settled = self.memory_mb[min(60, len(self.memory_mb) // 3) :]
        assert max(settled) - settled[0] < GROWTH_MB, f"the receiver grows: {self.summary}"


# Conversations


def record(port: int, folder: Path, *, dcmtk: bool) -> list[list[bytes]]:
    """Conversations of real peers with a receiver, each as the PDUs that the peer sent."""
    images = exam(study="recorded")
    with Proxy(port) as proxy:
        ae = AE("PYNETDICOM")
        for chosen in (images[:1], images):
            kinds = [build_context("1.2.840.10008.1.1"), build_context(MAMMOGRAPHY, "1.2.840.10008.1.2.1")]
            assoc = ae.associate("127.0.0.1", proxy.port, contexts=kinds, ae_title="CMMD_NODE")
            assert assoc.is_established
            assert assoc.send_c_echo().Status == 0x0000
            for ds in chosen:
                assert assoc.send_c_store(dcmread(BytesIO(part10_bytes(ds)))).Status == 0x0000
            assoc.release()
        if dcmtk:
            files = [save(ds, folder / f"{number}.dcm") for number, ds in enumerate(images)]
            done = dcmsend(files, port=proxy.port, called="CMMD_NODE")
            assert done.returncode == 0, done.stdout
        peer = RawPeer(proxy.port, calling="RAW").associate()
        assert peer.store(data_set_bytes(images[0]), sop_instance=images[0].SOPInstanceUID, chunk=3000) == 0x0000
        peer.release()
        return [split(bytes(each)) for each in proxy.sent]


def split(conversation: bytes) -> list[bytes]:
    """The PDUs of a conversation (PS3.8 9.3.1)."""
    found = []
    while conversation:
        end = 6 + struct.unpack_from(">I", conversation, 2)[0]
        found.append(conversation[:end])
        conversation = conversation[end:]
    return found


def damage_conversation(chance: random.Random, corpus: list[list[bytes]]) -> list[bytes]:
    """A recorded conversation with one to four things wrong in it."""
    pdus = list(chance.choice(corpus))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(pdus)) if pdus else 0
        kind = chance.choice(_PDU_DAMAGES)
        if kind == "leave out" and pdus:
            del pdus[at]
        elif kind == "repeat" and pdus:
            pdus.insert(at, pdus[at])
        elif kind == "swap" and pdus:
            other = chance.randrange(len(pdus))
            pdus[at], pdus[other] = pdus[other], pdus[at]
        elif kind == "splice":
            pdus[at:at] = chance.sample(chance.choice(corpus), 1)
        elif kind == "noise":
            pdus.insert(at, chance.randbytes(chance.choice((1, 5, 6, 7, 100, 3000))))
        elif pdus:
            pdus[at] = _damage_pdu(chance, kind, pdus[at])
    return pdus


_PDU_DAMAGES = ("leave out", "repeat", "swap", "splice", "noise", "truncate", "bytes", "length", "type", "header")


def _damage_pdu(chance: random.Random, kind: str, pdu: bytes) -> bytes:
    data = bytearray(pdu)
    if not data:
        return pdu
    if kind == "truncate":
        return pdu[: chance.randrange(len(pdu))]
    if kind == "length" and len(data) >= 6:
        struct.pack_into(">I", data, 2, _odd_number(chance, len(data) - 6))
    elif kind == "type":
        data[0] = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0x16, 0x47, 255))
    elif kind == "header":  # items of an A-ASSOCIATE, the first PDV of a P-DATA-TF, the head of a command set
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(min(len(data), 120))] = chance.randrange(256)
    else:
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _odd_number(chance: random.Random, right: int) -> int:
    """A length that is nearly right, or as wrong as can be."""
    return chance.choice((*_EDGES, right + 1, max(0, right - 1), 2 * right, chance.getrandbits(32))) & 0xFFFFFFFF


# Data sets


def originals() -> list[tuple[int, bytes, str]]:
    """Images with the presentation context that takes their encoding, and their SOP Instance UID."""
    ds = make_mammogram(study="original")
    by_syntax = {syntax: context_id for context_id, (sop_class, syntax) in CONTEXTS.items() if sop_class == MAMMOGRAPHY}
    found = []
    for syntax in (ds.file_meta.TransferSyntaxUID, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless):
        found.append((by_syntax[syntax], data_set_bytes(encoded(ds, syntax)), str(ds.SOPInstanceUID)))
    return found


def damage_data_set(chance: random.Random, data: bytes) -> bytes:
    """An image with nothing, or up to four things, wrong in it."""
    content = bytearray(data)
    for _ in range(chance.randint(0, 4)):
        _DATA_SET_DAMAGES[chance.randrange(len(_DATA_SET_DAMAGES))](chance, content)
    return bytes(content)


def _some_header(chance: random.Random, data: bytearray) -> int:
    """Where an element's header stands, as a rule; the header of the image is in the first 1500 bytes."""
    tags = [
        at for at in range(0, min(len(data), 1500) - 8, 2) if data[at] in (0x08, 0x10, 0x18, 0x20, 0x28, 0xFE, 0xE0)
    ]
    return chance.choice(tags) if tags else 0


def _change_length(chance: random.Random, data: bytearray) -> None:
    at = _some_header(chance, data)
    if chance.random() < 0.5:
        struct.pack_into("<H", data, min(at + 6, len(data) - 2), _odd_number(chance, data[at + 6]) & 0xFFFF)
    else:
        struct.pack_into("<I", data, min(at + 4, len(data) - 4), _odd_number(chance, data[at + 4]))


def _change_vr(chance: random.Random, data: bytearray) -> None:
    at = _some_header(chance, data)
    data[at + 4 : at + 6] = chance.choice((b"SQ", b"UN", b"OB", b"OW", b"UI", b"US", b"PN", b"UT", b"??", b"\0\0"))


def _change_tag(chance: random.Random, data: bytearray) -> None:
    at = _some_header(chance, data)
    tag = chance.choice(
        ((0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD), (0x7FE0, 0x0010), (2, 0x10), (9, 0x1010))
    )
    struct.pack_into("<HH", data, at, *tag)


def _flip_bits(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(min(len(data), chance.choice((1500, 1 << 30))))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(8, max(9, len(data))) :]


def _drop_piece(chance: random.Random, data: bytearray) -> None:
    at = _some_header(chance, data)
    del data[at : at + chance.choice((2, 8, 12, 40))]


def _repeat_piece(chance: random.Random, data: bytearray) -> None:
    at = _some_header(chance, data)
    data[at:at] = data[at : at + chance.choice((8, 12, 40, 400))] * chance.choice((1, 2, 50))


def _append(chance: random.Random, data: bytearray) -> None:
    data += chance.randbytes(chance.choice((1, 2, 7, 8, 300)))


def _nest(chance: random.Random, data: bytearray) -> None:
    """Sequences within sequences, some of them without an end."""
    depth = chance.choice((1, 10, 59, 61, 300, 5000))
    head = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    tail = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = _some_header(chance, data)
    data[at:at] = head * depth + tail * chance.choice((depth, depth - 1, 0))


def _fragment(chance: random.Random, data: bytearray) -> None:
    """Pixel data as fragments (PS3.5 A.4), as many and as long as chance says."""
    data += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    for _ in range(chance.choice((0, 1, 3, 200))):
        data += struct.pack("<HHI", 0xFFFE, 0xE000, _odd_number(chance, 4)) + b"abcd"
    if chance.random() < 0.7:
        data += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


_DATA_SET_DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _change_length,
    _change_vr,
    _change_tag,
    _flip_bits,
    _cut,
    _drop_piece,
    _repeat_piece,
    _append,
    _nest,
    _fragment,
)


# Sending


class Campaign:
    """Fuzzers and a good sender against one receiver, until `stop` is set."""

    def __init__(self, port: int, seed: int, corpus: list[list[bytes]]) -> None:
        self.figures = Figures()
        self._port, self._seed, self._corpus = port, seed, corpus
        self._originals = originals()
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def run(self, seconds: float, look: Callable[[], None]) -> None:
        """Send for so long, and call `look` once a second."""
        workers = (self._send_conversations, self._send_data_sets, self._send_good_images)
        threads = [threading.Thread(target=self._until_stopped, args=(work,), daemon=True) for work in workers]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.figures.problems:
            look()
            self.stop.wait(min(1.0, max(0.0, end - time.monotonic())))
        self.stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a fuzzer waits for the receiver for ever"

    def _until_stopped(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # told to the test, which runs in another thread
            self.figures.problems.append(f"{work.__name__}: {error!r}")

    def _send_conversations(self) -> None:
        silent: list[socket.socket] = []
        while not self.stop.is_set():
            number = self.figures.conversations
            chance = random.Random(f"{self._seed} conversation {number}")
            try:
                self._send_conversation(chance, damage_conversation(chance, self._corpus), silent)
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"conversation {number} of seed {self._seed}: {error}") from error
            self.figures.conversations += 1
        for one in silent:
            one.close()

    def _send_conversation(self, chance: random.Random, pdus: list[bytes], silent: list[socket.socket]) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_SECONDS)
        stream = b"".join(pdus)
        end = chance.choices(("wait", "reset", "silence"), (20, 5, 1))[0]
        answered = threading.Event()
        reader = threading.Thread(target=self._read_answers, args=(connection, answered), daemon=True)
        reader.start()
        try:
            first = len(pdus[0]) if pdus else 0
            connection.sendall(stream[:first])
            if chance.random() < 0.9:  # else it does not wait for its A-ASSOCIATE-AC
                answered.wait(0.3)
            step = chance.choice((1 << 20, 1 << 20, 1 << 20, 16384, 700))
            for start in range(first, len(stream), step):
                connection.sendall(stream[start : start + step])
            if end == "wait":
                connection.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            pass  # the receiver has had enough
        if end == "wait":
            reader.join(_ANSWER_SECONDS)
            assert not reader.is_alive(), "the receiver holds a connection that its peer has closed"
            connection.close()
        elif end == "reset":
            _reset(connection)
        else:  # the receiver's own limits must end it
            silent.append(connection)
            if len(silent) > 30:
                oldest = silent.pop(0)
                oldest.settimeout(_ANSWER_SECONDS)
                with suppress(ConnectionError):
                    while oldest.recv(65536):
                        pass
                oldest.close()

    def _read_answers(self, connection: socket.socket, answered: threading.Event) -> None:
        """What the receiver says to a damaged conversation; what it acknowledges counts."""
        received = bytearray()
        with suppress(OSError):
            while piece := connection.recv(65536):
                received += piece
                answered.set()
        answered.set()
        while len(received) >= 6:
            end = 6 + struct.unpack_from(">I", received, 2)[0]
            body, kind = bytes(received[6:end]), received[0]
            del received[:end]
            if kind != 0x04 or len(body) < 6:
                continue
            with suppress(AssertionError, struct.error):
                status, uid = status_of(body[6:])
                with self._lock:
                    self.figures.statuses[f"{status:04X}"] += 1
                    if status == 0x0000 and uid:
                        self.figures.acknowledged.setdefault(uid, "")

    def _send_data_sets(self) -> None:
        peer = None
        while not self.stop.is_set():
            number = self.figures.data_sets
            chance = random.Random(f"{self._seed} data set {number}")
            context_id, original, old_uid = chance.choice(self._originals)
            uid = f"{old_uid[:-12]}{number:012d}"
            data = damage_data_set(chance, original.replace(old_uid.encode(), uid.encode()))
            if peer is None:
                peer = RawPeer(self._port, calling="FUZZER").associate()
                peer.socket.settimeout(_ANSWER_SECONDS)
            try:
                status = peer.store(data, context_id=context_id, sop_instance=uid)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"data set {number} of seed {self._seed}: {error!r}") from error
            self._note(status, uid, data)
            self.figures.data_sets += 1
            if number % 50 == 49:
                peer.release()
                peer = None

    def _send_good_images(self) -> None:
        ds = make_mammogram(study="good")
        old_uid, data = str(ds.SOPInstanceUID), data_set_bytes(ds)
        while not self.stop.wait(0.1):
            uid = f"{old_uid[:-12]}{self.figures.good:012d}"
            content = data.replace(old_uid.encode(), uid.encode())
            started = time.monotonic()
            peer = RawPeer(self._port, calling="GOOD")
            peer.socket.settimeout(_ANSWER_SECONDS)
            status = peer.associate().store(content, sop_instance=uid)
            peer.release()
            assert status == 0x0000, f"a good image was answered with {status:04X}"
            took = time.monotonic() - started
            self.figures.slowest_good_seconds = max(self.figures.slowest_good_seconds, took)
            self._note(status, uid, content)
            self.figures.good += 1

    def _note(self, status: int, uid: str, data: bytes) -> None:
        with self._lock:
            self.figures.statuses[f"{status:04X}"] += 1
            if status == 0x0000:
                self.figures.acknowledged[uid] = hashlib.sha256(data).hexdigest()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
    connection.close()


# The receiver


def fuzz(folder: Path, *, seconds: float, seed: int, database_url: str = "", dcmtk: bool = True) -> Figures:
    """Send damaged conversations and data sets to a receiver of its own, and see that nothing of it matters.

    Raises
    ------
    AssertionError
        It did; the message names the case.
    """
    with _receiver(folder / "node", database_url) as node:
        corpus = record(node.port, folder, dcmtk=dcmtk)
        (pid,) = node.pids("receive")
        at_rest = _threads(pid), _files(pid)
        campaign = Campaign(node.port, seed, corpus)
        figures = campaign.figures
        campaign.run(seconds, lambda: figures.memory_mb.append(_memory_mb(pid)))
        assert not figures.problems, f"{figures.problems}; {node._last_words()}"
        assert node.pids("receive") == [pid]
        assert node.answers_echo()
        wait_until(lambda: _threads(pid) <= at_rest[0] + 1, 30, f"the end of all associations: {figures.summary}")
        # A pool of database connections grows with the peers of one moment; what leaks would leak by the thousand.
        assert _files(pid) <= at_rest[1] + 60
        _check_objects(node, figures.acknowledged)
        wait_until(lambda: not _spooled(node), 10, "an empty spool")
        log = node.log.read_text(errors="replace")
        assert "Traceback" not in log, log[max(0, log.index("Traceback") - 500) :][:3000]
        assert "Phantom" not in log
    return figures


@contextmanager
def _receiver(folder: Path, database_url: str):  # type: ignore[no-untyped-def]
    node = RunningNode(folder, supervised=False, database_url=database_url, receive=dict(_LIMITS))
    node.start("receive")
    try:
        wait_until(node.answers_echo, 60, "the receiver")
        yield node
    finally:
        node.__exit__(None, None, None)


def _check_objects(node: RunningNode, acknowledged: dict[str, str]) -> None:
    """What was acknowledged has a row and a file, and where its bytes are known, these."""
    with node.index.read() as connection:
        kept = {row.sop_instance_uid: row for row in connection.execute(sa.select(instance))}
    missing = acknowledged.keys() - kept.keys()
    assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"
    for uid, digest in acknowledged.items():
        path = node.data_dir / kept[uid].path
        assert path.stat().st_size == kept[uid].size_bytes, uid
        if digest:
            content = path.read_bytes()[144 + read_file_meta_info(path).FileMetaInformationGroupLength :]
            assert hashlib.sha256(content).hexdigest() == digest, f"{uid} is not what was sent"


def _spooled(node: RunningNode) -> list[Path]:
    return [path for path in (node.data_dir / "spool").rglob("*") if path.is_file()]


def _memory_mb(pid: int) -> float:
    """Resident memory (proc(5), statm)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Fuzz and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="cmmd-node-fuzzer-") as folder:
        figures = fuzz(Path(folder), seconds=60 * asked.minutes, seed=asked.seed)
    print(figures.summary)
    figures.check_memory()


if __name__ == "__main__":
    sys.exit(main())
